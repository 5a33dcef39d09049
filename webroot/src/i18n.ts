// Messages in the user's language. English has every message and is what the others are measured by.

import { signal } from '@preact/signals';
import ar from './messages/ar.json';
import de from './messages/de.json';
import en from './messages/en.json';
import es from './messages/es.json';
import hi from './messages/hi.json';
import id from './messages/id.json';
import pt from './messages/pt.json';
import ru from './messages/ru.json';
import zh from './messages/zh.json';

export type Key = keyof typeof en;

const LANGUAGES: Record<string, Partial<Record<Key, string>>> = { en, de, zh, es, pt, ru, hi, id, ar };
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
  return wanted.map((tag) => tag?.split('-')[0] ?? '').find((tag) => tag in LANGUAGES) ?? 'en';
}

export const language = signal(initial());

export function setLanguage(tag: string): void {
  language.value = tag;
  localStorage.setItem(STORED, tag);
  apply();
}

export function apply(): void {
  document.documentElement.lang = language.value;
  document.documentElement.dir = RIGHT_TO_LEFT.includes(language.value) ? 'rtl' : 'ltr';
}

export function t(key: Key, values: Record<string, string | number> = {}): string {
  const text = LANGUAGES[language.value]?.[key] ?? en[key];
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}
