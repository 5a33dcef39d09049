import { expect, test } from 'vitest';
import { decodeBytes, encodeBytes, encodeWord } from './base64';
import { Collector } from './rpc';

test('an answer is put together from its lines', () => {
  const collector = new Collector();
  for (const line of [
    { event: 'warning', text: 'slow' },
    { event: 'output', text: 'a' },
    { event: 'output', stream: 'stderr', text: 'b' },
    { done: true, code: 3 },
  ]) {
    collector.take(line);
  }
  expect(collector.answer).toEqual({ document: null, output: 'a', errors: 'b', warnings: ['slow'], code: 3 });
  collector.take({ containers: [] });
  collector.take({ error: { code: 'failed', message: 'no' } });
  expect(collector.answer.document).toEqual({ containers: [] });
  expect(collector.fault?.message).toBe('no');
});

test('a request is one word of a shell, whatever is in it', () => {
  for (const text of ["'; reboot #", '%22$(x)`y`\n', 'ü€😀', '']) {
    const word = encodeWord(text);
    expect(word).toMatch(/^[A-Za-z0-9_-]*$/);
    const back = word.replace(/-/g, '+').replace(/_/g, '/');
    expect(new TextDecoder().decode(decodeBytes(back))).toBe(text);
  }
  const bytes = new Uint8Array(100_000).map((_, index) => index % 256);
  expect(decodeBytes(encodeBytes(bytes))).toEqual(bytes);
});
