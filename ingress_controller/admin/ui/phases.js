// Words for what takes time, and whose time it is: the same words and colours on every page.
// A colour is a class, `is-NAME`; app.css has them for light and dark.

/** What a live request waits for, in the order in which it comes to them. docs/LIVE.md */
export const PHASES = {
  head: 'the client: the rest of its head',
  route: 'a decision of Spanway’s',
  queue: 'its turn: the backend is at its limit',
  connect: 'a connection to the endpoint',
  send: 'the rest of its body, or the endpoint to take it',
  wait: 'the app: the first byte of the response',
  stream: 'more of the response',
  respond: 'the client: to take the end of the response',
};

/** Who made a request slower than usual. docs/SPANS.md, "Verdict" */
export const VERDICTS = {
  'client-network': 'the client or its network',
  proxy: 'Spanway itself',
  'cluster-network': 'the network between Spanway and the endpoint',
  app: 'the app',
  'app-queue': 'the app’s queue: it was too busy to take the request up',
  none: 'not slower than usual',
};
