// The time that a page is about: `since=15m`, or `from` and `to` in milliseconds since 1970.
import { useAnswer } from './api.js';
import { percent } from './format.js';
import { useLocation } from './location.js';
import { Choice, Field } from './parts.js';
import { VERDICTS } from './phases.js';
import { html, useState } from './view.js';

const SINCE = [['1m', 'last minute'], ['5m', 'last 5 minutes'], ['15m', 'last 15 minutes'], ['1h', 'last hour'], ['6h', 'last 6 hours'], ['1d', 'last day'], ['3d', 'last 3 days']];
export const SINCE_FIRST = '5m';

/** The window's parameters for the API. */
export function windowOf(params) {
  if (params.from) return { from: params.from, to: params.to };
  return { since: params.since || SINCE_FIRST };
}

/** Chooses the window; one that was brushed is shown and can be left. */
export function Window() {
  const { params, set } = useLocation();
  const fixed = params.from ? `${time(params.from)} – ${params.to ? time(params.to) : 'now'}` : '';
  const options = [...(fixed ? [['', fixed]] : []), ...SINCE];
  const value = fixed ? '' : params.since || SINCE_FIRST;
  return html`<${Choice} label="time" value=${value} options=${options}
    onChange=${(since) => since && set({ since: since === SINCE_FIRST ? '' : since, from: '', to: '' })} />`;
}

const FILTERS = ['host', 'route', 'namespace', 'service', 'pod', 'node'];

/** The conditions that all reports of the analysis take. */
export function filtersOf(params) {
  return Object.fromEntries(FILTERS.map((name) => [name, params[name]]));
}

/** Fields for some of them; what there is to choose is asked for once somebody looks. */
export function Filters({ names }) {
  const { params, set } = useLocation();
  const [looked, setLooked] = useState({});
  const times = windowOf(params);
  const options = names.map((of) => useAnswer(looked[of] && 'api/values', { of, ...times }).answer?.values ?? []);
  return names.map((name, index) => html`<${Field} key=${name} label=${name} value=${params[name]} options=${options[index]} placeholder="any"
    onFocus=${() => setLooked((was) => ({ ...was, [name]: true }))} onChange=${(value) => set({ [name]: value })} />`);
}

/** Shares of the API as parts of a bar; none where nobody knows. */
export function partsOf(shares) {
  if (!shares) return [];
  return Object.keys(VERDICTS).filter((name) => name !== 'none').map((name) => {
    const value = shares[name.replaceAll('-', '_')] ?? 0;
    return { name, value, text: percent(value) };
  });
}

function time(unixMs) {
  const at = new Date(Number(unixMs));
  const clock = at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit' });
  return at.toDateString() === new Date().toDateString() ? clock : `${at.toLocaleDateString()} ${clock}`;
}
