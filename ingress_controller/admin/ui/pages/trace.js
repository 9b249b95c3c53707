// One trace: whose the time was, and a waterfall of its spans of which only what is seen is drawn.
import { url, useAnswer } from '../api.js';
import { count, duration, moment, percent } from '../format.js';
import { idIn, link, useLocation } from '../location.js';
import { Bar, Copy, Facts, Failure, Loading, Scroll, Swatch, Verdict } from '../parts.js';
import { VERDICTS } from '../phases.js';
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../view.js';

const ROW_PX = 26; // as high as app.css makes a row
const AROUND = 12; // rows above and below what is seen, drawn in advance
const OWN_MAX = 100; // parts of one bar in which a span worked itself
const INDENTS_MAX = 24; // deeper ones are not moved any further
const COMPARED = 20; // contributors, those that changed most
const CONTRIBUTORS = 5; // to the whole time, in words; the largest
const SPANWAY = 'spanway'; // the scope of Spanway's own spans

export function Trace({ id }) {
  const { answer, error, again } = useAnswer(`api/traces/${encodeURIComponent(id)}`);
  const path = useAnswer(answer && 'api/analysis/path', { trace: id });
  const config = useAnswer('api/config');
  const back = html`<p><a href=${link('traces')}>All traces</a></p>`;
  if (!answer) return html`${back}${error ? html`<${Failure} error=${error} again=${again} />` : html`<${Loading} />`}`;
  return html`${back}<${Shown} trace=${answer} path=${path.answer} elsewhere=${flagOf(config.answer, '--trace-link')} />`;
}

function flagOf(config, name) {
  return config?.groups.flatMap((group) => group.flags).find((one) => one.flag === name)?.values[0];
}

function Shown({ trace, path, elsewhere }) {
  const { params, set } = useLocation();
  const tree = useMemo(() => treeOf(trace.spans), [trace]);
  const root = tree.roots.length ? trace.spans[tree.roots[0]] : null;
  const edge = trace.spans.find((span) => span.scope === SPANWAY && span.kind === 'server');
  const known = edge?.attributes ?? {};
  const opened = trace.spans.findIndex((span) => span.span_id === params.span);
  const select = (index) => set({ span: index >= 0 ? trace.spans[index].span_id : '' }, { replace: true });
  const failed = trace.spans.filter((span) => span.status === 'error').length;
  return html`
    <header class="page-head">
      <h1>${known['url.path'] ? `${known['http.request.method']} ${known['server.address'] ?? ''}${known['url.path']}` : root?.name}</h1>
      <p class="big"><b>${duration(trace.duration_ns / 1_000)}</b></p>
      ${edge && html`<p class=${edge.status === 'error' ? 'is-error' : 'muted'}>${[known['http.response.status_code'], known['spanway.flags']].filter(Boolean).join(' ')}</p>`}
    </header>
    <section class="card summary">
      <${Whose} path=${path} known=${known} hop=${edge && hopThatKnows(trace, tree, trace.spans.indexOf(edge))} />
      <${Facts} facts=${[
        ['began', moment(trace.start_unix_us)], ['spans', `${count(trace.spans.length)}${trace.is_cut ? ', of more' : ''}${failed ? `, ${count(failed)} failed` : ''}`],
        ['services', trace.services.join(', ')], ['trace id', html`<code>${trace.trace_id}</code>`],
      ]} />
      <p class="actions">
        <${Copy} text=${location.href}>Copy link<//>
        <${Copy} text=${trace.trace_id}>Copy trace id<//>
        <a class="button" href=${url(`api/traces/${trace.trace_id}`)} target="_blank" rel="noopener">JSON</a>
        ${elsewhere && html`<a class="button" href=${elsewhere.replaceAll('{trace_id}', trace.trace_id)} target="_blank" rel="noopener noreferrer">Open in ${new URL(elsewhere).hostname}</a>`}
      </p>
    </section>
    <${Compared} id=${trace.trace_id} other=${params.with} set=${set} />
    <${Waterfall} trace=${trace} tree=${tree} path=${path} opened=${opened} select=${select} />
    ${opened >= 0 && html`<${Opened} trace=${trace} index=${opened} select=${select} />`}`;
}

/**
 * Whose verdict to tell. To a hop the app is all that is behind its endpoint; one further in that was slower than
 * usual by most of that knows better: its network, or another app. With the Service that it is a call to.
 */
function hopThatKnows(trace, tree, edge) {
  const of = (index) => trace.spans[index].attributes;
  const excess = (index) => of(index)['spanway.verdict.excess_us'] ?? 0;
  const balanced = (index) => tree.children[index].map(of).find((one) => one['k8s.service.name']);
  let hop = edge;
  while (of(hop)['spanway.verdict'] === 'app') {
    const start = tree.order.indexOf(hop) + 1;
    const after = tree.order.slice(start).findIndex((index) => tree.depths[index] <= tree.depths[hop]);
    const [inner] = tree.order.slice(start, after < 0 ? undefined : start + after)
      .filter((index) => trace.spans[index].scope === SPANWAY && trace.spans[index].kind === 'server' && excess(index) > excess(hop) / 2)
      .sort((a, b) => excess(b) - excess(a));
    if (inner === undefined) break;
    hop = inner;
  }
  const service = hop === edge ? undefined : balanced(hop);
  return { known: of(hop), call: service && `${service['k8s.namespace.name']}/${service['k8s.service.name']}` };
}

/** The verdict with its numbers, and the parts of the critical path, else what the edge says. */
function Whose({ path, known, hop }) {
  const verdict = hop?.known['spanway.verdict'];
  const told = Object.keys(VERDICTS).map((name) => ({ name, value: known[`spanway.time.${name.replaceAll('-', '_')}_us`] ?? 0 }));
  const parts = (path ? partsOf(path) : told).filter((part) => part.value > 0);
  const total = parts.reduce((sum, part) => sum + part.value, 0);
  return html`<div class="whose">
    ${verdict && html`<p>${verdict === 'none' ? 'As fast as usual for this route.'
      : html`<${Verdict} name=${verdict} />: <b>${duration(hop.known['spanway.verdict.excess_us'])} slower than usual</b>${hop.call && html` in a call to <b>${hop.call}</b>`}, most of it by ${VERDICTS[verdict]}.`}</p>`}
    ${parts.length > 0 && html`<${Bar} className="is-high" parts=${parts.map((part) => ({ ...part, text: duration(part.value) }))} />
      <p class="legend">${parts.map((part) => html`<span key=${part.name} class="key"><i class=${`swatch is-${part.name}`}></i>${part.name} ${duration(part.value)} <span class="muted">${percent(part.value / total)}</span></span>`)}</p>`}
    ${path && html`<ol class="contributors">${path.parts.slice(0, CONTRIBUTORS).map((one) => html`<li key=${one.service + one.operation + one.part}>
      <i class=${`swatch is-${one.part}`}></i><b>${one.service}</b> ${one.operation} <span>${duration(one.time_us)}</span> <span class="muted">${percent(one.share)}</span></li>`)}</ol>`}
  </div>`;
}

function partsOf(path) {
  const sums = new Map(Object.keys(VERDICTS).map((name) => [name, 0]));
  for (const one of path.parts) sums.set(one.part, (sums.get(one.part) ?? 0) + one.time_us);
  return [...sums].map(([name, value]) => ({ name, value }));
}

/** Who took longer than in another trace. */
function Compared({ id, other, set }) {
  const { answer, error } = useAnswer(other && 'api/analysis/compare', { before: other, after: id });
  const ask = (event) => {
    event.preventDefault();
    set({ with: idIn(new FormData(event.target).get('with')) });
  };
  return html`<details class="card compared" open=${Boolean(other)}><summary>Compare with another trace</summary>
    <form class="by-id" onSubmit=${ask}><input name="with" key=${other} defaultValue=${other ?? ''} aria-label="the other trace’s id" placeholder="trace id" autocomplete="off" spellcheck=${false} /><button type="submit">Compare</button></form>
    ${error && html`<p class="is-error" role="alert">${error.message}</p>`}
    ${answer && html`<p>This one took <b>${duration(answer.after_us)}</b>, the <a href=${link(`traces/${other}`)}>other</a> ${duration(answer.before_us)}. The difference, by who worked:</p>
      <${Scroll}><table>
        <thead><tr><th>Service and what it did</th><th>Whose time</th><th class="number">Other</th><th class="number">This</th><th class="number">Change</th></tr></thead>
        <tbody>${answer.rows.slice(0, COMPARED).map((row) => html`<tr key=${row.service + row.operation + row.part}>
          <td class="text"><b>${row.service}</b> ${row.operation}</td><td><${Swatch} name=${row.part} /></td>
          <td class="number">${duration(row.before_us)}</td><td class="number">${duration(row.after_us)}</td>
          <td class=${`number ${row.change_us > 0 ? 'is-error' : ''}`}>${row.change_us < 0 ? '−' : '+'}${duration(Math.abs(row.change_us))}</td></tr>`)}</tbody>
      </table><//>`}
  </details>`;
}

// -- The tree

function treeOf(spans) {
  const at = new Map(spans.map((span, index) => [span.span_id, index]));
  const children = spans.map(() => []);
  const roots = [];
  spans.forEach((span, index) => {
    const parent = at.get(span.parent_id);
    if (parent === undefined || parent === index) roots.push(index);
    else children[parent].push(index);
  });
  const reached = new Set();
  const depths = new Array(spans.length).fill(0);
  const order = [];
  const walk = (from) => {
    const waiting = from.map((index) => [index, 0]).reverse();
    while (waiting.length) {
      const [index, depth] = waiting.pop();
      if (reached.has(index)) continue; // parents in a ring
      reached.add(index);
      depths[index] = depth;
      order.push(index);
      for (let i = children[index].length - 1; i >= 0; i -= 1) waiting.push([children[index][i], depth + 1]);
    }
  };
  walk(roots);
  if (reached.size < spans.length) {
    const lost = spans.map((_, index) => index).filter((index) => !reached.has(index));
    roots.push(...lost);
    walk(lost);
  }
  return { roots, children, depths, order };
}

function visible(tree, folded) {
  if (!folded.size) return tree.order;
  const shown = [];
  let below = Infinity;
  for (const index of tree.order) {
    if (tree.depths[index] > below) continue;
    below = folded.has(index) ? tree.depths[index] : Infinity;
    shown.push(index);
  }
  return shown;
}

// -- The waterfall

function Waterfall({ trace, tree, path, opened, select }) {
  const [folded, setFolded] = useState(new Set());
  const [top, setTop] = useState(0);
  const [room, setRoom] = useState(600);
  const scroller = useRef();
  const rows = useMemo(() => visible(tree, folded), [tree, folded]);
  const steps = useMemo(() => stepsOf(path), [path]);
  useLayoutEffect(() => {
    const watch = new ResizeObserver(() => setRoom(scroller.current.clientHeight));
    watch.observe(scroller.current);
    return () => watch.disconnect();
  }, []);
  const at = rows.indexOf(opened);
  const show = (row) => {
    const { scrollTop, clientHeight } = scroller.current;
    const y = row * ROW_PX;
    if (y < scrollTop) scroller.current.scrollTop = y;
    else if (y + ROW_PX > scrollTop + clientHeight) scroller.current.scrollTop = y + ROW_PX - clientHeight;
  };
  useEffect(() => {
    if (at >= 0) show(at);
  }, []);
  const fold = (index, isFolded) => setFolded((was) => {
    const now = new Set(was);
    if (isFolded) now.add(index);
    else now.delete(index);
    return now;
  });
  const keys = (event) => {
    const moves = { ArrowDown: at + 1, ArrowUp: Math.max(0, at - 1), Home: 0, End: rows.length - 1, PageDown: at + Math.floor(room / ROW_PX), PageUp: Math.max(0, at - Math.floor(room / ROW_PX)) };
    if (event.key in moves) {
      event.preventDefault();
      const row = Math.min(rows.length - 1, moves[event.key]);
      select(rows[row]);
      show(row);
    } else if (event.key === 'ArrowLeft' && at >= 0) fold(rows[at], true);
    else if (event.key === 'ArrowRight' && at >= 0) fold(rows[at], false);
    else if (event.key === 'Escape') select(-1);
  };
  const first = Math.max(0, Math.floor(top / ROW_PX) - AROUND);
  const last = Math.min(rows.length, Math.ceil((top + room) / ROW_PX) + AROUND);
  const us = trace.duration_ns / 1_000;
  return html`<section class="card waterfall" aria-label="Spans">
    <header class="ticks" aria-hidden="true"><span>${count(trace.spans.length)} spans</span>
      <span class="time-axis">${[0, 0.25, 0.5, 0.75, 1].map((share) => html`<em key=${share} style=${{ left: `${100 * share}%` }}>${duration(us * share)}</em>`)}</span></header>
    <div class="spans" ref=${scroller} tabindex="0" role="tree" aria-label="Spans; the arrow keys move and fold"
      aria-activedescendant=${at >= first && at < last ? `span-${opened}` : undefined}
      style=${{ height: `min(${rows.length * ROW_PX + 2}px, 68vh)` }}
      onScroll=${(event) => setTop(event.target.scrollTop)} onKeyDown=${keys}>
      <div style=${{ height: `${rows.length * ROW_PX}px` }} role="presentation">
        <div style=${{ transform: `translateY(${first * ROW_PX}px)` }} role="presentation">
          ${rows.slice(first, last).map((index) => html`<${Row} key=${index} trace=${trace} tree=${tree} index=${index} depth=${tree.depths[index]}
            steps=${steps.get(trace.spans[index].span_id)} isFolded=${folded.has(index)}
            isOpened=${index === opened} select=${select} fold=${fold} />`)}
        </div>
      </div>
    </div>
    <p class="legend"><span class="key"><i class="swatch is-app"></i>it worked itself</span><span class="key"><i class="swatch is-app is-faint"></i>what is below it did</span><span class="key"><i class="swatch is-call"></i>a call, as its caller saw it</span>
      ${path && html`<span class="key"><i class="swatch is-step"></i>the critical path: what the whole was waiting for</span>`}</p>
  </section>`;
}

function stepsOf(path) {
  const steps = new Map();
  for (const step of path?.steps ?? []) {
    if (!steps.has(step.span_id)) steps.set(step.span_id, []);
    steps.get(step.span_id).push(step);
  }
  return steps;
}

function Row({ trace, tree, index, depth, steps = [], isFolded, isOpened, select, fold }) {
  const span = trace.spans[index];
  const children = tree.children[index];
  const whole = trace.duration_ns || 1;
  const place = ([from, to]) => ({ left: `${(100 * from) / whole}%`, width: `${(100 * (to - from)) / whole}%` });
  const bounds = [span.offset_ns, span.offset_ns + span.duration_ns];
  const colour = colourOfSpan(span);
  const hasChildren = children.length > 0;
  // What an attempt waited for beyond what the callee tells is on the way between the two.
  const ownColour = colour === 'wait' && hasChildren ? 'cluster-network' : colour;
  return html`<div id=${`span-${index}`} role="treeitem" aria-level=${depth + 1} aria-selected=${isOpened} aria-expanded=${hasChildren ? !isFolded : undefined}
    class=${`span ${isOpened ? 'is-opened' : ''} ${span.status === 'error' ? 'has-failed' : ''}`} onClick=${() => select(isOpened ? -1 : index)}>
    <span class="span-name" style=${{ paddingLeft: `calc(${Math.min(depth, INDENTS_MAX)} * var(--indent))` }}>
      <i class="fold-mark" onClick=${(event) => { event.stopPropagation(); if (hasChildren) fold(index, !isFolded); }}>${hasChildren ? (isFolded ? '▸' : '▾') : ''}</i>
      <b>${span.service}</b> ${span.name}${endOf(trace, tree, index)}${depth === 0 && index > 0 && span.parent_id ? html` <span class="muted">its caller’s span is not here</span>` : ''}</span>
    <span class="lane">
      <i class=${`span-bar is-faint is-${colour}`} style=${place(bounds)}></i>
      ${(hasChildren ? own(bounds, children.map((child) => trace.spans[child])) : [bounds]).map((part) => html`<i key=${part[0]} class=${`span-bar is-${ownColour}`} style=${place(part)}></i>`)}
      ${phasesOf(span).map(([name, from, to]) => html`<i key=${name} class=${`span-bar is-${name}`} style=${place([from, to])}></i>`)}
      ${steps.map((step) => html`<i key=${step.offset_ns} class="step" style=${place([step.offset_ns, step.offset_ns + step.duration_ns])}></i>`)}
      <em style=${{ left: `${(100 * bounds[1]) / whole}%` }}>${duration(span.duration_ns / 1_000)}</em>
    </span>
  </div>`;
}

/** When a span worked itself: its time without that of the spans below it. */
function own([start, end], below) {
  const parts = [];
  let at = start;
  for (const span of [...below].sort((a, b) => a.offset_ns - b.offset_ns)) {
    if (span.offset_ns > at) parts.push([at, Math.min(span.offset_ns, end)]);
    at = Math.max(at, span.offset_ns + span.duration_ns);
    if (at >= end) break;
  }
  if (at < end) parts.push([at, end]);
  return parts.slice(0, OWN_MAX);
}

function endOf(trace, tree, index) {
  const span = trace.spans[index];
  const status = span.attributes['http.response.status_code'];
  const target = span.kind === 'client' ? targetOf(trace, tree, index) : '';
  return target ? ` → ${target}` : status ? ` ${status}` : '';
}

/** Whom a call is to: the pod of an attempt; of an app's call the Service that it goes through Spanway to, else its address. */
function targetOf(trace, tree, index) {
  const span = trace.spans[index];
  const attributes = span.attributes;
  if (span.scope === SPANWAY) return attributes['k8s.pod.name'] ?? attributes['server.address'] ?? '';
  const within = tree.children[index].flatMap((child) => tree.children[child]).map((child) => trace.spans[child]);
  const balance = within.find((one) => one.scope === SPANWAY && one.attributes['k8s.service.name']);
  if (balance) return `${balance.attributes['k8s.namespace.name']}/${balance.attributes['k8s.service.name']}`;
  return [attributes['server.address'] ?? attributes['network.peer.address'], attributes['server.port']].filter(Boolean).join(':');
}

function colourOfSpan(span) {
  if (span.scope !== SPANWAY) return span.kind === 'client' ? 'call' : 'app';
  const known = { 'net.deliver': 'cluster-network', 'app.respond': 'app', 'net.return': 'proxy', 'client.deliver': 'client-network' };
  return known[span.name] ?? span.attributes['spanway.phase'] ?? (span.kind === 'client' ? 'wait' : 'proxy');
}

/** Before and after the app of an attempt of Spanway's: its other phases, by when they were. */
function phasesOf(span) {
  if (span.scope !== SPANWAY || span.kind !== 'client') return [];
  const us = (name) => (span.attributes[`spanway.phase.${name}_us`] ?? 0) * 1_000;
  const parts = [];
  let at = span.offset_ns;
  for (const name of ['connect', 'tls', 'send']) {
    if (us(name)) parts.push([name, at, at + us(name)]);
    at += us(name);
  }
  const end = span.offset_ns + span.duration_ns;
  if (us('receive')) parts.push(['receive', end - us('receive'), end]);
  return parts;
}

// -- One span

function Opened({ trace, index, select }) {
  const span = trace.spans[index];
  const resource = trace.resources[span.resource] ?? {};
  return html`<section class="card opened" aria-label="One span">
    <header><h2>${span.service}: ${span.name}</h2><button type="button" onClick=${() => select(-1)} title="Escape">Close</button></header>
    ${span.status === 'error' && html`<p class="is-error">${span.status_message || 'It failed.'}</p>`}
    <${Facts} facts=${[
      ['duration', duration(span.duration_ns / 1_000)], ['from', duration(span.offset_ns / 1_000)], ['kind', span.kind], ['made by', span.scope],
      ['span id', html`<code>${span.span_id}</code>`], ['parent', span.parent_id && html`<code>${span.parent_id}</code>`],
      ...span.links.map(([linked]) => ['linked to', html`<a href=${link(`traces/${linked}`)}><code>${linked}</code></a>`]),
    ]} />
    <div class="columns">
      <${Attributes} title="Attributes" attributes=${span.attributes} />
      <${Attributes} title="Resource" attributes=${resource} />
    </div>
    ${span.events.map((event) => html`<${Attributes} key=${event.offset_ns + event.name} title=${`${event.name} at ${duration(event.offset_ns / 1_000)}`} attributes=${event.attributes} />`)}
  </section>`;
}

function Attributes({ title, attributes }) {
  const found = Object.entries(attributes).sort(([a], [b]) => (a < b ? -1 : 1));
  if (!found.length) return null;
  return html`<div><h3>${title}</h3><${Scroll}><table class="attributes"><tbody>${found.map(([name, value]) => html`<tr key=${name}>
    <th scope="row"><code>${name}</code></th><td>${shown(name, value)}</td></tr>`)}</tbody></table><//></div>`;
}

function shown(name, value) {
  if (name.endsWith('_us') && typeof value === 'number') return duration(value);
  return typeof value === 'string' ? value : JSON.stringify(value);
}
