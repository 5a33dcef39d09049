// The languages of the page, and which one a start shows.

export const NAMES: Record<string, string> = {
  en: 'English',
  de: 'Deutsch',
  zh: '中文',
  es: 'Español',
  pt: 'Português',
  ru: 'Русский',
  hi: 'हिन्दी',
  id: 'Bahasa Indonesia',
  ar: 'العربية',
};
const RIGHT_TO_LEFT = ['ar'];
/** The origin is shared by all modules of a host: names carry ours. */
export const STORED = 'droidspaces.language';

export function initial(): string {
  const wanted = [localStorage.getItem(STORED), ...navigator.languages, 'en'];
  return wanted.map((tag) => tag?.split('-')[0] ?? '').find((tag) => tag in NAMES) ?? 'en';
}

export function isRightToLeft(tag: string): boolean {
  return RIGHT_TO_LEFT.includes(tag);
}

export function applyLanguage(tag: string): void {
  document.documentElement.lang = tag;
  document.documentElement.dir = isRightToLeft(tag) ? 'rtl' : 'ltr';
}
