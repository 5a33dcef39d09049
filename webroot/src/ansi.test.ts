import { expect, test } from 'vitest';
import { AnsiReader } from './ansi';

function text(input: string): string {
  const lines = new AnsiReader().read(input);
  return lines.map((line) => line.map((piece) => piece.text).join('')).join('\n');
}

test('colours become classes and everything else of a terminal is left out', () => {
  const [line] = new AnsiReader().read(
    '\u001b[1;31mred\u001b[0m plain \u001b[38;5;10mgreen\u001b[39m\u001b[38;2;1;2;3mx',
  );
  expect(line?.map(({ text, colour, bold }) => [text, colour, bold])).toEqual([
    ['red', 'c1', true],
    [' plain ', '', false],
    ['green', 'c10', false],
    ['x', '', false],
  ]);
});

test('hostile sequences leave their text only', () => {
  for (const [input, shown] of [
    ['a\u001b]52;c;aGk=\u0007b', 'ab'],
    ['a\u001b]0;title\u001b\\b', 'ab'],
    ['a\u001b[2Jb\u001b[6nc', 'abc'],
    ['a\u202eb\u200fc', 'abc'],
    ['<script>%22$(x)</script>', '<script>%22$(x)</script>'],
    ['a\rb\u0008c\u009bd', 'abcd'],
    ['a\u001bPq#0\u001b\\b', 'ab'],
  ] as const) {
    expect(text(input)).toBe(shown);
  }
});

test('sequences may be cut anywhere', () => {
  const whole = 'one\u001b[32mtwo\u001b]0;t\u0007three\n\u001b[0mfour';
  for (let at = 0; at <= whole.length; at++) {
    const reader = new AnsiReader();
    const pieces = [...reader.read(whole.slice(0, at)).flat(), ...reader.read(whole.slice(at)).flat()];
    expect(pieces.map((piece) => piece.text).join('')).toBe('onetwothreefour');
  }
});

test('a sequence without an end does not swallow the rest for ever', () => {
  const reader = new AnsiReader();
  reader.read(`\u001b]${'x'.repeat(9000)}`);
  expect(
    reader
      .read('\nnext')
      .flat()
      .map((piece) => piece.text),
  ).toEqual(['next']);
});
