// The built page as files: its size, and that the oldest WebView which it supports understands it.

import { parse } from 'acorn';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { PAGE } from './machine';

const MOST = 250 * 1024;

const assets = readdirSync(join(PAGE, 'assets'));
const read = (name: string): string => readFileSync(join(PAGE, name), 'utf8');
const page = read('index.html');
const [inlineScript = '', ...otherScripts] = [...page.matchAll(/<script>(.*?)<\/script>/gs)].map(
  ([, code = '']) => code,
);
const scripts = new Map([
  ['index.html', inlineScript],
  ...assets.filter((name) => name.endsWith('.js')).map((name): [string, string] => [name, read(`assets/${name}`)]),
]);
const styles = new Map([
  ['index.html', [...page.matchAll(/<style>(.*?)<\/style>/gs)].map(([, text = '']) => text).join('')],
  ...assets.filter((name) => name.endsWith('.css')).map((name): [string, string] => [name, read(`assets/${name}`)]),
]);

test('has at most 250 KB gzipped without the terminal', () => {
  const names = assets.filter((name) => !name.startsWith('terminal')).map((name) => `assets/${name}`);
  const sizes = [...names, 'index.html'].map((name) => gzipSync(readFileSync(join(PAGE, name))).length);
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(MOST);
});

// Chrome 80 has the language of 2020, without the methods below, which later editions added.
const LATER =
  /\.replaceAll\(|\.at\(-?\d+\)|\.findLast(Index)?\(|\bstructuredClone\(|\bObject\.hasOwn\(|\bPromise\.any\(/;

test.each([...scripts])('%s has the syntax and the methods of Chrome 80', (name, code) => {
  expect(otherScripts, 'one script in index.html').toEqual([]);
  expect(code.length).toBeGreaterThan(0);
  expect(() =>
    parse(code, { ecmaVersion: 2020, sourceType: name === 'index.html' ? 'script' : 'module' }),
  ).not.toThrow();
  expect(LATER.exec(code)?.[0]).toBeUndefined();
});

test.each([...styles])('the style of %s works in Chrome 80', (_name, text) => {
  expect(text.length).toBeGreaterThan(0);
  const rules = [...text.matchAll(/([^{}]+)\{([^{}]*)\}/g)].map(([rule, , body = '']) => ({ rule, body }));
  const flexible = rules.filter(({ body }) => /display:\s*(inline-)?flex/.test(body) && /(^|;)\s*gap:/.test(body));
  expect(flexible.map(({ rule }) => rule)).toEqual([]);
  const later =
    /:is\(|:where\(|:has\(|(^|[;{])\s*(inset|aspect-ratio|translate|scale|rotate):|\d(dvh|svh|lvh)\b|@layer|@container/;
  expect(rules.filter(({ rule }) => later.test(rule)).map(({ rule }) => rule)).toEqual([]);
});
