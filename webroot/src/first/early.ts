// The first request, sent before the page's script has been loaded. Its lines wait here until that script asks for the
// same request.

import { encodeWord } from '../base64';
import type { Handlers, Transport } from '../transport';

/** What the overview follows. */
export const OVERVIEW: { subscribe: string[] } = { subscribe: ['state', 'stats', 'jobs'] };

/** Seconds after which a stream that cannot be stopped ends by itself, and is asked for again while it is wanted. */
const LEASE = 60;

/** What the way of a request adds to a stream. */
export function lease(way: Transport | null): { seconds?: number } {
  return way?.canStop === false ? { seconds: LEASE } : {};
}

/** A request as the one word that travels. */
export function wordOf(request: object): string {
  return encodeWord(JSON.stringify({ v: 1, ...request }));
}

interface Early {
  word: string;
  lines: string[];
  /** Undefined before the end. */
  trouble: string | null | undefined;
  handlers: Handlers | null;
  stop: () => void;
}

type Holder = Window & { droidspacesEarly?: Early | null };

function holder(): Holder {
  return window;
}

/** Sends a stream's request; `line` sees each line until the stream is taken over. */
export function begin(way: Transport, request: object, line: (text: string) => void): void {
  const word = wordOf({ ...request, ...lease(way) });
  const early: Early = { word, lines: [], trouble: undefined, handlers: null, stop: () => undefined };
  holder().droidspacesEarly = early;
  early.stop = way.send(word, {
    line(text) {
      if (early.handlers) {
        early.handlers.line(text);
      } else {
        early.lines.push(text);
        line(text);
      }
    },
    end(trouble) {
      early.trouble = trouble;
      early.handlers?.end(trouble);
    },
  });
}

/** Takes over the stream that was begun with the same word, once. Returns what ends the interest in it. */
export function takeOver(word: string, handlers: Handlers): (() => void) | null {
  const early = holder().droidspacesEarly;
  if (early?.word !== word) return null;
  holder().droidspacesEarly = null;
  early.handlers = handlers;
  early.lines.forEach((text) => handlers.line(text));
  if (early.trouble !== undefined) handlers.end(early.trouble);
  return early.stop;
}
