// One short message at the bottom, read out by screen readers.

import { signal } from '@preact/signals';

const message = signal('');
let timer: ReturnType<typeof setTimeout> | undefined;

export function say(text: string): void {
  clearTimeout(timer);
  message.value = text;
  timer = setTimeout(() => (message.value = ''), Math.max(4000, text.length * 60));
}

export function Snackbar() {
  return (
    <div class="snackbar-place" role="status" aria-live="polite">
      {message.value && <div class="snackbar">{message.value}</div>}
    </div>
  );
}
