// The way to `ds web`: the same requests, posted to the server that the page came from.

import type { Transport } from './transport';

export const http: Transport = {
  canStop: true,
  send(word, handlers) {
    const controller = new AbortController();
    let open = true;
    const finish = (trouble: string | null): void => {
      if (open) {
        open = false;
        handlers.end(trouble);
      }
    };
    void read(word, controller.signal, (line) => open && handlers.line(line)).then(
      () => finish(null),
      (error: unknown) => finish(error instanceof Error ? error.message : String(error)),
    );
    return () => {
      open = false;
      controller.abort();
    };
  },
};

async function read(word: string, signal: AbortSignal, line: (text: string) => void): Promise<void> {
  const response = await fetch('rpc', {
    method: 'POST',
    headers: { 'Content-Type': 'text/plain' },
    body: word,
    credentials: 'same-origin',
    signal,
  });
  if (!response.ok || !response.body) {
    throw new Error(response.status === 403 ? 'locked' : `HTTP ${response.status}`);
  }
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    rest += decoder.decode(value, { stream: !done });
    const lines = rest.split('\n');
    rest = lines.pop() ?? '';
    lines.filter((text) => text !== '').forEach(line);
    if (done) return;
  }
}
