import { expect, test } from 'vitest';
import { read, suggestion, write } from './binds';

test('binds are read and written', () => {
  const text = '/sdcard:/mnt/sdcard,/etc/hosts:/etc/hosts:ro:noexec';
  const binds = read(text);
  expect(binds).toEqual([
    { source: '/sdcard', target: '/mnt/sdcard', options: [] },
    { source: '/etc/hosts', target: '/etc/hosts', options: ['ro', 'noexec'] },
  ]);
  expect(write(binds)).toBe(text);
  expect(read('')).toEqual([]);
});

test('separators in paths survive', () => {
  const bind = { source: '/a,b:c\\d', target: '/e', options: ['ro'] };
  expect(write([bind])).toBe('/a\\,b\\:c\\\\d:/e:ro');
  expect(read(write([bind, bind]))).toEqual([bind, bind]);
});

test('a directory is suggested below /mnt', () => {
  expect(suggestion('/data/media/0/Music')).toBe('/mnt/Music');
  expect(suggestion('/')).toBe('');
});
