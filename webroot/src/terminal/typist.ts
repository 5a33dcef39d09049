// Sends keys in order, one request at a time: what is typed meanwhile goes together with the next one.

import { encodeBytes } from '../base64';

/** Bytes of keys in one request: one word of a command line holds 128 KiB. */
const MOST_KEYS = 32 * 1024;

export class Typist {
  private waiting: Uint8Array[] = [];
  private busy = false;

  constructor(
    private readonly send: (data: string) => Promise<unknown>,
    private readonly failed: (error: unknown) => void,
  ) {}

  type(text: string): void {
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length; at += MOST_KEYS) this.waiting.push(bytes.subarray(at, at + MOST_KEYS));
    void this.work();
  }

  private async work(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    while (this.waiting.length > 0) {
      try {
        await this.send(encodeBytes(this.next()));
      } catch (error) {
        this.waiting = [];
        this.failed(error);
      }
    }
    this.busy = false;
  }

  /** As much of what waits as fits into one request. */
  private next(): Uint8Array {
    const pieces: Uint8Array[] = [];
    let length = 0;
    while (this.waiting[0] && length + this.waiting[0].length <= MOST_KEYS) {
      length += this.waiting[0].length;
      pieces.push(this.waiting[0]);
      this.waiting.shift();
    }
    const all = new Uint8Array(length);
    let at = 0;
    for (const piece of pieces) {
      all.set(piece, at);
      at += piece.length;
    }
    return all;
  }
}
