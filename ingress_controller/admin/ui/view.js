// The view library, put together: Preact with its hooks, and htm for markup without a build step.
// Rule: what comes from outside is only ever a value in a template; Preact escapes it. Nothing here
// or in a page writes markup itself.
import { Fragment, h, render } from './vendor/preact.js';
import htm from './vendor/htm.js';

export { Fragment, render };
export { useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from './vendor/preact-hooks.js';
export const html = htm.bind(h);
