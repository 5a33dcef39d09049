// The one file that knows `window.ksu`, the interface of KernelSU, KernelSU-Next, SukiSU, APatch, KsuWebUIStandalone
// and WebUI X. It calls `spawn` with one fixed command and one word in base64url: no text of a user reaches a shell.
// `exec` blocks the page in most hosts and is not used. Standard input is the shell's own way to hear of the end of a
// command, so it is closed to ours.

import type { Transport } from './transport';

interface Ksu {
  spawn(command: string, words: string, options: string, callback: string): void;
  moduleInfo?(): string;
}

interface Channel {
  emit(event: string, data?: unknown): void;
}

interface Callback extends Channel {
  stdout: Channel;
  stderr: Channel;
}

type Host = Window & { ksu?: Ksu } & Record<string, unknown>;

const USUAL = '/data/adb/modules/droidspaces-supervisor';
/** Paths that need no quoting; any other is not the module's. */
const PLAIN = /^\/[A-Za-z0-9._/-]+$/;

function host(): Host {
  return window as unknown as Host;
}

export function hasBridge(): boolean {
  return typeof host().ksu?.spawn === 'function';
}

/** Where the module is: the host says it, except APatch. */
function moduleDirectory(ksu: Ksu): string {
  try {
    const info = JSON.parse(ksu.moduleInfo?.() ?? '{}') as { moduleDir?: unknown };
    return typeof info.moduleDir === 'string' && PLAIN.test(info.moduleDir) ? info.moduleDir : USUAL;
  } catch {
    return USUAL;
  }
}

let count = 0;

/** A name that no other script of the page uses: the one in index.html has this code, too. */
function callbackName(): string {
  let name: string;
  do name = `ds_callback_${++count}`;
  while (name in host());
  return name;
}

/** Colours and insets of the host; both are optional, and a page elsewhere must not ask for them. */
export function adoptHostStyle(): void {
  for (const name of ['insets', 'colors']) {
    const link = document.createElement('link');
    link.rel = 'stylesheet';
    link.href = `/internal/${name}.css`;
    document.head.append(link);
  }
}

export const bridge: Transport = {
  canStop: false,
  send(word, handlers) {
    const { ksu } = host();
    if (!ksu) {
      handlers.end('there is no bridge');
      return () => undefined;
    }
    const name = callbackName();
    let errors = '';
    let open = true;
    const finish = (trouble: string | null): void => {
      if (open) {
        open = false;
        // Some hosts emit an error after the exit: what they call stays callable for a while.
        setTimeout(() => Reflect.deleteProperty(host(), name), 10_000);
        handlers.end(trouble);
      }
    };
    const callback: Callback = {
      stdout: { emit: (_event, line) => open && handlers.line(String(line)) },
      stderr: { emit: (_event, line) => (errors += `${String(line)}\n`) },
      emit: (event, value) => {
        if (event === 'exit') finish(value === 0 ? null : errors.trim());
        else if (event === 'error') finish(errors.trim() || 'the shell could not be started');
      },
    };
    host()[name] = callback;
    try {
      ksu.spawn(`'${moduleDirectory(ksu)}/bin/ds' rpc '${word}' </dev/null`, '[]', '{}', name);
    } catch (error) {
      finish(String(error));
    }
    return () => (open = false);
  },
};
