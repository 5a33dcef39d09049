import { expect, test, vi } from 'vitest';

vi.stubGlobal('localStorage', { getItem: () => 'en', setItem: () => undefined });
vi.stubGlobal('navigator', { languages: ['en'] });
vi.stubGlobal('location', { hash: '' });
const { fits, join, parentOf } = await import('./chooser');

test('paths are joined and taken apart', () => {
  expect(join('/', 'etc')).toBe('/etc');
  expect(join('/data/media/0', 'a b.tar')).toBe('/data/media/0/a b.tar');
  expect(parentOf('/data/x.tar')).toBe('/data');
  expect(parentOf('/data')).toBe('/');
  expect(parentOf('data')).toBeNull();
});

test('only what is wanted can be chosen', () => {
  const entry = (kind: 'file' | 'block' | 'other') => ({ name: 'x', kind, size: null, changed: null });
  expect(fits(entry('file'), 'file')).toBe(true);
  expect(fits(entry('file'), 'directory')).toBe(false);
  expect(fits(entry('block'), 'image')).toBe(true);
  expect(fits(entry('block'), 'file')).toBe(false);
  expect(fits(entry('other'), 'any')).toBe(false);
});
