// The theme: what is stored, and what it sets on the document.

export const THEMES = ['auto', 'light', 'dark', 'amoled'] as const;
export type Theme = (typeof THEMES)[number];

export const STORED = 'droidspaces.theme';

export function storedTheme(): Theme {
  const name = localStorage.getItem(STORED);
  return THEMES.find((known) => known === name) ?? 'auto';
}

/** Whether the device is dark. */
export function prefersDark(): boolean {
  return matchMedia('(prefers-color-scheme: dark)').matches;
}

export function applyTheme(theme: Theme, isDark: boolean): void {
  const root = document.documentElement;
  root.dataset.theme = isDark ? 'dark' : 'light';
  root.dataset.black = String(theme === 'amoled');
  // The host's colours fit its own theme only.
  root.dataset.own = String(theme !== 'auto');
}
