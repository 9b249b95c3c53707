// What settings are in force, and where it listens. No secret is in what the API tells.
import { useAnswer } from '../api.js';
import { Failure, Loading, Scroll } from '../parts.js';
import { html } from '../view.js';

export function Config() {
  const config = useAnswer('api/config');
  const table = useAnswer('api/routes');
  if (!config.answer) return config.error ? html`<${Failure} ...${config} />` : html`<${Loading} />`;
  return html`
    <header class="page-head"><h1>Config</h1><p class="muted">Spanway ${config.answer.version}</p></header>
    <${Failure} ...${table} />
    ${table.answer && html`<${Listeners} table=${table.answer} />`}
    ${config.answer.groups.map((group) => html`<section key=${group.title} class="card">
      <h2>${capital(group.title)}</h2>
      <${Scroll}><table class="settings"><tbody>
        ${group.flags.map((flag) => html`<tr key=${flag.flag} class=${flag.is_default ? '' : 'is-changed'}>
          <th scope="row"><code>${flag.flag}</code></th>
          <td>${flag.values.length ? flag.values.map((value) => html`<code key=${value} class="value">${value}</code>`) : html`<span class="muted">–</span>`}
            ${!flag.is_default && html`<span class="tag">set</span>`}</td>
          <td class="muted">${flag.help}</td>
        </tr>`)}
      </tbody></table><//>
    </section>`)}`;
}

function Listeners({ table }) {
  return html`<section class="card">
    <h2>Listening</h2>
    <${Scroll}><table>
      <thead><tr><th>Address</th><th>Kind</th><th>Serves</th><th>TLS</th><th>Trace context read</th><th>Sent</th></tr></thead>
      <tbody>${table.listeners.map((one) => html`<tr key=${one.address}>
        <td><code>${one.address}</code></td>
        <td>${one.kind}</td>
        <td>${one.backend || 'hosts and paths'}</td>
        <td>${one.tls ? 'yes' : 'no'}</td>
        <td>${one.extract.join(', ') || 'none'}</td>
        <td>${one.inject.join(', ') || 'none'}</td>
      </tr>`)}</tbody>
    </table><//>
  </section>`;
}

function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}
