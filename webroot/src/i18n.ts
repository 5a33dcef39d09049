// Messages in the user's language. English has every message; the other languages fall back to it.

import { signal } from '@preact/signals';
import { applyLanguage, initial, isRightToLeft, STORED } from './languages';
import en from './messages/en.json';

export type Key = keyof typeof en;
type Messages = Partial<Record<Key, string>>;

/** The other languages: the page loads only the one that it shows. */
const FILES = import.meta.glob<Messages>(['./messages/*.json', '!./messages/en.json'], { import: 'default' });
export const language = signal(initial());
const loaded = signal<Record<string, Messages>>({ en });

async function load(tag: string): Promise<void> {
  if (loaded.value[tag]) return;
  const messages = await FILES[`./messages/${tag}.json`]?.();
  if (messages) loaded.value = { ...loaded.value, [tag]: messages };
}

/** Changes the language once its messages are here. */
export async function setLanguage(tag: string): Promise<void> {
  await load(tag);
  language.value = tag;
  localStorage.setItem(STORED, tag);
  applyLanguage(language.value);
}

/** Loads the messages of the first language. Without them, the page is in English. */
export async function start(): Promise<void> {
  applyLanguage(language.value);
  await load(language.value).catch(() => undefined);
}

/** Text that keeps its own order between words from right to left, such as a path, a name or a number with its unit. */
export function isolated(text: string): string {
  return text !== '' && isRightToLeft(language.value) ? `\u2068${text}\u2069` : text;
}

export function t(key: Key, values: Record<string, string | number> = {}): string {
  const text = loaded.value[language.value]?.[key] ?? en[key];
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => isolated(String(values[name] ?? whole)));
}
