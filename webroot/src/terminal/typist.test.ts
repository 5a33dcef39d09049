import { expect, test } from 'vitest';
import { decodeBytes } from '../base64';
import { modified } from './keys';
import { Typist } from './typist';

test('keys arrive in order, and those that waited go together', async () => {
  const sent: string[] = [];
  let release: () => void = () => undefined;
  const typist = new Typist(
    (data) => {
      sent.push(new TextDecoder().decode(decodeBytes(data)));
      return new Promise<void>((resolve) => (release = resolve));
    },
    () => undefined,
  );
  typist.type('a');
  typist.type('b');
  typist.type('ü');
  release();
  await new Promise((resolve) => setTimeout(resolve));
  expect(sent).toEqual(['a', 'bü']);
});

test('a long paste goes in pieces', async () => {
  const lengths: number[] = [];
  const typist = new Typist(
    (data) => Promise.resolve(lengths.push(decodeBytes(data).length)),
    () => undefined,
  );
  typist.type('x'.repeat(100_000));
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(lengths).toEqual([32_768, 32_768, 32_768, 1696]);
});

test('modifiers change a key', () => {
  expect(modified('ctrl', 'c')).toBe('\u0003');
  expect(modified('alt', 'b')).toBe('\u001bb');
  expect(modified(null, 'b')).toBe('b');
});
