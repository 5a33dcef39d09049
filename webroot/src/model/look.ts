// What the look of a container depends on, without the framework: the first list is drawn before it is loaded.

import type { Container } from './types';

const COLOURS: [RegExp, string][] = [
  [/debian/i, '#a80030'],
  [/ubuntu/i, '#c8410e'],
  [/alpine/i, '#0d597f'],
  [/arch/i, '#0f6d96'],
  [/fedora/i, '#294172'],
  [/suse/i, '#3d6e1c'],
  [/void/i, '#3a6150'],
  [/kali/i, '#2d4f8a'],
];

export function glyph(container: Container): { letter: string; colour: string } {
  const text = container.os ?? container.name;
  const colour = COLOURS.find(([pattern]) => pattern.test(text))?.[1] ?? '#55635b';
  return { letter: text.charAt(0).toUpperCase(), colour };
}

/** The class of the state, and the message that names it. */
export function pill(container: Container): { kind: string; message: 'notUp' | `state.${Container['state']}` } {
  const { state, ready } = container;
  if (state === 'running' && !ready) return { kind: 'busy', message: 'notUp' };
  const kind = { running: 'run', failed: 'bad', stopped: 'off', frozen: 'busy' }[state as string] ?? 'busy';
  return { kind, message: `state.${state}` };
}
