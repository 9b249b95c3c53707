// Which node is slow: each against the others, and how it went over time.
import { useAnswer } from '../api.js';
import { colour, colourOf, useTheme } from '../chart.js';
import { count, duration, number, percent } from '../format.js';
import { go, link, useLocation } from '../location.js';
import { Bar, Choice, Empty, Failure, Fold, Loading, Scroll } from '../parts.js';
import { html, useLayoutEffect, useRef } from '../view.js';
import { Filters, filtersOf, partsOf, Window, windowOf } from '../window.js';

const BINS = 60;
const REFRESH_MS = 10_000;
const CELL_PX = 26; // as high as a row of app.css

/** What a cell can stand for: its series, its colour, how its value is said. */
const MEASURES = {
  'cluster-network': { title: 'network to its pods', of: (series) => series.cluster_network_us, text: duration },
  app: { title: 'app', of: (series) => series.app_us, text: duration },
  proxy: { title: 'Spanway on it', of: (series) => series.proxy_us, text: duration },
  failed: { title: 'errors', of: (series) => series.count.map((all, i) => (all ? series.error_count[i] / all : null)), text: percent },
};

export function Nodes() {
  const { params, set } = useLocation();
  const measure = MEASURES[params.of] ? params.of : 'cluster-network';
  const { answer, error, isLoading, again } = useAnswer('api/analysis/nodes',
    { ...windowOf(params), ...filtersOf(params), bins: BINS }, params.from ? 0 : REFRESH_MS);
  return html`
    <header class="page-head"><h1>Nodes</h1>${answer && html`<p class="muted">${count(answer.rows.length)}</p>`}</header>
    <${Fold} title="Conditions"><form class="conditions" role="search" aria-label="Conditions" onSubmit=${(event) => event.preventDefault()}>
      <${Window} />
      <${Choice} label="colour is" value=${measure} options=${Object.entries(MEASURES).map(([name, { title }]) => [name, title])} onChange=${(of) => set({ of })} />
      <${Filters} names=${['service', 'host', 'route']} /></form><//>
    <${Failure} error=${error} again=${again} />
    ${!answer && isLoading && html`<${Loading} />`}
    ${answer && (answer.rows.length ? html`
      <section class=${`card ${answer.findings.length ? 'is-warned' : ''}`} aria-label="What stands out">
        ${answer.findings.length
          ? html`<h2>Stands out</h2><ul class="findings">${answer.findings.map((one) => html`<li key=${one.node + one.part}><i class=${`swatch is-${one.part}`}></i>${one.text}</li>`)}</ul>`
          : html`<p>${answer.rows.length > 1 ? 'No node stands out.' : 'There is one node, and none to compare it with.'}</p>`}
        <p class="muted rule">${answer.rule}</p>
      </section>
      <${Table} answer=${answer} measure=${measure} times=${windowOf(params)} />`
      : html`<${Empty} title="No node is known yet"><p>A node is known by the endpoints on it, from EndpointSlices. Send requests to some, or look at a longer time.</p><//>`)}`;
}

function Table({ answer, measure, times }) {
  const { of, text } = MEASURES[measure];
  const values = answer.rows.flatMap((row) => (row.series ? of(row.series) : [])).filter((value) => value > 0).sort((a, b) => a - b);
  const scale = { low: values[Math.floor(values.length * 0.05)] ?? 0, high: values[Math.ceil(values.length * 0.98) - 1] ?? 1 };
  return html`<section class="card">
    <${Scroll}><table class="nodes">
      <thead><tr><th>Node</th><th class="number">Requests/s</th><th class="number">Errors</th><th class="number">p99</th>
        <th class="number">Network <small>p50 · others</small></th><th class="number">App <small>p50 · others</small></th><th>Whose time</th><th class="heat-head">Over time</th></tr></thead>
      <tbody>${answer.rows.map((row) => html`<tr key=${row.name} class=${row.is_outlier ? 'is-outlier' : ''}>
        <th scope="row"><a href=${link('traces', { ...times, node: row.name })}>${row.name}</a>${row.is_outlier && html` <span class="tag is-hot">stands out</span>`}</th>
        <td class="number">${number(row.rate_per_s)}</td>
        <td class=${`number ${row.error_count ? 'is-error' : ''}`}>${row.error_count ? percent(row.error_share) : ''}</td>
        <td class="number">${duration(row.spread.p99_us)}</td>
        <td class="number">${duration(row.p50_us['cluster-network'])} <span class="muted">· ${duration(row.fleet_p50_us['cluster-network'])}</span></td>
        <td class="number">${duration(row.p50_us.app)} <span class="muted">· ${duration(row.fleet_p50_us.app)}</span></td>
        <td class="share"><${Bar} parts=${partsOf(row.shares)} /></td>
        <td class="heat">${row.series && html`<${Heat} row=${row} values=${of(row.series)} bins=${answer.bins} measure=${measure} scale=${scale} />`}</td>
      </tr>`)}</tbody></table><//>
    <p class="legend heat-legend"><span class="key">${text(scale.low)}</span><i class=${`ramp is-${measure}`}></i><span class="key">${text(scale.high)}</span>
      <span class="muted">${MEASURES[measure].title}; a cell opens its traces</span></p>
  </section>`;
}

/** A row of the heat map: a cell for each bin, on a canvas, since there may be hundreds of nodes. */
function Heat({ row, values, bins, measure, scale }) {
  const canvas = useRef();
  const theme = useTheme();
  useLayoutEffect(() => {
    const context = canvas.current.getContext('2d');
    const { width, height } = canvas.current;
    context.clearRect(0, 0, width, height);
    const empty = colour('raised');
    context.fillStyle = empty;
    context.fillRect(0, 0, width, height);
    context.fillStyle = colourOf(measure);
    values.forEach((value, index) => {
      if (value == null) return;
      context.globalAlpha = 0.1 + 0.9 * strength(value, scale);
      context.fillRect((index * width) / values.length, 0, width / values.length - 1, height);
    });
    context.globalAlpha = 1;
  }, [values, theme, measure, scale.low, scale.high]);
  const at = (event) => {
    const box = canvas.current.getBoundingClientRect();
    return Math.min(values.length - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * values.length)));
  };
  const start = (index) => Math.round(bins.start_unix_ms + index * bins.width_ms);
  const { text } = MEASURES[measure];
  const known = values.filter((value) => value != null);
  return html`<canvas ref=${canvas} width=${600} height=${CELL_PX} role="img"
    aria-label=${known.length ? `${row.name}: from ${text(Math.min(...known))} to ${text(Math.max(...known))}` : `${row.name}: no requests`}
    onMouseMove=${(event) => {
      const index = at(event);
      canvas.current.title = `${new Date(start(index)).toLocaleTimeString()} · ${values[index] == null ? 'no requests' : text(values[index])} · ${count(row.series.count[index])} requests`;
    }}
    onClick=${(event) => {
      const index = at(event);
      go(link('traces', { node: row.name, from: start(index), to: start(index + 1) }));
    }}></canvas>`;
}

function strength(value, { low, high }) {
  if (value <= low) return 0;
  if (low <= 0) return Math.min(1, value / high);
  return high <= low ? 1 : Math.min(1, Math.log(value / low) / Math.log(high / low));
}
