// Where the user is, as the fragment of the address: the host's back gesture goes back in it, dialogs included.

import { signal } from '@preact/signals';

export interface Route {
  screen: string;
  name: string;
  tab: string;
}

export function parse(hash: string): Route {
  const [screen = '', name = '', tab = ''] = hash.replace(/^#\/?/, '').split('/').map(decoded);
  return { screen: screen || 'containers', name, tab };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return '';
  }
}

export const route = signal(parse(location.hash));

/** What is shown above the page, each with an entry in the history that the back gesture leaves: how to close it. */
const overlays: (() => void)[] = [];

/**
 * Those that the page has closed, but whose entry is still in the history, because going back takes time. Meanwhile every
 * other change of the history waits: going back would undo it instead.
 */
const leaving = new Set<() => void>();
const waiting: (() => void)[] = [];

function whenLeft(change: () => void): void {
  if (leaving.size > 0) waiting.push(change);
  else change();
}

/** How many overlays the entry of the history has where the user is. */
function depth(): number {
  return (history.state as { overlay?: number } | null)?.overlay ?? 0;
}

export function go(...parts: string[]): void {
  whenLeft(() => (location.hash = `#/${parts.map(encodeURIComponent).join('/')}`));
}

/** Another tab of the same page: the back gesture leaves the page, not the tab. */
export function replace(...parts: string[]): void {
  whenLeft(() => {
    history.replaceState(history.state, '', `#/${parts.map(encodeURIComponent).join('/')}`);
    route.value = parse(location.hash);
  });
}

export function back(): void {
  whenLeft(() => {
    if (history.length > 1) history.back();
    else go('containers');
  });
}

/** Shows something that the back gesture closes. Returns what closes it from the page. */
export function overlay(close: () => void): () => void {
  let isClosed = false;
  whenLeft(() => {
    if (isClosed) return;
    overlays.push(close);
    history.pushState({ overlay: overlays.length }, '', location.hash);
  });
  return () => {
    if (isClosed) return;
    isClosed = true;
    // It may still wait for its entry in the history.
    if (!overlays.includes(close)) {
      close();
      return;
    }
    leaving.add(close);
    history.back();
  };
}

function popped(): void {
  for (const close of overlays.splice(depth())) {
    leaving.delete(close);
    close();
  }
  route.value = parse(location.hash);
  if (leaving.size === 0) for (const change of waiting.splice(0)) whenLeft(change);
}

export function start(): void {
  // A reload has closed the dialog of this entry.
  if (depth() > 0) history.replaceState(null, '');
  window.addEventListener('popstate', popped);
  window.addEventListener('hashchange', () => {
    route.value = parse(location.hash);
    window.scrollTo(0, 0);
  });
}
