// What each setting does, in the user's language. ds has the English text; the others are loaded when they are shown.

import { signal } from '@preact/signals';
import { language } from '../i18n';

type Texts = Record<string, string>;

const FILES = import.meta.glob<Texts>(['../messages/settings/*.json', '!../messages/settings/en.json'], {
  import: 'default',
});

const loaded = signal<Record<string, Texts>>({});

/** The description of a setting; `english` until the other language has been loaded, and if it lacks a text. */
export function describe(key: string, english: string): string {
  return loaded.value[language.value]?.[key] ?? english;
}

export async function load(): Promise<void> {
  const tag = language.value;
  const texts = await FILES[`../messages/settings/${tag}.json`]?.();
  if (texts) loaded.value = { ...loaded.value, [tag]: texts };
}
