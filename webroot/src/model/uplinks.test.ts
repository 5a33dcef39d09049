import { expect, test } from 'vitest';
import { chosen, offered, toggled } from './uplinks';

test('interfaces are added in their order, and replace the words', () => {
  expect(toggled('auto', 'wlan0')).toBe('wlan0');
  expect(toggled('vpn', 'wlan0')).toBe('wlan0');
  expect(toggled('wlan0', 'rmnet*')).toBe('wlan0,rmnet*');
  expect(toggled('wlan0, eth0', 'wlan0')).toBe('eth0');
  expect(toggled('eth0', 'eth0')).toBe('auto');
});

test('interfaces that lead out are offered, and chosen ones that are missing', () => {
  expect(offered('rmnet*, wlan0', ['wlan0', 'lo', 'ds-br0', 'ds-web-1234', 'eth0', 'dummy0', 'tun0'])).toEqual([
    'eth0',
    'tun0',
    'wlan0',
    'rmnet*',
  ]);
  expect(chosen('Auto')).toEqual([]);
});
