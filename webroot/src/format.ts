// Numbers as people read them.

import { isolated, language } from './i18n';

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB'];

/** Languages with a point before the tenths; the others have a comma. */
const POINT = ['en', 'zh', 'hi', 'ar'];

/** By hand: the first use of Intl costs more than the rest of the first screen. */
function number(value: number, digits: 0 | 1): string {
  const text = String(Number(value.toFixed(digits)));
  return POINT.includes(language.value) ? text : text.replace('.', ',');
}

/** Between a number and its unit: no line begins with the unit. */
const SPACE = '\u00a0';

/** Bytes with three digits at most; powers of 1024, as phones count. */
export function size(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return isolated(`${number(value, value < 10 && unit > 1 ? 1 : 0)}${SPACE}${UNITS[unit] ?? ''}`);
}

export function percent(value: number): string {
  return isolated(`${number(value, value < 10 && value > 0 ? 1 : 0)}${SPACE}%`);
}

export function date(seconds: number): string {
  return new Date(seconds * 1000).toLocaleString(language.value, { dateStyle: 'medium', timeStyle: 'short' });
}
