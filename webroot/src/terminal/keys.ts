// The rows of extra keys: what a phone's keyboard lacks. On a phone, each row has seven, with the arrows as on a keyboard.

export interface Key {
  label: string;
  sends: string;
}

export type Modifier = 'ctrl' | 'alt';

export const KEYS: Key[] = [
  { label: 'Esc', sends: '\u001b' },
  { label: 'Tab', sends: '\t' },
  { label: 'Ctrl', sends: 'ctrl' },
  { label: 'Alt', sends: 'alt' },
  { label: 'Home', sends: '\u001b[H' },
  { label: '↑', sends: '\u001b[A' },
  { label: 'End', sends: '\u001b[F' },
  { label: '|', sends: '|' },
  { label: '/', sends: '/' },
  { label: '-', sends: '-' },
  { label: '~', sends: '~' },
  { label: '←', sends: '\u001b[D' },
  { label: '↓', sends: '\u001b[B' },
  { label: '→', sends: '\u001b[C' },
];

/** What Ctrl makes of a key. */
export function control(key: string): string {
  const code = key.toUpperCase().charCodeAt(0);
  return key.length === 1 && code >= 64 && code < 96 ? String.fromCharCode(code - 64) : key;
}

export function modified(held: Modifier | null, key: string): string {
  if (held === 'ctrl') return control(key);
  return held === 'alt' ? `\u001b${key}` : key;
}
