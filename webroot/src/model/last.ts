// The state that the page showed last, kept for its next start: it is on the screen before ds has answered. Only a root
// manager's app has an origin that stays; the one of `ds web` has a port that another program may get later.

import { isLocalPage } from '../way';
import type { Container } from './types';

const STORED = 'droidspaces.last';
/** Characters; more would cost a start more than it gains. */
const LONGEST = 256 * 1024;

export interface Last {
  /** Of the page that wrote it: another one may know other fields. */
  page: string;
  /** Milliseconds since 1970. */
  at: number;
  containers: Container[];
}

export function remember(containers: Container[]): void {
  if (isLocalPage()) return;
  const last: Last = { page: __DS_VERSION__, at: Date.now(), containers };
  const text = JSON.stringify(last);
  try {
    if (text.length <= LONGEST) localStorage.setItem(STORED, text);
    else localStorage.removeItem(STORED);
  } catch {
    // Without room in the storage, the next start waits for ds.
  }
}

export function recall(): Last | null {
  if (isLocalPage()) return null;
  try {
    const last = JSON.parse(localStorage.getItem(STORED) ?? 'null') as Last | null;
    return last?.page === __DS_VERSION__ && Array.isArray(last.containers) ? last : null;
  } catch {
    return null;
  }
}
