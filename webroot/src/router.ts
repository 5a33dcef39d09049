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

/** What is shown above the page and goes with the back gesture: how to close it. */
const overlays: (() => void)[] = [];

export function go(...parts: string[]): void {
  location.hash = `#/${parts.map(encodeURIComponent).join('/')}`;
}

/** Another tab of the same page: the back gesture leaves the page, not the tab. */
export function replace(...parts: string[]): void {
  history.replaceState(history.state, '', `#/${parts.map(encodeURIComponent).join('/')}`);
  route.value = parse(location.hash);
}

export function back(): void {
  if (history.length > 1) history.back();
  else go('containers');
}

/** Shows something that the back gesture closes. Returns what closes it from the page. */
export function overlay(close: () => void): () => void {
  overlays.push(close);
  history.pushState({ overlay: overlays.length }, '', location.hash);
  return () => {
    if (overlays.includes(close)) history.back();
  };
}

export function start(): void {
  window.addEventListener('popstate', () => {
    const top = overlays.pop();
    if (top) top();
    route.value = parse(location.hash);
  });
  window.addEventListener('hashchange', () => {
    route.value = parse(location.hash);
    window.scrollTo(0, 0);
  });
}
