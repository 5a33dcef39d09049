// Web addresses of a container: of its own addresses, and of ports of the machine that are forwarded to it.

const PORT = /^(?:(\[[\da-f:.]+\]|\d+(?:\.\d+){3}):)?(\d+)(?::\d+)?(?:\/tcp)?$/i;
const EVERY = ['0.0.0.0', '[::]'];

/** Where a server on port 80 of a container answers; null for addresses that need an interface as well. */
export function ofAddress(address: string): string | null {
  const [bare = ''] = address.split('/');
  if (/^\d+(\.\d+){3}$/.test(bare)) return `http://${bare}/`;
  return /^[\da-f]*:[\da-f:.]*$/i.test(bare) && !/^fe[89ab]/i.test(bare) ? `http://[${bare}]/` : null;
}

/** Where a forwarded port answers on this machine; null for UDP and for ranges. */
export function ofPort(entry: string): string | null {
  const [, address, port] = PORT.exec(entry.trim()) ?? [];
  if (port === undefined) return null;
  return `http://${address === undefined || EVERY.includes(address) ? '127.0.0.1' : address}:${port}/`;
}
