// What the user has typed and not saved: it outlives the dialog or the screen that shows it, because a back gesture
// closes these. It is kept in memory only, until the page is closed.

import { useState } from 'preact/hooks';

const drafts = new Map<string, unknown>();

export interface Draft<T> {
  value: T;
  change: (next: (before: T) => T) => void;
  /** Back to the initial value: what was typed is saved or discarded. */
  forget: () => void;
}

/** The draft of this name. A component shows one draft during its life. */
export function useDraft<T>(name: string, initial: T): Draft<T> {
  const current = (): T => (drafts.has(name) ? (drafts.get(name) as T) : initial);
  const [value, setValue] = useState(current);
  return {
    value,
    change(next) {
      const changed = next(current());
      drafts.set(name, changed);
      setValue(() => changed);
    },
    forget() {
      drafts.delete(name);
      setValue(() => initial);
    },
  };
}

/** The text of a search field. */
export function useSearch(name: string): [string, (text: string) => void] {
  const { value, change } = useDraft(name, '');
  return [value, (text) => change(() => text)];
}

/** Forgets what was typed about a container: it has another name now, or is deleted. */
export function forgetContainer(container: string): void {
  for (const name of [...drafts.keys()]) if (name.startsWith(`${container}/`)) drafts.delete(name);
}
