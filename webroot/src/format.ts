// Numbers as people read them.

import { language } from './i18n';

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB'];

/** Languages with a point before the tenths; the others have a comma. */
const POINT = ['en', 'zh', 'hi', 'ar'];

/** By hand: the first use of Intl costs more than the rest of the first screen. */
function number(value: number, digits: 0 | 1): string {
  const text = String(Number(value.toFixed(digits)));
  return POINT.includes(language.value) ? text : text.replace('.', ',');
}

/** Bytes with three digits at most; powers of 1024, as phones count. */
export function size(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${number(value, value < 10 && unit > 1 ? 1 : 0)} ${UNITS[unit] ?? ''}`;
}

export function percent(value: number): string {
  return `${number(value, value < 10 && value > 0 ? 1 : 0)} %`;
}

/** Seconds as the two largest units. */
export function duration(seconds: number): string {
  const parts: [number, string][] = [
    [86_400, 'd'],
    [3600, 'h'],
    [60, 'min'],
    [1, 's'],
  ];
  const first = parts.findIndex(([length]) => seconds >= length);
  const [length, unit] = parts[first < 0 ? 3 : first] ?? [1, 's'];
  const text = `${Math.floor(seconds / length)} ${unit}`;
  const next = first < 0 ? undefined : parts[first + 1];
  if (!next || next[0] === 1) return text;
  const rest = Math.floor((seconds % length) / next[0]);
  return rest > 0 ? `${text} ${rest} ${next[1]}` : text;
}

export function date(seconds: number): string {
  return new Date(seconds * 1000).toLocaleString(language.value, { dateStyle: 'medium', timeStyle: 'short' });
}
