// Which requests are inside now: a moving picture by phase and age, groups, a table, one opened.
import { useAnswer, useWatch } from '../api.js';
import { Sparkline } from '../chart.js';
import { bytes, count, duration, moment } from '../format.js';
import { link, useLocation } from '../location.js';
import { Bar, Choice, Copy, Empty, Facts, Failure, Field, Fold, Loading, opening, PhaseBar, PhaseList, Scroll, Swatch } from '../parts.js';
import { PHASES } from '../phases.js';
import { html, useEffect, useRef, useState } from '../view.js';

const ROWS = 200; // asked for, and drawn: more dots are no picture
const INTERVAL_S = 0.5;
const BACK_S = 600; // how far the slider goes back
const BACK_BINS = 120;
const BACK_MS = 5_000; // between two looks at how long requests took
const PAST_MS = 2_000; // spans of requests that have just ended are on their way
const SLIDE_MS = 120; // a slider that moves asks for no more
const STEPS_MS = [-1_000, -100, 100, 1_000];
const GROUPS = 8; // of each kind; the others are in the API
const TEXTS = ['host', 'route', 'service', 'node', 'pod', 'client', 'trace_id'];
const ASKED = [...TEXTS, 'phase', 'method', 'kind', 'age_min', 'namespace', 'ingress', 'endpoint'];

export function Live() {
  const { params, set } = useLocation();
  const [isOn, setOn] = useState(true);
  const question = Object.fromEntries(ASKED.filter((name) => params[name]).map((name) => [name, params[name]]));
  const asked = { ...question, sort: params.sort, order: params.order, limit: ROWS };
  const now = useWatch('api/live', { ...asked, interval: INTERVAL_S }, isOn && !params.at);
  const past = useAnswer(params.at && 'api/live', { ...asked, at: params.at }, PAST_MS);
  const { answer, error } = params.at ? past : now;
  const open = (id) => set({ open: id });
  const hasConditions = Object.keys(question).length > 0;
  useEffect(() => {
    const pause = (event) => {
      if (event.key === ' ' && (event.target === document.body || event.target.id === 'main')) {
        event.preventDefault();
        setOn((was) => !was);
      }
    };
    addEventListener('keydown', pause);
    return () => removeEventListener('keydown', pause);
  }, []);
  return html`
    <header class="page-head">
      <h1>Live</h1>
      ${answer && html`<p class="big"><b>${count(answer.matched)}</b> ${hasConditions ? `of ${count(answer.live)} ` : ''}inside ${params.at ? `at ${moment(unixMsOf(params.at) * 1_000)}` : 'now'}</p>`}
      <button type="button" hidden=${Boolean(params.at)} aria-pressed=${!isOn} title="Space" onClick=${() => setOn(!isOn)}>${isOn ? 'Pause' : 'Go on'}</button>
    </header>
    <${Conditions} params=${params} set=${set} answer=${answer} />
    <${Past} at=${params.at} set=${set} />
    <${Failure} error=${error} />
    ${!answer && !error && html`<${Loading} />`}
    ${answer && html`
      ${answer.workers_silent > 0 && html`<div class="notice">Of ${answer.workers_silent} busy workers the requests are missing.</div>`}
      <${Picture} answer=${answer} open=${open} opened=${params.open} set=${set} />
      ${params.open && html`<${Opened} id=${params.open} answer=${answer} params=${params} close=${() => set({ open: '' })} />`}
      <${Requests} answer=${answer} params=${params} set=${set} open=${open} hasConditions=${hasConditions} />
      <div class="columns">
        ${[['service', 'services'], ['route', 'routes'], ['node', 'nodes']].map(([name, key]) => html`
          <${Groups} key=${name} name=${name} groups=${answer[key]} set=${set} />`)}
      </div>`}`;
}

/** Of what stands in an address: milliseconds, or what the API takes else. */
function unixMsOf(at) {
  return at ? Number(at) || Date.parse(at) || 0 : 0;
}

/** Goes back: a slider over the last minutes, on the line of how long requests took. */
function Past({ at, set }) {
  const unixMs = unixMsOf(at);
  const { answer } = useAnswer('api/analysis/latency', { by: 'all', since: `${BACK_S}s`, bins: BACK_BINS }, BACK_MS);
  const timer = useRef();
  useEffect(() => () => clearTimeout(timer.current), []);
  const now = Date.now();
  const end = unixMs && unixMs < now - BACK_S * 1_000 ? unixMs + (BACK_S / 2) * 1_000 : now;
  const go = (ms) => set({ at: ms >= Date.now() ? '' : Math.round(ms) }, { replace: true });
  const slide = (event) => {
    const { value } = event.target;
    clearTimeout(timer.current);
    timer.current = setTimeout(() => go(value === '0' ? Infinity : end + value * 1_000), SLIDE_MS);
  };
  return html`<section class="card past" aria-label="The past">
    <div class="slide">
      ${end === now && html`<${Sparkline} values=${answer?.all?.series?.p99_us ?? []} name="wait" label="how long requests took, p99" />`}
      <input type="range" min=${-BACK_S} max="0" step="1" value=${unixMs ? Math.round((unixMs - end) / 1_000) : 0} onInput=${slide}
        aria-label="at which moment" aria-valuetext=${at ? moment(unixMs * 1_000) : 'now'} />
    </div>
    <p class="steps">${at ? html`${STEPS_MS.map((ms) => html`<button key=${ms} type="button" onClick=${() => go(unixMs + ms)}>${ms < 0 ? '−' : '+'}${duration(Math.abs(ms) * 1_000).replace(/\.0+ /, ' ')}</button>`)}
      <button type="button" class="is-main" onClick=${() => set({ at: '' })}>Now</button>` : html`<span class="muted">now; slide back to see who was inside</span>`}</p>
  </section>`;
}

function Conditions({ params, set, answer }) {
  const names = (key) => (answer?.[key] ?? []).map((group) => group.name).filter(Boolean);
  const options = { route: names('routes'), service: names('services'), node: names('nodes') };
  const labels = { trace_id: 'trace id' };
  const given = ASKED.filter((name) => params[name]);
  return html`<${Fold} title=${given.length ? `Conditions (${given.length})` : 'Conditions'}><form class="conditions" onSubmit=${(event) => event.preventDefault()} role="search" aria-label="Conditions">
    <${Choice} label="phase" value=${params.phase} onChange=${(phase) => set({ phase })}
      options=${[['', 'any'], ...Object.keys(PHASES)]} />
    <${Choice} label="older than" value=${params.age_min} onChange=${(value) => set({ age_min: value })}
      options=${[['', 'any age'], '100ms', '500ms', '1s', '5s', '30s', '1m', ...(params.age_min && !['100ms', '500ms', '1s', '5s', '30s', '1m'].includes(params.age_min) ? [params.age_min] : [])]} />
    ${TEXTS.map((name) => html`<${Field} key=${name} label=${labels[name] ?? name} value=${params[name]} options=${options[name]}
      placeholder="any" onChange=${(value) => set({ [name]: value })} />`)}
    ${given.length > 0 && html`<button type="button" onClick=${() => set(Object.fromEntries(given.map((name) => [name, ''])))}>Clear</button>`}
  </form><//>`;
}

// -- The picture: a column for each phase, the older the higher; a dot is a request and moves on.

const AGES = [[1e3, '1 ms'], [1e4, '10 ms'], [1e5, '100 ms'], [1e6, '1 s'], [1e7, '10 s'], [1e8, '100 s']]; // the lines
const LOW = Math.log(3e2);
const HIGH = Math.log(3e8);

function height(ageUs) {
  return Math.min(0.98, Math.max(0.02, (Math.log(Math.max(ageUs, 1)) - LOW) / (HIGH - LOW)));
}

function sideways(id) {
  return ((Number.parseInt(id.slice(-4), 16) || 0) / 0xffff - 0.5) * 0.62;
}

function Picture({ answer, open, opened, set }) {
  const names = Object.keys(PHASES);
  const left = useRef(new Map()); // those that have just left: shown once more, on their way out
  const before = useRef([]);
  useEffect(() => {
    const now = new Set(answer.requests.map((row) => row.id));
    left.current = new Map(before.current.filter((row) => !now.has(row.id)).map((row) => [row.id, row]));
    before.current = answer.requests;
  }, [answer]);
  const x = (row) => (names.indexOf(row.phase) + 0.5 + sideways(row.id)) / names.length;
  const dots = [
    ...answer.requests.map((row) => ({ row, at: x(row), gone: false })),
    ...[...left.current.values()].filter((row) => !answer.requests.some((one) => one.id === row.id)).map((row) => ({ row, at: 1.02, gone: true })),
  ];
  return html`<section class="card picture" aria-label="Requests by phase and age">
    <div class="phases" role="list">
      ${names.map((name) => html`<div key=${name} role="listitem">
        <button type="button" title=${`waits for ${PHASES[name]}`} onClick=${() => set({ phase: name })}>
          <${Swatch} name=${name} /><b>${count(answer.phases[name] ?? 0)}</b></button>
      </div>`)}
    </div>
    <div class="field-of-dots" aria-hidden="true">
      ${AGES.map(([us, text]) => html`<span key=${us} class="age-line" style=${{ bottom: `${100 * height(us)}%` }}><em>${text}</em></span>`)}
      ${names.map((name, index) => html`<span key=${name} class="phase-line" style=${{ left: `${(100 * index) / names.length}%` }}></span>`)}
      ${dots.map(({ row, at, gone }) => html`<span key=${row.id}
        class=${`dot is-${row.phase} ${gone ? 'is-gone' : ''} ${row.id === opened ? 'is-opened' : ''}`}
        title=${`${row.method} ${row.host}${row.path} · ${row.phase} · ${duration(row.age_us)}`}
        onClick=${() => open(row.id)}
        style=${{ left: `${100 * at}%`, bottom: `${100 * height(row.age_us)}%` }}></span>`)}
    </div>
  </section>`;
}

// -- The table

const COLUMNS = [['age', 'Age'], ['phase_age', 'Phase'], ['', 'Request'], ['', 'Service'], ['', 'Pod'], ['', 'Node'], ['received', 'Received'], ['sent', 'Sent']];

function Requests({ answer, params, set, open, hasConditions }) {
  if (!answer.requests.length && answer.kept_from_us) {
    return html`<${Empty} title="Nothing is kept of then"><p>What is kept begins at ${moment(answer.kept_from_us)}. <button type="button" onClick=${() => set({ at: Math.ceil(answer.kept_from_us / 1_000) })}>Go there</button></p><//>`;
  }
  if (!answer.requests.length && params.at) {
    return html`<${Empty} title="Nothing like that was inside then"><p>Only requests that left spans are known. Slide to where they took long, or loosen a condition.</p><//>`;
  }
  if (!answer.requests.length) {
    return hasConditions
      ? html`<${Empty} title="No request is like that now"><p>${count(answer.live)} are inside. Loosen a condition, or clear them all.</p><//>`
      : html`<${Empty} title="Nothing is inside now"><p>A request is shown as soon as its first byte has come, and until its answer is taken. Send one, for example with <code>curl</code>; addresses are on <a href="#/config">Config</a>, hosts and paths on <a href="#/routes">Routes</a>.</p><//>`;
  }
  const longest = Math.max(...answer.requests.map((row) => row.age_us), 1);
  const sort = params.sort ?? 'age';
  const isAscending = params.order === 'asc';
  return html`<section class="card">
    <${Scroll}><table class="requests">
      <thead><tr>${COLUMNS.map(([key, title]) => html`<th key=${title} class=${['age', 'received', 'sent'].includes(key) ? 'number' : ''}
        aria-sort=${key && key === sort ? (isAscending ? 'ascending' : 'descending') : undefined}>
        ${key ? html`<button type="button" onClick=${() => set({ sort: key, order: key === sort && !isAscending ? 'asc' : '' })}>${title}</button>` : title}</th>`)}</tr></thead>
      <tbody>${answer.requests.map((row) => html`<tr key=${row.id} ...${opening(() => open(row.id))} class=${`opens ${row.id === params.open ? 'is-opened' : ''}`}>
        <td class="number"><span class="nowrap">${duration(row.age_us)}</span></td>
        <td><${Swatch} name=${row.phase} /> <${PhaseBar} phases=${row.phases_us} of=${longest} /></td>
        <td class="text"><b>${row.method || row.kind}</b> ${row.host}${row.path}</td>
        <td>${row.service}</td><td>${row.pod || row.endpoint}</td><td>${row.node}</td>
        <td class="number">${row.received_bytes ? bytes(row.received_bytes) : ''}</td>
        <td class="number">${row.sent_bytes ? bytes(row.sent_bytes) : ''}</td>
      </tr>`)}</tbody>
    </table><//>
    ${answer.matched > answer.requests.length && html`<p class="muted more">${count(answer.matched - answer.requests.length)} more; conditions or another order show them.</p>`}
  </section>`;
}

function Groups({ name, groups, set }) {
  const shown = groups.filter((group) => group.name).slice(0, GROUPS);
  if (!shown.length) return null;
  const most = Math.max(...shown.map((group) => group.count));
  return html`<section class="card">
    <h2>By ${name}</h2>
    <table class="groups"><tbody>${shown.map((group) => html`<tr key=${group.name}>
      <th scope="row"><button type="button" class="as-link" onClick=${() => set({ [name]: group.name })}>${group.name}</button></th>
      <td class="number"><b>${count(group.count)}</b></td>
      <td class="wide"><${Bar} of=${most} parts=${Object.keys(PHASES).map((phase) => ({ name: phase, value: group.phases[phase] ?? 0 }))} /></td>
      <td class="number muted" title="the oldest">${duration(group.age_max_us)}</td>
    </tr>`)}</tbody></table>
  </section>`;
}

// -- One request

function Opened({ id, answer, params, close }) {
  const last = useRef(null);
  const found = answer.requests.find((row) => row.id === id);
  if (found) last.current = found;
  const row = last.current?.id === id ? last.current : null;
  const panel = useRef();
  useEffect(() => panel.current?.focus(), [id]);
  return html`<section class="card opened" tabindex="-1" ref=${panel} aria-label="One request"
    onKeyDown=${(event) => event.key === 'Escape' && close()}>
    <header><h2>${row ? html`${row.method || row.kind} ${row.host}${row.path}` : `Request ${id}`}</h2>
      <button type="button" onClick=${close} title="Escape">Close</button></header>
    ${!row && html`<p>It is not among those that are shown: it is over, or the conditions leave it out.</p>`}
    ${row && html`
      <p>${found ? html`<${Swatch} name=${row.phase} /> for ${duration(row.phase_age_us)}: waits for ${PHASES[row.phase]}.`
        : html`<b>It has left.</b> Last seen in <${Swatch} name=${row.phase} /> at an age of ${duration(row.age_us)}.`}</p>
      <div class="columns">
        <div><${PhaseBar} phases=${row.phases_us} /><${PhaseList} phases=${row.phases_us} total=${row.age_us} /></div>
        <${Facts} facts=${[
          ['age', duration(row.age_us)], ['since', moment(row.start_unix_us)], ['status', row.status], ['attempts', row.attempts],
          ['service', row.service], ['endpoint', row.endpoint], ['pod', row.pod], ['node', row.node], ['zone', row.zone],
          ['route', row.route], ['ingress', row.ingress], ['rule', row.rule], ['client', row.client],
          ['protocol', `${row.scheme} ${row.protocol}`.trim()], ['listener', row.listener], ['replica', row.instance], ['table', row.generation],
          ['received', row.received_bytes && bytes(row.received_bytes)], ['sent', row.sent_bytes && bytes(row.sent_bytes)],
          ['trace id', row.trace_id && html`<code>${row.trace_id}</code>`],
        ]} />
      </div>
      ${row.trace_id && html`<p class="actions">${(!found || params.at) && html`<a class="button" href=${link(`traces/${row.trace_id}`)}>Open its trace</a>`}
        <${Copy} text=${row.trace_id}>Copy trace id<//></p>`}`}
  </section>`;
}
