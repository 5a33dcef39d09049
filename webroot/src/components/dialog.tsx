// A dialog above the page. The back gesture, Escape and a tap beside it close it.

import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { overlay } from '../router';

interface Props {
  title: string;
  onClose: () => void;
  /** Uses the height of the screen, for lists. */
  wide?: boolean;
  children: ComponentChildren;
}

let count = 0;

export function Dialog({ title, onClose, wide = false, children }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const close = useRef<() => void>(onClose);
  const id = useRef(`dialog-${++count}`).current;
  useEffect(() => {
    const before = document.activeElement;
    let open = true;
    const leave = overlay(() => {
      if (!open) return;
      open = false;
      onClose();
    });
    close.current = leave;
    const first = box.current?.querySelector<HTMLElement>('input, textarea, button');
    first?.focus();
    return () => {
      // Its entry in the history is left later: by then, the user may have opened the next dialog.
      if (open) leave();
      open = false;
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  const keys = (event: KeyboardEvent): void => {
    if (event.key === 'Escape') close.current();
    // A dialog may be inside a form, which Enter in its search field must not submit.
    const { target } = event;
    if (event.key === 'Enter' && target instanceof HTMLInputElement && target.type === 'search') event.preventDefault();
    if (event.key !== 'Tab' || !box.current) return;
    const stops = [...box.current.querySelectorAll<HTMLElement>('input, select, textarea, button:not([disabled])')];
    const edge = event.shiftKey ? stops[0] : stops[stops.length - 1];
    if (document.activeElement === edge) {
      event.preventDefault();
      (event.shiftKey ? stops[stops.length - 1] : stops[0])?.focus();
    }
  };
  return (
    <div class="scrim" onClick={(event) => event.target === event.currentTarget && close.current()} onKeyDown={keys}>
      <div class={wide ? 'dialog wide' : 'dialog'} role="dialog" aria-modal="true" aria-labelledby={id} ref={box}>
        <h2 id={id}>{title}</h2>
        {children}
      </div>
    </div>
  );
}
