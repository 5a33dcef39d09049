// Messages in the user's language. English has every message; the other languages fall back to it.

import { signal } from '@preact/signals';
import en from './messages/en.json';

export type Key = keyof typeof en;
type Messages = Partial<Record<Key, string>>;

/** The other languages: the page loads only the one that it shows. */
const FILES = import.meta.glob<Messages>(['./messages/*.json', '!./messages/en.json'], { import: 'default' });
export const NAMES: Record<string, string> = {
  en: 'English',
  de: 'Deutsch',
  zh: '中文',
  es: 'Español',
  pt: 'Português',
  ru: 'Русский',
  hi: 'हिन्दी',
  id: 'Bahasa Indonesia',
  ar: 'العربية',
};
const RIGHT_TO_LEFT = ['ar'];
/** The origin is shared by all modules of a host: names carry ours. */
const STORED = 'droidspaces.language';

function initial(): string {
  const wanted = [localStorage.getItem(STORED), ...navigator.languages, 'en'];
  return wanted.map((tag) => tag?.split('-')[0] ?? '').find((tag) => tag in NAMES) ?? 'en';
}

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
  apply();
}

function apply(): void {
  document.documentElement.lang = language.value;
  document.documentElement.dir = RIGHT_TO_LEFT.includes(language.value) ? 'rtl' : 'ltr';
}

/** Loads the messages of the first language. Without them, the page is in English. */
export async function start(): Promise<void> {
  apply();
  await load(language.value).catch(() => undefined);
}

export function t(key: Key, values: Record<string, string | number> = {}): string {
  const text = loaded.value[language.value]?.[key] ?? en[key];
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}
