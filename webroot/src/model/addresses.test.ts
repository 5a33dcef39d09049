import { expect, test } from 'vitest';
import { ofAddress, ofPort } from './addresses';

test('a forwarded port is an address of this machine', () => {
  expect(ofPort('8080:80')).toBe('http://127.0.0.1:8080/');
  expect(ofPort(' 8080 ')).toBe('http://127.0.0.1:8080/');
  expect(ofPort('8080:80/tcp')).toBe('http://127.0.0.1:8080/');
  expect(ofPort('0.0.0.0:8080:80')).toBe('http://127.0.0.1:8080/');
  expect(ofPort('10.0.0.1:8080:80')).toBe('http://10.0.0.1:8080/');
  expect(ofPort('[::]:443:443')).toBe('http://127.0.0.1:443/');
  expect(ofPort('[fd00::1]:443:443')).toBe('http://[fd00::1]:443/');
  for (const entry of ['53:53/udp', '8000-8010:8000-8010', 'evil.example:80', '', 'x:80:80', '1:2/x']) {
    expect(ofPort(entry), entry).toBeNull();
  }
});

test('an address of a container is one of the web, unless it needs an interface', () => {
  expect(ofAddress('10.88.0.2')).toBe('http://10.88.0.2/');
  expect(ofAddress('10.88.0.2/24')).toBe('http://10.88.0.2/');
  expect(ofAddress('fd00::2')).toBe('http://[fd00::2]/');
  for (const address of ['fe80::1', 'javascript:alert(1)', 'host', '']) expect(ofAddress(address), address).toBeNull();
});
