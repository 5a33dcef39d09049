// Light, dark or black, by the user's choice, the device's, or the host's colours.

import { signal } from '@preact/signals';

export const THEMES = ['auto', 'light', 'dark', 'amoled'] as const;
type Theme = (typeof THEMES)[number];

const STORED = 'droidspaces.theme';

function stored(): Theme {
  const name = localStorage.getItem(STORED);
  return THEMES.find((known) => known === name) ?? 'auto';
}

export const theme = signal<Theme>(stored());

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
  return light === null ? matchMedia('(prefers-color-scheme: dark)').matches : light < 128;
}

export function apply(): void {
  const root = document.documentElement;
  root.dataset.theme = isDark() ? 'dark' : 'light';
  root.dataset.black = String(theme.value === 'amoled');
  // The host's colours fit its own theme only.
  root.dataset.own = String(theme.value !== 'auto');
}

export function start(): void {
  apply();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', apply);
  window.addEventListener('load', apply);
}
