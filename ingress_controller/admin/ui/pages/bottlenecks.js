// What makes the slowest requests slow, and whether it is because many come together.
import { useAnswer } from '../api.js';
import { count, duration, percent } from '../format.js';
import { link, useLocation } from '../location.js';
import { Empty, Failure, Fold, Loading, Scroll, Swatch } from '../parts.js';
import { html } from '../view.js';
import { Filters, Window, windowOf } from '../window.js';

const FILTERS = ['host', 'route', 'namespace'];
const KINDS = 8; // of requests
const REFRESH_MS = 15_000;
const TRACES = 5; // slow ones that are linked

export function Bottlenecks() {
  const { params } = useLocation();
  const { answer, error, isLoading, again } = useAnswer('api/analysis/bottlenecks',
    { ...windowOf(params), ...Object.fromEntries(FILTERS.map((name) => [name, params[name]])), limit: KINDS }, params.from ? 0 : REFRESH_MS);
  return html`
    <header class="page-head"><h1>Bottlenecks</h1><p class="muted">what slow requests wait for that usual ones do not</p></header>
    <${Fold} title="Conditions"><form class="conditions" role="search" aria-label="Conditions" onSubmit=${(event) => event.preventDefault()}>
      <${Window} /><${Filters} names=${FILTERS} /></form><//>
    <${Failure} error=${error} again=${again} />
    ${!answer && isLoading && html`<${Loading} />`}
    ${answer && (answer.requests.length
      ? html`${answer.requests.map((one) => html`<${Request} key=${`${one.service} ${one.operation}`} of=${one} />`)}
        <p class="muted rule"><b>How this is told.</b> ${answer.rule}</p>`
      : html`<${Empty} title="Too few requests to tell"><p>Slow ones are compared with usual ones of their kind. Look at a longer time, or send more.</p><//>`)}`;
}

function Request({ of }) {
  const shown = [...of.bottlenecks, ...of.contenders];
  const most = Math.max(...shown.map((one) => Math.max(one.usual_us, one.slow_us)), 1);
  return html`<section class="card">
    <header class="card-head"><h2>${of.service} <span class="muted">${of.operation}</span></h2>
      <p class="muted">${count(of.count)} requests · p50 ${duration(of.p50_us)} · p99 ${duration(of.p99_us)}</p></header>
    <p>Usual ones take <b>${duration(of.usual_us)}</b>, slow ones <b>${duration(of.slow_us)}</b>.${of.bottlenecks.length > 0 && ' The difference is made by:'}</p>
    <${Contributors} of=${of.bottlenecks} most=${most} share=${excess} />
    ${of.contenders.length > 0 && html`<p>A good part of usual ones is also:</p><${Contributors} of=${of.contenders} most=${most} share=${(one) => usual(one, of)} />`}
    ${of.slow_trace_ids.length > 0 && html`<p class="muted">Slow ones: ${of.slow_trace_ids.slice(0, TRACES).map((id) => html`<a key=${id} class="trace-link" href=${link(`traces/${id}`)}><code>${id.slice(0, 8)}</code></a>`)}</p>`}
  </section>`;
}

const excess = (one) => html`${one.excess_us < 0 ? '−' : '+'}${duration(Math.abs(one.excess_us))} <span class="muted">${percent(Math.min(1, one.excess_share))} of it</span>`;
const usual = (one, of) => html`${duration(one.usual_us)} <span class="muted">${percent(one.usual_us / of.usual_us)} of it</span>`;

function Contributors({ of, most, share }) {
  return html`<ol class="bottlenecks">${of.map((one) => html`<li key=${`${one.service} ${one.operation} ${one.part}`}>
    <div class="bottleneck-head"><b>${one.service}</b> ${one.operation} <${Swatch} name=${one.part} />
      ${one.growth?.grows && html`<span class="tag is-hot">grows with concurrency</span>`}
      <span class="number">${share(one)}</span></div>
    <div class="pair" role="img" aria-label=${`usual ${duration(one.usual_us)}, slow ${duration(one.slow_us)}`}>
      <span>usual</span><i><b class=${`is-${one.part} is-faint`} style=${{ width: `${(100 * one.usual_us) / most}%` }}></b></i><em>${duration(one.usual_us)}</em>
      <span>slow</span><i><b class=${`is-${one.part}`} style=${{ width: `${(100 * one.slow_us) / most}%` }}></b></i><em>${duration(one.slow_us)}</em>
    </div>
    <p class="muted">${one.text}</p>
    ${one.growth?.grows && html`<${Growth} of=${one.growth} part=${one.part} />`}
  </li>`)}</ol>`;
}

/** How long an operation takes by how many of it are in flight: a column for each level. */
function Growth({ of, part }) {
  const most = Math.max(...of.levels.map((level) => level.p50_us), 1);
  const words = of.levels.map((level) => `${inFlight(level)} in flight ${duration(level.p50_us)}`).join(', ');
  return html`<figure class="growth"><figcaption>${of.operation}: p50 by how many are in flight</figcaption>
    <${Scroll} className="levels-scroll" label=${words}><div class="levels" role="img" aria-label=${words}>${of.levels.map((level) => html`<span key=${level.in_flight_min} title=${`${count(level.count)} spans`}>
      <em>${duration(level.p50_us)}</em><i class=${`is-${part}`} style=${{ height: `${Math.max(2, (64 * level.p50_us) / most)}px` }}></i><small>${inFlight(level)}</small></span>`)}</div><//></figure>`;
}

function inFlight(level) {
  return level.in_flight_min === level.in_flight_max ? count(level.in_flight_min) : `${count(level.in_flight_min)}–${count(level.in_flight_max)}`;
}
