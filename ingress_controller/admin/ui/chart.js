// A chart of uPlot's that follows the room it has and the theme.
import { html, useEffect, useLayoutEffect, useRef, useState } from './view.js';
import uPlot from './vendor/uPlot.js';

export { uPlot };

/** The value of a colour of app.css now, for what is drawn on a canvas. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** The colour of `is-NAME`. */
export function colourOf(name) {
  const probe = document.createElement('i');
  probe.className = `is-${name}`;
  document.body.append(probe);
  const found = getComputedStyle(probe).getPropertyValue('--of').trim();
  const value = found.startsWith('var(') ? colour(found.slice(6, -1)) : found;
  probe.remove();
  return value;
}

/** Counts how often the theme has changed: what is drawn with colours depends on it. */
export function useTheme() {
  const [round, setRound] = useState(0);
  useEffect(() => {
    const again = () => setRound((n) => n + 1);
    const system = matchMedia('(prefers-color-scheme: dark)');
    addEventListener('spanway-theme', again);
    system.addEventListener('change', again);
    return () => {
      removeEventListener('spanway-theme', again);
      system.removeEventListener('change', again);
    };
  }, []);
  return round;
}

/** Axes in our colours and type. */
export function axis(more = {}) {
  const font = '12px system-ui, sans-serif'; // whole pixels: uPlot reads no others
  return {
    stroke: colour('muted'), font, labelFont: font, gap: 6,
    grid: { stroke: colour('line'), width: 1 }, ticks: { stroke: colour('line'), size: 4 }, ...more,
  };
}

/** The axis of time, in 24 hours; seconds where there is room for them. */
export function timeAxis() {
  return axis({
    values: (u, ticks, index, space, step) => ticks.map((unixS) => {
      const at = new Date(unixS * 1_000);
      const clock = [at.getHours(), at.getMinutes(), ...(step < 60 ? [at.getSeconds()] : [])];
      return clock.map((part) => String(part).padStart(2, '0')).join(':');
    }),
    size: 30,
    space: 78, // px between two, of which HH:MM:SS takes 56
  });
}

/**
 * `options` makes uPlot's options, anew when `about` or the theme changes; `data` may change at any
 * time. `label` says in words what is shown.
 */
export function Chart({ options, data, about = '', height = 180, label }) {
  const place = useRef();
  const chart = useRef();
  const theme = useTheme();
  useLayoutEffect(() => {
    const size = () => ({ width: place.current.clientWidth, height });
    chart.current = new uPlot({ ...size(), ...options() }, data, place.current);
    const watch = new ResizeObserver(() => chart.current.setSize(size()));
    watch.observe(place.current);
    return () => {
      watch.disconnect();
      chart.current.destroy();
    };
  }, [about, theme, height]);
  useLayoutEffect(() => chart.current.setData(data), [data]);
  return html`<div class="chart" ref=${place} role="img" aria-label=${label}></div>`;
}

/** A small line without axes: `values` from the oldest to the newest, null where there is none. */
export function Sparkline({ values, name = 'app', label }) {
  const known = values.filter((value) => value != null);
  if (known.length < 2) return html`<span class="sparkline" aria-hidden="true"></span>`;
  const top = Math.max(...known) || 1;
  const step = 100 / (values.length - 1);
  const parts = [];
  values.forEach((value, index) => {
    if (value != null) parts.push(`${values[index - 1] == null ? 'M' : 'L'}${(index * step).toFixed(2)} ${(23 - (21 * value) / top).toFixed(2)}`);
  });
  return html`<svg class=${`sparkline is-${name}`} viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label=${label}>
    <path d=${parts.join('')} /></svg>`;
}
