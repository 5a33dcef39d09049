import { expect, test, vi } from 'vitest';
import { duration } from './duration';

vi.stubGlobal('localStorage', { getItem: () => 'en', setItem: () => undefined });
vi.stubGlobal('navigator', { languages: ['en'] });
const { percent, size } = await import('./format');

/** A number and its unit are on one line. */
const unbroken = (text: string): string => text.replace(' ', '\u00a0');

test('numbers are short', () => {
  expect([0, 999, 1000, 5 << 20, 1.5 * 2 ** 30].map(size)).toEqual(
    ['0 B', '999 B', '1 KB', '5 MB', '1.5 GB'].map(unbroken),
  );
  expect([0, 0.04, 3.14, 42.6].map(percent)).toEqual(['0 %', '0 %', '3.1 %', '43 %'].map(unbroken));
  expect([0, 59, 61, 3600, 90_000, 3 * 86_400].map(duration)).toEqual([
    '0 s',
    '59 s',
    '1 min',
    '1 h',
    '1 d 1 h',
    '3 d',
  ]);
});
