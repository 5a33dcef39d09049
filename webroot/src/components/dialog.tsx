// A dialog above the page. The back gesture, Escape and a tap beside it close it.

import type { ComponentChildren } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { overlay } from '../router';

interface Props {
  title: string;
  onClose: () => void;
  /** Uses the height of the screen, for lists. */
  wide?: boolean;
  children: ComponentChildren;
}

let count = 0;
/** The dialogs that are open, the topmost last: it alone has the keyboard. */
const opened: HTMLElement[] = [];

function focusable(dialog: HTMLElement): HTMLElement[] {
  return [...dialog.querySelectorAll<HTMLElement>('input, select, textarea, button:not([disabled])')];
}

/** Wherever the focus is: an element that had it may have gone from the dialog, as in a list that changes. */
function pressed(event: KeyboardEvent, dialog: HTMLElement, close: () => void): void {
  if (event.key === 'Escape') close();
  // A dialog may be inside a form, which Enter in its search field must not submit.
  const { target } = event;
  if (event.key === 'Enter' && target instanceof HTMLInputElement && target.type === 'search') event.preventDefault();
  if (event.key !== 'Tab') return;
  const stops = focusable(dialog);
  const [first, last] = [stops[0], stops[stops.length - 1]];
  const edge = event.shiftKey ? first : last;
  if (document.activeElement === edge || !dialog.contains(document.activeElement)) {
    event.preventDefault();
    (event.shiftKey ? last : first)?.focus();
  }
}

export function Dialog({ title, onClose, wide = false, children }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const close = useRef<() => void>(onClose);
  const id = useRef(`dialog-${++count}`).current;
  // Before the browser paints: a key that is pressed as soon as the dialog is seen is the dialog's.
  useLayoutEffect(() => {
    const before = document.activeElement;
    const dialog = box.current;
    if (!dialog) return;
    let open = true;
    const leave = overlay(() => {
      if (!open) return;
      open = false;
      onClose();
    });
    close.current = leave;
    opened.push(dialog);
    const keys = (event: KeyboardEvent): void => {
      if (opened[opened.length - 1] === dialog) pressed(event, dialog, leave);
    };
    document.addEventListener('keydown', keys);
    focusable(dialog)[0]?.focus();
    return () => {
      document.removeEventListener('keydown', keys);
      opened.splice(opened.indexOf(dialog), 1);
      // Its entry in the history is left later: by then, the user may have opened the next dialog.
      if (open) leave();
      open = false;
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return (
    <div class="scrim" onClick={(event) => event.target === event.currentTarget && close.current()}>
      <div class={wide ? 'dialog wide' : 'dialog'} role="dialog" aria-modal="true" aria-labelledby={id} ref={box}>
        <h2 id={id}>{title}</h2>
        {children}
      </div>
    </div>
  );
}
