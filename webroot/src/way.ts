// Which way to ds this page has.

import { bridge, hasBridge } from './bridge';
import { http } from './http';
import type { Transport } from './transport';

export function way(): Transport | null {
  if (hasBridge()) return bridge;
  return isLocalPage() ? http : null;
}

/** Whether `ds web` serves the page. */
export function isLocalPage(): boolean {
  return !hasBridge() && location.protocol === 'http:' && ['127.0.0.1', 'localhost'].includes(location.hostname);
}
