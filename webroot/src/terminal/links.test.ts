import { expect, test } from 'vitest';
import { webAddress } from './links';

test('only addresses of the web are links', () => {
  expect(webAddress('https://example.org/a?b#c')).toBe('https://example.org/a?b#c');
  for (const text of ['javascript:alert(1)', 'file:///etc/passwd', 'intent://x#Intent;end', 'data:text/html,x', 'x']) {
    expect(webAddress(text), text).toBeNull();
  }
});

test('a link is shown as the browser reads it', () => {
  expect(webAddress('https://ex\u202eample.org')).toBeNull();
  expect(webAddress('https://аpple.com/')).toBe('https://xn--pple-43d.com/');
  expect(webAddress('https://bank.example@evil.example/')).toBe('https://bank.example@evil.example/');
});
