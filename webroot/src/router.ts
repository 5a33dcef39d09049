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

interface Overlay {
  close: () => void;
  isShown: boolean;
  /** False once the page has closed it: its entry in the history is left as soon as it can be. */
  isWanted: boolean;
}

/** What is shown above the page, each with an entry in the history that the back gesture leaves. */
const overlays: Overlay[] = [];

/**
 * Going back takes time, and would undo any change of the history that is made meanwhile. Such changes wait here, in
 * their order.
 */
const waiting: (() => void)[] = [];
/** Where the user was when the page began to go back; null while it does not. */
let origin: { depth: number; hash: string } | null = null;

/** Milliseconds after which nothing waits any longer: at the beginning of the history, going back does nothing. */
const PATIENCE = 3000;
let patience: ReturnType<typeof setTimeout> | undefined;

function travel(): void {
  origin = { depth: depth(), hash: location.hash };
  patience = setTimeout(arrive, PATIENCE);
  history.back();
}

function arrive(): void {
  clearTimeout(patience);
  origin = null;
  settle();
}

/** The user is elsewhere in the history, or the event of an earlier change has come late. */
function moved(): void {
  if (origin && (depth() < origin.depth || location.hash !== origin.hash)) arrive();
  else settle();
  route.value = parse(location.hash);
}

/** How many overlays the entry of the history has where the user is. */
function depth(): number {
  return (history.state as { overlay?: number } | null)?.overlay ?? 0;
}

function hide(one: Overlay): void {
  one.isWanted = false;
  if (!one.isShown) return;
  one.isShown = false;
  one.close();
}

/**
 * Makes the history and the overlays agree, then makes the changes that wait. An entry without an overlay is left: the
 * overlay is closed, or the user came back to it from another screen.
 */
function settle(): void {
  while (!origin) {
    overlays.splice(depth()).forEach(hide);
    let wanted = overlays.length;
    while (wanted > 0 && overlays[wanted - 1]?.isWanted === false) wanted--;
    if (depth() > wanted) {
      travel();
      return;
    }
    const change = waiting.shift();
    if (!change) return;
    change();
  }
}

function whenSettled(change: () => void): void {
  waiting.push(change);
  settle();
}

/** For what concerns the screen: the overlays above it are closed first. */
function whenAlone(change: () => void): void {
  const attempt = (): void => {
    if (overlays.length === 0) {
      change();
      return;
    }
    for (const one of overlays) one.isWanted = false;
    waiting.unshift(attempt);
  };
  whenSettled(attempt);
}

export function go(...parts: string[]): void {
  whenAlone(() => (location.hash = `#/${parts.map(encodeURIComponent).join('/')}`));
}

/** Another tab of the same page: the back gesture leaves the page, not the tab. */
export function replace(...parts: string[]): void {
  whenAlone(() => {
    history.replaceState(history.state, '', `#/${parts.map(encodeURIComponent).join('/')}`);
    route.value = parse(location.hash);
  });
}

export function back(): void {
  whenAlone(() => {
    if (history.length > 1) travel();
    else go('containers');
  });
}

/** Shows something that the back gesture closes. Returns what closes it from the page. */
export function overlay(close: () => void): () => void {
  const one: Overlay = { close, isShown: true, isWanted: true };
  whenSettled(() => {
    if (!one.isWanted) return;
    overlays.push(one);
    history.pushState({ overlay: overlays.length }, '', location.hash);
  });
  return () => {
    one.isWanted = false;
    // The one on top goes with its entry, as by the back gesture. Another may still wait for its entry.
    if (overlays[overlays.length - 1] === one) settle();
    else hide(one);
  };
}

export function start(): void {
  // A reload has closed the dialog of this entry.
  if (depth() > 0) history.replaceState(null, '');
  window.addEventListener('popstate', moved);
  window.addEventListener('hashchange', () => {
    moved();
    window.scrollTo(0, 0);
  });
}
