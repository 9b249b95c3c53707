// Who calls whom: client, edge, services, pods, from left to right. An arrow is as thick as there are
// requests, and has the colour of whose time it is most.
import { duration, number, percent } from '../format.js';
import { go, link } from '../location.js';
import { Scroll } from '../parts.js';
import { html, useMemo } from '../view.js';
import { partsOf } from '../window.js';

const WIDTH = 156;
const HEIGHT = 46;
const GAP_X = 98; // room for what an arrow says
const GAP_Y = 18;
const PLACES_MAX = 60; // in one picture; the busiest
const NAME_CHARACTERS = 20; // that fit into a box

export function ServiceMap({ graph, hasPods, times }) {
  const { boxes, arrows, width, height, hidden } = useMemo(() => laidOut(graph, hasPods), [graph, hasPods]);
  const most = Math.max(...arrows.map((one) => one.arrow.rate_per_s), 1e-9);
  return html`<${Scroll}><svg class="map" width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${words(arrows)}>
    <defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z" class="head" /></marker></defs>
    ${arrows.map(({ arrow, d }) => html`<path key=${`${arrow.source} ${arrow.target} ${arrow.via}`} d=${d} class=${`arrow is-${mostOf(arrow)} ${isTold(arrow) ? 'is-told' : ''}`}
      stroke-width=${1.5 + 4 * Math.sqrt(arrow.rate_per_s / most)} marker-end="url(#head)"><title>${told(arrow)}</title></path>`)}
    ${arrows.map(({ arrow, at }) => html`<g key=${`${arrow.source} ${arrow.target} ${arrow.via}`} class="said" transform=${`translate(${at[0]} ${at[1]})`}>
      <rect x="-29" y="-16" width="58" height="29" /><text y="-5">${number(arrow.rate_per_s)}/s</text><text y="9" class=${arrow.error_count ? 'is-bad' : ''}>${arrow.error_count ? `${percent(arrow.error_share)} failed` : duration(arrow.p50_us)}</text></g>`)}
    ${boxes.map(({ place, x, y }) => html`<g key=${place.id} class=${`place is-kind-${place.kind} ${linkOf(place, times) ? 'opens' : ''}`} transform=${`translate(${x} ${y})`}
      onClick=${() => linkOf(place, times) && go(linkOf(place, times))}>
      <rect width=${WIDTH} height=${HEIGHT} rx="8" /><text x="12" y="20" class="name">${short(place.name)}<title>${place.name}</title></text>
      <text x="12" y="36" class="kind">${place.kind === 'app' ? 'service, by its spans' : place.kind}${place.node ? ` on ${short(place.node)}` : ''}</text></g>`)}
  </svg><//>
  ${hidden > 0 && html`<p class="muted">${hidden} more places are not drawn: the least busy.</p>`}`;
}

function linkOf(place, times) {
  if (place.kind === 'service' || place.kind === 'app') return link('traces', { ...times, service: place.name });
  return place.kind === 'pod' ? link('traces', { ...times, pod: place.name }) : '';
}

/** Known from the spans of caller and callee alone: Spanway had no part in it. */
function isTold(arrow) {
  return !arrow.via && !arrow.target.startsWith('pod:');
}

function mostOf(arrow) {
  const parts = partsOf(arrow.shares);
  return parts.length ? parts.reduce((a, b) => (b.value > a.value ? b : a)).name : 'none';
}

function told(arrow) {
  const whose = partsOf(arrow.shares).filter((part) => part.value >= 0.01).map((part) => `${part.name} ${part.text}`).join(', ');
  return `${number(arrow.rate_per_s)}/s, ${percent(arrow.error_share)} errors, p50 ${duration(arrow.p50_us)}, p99 ${duration(arrow.p99_us)}${whose ? `; ${whose}` : ''}`;
}

function words(arrows) {
  return arrows.map(({ arrow }) => `${nameOf(arrow.source)} calls ${nameOf(arrow.target)}: ${told(arrow)}`).join('. ');
}

function nameOf(id) {
  return id.slice(id.indexOf(':') + 1);
}

function short(name) {
  return name.length > NAME_CHARACTERS ? `${name.slice(0, NAME_CHARACTERS - 1)}…` : name;
}

/** Columns by the longest way from the client; in a column by where the callers are. */
function laidOut(graph, hasPods) {
  const wanted = graph.places.filter((place) => hasPods || place.kind !== 'pod');
  const busy = new Map();
  for (const arrow of graph.arrows) for (const id of [arrow.source, arrow.target]) busy.set(id, (busy.get(id) ?? 0) + arrow.count);
  const shown = [...wanted].sort((a, b) => (busy.get(b.id) ?? 0) - (busy.get(a.id) ?? 0)).slice(0, PLACES_MAX);
  const ids = new Set(shown.map((place) => place.id));
  const arrows = graph.arrows.filter((arrow) => ids.has(arrow.source) && ids.has(arrow.target));
  const column = columnsOf(shown, arrows);
  const columns = [];
  for (const place of shown) (columns[column.get(place.id)] ??= []).push(place);
  const row = new Map();
  columns.filter(Boolean).forEach((places) => {
    const callers = (place) => {
      const rows = arrows.filter((arrow) => arrow.target === place.id && row.has(arrow.source)).map((arrow) => row.get(arrow.source));
      return rows.length ? rows.reduce((a, b) => a + b, 0) / rows.length : 1e9;
    };
    places.sort((a, b) => callers(a) - callers(b) || (a.name < b.name ? -1 : 1));
    places.forEach((place, index) => row.set(place.id, index - (places.length - 1) / 2));
  });
  const filled = columns.filter(Boolean);
  const tallest = Math.max(...filled.map((places) => places.length), 1);
  const height = (tallest + 0.7) * (HEIGHT + GAP_Y) + GAP_Y;
  const at = new Map();
  filled.forEach((places, index) => places.forEach((place) => {
    at.set(place.id, { place, x: 2 + index * (WIDTH + GAP_X), y: height / 2 + row.get(place.id) * (HEIGHT + GAP_Y) - HEIGHT / 2 });
  }));
  return {
    boxes: [...at.values()], hidden: wanted.length - shown.length, height,
    width: filled.length * WIDTH + (filled.length - 1) * GAP_X + 4,
    arrows: arrows.map((arrow) => ({ arrow, ...curve(at.get(arrow.source), at.get(arrow.target)) })),
  };
}

function columnsOf(places, arrows) {
  const column = new Map(places.map((place) => [place.id, place.kind === 'client' ? 0 : place.kind === 'edge' ? 1 : 2]));
  for (let round = 0; round < places.length; round += 1) {
    let changed = false;
    for (const { source, target } of arrows) {
      const next = column.get(source) + 1;
      // As many rounds as places end a ring of calls.
      if (source !== target && column.get(target) < next && next < 12) {
        column.set(target, next);
        changed = true;
      }
    }
    if (!changed) break;
  }
  return column;
}

function curve(from, to) {
  const start = [from.x + WIDTH, from.y + HEIGHT / 2];
  const end = [to.x - 3, to.y + HEIGHT / 2];
  const isBack = end[0] <= start[0];
  const columns = Math.round((to.x - from.x) / (WIDTH + GAP_X));
  // Past other columns it goes around their boxes, on the side where it ends.
  const around = columns > 1 ? (end[1] <= start[1] ? -1 : 1) * (HEIGHT + GAP_Y) : 0;
  const bend = isBack ? 60 : Math.min(60, (end[0] - start[0]) / 2);
  const bends = [[start[0] + bend, start[1] + around * 1.3], [end[0] - bend, end[1] + around * 0.8]];
  // Two thirds of the way, where those that begin together have parted.
  const at = [0, 1].map((axis) => (start[axis] + 6 * bends[0][axis] + 12 * bends[1][axis] + 8 * end[axis]) / 27);
  return { d: `M${start}C${bends[0]} ${bends[1]} ${end}`, at };
}
