// Which requests there were: conditions, a picture to brush, a list. One of them is trace.js.
import { useAnswer } from '../api.js';
import { axis, Chart, colour, colourOf, timeAxis } from '../chart.js';
import { count, duration, moment } from '../format.js';
import { go, idIn, link, useLocation } from '../location.js';
import { Choice, Empty, Failure, Field, Fold, Loading, opening, Scroll, Swatch, Verdict } from '../parts.js';
import { VERDICTS } from '../phases.js';
import { html, useMemo } from '../view.js';
import { Filters, Window, windowOf } from '../window.js';
import { Trace } from './trace.js';

const LIMIT = 200; // as many dots tell something, and as many rows are read
const REFRESH_MS = 5_000;
const TEXTS = ['service', 'host', 'route', 'operation', 'node', 'pod', 'flag'];
const OTHERS = ['status', 'verdict', 'error', 'min_duration', 'max_duration', 'text', 'namespace', 'ingress', 'method', 'error_type', 'attribute'];
const ASKED = [...TEXTS, ...OTHERS];

export function Traces() {
  const { rest } = useLocation();
  return rest[0] ? html`<${Trace} id=${rest[0]} />` : html`<${Search} />`;
}

function Search() {
  const { params, set } = useLocation();
  const asked = Object.fromEntries(ASKED.map((name) => [name, params[name]]));
  const { answer, error, isLoading, again } = useAnswer('api/traces', { ...asked, ...windowOf(params), limit: LIMIT }, params.from ? 0 : REFRESH_MS);
  const hasConditions = ASKED.some((name) => params[name]);
  return html`
    <header class="page-head"><h1>Traces</h1>
      ${answer && html`<p class="muted">${count(answer.traces.length)}${answer.is_cut ? ' newest' : ''}</p>`}
      <${ById} /></header>
    <${Conditions} params=${params} set=${set} />
    <${Failure} error=${error} again=${again} />
    ${!answer && !error && isLoading && html`<${Loading} />`}
    ${answer && (answer.traces.length ? html`
      <section class="card">
        <p class="muted hint">A dot is a trace, the higher the longer. Drag over some to see only these; click one to open it.</p>
        <${Picture} found=${answer} set=${set} />
      </section>
      <${List} traces=${answer.traces} />
      ${answer.is_cut && html`<p class="muted">There are more. Narrow the time, or add a condition.</p>`}`
      : hasConditions
        ? html`<${Empty} title="No trace is like that in this time"><p>Loosen a condition, or look at a longer time.</p><//>`
        : html`<${Empty} title="No trace in this time"><p>Send a request through Spanway; it is here within a second. Addresses are on <a href="#/config">Config</a>.</p><//>`)}`;
}

function ById() {
  const open = (event) => {
    event.preventDefault();
    const id = idIn(new FormData(event.target).get('id'));
    if (id) go(link(`traces/${encodeURIComponent(id)}`));
  };
  return html`<form class="by-id" onSubmit=${open} role="search" aria-label="Open a trace">
    <input name="id" aria-label="trace id" placeholder="trace id" autocomplete="off" spellcheck=${false} />
    <button type="submit">Open</button></form>`;
}

function Conditions({ params, set }) {
  const given = ASKED.filter((name) => params[name]);
  const text = (name, label, placeholder) => html`<${Field} label=${label} value=${params[name]} placeholder=${placeholder} onChange=${(value) => set({ [name]: value })} />`;
  return html`<${Fold} title=${given.length ? `Conditions (${given.length})` : 'Conditions'}>
    <form class="conditions" onSubmit=${(event) => event.preventDefault()} role="search" aria-label="Conditions">
      <${Window} />
      <${Filters} names=${TEXTS} />
      ${text('status', 'status', '503 or 5xx')}
      <${Choice} label="verdict" value=${params.verdict} onChange=${(verdict) => set({ verdict })} options=${[['', 'any'], ...Object.keys(VERDICTS)]} />
      <${Choice} label="outcome" value=${params.error} onChange=${(error) => set({ error })} options=${[['', 'any'], ['true', 'failed'], ['false', 'not failed']]} />
      ${text('min_duration', 'at least', '100ms')}
      ${text('max_duration', 'at most', '2s')}
      ${text('text', 'contains', 'name or path')}
      ${text('attribute', 'attribute', 'user.id=7')}
      ${(given.length > 0 || params.from) && html`<button type="button" onClick=${() => set({ ...Object.fromEntries(ASKED.map((name) => [name, ''])), from: '', to: '' })}>Clear</button>`}
    </form><//>`;
}

// -- The picture: when and how long; a series for each verdict, and one for what failed.

function kindOf(trace) {
  return trace.is_failed ? 'failed' : trace.verdict || 'none';
}

function Picture({ found, set }) {
  const kinds = ['none', 'app', 'app-queue', 'cluster-network', 'client-network', 'proxy', 'failed'];
  const sorted = useMemo(() => [...found.traces].sort((a, b) => a.start_unix_us - b.start_unix_us), [found]);
  const data = useMemo(() => [
    sorted.map((trace) => trace.start_unix_us / 1e6),
    ...kinds.map((kind) => sorted.map((trace) => (kindOf(trace) === kind ? Math.max(trace.duration_us, 1) : null))),
  ], [sorted]);
  // Of the newest only, the time before them is not empty: it was not looked at.
  const start = found.is_cut && sorted.length ? sorted[0].start_unix_us : found.from_unix_us;
  const here = kinds.filter((kind) => sorted.some((trace) => kindOf(trace) === kind));
  const select = (u) => {
    const { left, top, width, height } = u.select;
    if (width < 4 && height < 4) return;
    const x = (px) => Math.round(u.posToVal(px, 'x') * 1_000);
    const y = (px) => `${Math.max(1, Math.round(u.posToVal(px, 'y')))}us`;
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    set({
      from: x(left), to: x(left + width) + 1,
      ...(height > 8 ? { min_duration: y(top + height), max_duration: y(top) } : {}),
    });
  };
  const open = (u) => {
    const index = nearest(u, sorted);
    if (index != null) go(link(`traces/${sorted[index].trace_id}`));
  };
  return html`<${Chart} about=${JSON.stringify([start, found.to_unix_us, here])} height=${190} data=${data}
    label=${`${count(sorted.length)} traces by time and duration; the list below has them`}
    options=${() => ({
      scales: { x: { time: true, range: [start / 1e6, found.to_unix_us / 1e6] }, y: { distr: 3, range: (u, low, high) => [10 ** Math.floor(Math.log10(low || 1)), roundUp(high || 10)] } },
      axes: [timeAxis(), axis({ size: 58, values: (u, ticks) => ticks.map((us) => (us ? short(us) : '')) })],
      series: [{}, ...kinds.map((kind) => ({
        label: kind, paths: () => null, stroke: kind === 'failed' ? colour('bad') : colourOf(kind),
        points: { show: true, size: 6, width: 0, space: 0, fill: `color-mix(in srgb, ${kind === 'failed' ? colour('bad') : colourOf(kind)} 75%, transparent)` },
      }))],
      legend: { show: false },
      cursor: { drag: { x: true, y: true, uni: 20, setScale: false }, points: { show: false }, focus: { prox: 12 } },
      hooks: { setSelect: [select], ready: [(u) => u.over.addEventListener('click', () => u.select.width || open(u))] },
    })} />
    <p class="legend">${here.map((kind) => (kind === 'failed'
    ? html`<span key=${kind} class="key"><i class="swatch is-failed"></i>failed</span>`
    : html`<${Swatch} key=${kind} name=${kind}>${kind === 'none' ? 'as usual' : kind}<//>`))}</p>`;
}

function nearest(u, traces) {
  const { left, top } = u.cursor;
  let found = null;
  let least = 14 ** 2;
  traces.forEach((trace, index) => {
    const away = (u.valToPos(trace.start_unix_us / 1e6, 'x') - left) ** 2 + (u.valToPos(Math.max(trace.duration_us, 1), 'y') - top) ** 2;
    if (away < least) [least, found] = [away, index];
  });
  return found;
}

/** To 1, 2 or 5 of its magnitude, with some room: from there a logarithmic axis has round numbers. */
function roundUp(us) {
  const magnitude = 10 ** Math.floor(Math.log10(us * 1.1));
  return magnitude * [1, 2, 5, 10].find((digit) => digit * magnitude >= us * 1.1);
}

function short(us) {
  return duration(us).replace(/\.0+ /, ' ');
}

// -- The list

function List({ traces }) {
  const longest = Math.max(...traces.map((trace) => trace.duration_us), 1);
  return html`<section class="card"><${Scroll}><table class="traces">
    <thead><tr><th>Time</th><th>Request</th><th class="number">Status</th><th>Verdict</th><th class="number">Duration</th><th></th><th class="number">Spans</th><th>Services</th></tr></thead>
    <tbody>${traces.map((trace) => {
      const address = link(`traces/${trace.trace_id}`);
      return html`<tr key=${trace.trace_id} class="opens" ...${opening(() => go(address))}>
        <td class="nowrap muted">${moment(trace.start_unix_us)}</td>
        <td class="text"><a href=${address} tabindex="-1">${trace.method ? html`<b>${trace.method}</b> ${trace.host}${trace.route}` : trace.name}</a></td>
        <td class=${`number ${trace.is_failed ? 'is-error' : ''}`}>${[trace.status, trace.flags].filter(Boolean).join(' ') || (trace.is_failed ? 'error' : '')}</td>
        <td>${trace.verdict && trace.verdict !== 'none' ? html`<${Verdict} name=${trace.verdict} />` : html`<span class="muted">${trace.verdict && 'as usual'}</span>`}</td>
        <td class="number">${duration(trace.duration_us)}</td>
        <td class="bar-cell"><span class="bar"><i class=${`is-${trace.is_failed ? 'failed' : trace.verdict || 'none'}`} style=${{ width: `${Math.max(1, (100 * trace.duration_us) / longest)}%` }}></i></span></td>
        <td class="number">${count(trace.span_count)}</td>
        <td class="muted services" title=${trace.services.join(', ')}>${trace.services.join(', ')}</td>
      </tr>`;
    })}</tbody></table><//></section>`;
}
