import { expect, test } from 'vitest';
import { found, gives, toggled } from './devices';

test('kinds are found by the names in /dev', () => {
  expect(found(['null', 'kgsl-3d0', 'ttyUSB0', 'tty1', 'loop7', 'snd'])).toEqual([
    ['gpu', ['kgsl-3d0']],
    ['loop', ['loop7']],
    ['snd', ['snd']],
    ['tty', ['ttyUSB0']],
  ]);
});

test('a kind is added and removed, and other devices stay', () => {
  expect(toggled('', 'kvm')).toBe('kvm');
  expect(toggled('/dev/ttyUSB*, kvm:r', 'kvm')).toBe('/dev/ttyUSB*');
  expect(toggled('/dev/ttyUSB*', 'gpu')).toBe('/dev/ttyUSB*,gpu');
  expect(gives('/dev/kvm', 'kvm')).toBe(false);
});
