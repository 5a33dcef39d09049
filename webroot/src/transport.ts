// What carries a request to ds and lines of JSON back: the bridge of a root manager's app, or `ds web`.

export interface Handlers {
  line(text: string): void;
  /** The end of the answer; `trouble` is what went wrong on the way, not what ds answered. */
  end(trouble: string | null): void;
}

export interface Transport {
  /** Whether a stream that is stopped ends at the other side, too. */
  canStop: boolean;
  /** Sends a request in base64url. Returns what ends the interest in its answer. */
  send(word: string, handlers: Handlers): () => void;
}
