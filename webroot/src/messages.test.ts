import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

type Messages = Record<string, string>;

const folder = new URL('messages/', import.meta.url);
const read = (file: string): Messages => JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Messages;
const english = read('en.json');
const files = readdirSync(folder).filter((file) => file.endsWith('.json'));

test.each(files)('%s has every message, with the same values in it', (file) => {
  const messages = read(file);
  expect(Object.keys(messages).sort()).toEqual(Object.keys(english).sort());
  for (const [key, text] of Object.entries(messages)) {
    const values = (of: string): string[] => [...of.matchAll(/\{\w+\}/g)].map(([value]) => value).sort();
    expect(text.trim(), key).not.toBe('');
    expect(values(text), key).toEqual(values(english[key] ?? ''));
  }
});

const settings = new URL('messages/settings/', import.meta.url);
const describe = (file: string): Messages => JSON.parse(readFileSync(new URL(file, settings), 'utf8')) as Messages;

test.each(files)('settings/%s describes every setting, with the same words of the configuration', (file) => {
  const described = describe('en.json');
  const texts = describe(file);
  expect(Object.keys(texts)).toEqual(Object.keys(described));
  for (const [key, text] of Object.entries(texts)) {
    const words = (of: string): string[] => [...of.matchAll(/`[^`]+`/g)].map(([word]) => word).sort();
    expect(text.trim(), key).not.toBe('');
    expect(words(text), key).toEqual(words(described[key] ?? ''));
  }
});

const labels = new URL('messages/labels/', import.meta.url);

test.each(files)('labels/%s names every setting, each by another name', (file) => {
  const names = JSON.parse(readFileSync(new URL(file, labels), 'utf8')) as Messages;
  expect(Object.keys(names)).toEqual(Object.keys(describe('en.json')));
  const all = Object.values(names);
  expect(all.filter((name, at) => name.trim() === '' || all.indexOf(name) !== at)).toEqual([]);
});
