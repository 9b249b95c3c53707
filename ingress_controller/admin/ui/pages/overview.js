// How it goes: totals, what stands out, a map of who calls whom, and where the time goes.
import { useAnswer } from '../api.js';
import { Sparkline } from '../chart.js';
import { count, duration, number, percent } from '../format.js';
import { link, useLocation } from '../location.js';
import { Bar, Choice, Empty, Failure, Loading, Scroll } from '../parts.js';
import { html } from '../view.js';
import { partsOf, Window, windowOf } from '../window.js';
import { ServiceMap } from './map.js';

const REFRESH_MS = 10_000;
const BINS = 60;
const ROWS = 12;
const SLOWER = 3; // routes that are slower than before, in a sentence each

export function Overview() {
  const { params, set } = useLocation();
  const times = windowOf(params);
  const every = params.from ? 0 : REFRESH_MS;
  const latency = useAnswer('api/analysis/latency', { ...times, by: 'service', bins: BINS, limit: ROWS }, every);
  const routes = useAnswer('api/analysis/latency', { ...times, by: 'route', bins: BINS, limit: ROWS }, every);
  const graph = useAnswer('api/analysis/graph', times, every);
  const found = useFindings(times, every);
  const { answer, error, again } = routes;
  // All at once: what came in above a link would move it away from under the pointer.
  const isWhole = found !== null && hasCome(latency) && hasCome(graph);
  return html`
    <header class="page-head"><h1>Overview</h1>
      <form class="inline" onSubmit=${(event) => event.preventDefault()}><${Window} /></form></header>
    <${Failure} error=${error} again=${again} />
    ${!answer && !error && html`<${Loading} />`}
    ${answer && !answer.all && html`<${Empty} title="No request in this time"><p>Send one through Spanway, or look at a longer time. Addresses are on <a href="#/config">Config</a>, hosts and paths on <a href="#/routes">Routes</a>.</p><//>`}
    ${answer?.all && html`
      <${Totals} all=${answer.all} />
      ${!isWhole && html`<${Loading} />`}`}
    ${answer?.all && isWhole && html`
      ${found && html`<${StandsOut} found=${found} />`}
      ${graph.answer && html`<section class="card" aria-label="Map"><header class="card-head"><h2>Who calls whom</h2>
        <${Choice} label="pods" value=${params.pods ?? ''} options=${[['', 'hidden'], ['1', 'shown']]} onChange=${(pods) => set({ pods })} /></header>
        <${ServiceMap} graph=${graph.answer} hasPods=${Boolean(params.pods)} times=${times} /></section>`}
      <div class="columns is-two">
        <${Groups} title="Services" answer=${latency.answer} to=${(row) => link('traces', { ...times, service: row.name })} />
        <${Groups} title="Routes" answer=${answer} to=${(row) => link('traces', { ...times, host: row.labels.host, route: row.labels.route })} />
      </div>`}`;
}

function Totals({ all }) {
  const { series, spread, shares } = all;
  return html`<section class="tiles">
    <${Tile} title="Requests" value=${`${number(all.rate_per_s)}/s`} note=${`${count(all.count)} in all`} values=${series?.count} name="none" />
    <${Tile} title="Errors" value=${percent(all.error_share)} note=${count(all.error_count)} values=${series?.error_count} name="failed" />
    <${Tile} title="Median" value=${duration(spread.p50_us)} note=${`p90 ${duration(spread.p90_us)}`} values=${series?.p50_us} name="wait" />
    <${Tile} title="p99" value=${duration(spread.p99_us)} note=${`max ${duration(spread.max_us)}`} values=${series?.p99_us} name="wait" />
    <div class="card tile is-wide"><h2>Whose time it was</h2><${Bar} className="is-high" parts=${partsOf(shares)} />
      <p class="legend">${partsOf(shares).filter((part) => part.value > 0).map((part) => html`<span key=${part.name} class="key"><i class=${`swatch is-${part.name}`}></i>${part.name} ${percent(part.value)}</span>`)}</p></div>
  </section>`;
}

function Tile({ title, value, note, values, name }) {
  return html`<div class="card tile"><h2>${title}</h2><p class="value">${value}</p><p class="muted">${note}</p>
    ${values && html`<${Sparkline} values=${values} name=${name} label=${`${title} over time`} />`}</div>`;
}

/** The sentences of the other reports, each with a way to its page. Null until all have come, undefined where they failed. */
function useFindings(times, every) {
  const slow = useAnswer('api/analysis/bottlenecks', { ...times, limit: 3 }, every);
  const nodes = useAnswer('api/analysis/nodes', times, every);
  const before = useAnswer('api/analysis/compare', { ...times, by: 'route', limit: ROWS }, every);
  if (![slow, nodes, before].every(hasCome)) return null;
  if (!slow.answer && !nodes.answer) return undefined;
  const slower = (before.answer?.rows ?? []).filter((row) => row.change === 'slower');
  return [
    ...slower.slice(0, SLOWER).map((row) => ({
      part: 'other', to: link('traces', { ...times, host: row.labels.host, route: row.labels.route }),
      text: `${nameOf(row)} takes ${duration(row.now.spread.p50_us)} where it took ${duration(row.earlier.spread.p50_us)} in the time before (p50, ${count(row.now.count)} requests).`,
    })),
    ...(slow.answer?.requests ?? []).flatMap((request) => most(request, times)),
    ...(slow.answer?.requests ?? []).flatMap((request) => request.bottlenecks.slice(0, 1).map((one) => ({ part: one.part, text: one.text, to: link('bottlenecks', times) }))),
    ...(nodes.answer?.findings ?? []).map((one) => ({ part: one.part, text: one.text, to: link('nodes', { ...times, of: one.part }) })),
  ];
}

function hasCome({ answer, error }) {
  return Boolean(answer || error);
}

function StandsOut({ found }) {
  return html`<section class="card" aria-label="What stands out"><h2>Stands out</h2>
    ${found.length ? html`<ul class="findings">${found.map((one) => html`<li key=${one.text}><i class=${`swatch is-${one.part}`}></i><a href=${one.to}>${one.text}</a></li>`)}</ul>`
      : html`<p class="muted">Nothing: no route is slower than before, no node slower than the others.</p>`}
  </section>`;
}

/** Who takes most of a usual request, if that is most of it. */
function most(request, times) {
  const [largest] = [...request.bottlenecks, ...request.contenders].sort((a, b) => b.usual_us - a.usual_us);
  if (!largest || largest.usual_us < request.usual_us / 2) return [];
  return [{
    part: largest.part, to: link('bottlenecks', times),
    text: `${largest.service} ${largest.operation} takes ${duration(largest.usual_us)} of the ${duration(request.usual_us)} of a usual ${request.operation}.`,
  }];
}

function nameOf(row) {
  return row.labels.route ? `${row.labels.host ?? ''}${row.labels.route}` : row.name;
}

function Groups({ title, answer, to }) {
  if (!answer?.rows.length) return null;
  return html`<section class="card"><h2>${title} <span class="muted">by time</span></h2>
    <${Scroll}><table class="groups-over-time">
      <thead><tr><th></th><th class="number">/s</th><th class="number">Errors</th><th class="number">p50</th><th class="number">p99</th><th>p99 over time</th><th>Whose time</th></tr></thead>
      <tbody>${answer.rows.map((row) => html`<tr key=${row.name}>
        <th scope="row"><a href=${to(row)}>${nameOf(row)}</a></th>
        <td class="number">${number(row.rate_per_s)}</td>
        <td class=${`number ${row.error_count ? 'is-error' : ''}`}>${row.error_count ? percent(row.error_share) : ''}</td>
        <td class="number">${duration(row.spread.p50_us)}</td><td class="number">${duration(row.spread.p99_us)}</td>
        <td class="spark">${row.series && html`<${Sparkline} values=${row.series.p99_us} name="wait" label="p99 over time" />`}</td>
        <td class="share"><${Bar} parts=${partsOf(row.shares)} /></td>
      </tr>`)}</tbody></table><//>
    ${answer.group_count > answer.rows.length && html`<p class="muted more">${count(answer.group_count - answer.rows.length)} more.</p>`}
  </section>`;
}
