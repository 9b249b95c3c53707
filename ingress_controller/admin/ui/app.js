// The frame: navigation, what state Spanway is in, the theme, the log-in; and the page in it.
import { ApiError, ask, useAnswer, useSilentPeers } from './api.js';
import { link, useLocation } from './location.js';
import { Bottlenecks } from './pages/bottlenecks.js';
import { Config } from './pages/config.js';
import { Live } from './pages/live.js';
import { Nodes } from './pages/nodes.js';
import { Overview } from './pages/overview.js';
import { Routes } from './pages/routes.js';
import { Traces } from './pages/traces.js';
import { html, render, useEffect, useRef, useState } from './view.js';

const STATE_MS = 5_000; // between two looks at whether it is ready, and at problems

const PAGES = {
  overview: { title: 'Overview', Page: Overview, hasTimes: true },
  live: { title: 'Live', Page: Live },
  traces: { title: 'Traces', Page: Traces, hasTimes: true },
  nodes: { title: 'Nodes', Page: Nodes, hasTimes: true },
  bottlenecks: { title: 'Bottlenecks', Page: Bottlenecks, hasTimes: true },
  routes: { title: 'Routes', Page: Routes },
  config: { title: 'Config', Page: Config },
};
const FIRST = Object.keys(PAGES)[0];

function App() {
  const { page, params } = useLocation();
  const [session, setSession] = useState(null);
  const [error, setError] = useState(null);
  const main = useRef();
  const look = () => ask('api/session').then(setSession, setError);
  useEffect(() => void look(), []);
  const name = page || FIRST;
  const known = PAGES[name];
  const times = { since: params.since, from: params.from, to: params.to }; // what one looks at stays the same
  useEffect(() => {
    document.title = `${known?.title ?? 'Not there'} · Spanway`;
    document.querySelector('nav [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }, [name]);
  if (session && !session.is_open) return html`<${LogIn} ways=${session.ways} onOpen=${setSession} />`;
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current.focus(); }}>To the content</a>
    <header class="top">
      <a class="brand" href=${link(FIRST)}><img src="ui/icon.svg" alt="" width="22" height="22" />Spanway</a>
      <nav aria-label="Pages">
        ${Object.entries(PAGES).map(([key, { title, hasTimes }]) => html`<a key=${key} href=${link(key, hasTimes ? times : {})}
          aria-current=${key === name ? 'page' : undefined}>${title}</a>`)}
      </nav>
      <${State} />
      <${Theme} />
    </header>
    <main id="main" tabindex="-1" ref=${main}>
      ${error && html`<div class="notice is-error" role="alert"><p>${error.message}</p></div>`}
      <${Missing} />
      ${known ? html`<${known.Page} key=${name} />`
        : html`<div class="empty"><h1>There is no page “${name}”</h1><p>Go to <a href=${link(FIRST)}>${PAGES[FIRST].title}</a>.</p></div>`}
    </main>`;
}

/** Which replicas did not answer: what they know is not on the page. */
function Missing() {
  const silent = useSilentPeers();
  if (!silent.length) return null;
  return html`<div class="notice is-list" role="status" aria-label="Replicas">
    ${silent.map(({ address, instance, error }) => html`<p key=${address}>What replica <b>${instance ? `${instance} (${address})` : address}</b> knows is missing: ${error}.</p>`)}
  </div>`;
}

/** Whether it is reachable, and how many problems there are. */
function State() {
  const { answer, error } = useAnswer('api/problems', {}, STATE_MS, STATE_MS);
  if (error) return html`<p class="state is-bad" role="status"><i></i>${error.status === 401 ? 'A token is needed' : 'No answer'}</p>`;
  if (!answer) return html`<p class="state" role="status"></p>`;
  const { count } = answer;
  return html`<p class="state ${count ? 'is-warned' : 'is-good'}" role="status"><i></i>
    ${count ? html`<a href=${link('routes')}>${count} ${count === 1 ? 'problem' : 'problems'}</a>` : 'No problems'}</p>`;
}

function Theme() {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme ?? '');
  const choose = (chosen) => {
    setTheme(chosen);
    if (chosen) document.documentElement.dataset.theme = chosen;
    else delete document.documentElement.dataset.theme;
    try {
      localStorage.setItem('spanway-theme', chosen);
    } catch {
      // It lasts as long as the page, then.
    }
    dispatchEvent(new Event('spanway-theme'));
  };
  return html`<label class="theme"><span class="hidden">Theme</span>
    <select value=${theme} onChange=${(event) => choose(event.target.value)}>
      <option value="">System</option><option value="light">Light</option><option value="dark">Dark</option>
    </select></label>`;
}

const WAYS = {
  token: html`the token in the file of <code>--admin-token-file</code>`,
  kubernetes: html`a token of this Kubernetes (<code>kubectl create token NAME</code>)`,
  certificate: html`a certificate of the authority in <code>--admin-client-ca</code>, which this browser has to have`,
};

/** What is wanted of who asks; a form for what can be typed. */
function LogIn({ ways, onOpen }) {
  const [error, setError] = useState(null);
  const send = async (event) => {
    event.preventDefault();
    try {
      onOpen(await ask('api/session', {}, { body: { token: new FormData(event.target).get('token') } }));
    } catch (err) {
      if (!(err instanceof ApiError)) throw err;
      setError(err);
    }
  };
  return html`<main class="log-in">
    <h1>Spanway</h1>
    <form onSubmit=${send}>
      <p>Who asks here has to show ${ways.map((way, index) => html`${index ? ', or ' : ''}${WAYS[way]}`)}.</p>
      ${ways.some((way) => way !== 'certificate') && html`<label class="field"><span>Token</span><input name="token" type="password" autocomplete="current-password" required autofocus /></label>
      <button type="submit" class="is-main">Open</button>`}
      ${error && html`<p class="is-error" role="alert">${error.message}</p>`}
    </form>
  </main>`;
}

render(html`<${App} />`, document.getElementById('app'));
