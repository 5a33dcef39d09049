import { expect, test, vi } from 'vitest';

vi.stubGlobal('localStorage', { getItem: () => 'en', setItem: () => undefined });
vi.stubGlobal('navigator', { languages: ['en'] });
vi.stubGlobal('location', { hash: '' });
const { changes, moved } = await import('./order');

test('a row is moved, and not beyond the list', () => {
  expect(moved(['a', 'b', 'c'], 0, 2)).toEqual(['b', 'c', 'a']);
  expect(moved(['a', 'b', 'c'], 2, 0)).toEqual(['c', 'a', 'b']);
  expect(moved(['a'], 0, 1)).toEqual(['a']);
});

test('priorities change only when the order does', () => {
  const one = (name: string, priority: number) => ({ name, priority });
  expect(changes([one('a', -5), one('b', 3)])).toEqual([]);
  expect(changes([one('b', 3), one('a', -5)])).toEqual([
    ['b', 10],
    ['a', 20],
  ]);
  expect(changes([one('b', 10), one('a', 0)])).toEqual([['a', 20]]);
});
