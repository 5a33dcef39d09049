import { expect, test, vi } from 'vitest';
import { duration } from './duration';

vi.stubGlobal('localStorage', { getItem: () => 'en', setItem: () => undefined });
vi.stubGlobal('navigator', { languages: ['en'] });
const { percent, size } = await import('./format');

test('numbers are short', () => {
  expect([0, 999, 1000, 5 << 20, 1.5 * 2 ** 30].map(size)).toEqual(['0 B', '999 B', '1 KB', '5 MB', '1.5 GB']);
  expect([0, 0.04, 3.14, 42.6].map(percent)).toEqual(['0 %', '0 %', '3.1 %', '43 %']);
  expect([0, 59, 61, 3600, 90_000, 3 * 86_400].map(duration)).toEqual([
    '0 s',
    '59 s',
    '1 min',
    '1 h',
    '1 d 1 h',
    '3 d',
  ]);
});
