// Random sequences of what a page and its user do, against a history whose events come late, as a browser's do.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type * as Router from './router';

const BASE = '#/containers';
const ROUNDS = 200;
const STEPS = 14;
const TIMEOUT = 60_000;

interface Entry {
  hash: string;
  state: unknown;
}

type Listener = () => void;

/** A history that goes back, and tells of it, only when `proceed` is called. */
class FakeBrowser {
  entries: Entry[] = [{ hash: BASE, state: null }];
  at = 0;
  private journeys: number[] = [];
  private events: string[] = [];
  private readonly listeners: Record<string, Listener[]> = {};

  readonly history: Pick<History, 'state' | 'length' | 'pushState' | 'replaceState' | 'back'>;
  readonly location: { hash: string };
  readonly window = {
    addEventListener: (event: string, listener: Listener) => (this.listeners[event] ??= []).push(listener),
    scrollTo: () => undefined,
  };

  /** Whether a change of the fragment is told as `popstate`, too: browsers differ. */
  constructor(private readonly tellsOfFragments: boolean) {
    const entry = (): Entry => this.entries[this.at] ?? { hash: '', state: null };
    const entries = (): Entry[] => this.entries;
    const push = (one: Entry): void => {
      this.entries = [...this.entries.slice(0, this.at + 1), one];
      this.at++;
    };
    const fragment = (hash: string): void => {
      if (hash === entry().hash) return;
      push({ hash, state: null });
      if (this.tellsOfFragments) this.events.push('popstate');
      this.events.push('hashchange');
    };
    this.history = {
      get state() {
        return entry().state;
      },
      get length() {
        return entries().length;
      },
      pushState: (state: unknown, _title: string, hash?: string | URL | null) =>
        push({ state, hash: String(hash ?? entry().hash) }),
      replaceState: (state: unknown, _title: string, hash?: string | URL | null) => {
        this.entries[this.at] = { state, hash: String(hash ?? entry().hash) };
      },
      back: () => void this.journeys.push(-1),
    };
    this.location = {
      get hash() {
        return entry().hash;
      },
      set hash(hash: string) {
        fragment(hash);
      },
    };
  }

  /** The user's gesture, or the browser's button. */
  travel(steps: number): void {
    this.journeys.push(steps);
  }

  get isQuiet(): boolean {
    return this.journeys.length === 0 && this.events.length === 0;
  }

  /** One journey, or several that became one, or one event. */
  proceed(random: () => number): void {
    const [event] = this.events;
    if (event !== undefined && (this.journeys.length === 0 || random() < 0.6)) {
      this.events.shift();
      this.listeners[event]?.forEach((listener) => listener());
      return;
    }
    const steps = this.journeys.splice(0, random() < 0.3 ? 2 : 1).reduce((sum, one) => sum + one, 0);
    const target = Math.max(0, Math.min(this.entries.length - 1, this.at + steps));
    if (target === this.at) return;
    const before = this.location.hash;
    this.at = target;
    this.events.push('popstate');
    if (this.location.hash !== before) this.events.push('hashchange');
  }
}

/** The same numbers for the same seed. */
function randomOf(seed: number): () => number {
  let state = seed * 2654435761 + 1;
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 2246822519) + 374761393) >>> 0;
    return state / 2 ** 32;
  };
}

class Dialog {
  closed = 0;
  isDismissed = false;
  readonly leave: () => void;

  constructor(router: typeof Router) {
    this.leave = router.overlay(() => this.closed++);
  }

  dismiss(): void {
    this.isDismissed = true;
    this.leave();
  }
}

let browser: FakeBrowser;
let router: typeof Router;

async function begin(tellsOfFragments = true): Promise<void> {
  browser = new FakeBrowser(tellsOfFragments);
  vi.stubGlobal('window', browser.window);
  vi.stubGlobal('history', browser.history);
  vi.stubGlobal('location', browser.location);
  vi.resetModules();
  router = await import('./router');
  router.start();
}

/** Until nothing is under way. */
function settle(random: () => number = () => 0): void {
  for (let count = 0; !browser.isQuiet || vi.getTimerCount() > 0; count++) {
    if (count > 200) throw new Error('the history does not come to rest');
    if (browser.isQuiet) vi.advanceTimersToNextTimer();
    else browser.proceed(random);
  }
}

/** The entries behind and at the place where the user is: a hash, or the number of dialogs. */
function trail(): (string | number)[] {
  return browser.entries.slice(0, browser.at + 1).map(({ hash, state }) => {
    const { overlay } = (state ?? {}) as { overlay?: number };
    return overlay ?? hash;
  });
}

/** Exactly these dialogs are open, and each back gesture closes the one on top. */
function closeByGestures(all: Dialog[], open: Dialog[], what: string): void {
  const left = [...open];
  for (;;) {
    expect(
      all.map(({ closed }) => closed),
      what,
    ).toEqual(all.map((one) => (left.includes(one) ? 0 : 1)));
    if (left.length === 0) return;
    left.pop();
    browser.travel(-1);
    settle();
  }
}

beforeEach(() => void vi.useFakeTimers());

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe('what the page does, in any order and at any time, has the outcome of the same without delays', () => {
  test.each([true, false])('popstate for fragments: %s', { timeout: TIMEOUT }, async (tellsOfFragments) => {
    for (let seed = 1; seed <= ROUNDS; seed++) {
      await begin(tellsOfFragments);
      const random = randomOf(seed);
      const done: string[] = [];
      const all: Dialog[] = [];
      const screens = [BASE];
      let open: Dialog[] = [];
      for (let step = 0; step < STEPS; step++) {
        const chance = random();
        if (chance < 0.3) {
          done.push('open');
          const dialog = new Dialog(router);
          all.push(dialog);
          open.push(dialog);
        } else if (chance < 0.5 && open.length > 0) {
          const dialog = open.splice(Math.floor(random() * open.length), 1)[0];
          done.push(`dismiss ${all.indexOf(dialog as Dialog)}`);
          dialog?.dismiss();
        } else if (chance < 0.6) {
          done.push('go');
          screens.push(`#/s${step}`);
          open = [];
          router.go(`s${step}`);
        } else if (chance < 0.65) {
          done.push('replace');
          screens[screens.length - 1] = `#/r${step}`;
          open = [];
          router.replace(`r${step}`);
        } else if (chance < 0.7 && screens.length > 1) {
          done.push('back');
          screens.pop();
          open = [];
          router.back();
        } else if (!browser.isQuiet) {
          done.push('proceed');
          browser.proceed(random);
        }
      }
      settle(random);
      const what = `seed ${seed}: ${done.join(', ')}`;
      expect(trail().slice(0, screens.length), what).toEqual(screens);
      closeByGestures(all, open, what);
      expect(trail(), what).toEqual(screens);
      expect(router.route.value, what).toEqual(router.parse(screens[screens.length - 1] ?? ''));
    }
  });
});

test(
  'whatever the user does meanwhile, a dialog closes once, and every entry of the history has its dialog',
  { timeout: TIMEOUT },
  async () => {
    for (let seed = 1; seed <= ROUNDS; seed++) {
      await begin(seed % 2 === 0);
      const random = randomOf(seed);
      const done: string[] = [];
      const all: Dialog[] = [];
      for (let step = 0; step < STEPS; step++) {
        const chance = random();
        if (chance < 0.25) {
          done.push('open');
          all.push(new Dialog(router));
        } else if (chance < 0.4 && all.length > 0) {
          const index = Math.floor(random() * all.length);
          done.push(`dismiss ${index}`);
          all[index]?.dismiss();
        } else if (chance < 0.5) {
          done.push('go');
          router.go(`s${step}`);
        } else if (chance < 0.55) {
          done.push('another fragment');
          browser.location.hash = `#/f${step}`;
        } else if (chance < 0.6) {
          done.push('back');
          router.back();
        } else if (chance < 0.7) {
          const steps = random() < 0.8 ? -1 : 1;
          done.push(`gesture ${steps}`);
          browser.travel(steps);
        } else if (!browser.isQuiet) {
          done.push('proceed');
          browser.proceed(random);
        }
      }
      settle(random);
      const what = `seed ${seed}: ${done.join(', ')}`;
      const open = all.filter(({ closed }) => closed === 0);
      expect(open.filter(({ isDismissed }) => isDismissed).length, what).toBe(0);
      closeByGestures(all, open, what);
      expect(browser.history.state, what).toBe(null);
      expect(router.route.value, what).toEqual(router.parse(browser.location.hash));
      router.go('end');
      settle(random);
      expect(browser.location.hash, what).toBe('#/end');
      expect(all.map(({ closed }) => closed).filter((closed) => closed !== 1).length, what).toBe(0);
    }
  },
);
