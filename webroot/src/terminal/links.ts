// Addresses in the output of a terminal: only of the web, and as they are, without what makes text look like another.

/** The address in the form that a browser would open; null if it is not one of the web. */
export function webAddress(text: string): string | null {
  try {
    const url = new URL(text);
    return url.protocol === 'http:' || url.protocol === 'https:' ? url.href : null;
  } catch {
    return null;
  }
}
