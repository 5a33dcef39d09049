// Requests to ds, as docs/rpc.md has them: one answer, or a stream of events.

import { lease, takeOver, wordOf } from './first/early';
import type { Handlers } from './transport';
import { way } from './way';

export interface Fault {
  code: string;
  message: string;
  key?: string;
  line?: number | null;
  column?: number | null;
  reason?: string;
}

/** An error that ds answered, or that the way to it had (`unreachable`). */
export class DsError extends Error {
  constructor(readonly fault: Fault) {
    super(fault.message);
  }
}

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Document = Record<string, Json>;

export interface Answer {
  /** The document of a verb with JSON; the last one of several. */
  document: Document | null;
  output: string;
  errors: string;
  warnings: string[];
  code: number;
}

export type Request =
  | { argv: string[]; job?: boolean; input?: string }
  | { subscribe: string[]; name?: string; lines?: number; seconds?: number }
  | { terminal: Document }
  | { directory: string }
  | { cancel: string }
  | { forget: string };

/** Whether there is any way to ds. */
export function isConnected(): boolean {
  return way() !== null;
}

function parsed(line: string): Document | null {
  try {
    const value = JSON.parse(line) as Json;
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

function send(
  request: Request,
  event: (document: Document) => void,
  end: (trouble: string | null) => void,
): () => void {
  const handlers: Handlers = {
    line: (text) => {
      const document = parsed(text);
      if (document) event(document);
    },
    end,
  };
  const word = wordOf(request);
  const stop = takeOver(word, handlers) ?? way()?.send(word, handlers);
  if (!stop) end('no bridge');
  return stop ?? (() => undefined);
}

/** What takes lines apart: tested without a transport. */
export class Collector {
  readonly answer: Answer = { document: null, output: '', errors: '', warnings: [], code: 0 };
  fault: Fault | null = null;

  take(line: Document): void {
    const { answer } = this;
    if (line.error) this.fault = line.error as unknown as Fault;
    else if (line.done === true) answer.code = Number(line.code);
    else if (line.event === 'warning') answer.warnings.push(String(line.text));
    else if (line.event === 'output' && line.stream === 'stderr') answer.errors += String(line.text);
    else if (line.event === 'output') answer.output += String(line.text);
    else answer.document = line;
  }
}

export function ask(request: Request): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const collector = new Collector();
    let heard = false;
    send(
      request,
      (line) => {
        heard = true;
        collector.take(line);
      },
      (trouble) => {
        if (collector.fault) reject(new DsError(collector.fault));
        else if (!heard) reject(new DsError({ code: 'unreachable', message: trouble ?? 'ds did not answer' }));
        else resolve(collector.answer);
      },
    );
  });
}

export function ds(...argv: string[]): Promise<Answer> {
  return ask({ argv });
}

/** Begins a job that goes on without the page; it shows up among the jobs. */
export async function job(...argv: string[]): Promise<void> {
  await ask({ argv, job: true });
}

export interface Stream {
  event(document: Document): void;
  /** The stream has ended by itself; it is not asked for again. */
  end?(fault: Fault | null): void;
}

/** Follows a subscription for as long as it is wanted: streams that end are asked for again. */
export function subscribe(request: Extract<Request, { subscribe: string[] }>, stream: Stream): () => void {
  let wanted = true;
  let stop: () => void = () => undefined;
  let pause = 500;
  const begin = (first: boolean): void => {
    const lines = first ? {} : { lines: 0 };
    let fault: Fault | null = null;
    const full = request.name === undefined ? request : { ...request, ...lines };
    stop = send(
      { ...full, ...lease(way()) },
      (document) => {
        pause = 500;
        if (document.error) fault = document.error as unknown as Fault;
        else if (wanted && document.event !== 'end') stream.event(document);
      },
      (trouble) => {
        if (!wanted) return;
        stream.end?.(fault ?? (trouble ? { code: 'unreachable', message: trouble } : null));
        setTimeout(() => wanted && begin(false), fault || trouble ? (pause = Math.min(pause * 2, 15_000)) : 0);
      },
    );
  };
  begin(true);
  return () => {
    wanted = false;
    stop();
  };
}

/** One stream, once: of a terminal. */
export function open(request: Request, stream: Stream): () => void {
  let fault: Fault | null = null;
  return send(
    request,
    (document) => {
      if (document.error) fault = document.error as unknown as Fault;
      else stream.event(document);
    },
    (trouble) => stream.end?.(fault ?? (trouble ? { code: 'unreachable', message: trouble } : null)),
  );
}
