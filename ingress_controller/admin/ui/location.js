// The state of the page is its address: `#/PAGE/REST?NAME=VALUE`. Whoever gets the address sees the
// same. Empty values are left out, so that an address says only what somebody chose.
import { useEffect, useState } from './view.js';

/** What an address says: the page's name, the rest of the path, and the parameters. */
export function parse(hash) {
  const [path, query = ''] = hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  const [page, ...rest] = path.split('/').map(decoded);
  return { page, rest, params: Object.fromEntries(new URLSearchParams(query)) };
}

/** The address of a page. */
export function link(page, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== '' && value != null);
  const query = new URLSearchParams(given).toString();
  return `#/${page}${query ? `?${query}` : ''}`;
}

/** Goes there; with `replace` without a new entry in the history, for what is typed or dragged. */
export function go(hash, { replace = false } = {}) {
  if (hash === location.hash) return;
  history[replace ? 'replaceState' : 'pushState'](null, '', hash);
  dispatchEvent(new HashChangeEvent('hashchange'));
}

/** The address now, and a function that changes parameters of it. */
export function useLocation() {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const read = () => setHash(location.hash);
    addEventListener('hashchange', read);
    addEventListener('popstate', read);
    return () => {
      removeEventListener('hashchange', read);
      removeEventListener('popstate', read);
    };
  }, []);
  const now = parse(hash);
  const path = [now.page, ...now.rest].map(encodeURIComponent).join('/');
  const set = (changes, options) => go(link(path, { ...parse(location.hash).params, ...changes }), options);
  return { ...now, set };
}

/** The trace id in what somebody pasted, which may be a whole traceparent. */
export function idIn(text) {
  const given = text.trim().toLowerCase();
  return given.match(/[0-9a-f]{32}/)?.[0] ?? given;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // an address that somebody cut
  }
}
