// The first list of containers, drawn without the framework. The page replaces it as soon as its script has been loaded.

import { duration } from '../duration';
import { glyph, pill } from '../model/look';
import type { Container } from '../model/types';

/** Cards of the first list: more than a screen has. */
const CARDS = 12;

function element(name: string, className: string, ...children: (Node | string)[]): HTMLElement {
  const made = document.createElement(name);
  made.className = className;
  made.append(...children);
  return made;
}

function card(container: Container, messages: Record<string, string>): HTMLElement {
  const { letter, colour } = glyph(container);
  const { kind, message } = pill(container);
  const mark = element('div', 'glyph', letter);
  mark.style.background = colour;
  mark.setAttribute('aria-hidden', 'true');
  const made = element(
    'article',
    container.pid === null ? 'card early' : 'card early on',
    element(
      'div',
      'card-head',
      mark,
      element(
        'span',
        'card-title',
        element('bdi', 'name', container.name),
        element('span', 'sub', container.os ?? container.hostname ?? ''),
      ),
      element('span', `pill ${kind}`, messages[message] ?? ''),
    ),
  );
  made.setAttribute('aria-label', container.name);
  return made;
}

/** Draws the containers, with the age of what is known of them unless it is current. */
export function draw(
  root: Element,
  containers: Container[],
  age: number | null,
  messages: Record<string, string>,
): void {
  const bar = element('header', 'top-bar', element('h1', '', 'Droidspaces'));
  if (age !== null) {
    const text = messages.asOf?.replace('{time}', duration(Math.max(0, age / 1000))) ?? '';
    bar.append(element('span', 'as-of', text));
  }
  const cards = containers.slice(0, CARDS).map((one) => card(one, messages));
  const summary = element('div', 'summary early');
  root.textContent = '';
  root.append(element('main', 'screen', bar, summary, element('div', 'cards', ...cards)));
}
