// Asks the API. An error is a sentence of the server's, or says that nobody answers and what to do.
import { useEffect, useRef, useState } from './view.js';

const ROOT = new URL('../', import.meta.url); // also below a path, as `kubectl proxy` has it
const TIMEOUT_MS = 15_000; // the longest question of the store has ten seconds
const SILENT_MS = 5_000; // of a watch, which has an answer every half second: a process that stands still keeps its connections
const NOBODY = 'Spanway does not answer. Is it running? This page goes on asking.';

// What the last answer to each question of a page said of other replicas.
const peersOf = new Map();
const telling = new EventTarget();
let page = '';

function tell(path, answer) {
  const now = location.hash.split('?')[0];
  if (now !== page) peersOf.clear();
  page = now;
  if (Array.isArray(answer?.peers)) peersOf.set(path, answer.peers);
  telling.dispatchEvent(new Event('peers'));
  return answer;
}

/** The replicas of which something is missing on this page, each once. */
export function useSilentPeers() {
  const [silent, setSilent] = useState([]);
  useEffect(() => {
    const hear = () => {
      const found = new Map([...peersOf.values()].flat().filter((peer) => peer.error).map((peer) => [peer.address, peer]));
      setSilent((was) => (JSON.stringify(was) === JSON.stringify([...found.values()]) ? was : [...found.values()]));
    };
    telling.addEventListener('peers', hear);
    return () => telling.removeEventListener('peers', hear);
  }, []);
  return silent;
}

export class ApiError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** The full address of a question. */
export function url(path, params = {}) {
  const asked = new URL(path, ROOT);
  for (const [name, value] of Object.entries(params)) {
    if (value !== '' && value != null) asked.searchParams.set(name, value);
  }
  return asked.href;
}

/** The answer; `body` makes it a POST. Throws ApiError. */
export async function ask(path, params = {}, { signal, body, timeoutMs = TIMEOUT_MS } = {}) {
  const bounds = [AbortSignal.timeout(timeoutMs), ...(signal ? [signal] : [])];
  let answer;
  try {
    answer = await fetch(url(path, params), {
      signal: AbortSignal.any(bounds),
      headers: { Accept: 'application/json', ...(body ? { 'Content-Type': 'application/json' } : {}) },
      ...(body ? { method: 'POST', body: JSON.stringify(body) } : {}),
    });
  } catch (err) {
    if (signal?.aborted) throw err;
    throw new ApiError(NOBODY);
  }
  const text = await answer.text();
  let said;
  try {
    said = JSON.parse(text);
  } catch {
    throw new ApiError(text.trim() || `Spanway answers with status ${answer.status}.`, answer.status);
  }
  if (!answer.ok) throw new ApiError(said.error ?? `Spanway answers with status ${answer.status}.`, answer.status);
  return tell(path, said);
}

/**
 * Asks now, again whenever the question changes, and every `everyMs` unless that is 0 or nobody looks.
 * The last good answer stays while a newer one is on its way or cannot be had. No path, no question.
 */
export function useAnswer(path, params = {}, everyMs = 0, timeoutMs = TIMEOUT_MS) {
  const [state, setState] = useState({ answer: null, error: null, isLoading: Boolean(path) });
  const [round, setRound] = useState(0);
  const question = path ? url(path, params) : '';
  useEffect(() => {
    if (!path) {
      setState({ answer: null, error: null, isLoading: false });
      return undefined;
    }
    const leaving = new AbortController();
    let timer;
    const once = async () => {
      setState((was) => ({ ...was, isLoading: true }));
      try {
        if (!document.hidden || !everyMs) {
          const answer = await ask(path, params, { signal: leaving.signal, timeoutMs });
          setState({ answer, error: null, isLoading: false, question });
        }
      } catch (error) {
        if (leaving.signal.aborted) return;
        setState((was) => ({ answer: was.question === question ? was.answer : null, error, isLoading: false, question }));
      }
      if (everyMs && !leaving.signal.aborted) timer = setTimeout(once, everyMs);
    };
    once();
    return () => {
      leaving.abort();
      clearTimeout(timer);
    };
  }, [question, everyMs, round]);
  return { ...state, again: () => setRound((n) => n + 1) };
}

/**
 * A watch: every answer as it comes. Where no more may watch, or none has come for long, it asks every two
 * seconds instead.
 * `isOn` false keeps the last answer.
 */
export function useWatch(path, params, isOn) {
  const [state, setState] = useState({ answer: null, error: null });
  const question = url(path, { ...params, watch: 1 });
  const timer = useRef();
  useEffect(() => {
    if (!isOn) return undefined;
    let source;
    const leaving = new AbortController();
    const open = () => {
      source = new EventSource(question);
      const missed = () => {
        source.close();
        setState((was) => ({ answer: was.answer, error: new ApiError(NOBODY) }));
        fallBack();
      };
      timer.current = setTimeout(missed, SILENT_MS);
      source.addEventListener('live', (event) => {
        clearTimeout(timer.current);
        timer.current = setTimeout(missed, SILENT_MS);
        setState({ answer: tell(path, JSON.parse(event.data)), error: null });
      });
      source.addEventListener('error', () => {
        source.close(); // what is wrong an event source does not tell; an ordinary question does
        clearTimeout(timer.current);
        timer.current = setTimeout(fallBack, 500);
      });
    };
    const fallBack = async () => {
      try {
        const { interval, ...rest } = params;
        setState({ answer: await ask(path, rest, { signal: leaving.signal }), error: null });
        timer.current = setTimeout(open, 1_500);
      } catch (error) {
        if (leaving.signal.aborted) return;
        setState((was) => ({ answer: was.answer, error }));
        if (error.status !== 400) timer.current = setTimeout(fallBack, 2_000);
      }
    };
    open();
    return () => {
      leaving.abort();
      clearTimeout(timer.current);
      source.close();
    };
  }, [question, isOn]);
  return state;
}
