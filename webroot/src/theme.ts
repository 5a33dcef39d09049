// Light, dark or black, by the user's choice, the device's, or the host's colours.

import { signal } from '@preact/signals';
import { applyTheme, prefersDark, STORED, storedTheme, type Theme, THEMES } from './palette';

export const theme = signal<Theme>(storedTheme());

export function setTheme(name: string): void {
  theme.value = THEMES.find((known) => known === name) ?? 'auto';
  localStorage.setItem(STORED, theme.value);
  apply();
}

/** The luminance of `#rrggbb`, 0 to 255. */
export function luminance(colour: string): number | null {
  const digits = /^#([0-9a-f]{6})/i.exec(colour.trim())?.[1];
  if (!digits) return null;
  const part = (at: number): number => parseInt(digits.slice(at, at + 2), 16);
  return 0.299 * part(0) + 0.587 * part(2) + 0.114 * part(4);
}

function isDark(): boolean {
  if (theme.value !== 'auto') return theme.value !== 'light';
  // The host's colours follow its own setting, not the device's.
  const background = getComputedStyle(document.documentElement).getPropertyValue('--background');
  const light = luminance(background);
  return light === null ? prefersDark() : light < 128;
}

export function apply(): void {
  applyTheme(theme.value, isDark());
}

export function start(): void {
  apply();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', apply);
  window.addEventListener('load', apply);
}
