// What each setting is called and does, in the user's language. ds has the English descriptions; everything else is
// loaded when the settings are shown.

import { signal } from '@preact/signals';
import { language } from '../i18n';
import names from '../messages/labels/en.json';

type Texts = Record<string, string>;

const ENGLISH: Texts = names;
const NAMES = import.meta.glob<Texts>(['../messages/labels/*.json', '!../messages/labels/en.json'], {
  import: 'default',
});
const DESCRIPTIONS = import.meta.glob<Texts>(['../messages/settings/*.json', '!../messages/settings/en.json'], {
  import: 'default',
});

interface Loaded {
  names: Texts;
  descriptions: Texts;
}

const loaded = signal<Record<string, Loaded>>({});

/** The description of a setting; `english` until the other language has been loaded, and if it lacks a text. */
export function describe(key: string, english: string): string {
  return loaded.value[language.value]?.descriptions[key] ?? english;
}

/** The name of a setting. One that this page does not know has the words of its key. */
export function nameOf(key: string): string {
  return loaded.value[language.value]?.names[key] ?? ENGLISH[key] ?? words(key);
}

/** `container.stop-timeout` as people write it. */
function words(key: string): string {
  const text = key.slice(key.indexOf('.') + 1).replace(/-/g, ' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export async function load(): Promise<void> {
  const tag = language.value;
  const [names, descriptions] = await Promise.all([
    NAMES[`../messages/labels/${tag}.json`]?.(),
    DESCRIPTIONS[`../messages/settings/${tag}.json`]?.(),
  ]);
  if (names && descriptions) loaded.value = { ...loaded.value, [tag]: { names, descriptions } };
}
