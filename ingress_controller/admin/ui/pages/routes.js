// What is served, by which rule, over which endpoints; what is not, and why; what answers a URL.
import { useAnswer } from '../api.js';
import { count } from '../format.js';
import { useLocation } from '../location.js';
import { Empty, Failure, Field, Loading, Scroll } from '../parts.js';
import { html } from '../view.js';

const TABLE_MS = 5_000;
const ROWS_MAX = 500; // drawn at once; more are for the search

export function Routes() {
  const { params, set } = useLocation();
  const table = useAnswer('api/routes', {}, TABLE_MS);
  const problems = useAnswer('api/problems', {}, TABLE_MS);
  return html`
    <header class="page-head"><h1>Routes</h1>
      ${table.answer && html`<p class="muted">table ${table.answer.generation}</p>`}</header>
    <${Explain} url=${params.url} set=${set} />
    <${Problems} ...${problems} />
    ${table.answer ? html`<${Table} table=${table.answer} text=${params.text ?? ''} set=${set} />`
      : table.error ? html`<${Failure} ...${table} />` : html`<${Loading} />`}`;
}

function Explain({ url = '', set }) {
  const { answer, error } = useAnswer(url && 'api/explain', { url });
  const ask = (event) => {
    event.preventDefault();
    set({ url: new FormData(event.target).get('url').trim() });
  };
  return html`<section class="card" aria-label="What answers a URL?">
    <h2>What answers a URL?</h2>
    <form class="explain" onSubmit=${ask} role="search">
      <label class="field is-wide"><span class="hidden">URL</span>
        <input name="url" key=${url} defaultValue=${url} placeholder="http://shop.example/cart" autocomplete="off" spellcheck=${false} inputmode="url" /></label>
      <button type="submit" class="is-main">Explain</button>
    </form>
    ${error && html`<p class="is-error" role="alert">${error.message}</p>`}
    ${answer && html`<${Explanation} found=${answer} />`}
  </section>`;
}

function Explanation({ found }) {
  const { route } = found;
  const outcome = !route ? 'The answer is 404: no rule matches.'
    : found.status === 403 ? 'The answer is 403: nobody is let in.'
      : found.status && found.status < 400 ? `The answer is ${found.status}: a redirect.`
        : found.status === 503 ? `The answer is 503: there is no endpoint. ${found.missing}`
          : `One of ${count(found.endpoints.length)} ${found.endpoints.length === 1 ? 'endpoint' : 'endpoints'} of ${route.backend} answers.`;
  return html`<div class="explanation" role="status">
    <p class=${found.status >= 400 ? 'is-error' : ''}><b>${outcome}</b></p>
    <ol>${found.why.map((sentence) => html`<li key=${sentence}>${sentence}</li>`)}</ol>
    ${route && html`<dl class="facts">
      <div><dt>rule</dt><dd>${route.host}${route.path} <span class="tag">${route.kind}</span></dd></div>
      <div><dt>from</dt><dd>Ingress ${route.ingress}, <code>${route.rule}</code></dd></div>
      ${found.policy.length > 0 && html`<div><dt>changed by</dt><dd>${found.policy.join(', ')}</dd></div>`}
      ${found.tracing.length > 0 && html`<div><dt>tracing</dt><dd>${found.tracing.join(', ')}</dd></div>`}
      <div><dt>Service</dt><dd>${route.backend}</dd></div>
      ${found.endpoints.length > 0 && html`<div><dt>endpoints</dt><dd>${found.endpoints.map(endpointText).join(' · ')}</dd></div>`}
      ${found.others.length > 0 && html`<div><dt>would be next</dt><dd>${found.others.map((one) => `${one.host}${one.path} → ${one.backend}`).join(' · ')}</dd></div>`}
    </dl>`}
    ${found.problems.length > 0 && html`<${ProblemList} problems=${found.problems} />`}
    <p class="muted">Methods make no difference: an Ingress has none in its rules.</p>
  </div>`;
}

function Problems({ answer, error, again }) {
  if (!answer) return html`<${Failure} error=${error} again=${again} />`;
  if (!answer.count) return null;
  return html`<section class="card is-warned" aria-label="Problems">
    <h2>${count(answer.count)} ${answer.count === 1 ? 'problem' : 'problems'}</h2>
    <${ProblemList} problems=${answer.problems.slice(0, ROWS_MAX)} />
  </section>`;
}

function ProblemList({ problems }) {
  return html`<ul class="problems">${problems.map((one) => html`<li key=${`${one.kind}${one.namespace}${one.name}${one.field}${one.text}`}>
    <span class=${`severity is-${one.severity}`}>${one.severity}</span>
    <div><b>${one.kind} ${one.namespace ? `${one.namespace}/` : ''}${one.name}</b>${one.field && html` <code>${one.field}</code>`}<p>${one.text}</p></div>
  </li>`)}</ul>`;
}

function Table({ table, text, set }) {
  const backends = new Map(table.backends.map((backend) => [backend.key, backend]));
  const rows = table.hosts.flatMap((host) => host.routes.map((route) => ({ host, route, backend: backends.get(route.backend) })));
  const fits = ({ host, route }) => `${host.host}${route.path} ${route.backend} ${route.namespace}/${route.ingress}`.includes(text);
  const found = text ? rows.filter(fits) : rows;
  const others = table.listeners.filter((one) => one.backend && backends.has(one.backend));
  if (!rows.length && !others.length) {
    return html`<${Empty} title="Nothing is served yet"><p>No Ingress names a class of Spanway’s. Set <code>ingressClassName</code> of one to a class whose controller is <code>spanway.io/ingress-controller</code>; what is wrong with one that does is above.</p><//>`;
  }
  return html`
    <section class="card">
      <header class="card-head"><h2>${count(rows.length)} ${rows.length === 1 ? 'route' : 'routes'}</h2>
        <${Field} label="find" value=${text} placeholder="host, path, Service, Ingress" onChange=${(value) => set({ text: value }, { replace: true })} /></header>
      <${Scroll}><table>
        <thead><tr><th>Host and path</th><th>Match</th><th>Service</th><th>Endpoints</th><th>From</th></tr></thead>
        <tbody>${found.slice(0, ROWS_MAX).map(({ host, route, backend }) => html`<tr key=${`${host.host} ${route.kind} ${route.path}`}>
          <td class="text"><b>${host.host}</b>${route.path}${host.tls && html` <span class="tag">TLS</span>`}</td>
          <td>${route.kind}</td>
          <td>${route.backend}</td>
          <td><${Endpoints} backend=${backend} /></td>
          <td class="muted">${route.namespace}/${route.ingress} <code>${route.rule}</code>${route.policy && html` <span class="tag">policy</span>`}</td>
        </tr>`)}</tbody>
      </table><//>
      ${found.length > ROWS_MAX && html`<p class="muted more">${count(found.length - ROWS_MAX)} more; the search finds them.</p>`}
      ${!found.length && html`<p class="muted more">No route has “${text}” in it.</p>`}
    </section>
    ${others.length > 0 && html`<section class="card">
      <h2>Calls between services</h2>
      <${Scroll}><table>
        <thead><tr><th>Listens on</th><th>Service</th><th>Endpoints</th></tr></thead>
        <tbody>${others.map((one) => html`<tr key=${one.address}><td><code>${one.address}</code></td><td>${one.backend}</td>
          <td><${Endpoints} backend=${backends.get(one.backend)} /></td></tr>`)}</tbody>
      </table><//>
    </section>`}`;
}

function Endpoints({ backend }) {
  if (!backend) return html`<span class="muted">unknown</span>`;
  if (!backend.endpoints.length) return html`<span class="is-error">none, 503. ${backend.missing}</span>`;
  const [first, ...rest] = backend.endpoints;
  return html`<span title=${backend.endpoints.map(endpointText).join('\n')}>${endpointText(first)}${rest.length > 0 && html` <span class="tag">+${count(rest.length)}</span>`}</span>`;
}

function endpointText(one) {
  const of = [one.pod, one.node, one.zone].filter(Boolean).join(', ');
  return `${one.address}:${one.port}${of ? ` (${of})` : ''}`;
}
