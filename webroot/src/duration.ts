// Lengths of time as people read them.

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
