// One terminal: xterm.js on a shell that ds holds. It attaches again when the way to ds was interrupted, and lets go
// when another page takes the terminal over.

import { FitAddon } from '@xterm/addon-fit';
import { SearchAddon } from '@xterm/addon-search';
import { WebLinksAddon } from '@xterm/addon-web-links';
import { Terminal } from '@xterm/xterm';
import '@xterm/xterm/css/xterm.css';
import { decodeBytes } from '../base64';
import { ask, type Document, type Fault, open, type Request } from '../rpc';
import { type Modifier, modified } from './keys';
import { webAddress } from './links';
import { Typist } from './typist';

const STORED = 'droidspaces.terminal.size';
const SIZES = { least: 8, usual: 13, most: 32 };
/** Milliseconds between attempts to attach again. */
const PAUSES = [200, 1000, 3000, 5000, 5000];
/** What a resize waits for more of. */
const SETTLED = 150;

export type State = 'open' | 'ended' | 'elsewhere' | 'lost';

export interface Wish {
  name: string;
  user: string | null;
  /** An existing terminal, or null for a new one. */
  id: string | null;
}

export interface Events {
  opened(id: string): void;
  state(state: State): void;
  released(): void;
  failed(error: unknown): void;
  /** The user has touched an address of the web. */
  link(address: string): void;
}

function storedSize(): number {
  const size = Number(localStorage.getItem(STORED));
  return size >= SIZES.least && size <= SIZES.most ? size : SIZES.usual;
}

export class Session {
  held: Modifier | null = null;
  private readonly terminal: Terminal;
  private readonly fit = new FitAddon();
  private readonly search = new SearchAddon();
  private readonly observer: ResizeObserver;
  private readonly typist: Typist;
  private id: string | null;
  private seen = 0;
  private attempts = 0;
  private wanted = true;
  private stop: () => void = () => undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private pinch: { distance: number; size: number } | null = null;

  constructor(
    private readonly place: HTMLElement,
    private readonly wish: Wish,
    private readonly events: Events,
  ) {
    this.id = wish.id;
    this.terminal = new Terminal({
      cursorBlink: !matchMedia('(prefers-reduced-motion: reduce)').matches,
      fontFamily: '"Noto Sans Mono", "Droid Sans Mono", monospace',
      fontSize: storedSize(),
      scrollback: 5000,
      // Of programs that mark text as a link. The default of xterm.js opens it in this window.
      linkHandler: { activate: (_event, text) => this.touch(text) },
      theme: { background: '#090d0b', foreground: '#d7e3da', cursor: '#97d5b4', selectionBackground: '#2f6a4f' },
    });
    this.terminal.loadAddon(this.fit);
    this.terminal.loadAddon(this.search);
    this.terminal.loadAddon(new WebLinksAddon((_event, text) => this.touch(text)));
    this.terminal.open(place);
    this.fit.fit();
    this.typist = new Typist(
      (data) => (this.id === null ? Promise.resolve() : this.request({ action: 'input', data })),
      (error) => events.failed(error),
    );
    this.terminal.onData((data) => {
      this.typist.type(modified(this.held, data));
      this.held = null;
      events.released();
    });
    this.terminal.onResize(() => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.tellSize(), SETTLED);
    });
    this.observer = new ResizeObserver(() => this.refit());
    this.observer.observe(place);
    this.listenToZoom();
    this.begin();
  }

  type(text: string): void {
    this.typist.type(text);
  }

  focus(): void {
    this.terminal.focus();
  }

  /** What is selected, or everything that is seen. */
  text(): string {
    const selected = this.terminal.getSelection();
    if (selected) return selected;
    const { active } = this.terminal.buffer;
    const rows = Array.from({ length: this.terminal.rows }, (_, row) => active.getLine(active.viewportY + row));
    return rows
      .map((row) => row?.translateToString(true) ?? '')
      .join('\n')
      .trimEnd();
  }

  /** Shows the next match, or the one before; whether there is one. */
  find(text: string, backwards: boolean): boolean {
    return backwards ? this.search.findPrevious(text) : this.search.findNext(text);
  }

  zoom(size: number): void {
    const fitting = Math.max(SIZES.least, Math.min(SIZES.most, Math.round(size)));
    if (fitting === this.terminal.options.fontSize) return;
    this.terminal.options.fontSize = fitting;
    localStorage.setItem(STORED, String(fitting));
    this.refit();
  }

  get size(): number {
    return this.terminal.options.fontSize ?? SIZES.usual;
  }

  /** Attaches again, after another page had the terminal or the way to ds was lost. */
  resume(): void {
    this.attempts = 0;
    this.begin();
  }

  /** Ends the shell. */
  async close(): Promise<void> {
    if (this.id !== null) await this.request({ action: 'close' });
  }

  dispose(): void {
    this.wanted = false;
    this.stop();
    clearTimeout(this.timer);
    this.observer.disconnect();
    this.terminal.dispose();
  }

  private touch(text: string): void {
    const address = webAddress(text);
    if (address !== null) this.events.link(address);
  }

  private request(terminal: Document): Promise<unknown> {
    return ask({ terminal: { ...terminal, id: this.id } });
  }

  private begin(): void {
    this.events.state('open');
    if (this.id === null) {
      const { name, user } = this.wish;
      const who = user === null ? {} : { user };
      this.follow({ terminal: { action: 'open', name, ...who, ...this.dimensions() } });
    } else {
      this.follow({ terminal: { action: 'attach', id: this.id, from: this.seen } });
      this.tellSize();
    }
  }

  private follow(request: Request): void {
    this.stop = open(request, {
      event: (document) => this.hear(document),
      end: (fault) => this.interrupted(fault),
    });
  }

  private hear(document: Document): void {
    if (document.event === 'terminal') {
      this.id = String(document.id);
      this.events.opened(this.id);
    } else if (document.event === 'bytes') {
      this.attempts = 0;
      this.seen = Number(document.to);
      this.terminal.write(decodeBytes(String(document.data)));
    } else if (document.event === 'end') {
      this.wanted = false;
      this.events.state('ended');
    }
  }

  private interrupted(fault: Fault | null): void {
    if (!this.wanted) return;
    if (fault === null) {
      // The stream has ended in order, and the shell has not: another page shows it now.
      this.events.state('elsewhere');
      return;
    }
    const pause = fault.code === 'unreachable' && this.id !== null ? PAUSES[this.attempts++] : undefined;
    if (pause === undefined) {
      this.events.failed(new Error(fault.message));
      this.events.state(fault.code === 'unreachable' ? 'lost' : 'ended');
    } else {
      setTimeout(() => {
        if (this.wanted) this.begin();
      }, pause);
    }
  }

  private dimensions(): { columns: number; rows: number } {
    return { columns: this.terminal.cols, rows: this.terminal.rows };
  }

  private tellSize(): void {
    if (this.id === null || !this.wanted) return;
    void this.request({ action: 'resize', ...this.dimensions() }).catch(() => undefined);
  }

  /** A tab that is not seen has no size. */
  private refit(): void {
    if (this.place.clientHeight > 0) this.fit.fit();
  }

  private listenToZoom(): void {
    const distance = ({ touches }: TouchEvent): number => {
      const [a, b] = [touches[0], touches[1]];
      return a && b ? Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) : 0;
    };
    const { place } = this;
    place.addEventListener('touchstart', (event) => {
      this.pinch = event.touches.length === 2 ? { distance: distance(event), size: this.size } : null;
    });
    place.addEventListener(
      'touchmove',
      (event) => {
        if (!this.pinch || event.touches.length !== 2) return;
        event.preventDefault();
        this.zoom((this.pinch.size * distance(event)) / this.pinch.distance);
      },
      { passive: false },
    );
    place.addEventListener('touchend', () => (this.pinch = null));
    place.addEventListener(
      'wheel',
      (event) => {
        if (!event.ctrlKey) return;
        event.preventDefault();
        this.zoom(this.size - Math.sign(event.deltaY));
      },
      { passive: false },
    );
  }
}
