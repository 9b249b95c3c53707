// Small things that several pages show.
import { duration, percent } from './format.js';
import { VERDICTS } from './phases.js';
import { html, useEffect, useId, useLayoutEffect, useRef, useState } from './view.js';

/** Says what went wrong, and offers to ask again. */
export function Failure({ error, again }) {
  if (!error) return null;
  return html`<div class="notice is-error" role="alert">
    <p>${error.message}</p>
    ${again && html`<button type="button" onClick=${again}>Ask again</button>`}
  </div>`;
}

/** Nothing is there: why, and what to do. */
export function Empty({ title, children }) {
  return html`<div class="empty"><h3>${title}</h3><div>${children}</div></div>`;
}

export function Loading() {
  return html`<p class="loading" role="status">Asking …</p>`;
}

/** A labelled field of a form; it suggests `options`. Changes are told when it is left or Enter is pressed. */
export function Field({ label, value = '', onChange, options = [], placeholder = '', type = 'text', onFocus }) {
  const [typed, setTyped] = useState(value);
  const id = useId();
  useEffect(() => setTyped(value), [value]);
  const tell = () => typed !== value && onChange(typed.trim());
  return html`<label class="field">
    <span>${label}</span>
    <input type=${type} value=${typed} placeholder=${placeholder} list=${options.length ? id : undefined}
      autocomplete="off" spellcheck=${false} onFocus=${onFocus}
      onInput=${(event) => {
        setTyped(event.target.value);
        // A suggestion that was picked is complete.
        if (options.includes(event.target.value)) onChange(event.target.value);
      }}
      onBlur=${tell} onKeyDown=${(event) => event.key === 'Enter' && tell()} />
    ${options.length > 0 && html`<datalist id=${id}>${options.map((text) => html`<option key=${text} value=${text} />`)}</datalist>`}
  </label>`;
}

/** A choice; `options` are texts or pairs of value and text. */
export function Choice({ label, value = '', onChange, options }) {
  return html`<label class="field">
    <span>${label}</span>
    <select value=${value} onChange=${(event) => onChange(event.target.value)}>
      ${options.map((one) => {
        const [key, text] = Array.isArray(one) ? one : [one, one];
        return html`<option key=${key} value=${key} selected=${key === value}>${text}</option>`;
      })}
    </select>
  </label>`;
}

/**
 * A bar of parts one after the other: `parts` are `{name, value, text}`; `of` is what the whole
 * width stands for. The words are for who cannot see it, or points at it.
 */
export function Bar({ parts, of, className = '' }) {
  const shown = parts.filter((part) => part.value > 0);
  const total = of ?? shown.reduce((sum, part) => sum + part.value, 0);
  const words = shown.map((part) => `${part.name} ${part.text ?? part.value}`).join(', ');
  return html`<span class="bar ${className}" role="img" aria-label=${words} title=${words}>
    ${shown.map((part) => html`<i key=${part.name} class="is-${part.name}"
      style=${{ width: `${Math.max(0.5, (100 * part.value) / (total || 1))}%` }}></i>`)}
  </span>`;
}

/** Phases of one request as a bar; `phases` are microseconds by name. */
export function PhaseBar({ phases, of }) {
  const parts = Object.entries(phases).map(([name, us]) => ({ name, value: us, text: duration(us) }));
  return html`<${Bar} parts=${parts} of=${of} />`;
}

/** The same with a line for each. */
export function PhaseList({ phases, total }) {
  return html`<table class="phase-list"><tbody>
    ${Object.entries(phases).filter(([, us]) => us > 0).map(([name, us]) => html`<tr key=${name}>
      <th scope="row"><i class="swatch is-${name}"></i>${name}</th>
      <td class="number">${duration(us)}</td>
      <td class="number muted">${percent(total ? us / total : 0)}</td>
    </tr>`)}
  </tbody></table>`;
}

/** Open where there is room; on a narrow screen a line that opens. */
export function Fold({ title, children }) {
  const [isWide] = useState(() => matchMedia('(min-width: 761px)').matches);
  return html`<details class="fold" open=${isWide}><summary>${title}</summary>${children}</details>`;
}

/** What may be wider than there is room; then it is reached by keyboard, too. */
export function Scroll({ className = '', label = 'scrolls sideways', children }) {
  const place = useRef();
  const [isTooWide, setTooWide] = useState(false);
  useLayoutEffect(() => {
    const measure = () => setTooWide(place.current.scrollWidth > place.current.clientWidth + 1);
    const watch = new ResizeObserver(measure);
    watch.observe(place.current);
    if (place.current.firstElementChild) watch.observe(place.current.firstElementChild);
    return () => watch.disconnect();
  }, []);
  const reached = isTooWide ? { tabIndex: 0, role: 'group', 'aria-label': label } : {};
  return html`<div class=${`scroll ${className}`} ref=${place} ...${reached}>${children}</div>`;
}

export function Swatch({ name, children }) {
  return html`<span class="key"><i class="swatch is-${name}"></i>${children ?? name}</span>`;
}

/** A verdict in one word; its meaning is told to who points at it. */
export function Verdict({ name }) {
  if (!name) return null;
  return html`<span class="verdict" title=${VERDICTS[name] ?? ''}><i class="swatch is-${name}"></i>${name}</span>`;
}

/** Copies `text`, and says that it did. */
export function Copy({ text, children }) {
  const [said, setSaid] = useState('');
  const timer = useRef();
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setSaid('Copied');
    } catch {
      setSaid('Not allowed here'); // plain HTTP on another host than this one
    }
    timer.current = setTimeout(() => setSaid(''), 1_500);
  };
  return html`<button type="button" onClick=${copy}><span aria-live="polite">${said || children}</span></button>`;
}

/** Names with values; empty ones are left out. */
export function Facts({ facts }) {
  return html`<dl class="facts">
    ${facts.filter(([, value]) => value !== '' && value != null && value !== 0).map(([name, value]) => html`<div key=${name}>
      <dt>${name}</dt><dd>${value}</dd>
    </div>`)}
  </dl>`;
}

/** A line that opens something when it is clicked, or Enter is pressed on it. */
export function opening(open) {
  return {
    tabIndex: 0,
    onClick: (event) => event.target.closest('a, button') || open(),
    onKeyDown: (event) => {
      if (event.key === 'Enter' && event.target === event.currentTarget) open();
    },
  };
}
