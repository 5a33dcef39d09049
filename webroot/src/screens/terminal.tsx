// A terminal in a container. ds holds it: it survives the page, and is found again by its id.

import { FitAddon } from '@xterm/addon-fit';
import { Terminal } from '@xterm/xterm';
import '@xterm/xterm/css/xterm.css';
import { useEffect, useRef, useState } from 'preact/hooks';
import { decodeBytes, encodeBytes } from '../base64';
import { Button, complain, IconButton } from '../components/basics';
import { t } from '../i18n';
import { back, route } from '../router';
import { ask, open, type Request } from '../rpc';

/** Bytes of keys in one request: one word of a command line holds 128 KiB. */
const MOST_KEYS = 32 * 1024;

interface Key {
  label: string;
  sends: string;
}

const KEYS: Key[] = [
  { label: 'Esc', sends: '\u001b' },
  { label: 'Tab', sends: '\t' },
  { label: 'Ctrl', sends: 'ctrl' },
  { label: 'Alt', sends: 'alt' },
  { label: '|', sends: '|' },
  { label: '/', sends: '/' },
  { label: '-', sends: '-' },
  { label: '↑', sends: '\u001b[A' },
  { label: 'Home', sends: '\u001b[H' },
  { label: 'End', sends: '\u001b[F' },
  { label: '~', sends: '~' },
  { label: '←', sends: '\u001b[D' },
  { label: '↓', sends: '\u001b[B' },
  { label: '→', sends: '\u001b[C' },
];

/** What Ctrl makes of a key. */
export function control(key: string): string {
  const code = key.toUpperCase().charCodeAt(0);
  return key.length === 1 && code >= 64 && code < 96 ? String.fromCharCode(code - 64) : key;
}

/** Sends keys in order, one request at a time: what is typed meanwhile goes together with the next one. */
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
      const pieces: Uint8Array[] = [];
      let length = 0;
      while (this.waiting[0] && length + this.waiting[0].length <= MOST_KEYS) {
        const piece = this.waiting.shift();
        if (piece) {
          pieces.push(piece);
          length += piece.length;
        }
      }
      const all = new Uint8Array(length);
      let at = 0;
      for (const piece of pieces) {
        all.set(piece, at);
        at += piece.length;
      }
      try {
        await this.send(encodeBytes(all));
      } catch (error) {
        this.waiting = [];
        this.failed(error);
      }
    }
    this.busy = false;
  }
}

/** The terminals that this page has opened, by container. */
const known = new Map<string, string>();

interface Session {
  type: (text: string) => void;
  focus: () => void;
}

async function existing(name: string): Promise<string | undefined> {
  const { document } = await ask({ terminal: { action: 'list' } });
  const all = (document?.terminals ?? []) as unknown as { id: string; name: string }[];
  return all.find((one) => one.id === known.get(name))?.id ?? all.find((one) => one.name === name)?.id;
}

export function TerminalScreen() {
  const { name } = route.value;
  const place = useRef<HTMLDivElement>(null);
  const session = useRef<Session | null>(null);
  const modifier = useRef<'ctrl' | 'alt' | null>(null);
  const [held, setHeld] = useState<'ctrl' | 'alt' | null>(null);
  const [ended, setEnded] = useState(false);
  const [round, setRound] = useState(0);
  useEffect(() => {
    if (!place.current) return;
    setEnded(false);
    const terminal = new Terminal({
      allowProposedApi: false,
      cursorBlink: !matchMedia('(prefers-reduced-motion: reduce)').matches,
      fontFamily: '"Noto Sans Mono", "Droid Sans Mono", monospace',
      fontSize: 13,
      screenReaderMode: false,
      scrollback: 5000,
      theme: { background: '#090d0b', foreground: '#d7e3da', cursor: '#97d5b4', selectionBackground: '#2f6a4f' },
    });
    const fit = new FitAddon();
    terminal.loadAddon(fit);
    terminal.open(place.current);
    fit.fit();
    let id: string | null = null;
    let seen = 0;
    let wanted = true;
    let stop: () => void = () => undefined;
    const typist = new Typist(
      (data) => (id === null ? Promise.resolve() : ask({ terminal: { action: 'input', id, data } })),
      complain,
    );
    const follow = (request: Request): void => {
      stop = open(request, {
        event(document) {
          if (document.event === 'terminal') {
            id = String(document.id);
            known.set(name, id);
          } else if (document.event === 'bytes') {
            seen = Number(document.to);
            terminal.write(decodeBytes(String(document.data)));
          } else if (document.event === 'end') {
            wanted = false;
            known.delete(name);
            setEnded(true);
          }
        },
        end(fault) {
          if (!wanted) return;
          if (fault) complain(new Error(fault.message));
          if (fault || id === null) setEnded(true);
          else follow({ terminal: { action: 'attach', id, from: seen } });
        },
      });
    };
    const size = (): { columns: number; rows: number } => ({ columns: terminal.cols, rows: terminal.rows });
    existing(name).then(
      (found) => {
        if (!wanted) return;
        if (found === undefined) {
          follow({ terminal: { action: 'open', name, ...size() } });
        } else {
          id = found;
          follow({ terminal: { action: 'attach', id, from: 0 } });
          void ask({ terminal: { action: 'resize', id, ...size() } }).catch(complain);
        }
      },
      (error: unknown) => {
        complain(error);
        setEnded(true);
      },
    );
    terminal.onData((data) => {
      const held = modifier.current;
      modifier.current = null;
      setHeld(null);
      typist.type(held === 'ctrl' ? control(data) : held === 'alt' ? `\u001b${data}` : data);
    });
    let timer: ReturnType<typeof setTimeout> | undefined;
    terminal.onResize(() => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        if (id !== null) void ask({ terminal: { action: 'resize', id, ...size() } }).catch(complain);
      }, 150);
    });
    const observer = new ResizeObserver(() => fit.fit());
    observer.observe(place.current);
    session.current = { type: (text) => typist.type(text), focus: () => terminal.focus() };
    terminal.focus();
    return () => {
      wanted = false;
      stop();
      clearTimeout(timer);
      observer.disconnect();
      terminal.dispose();
    };
  }, [name, round]);
  const press = (key: Key): void => {
    if (key.sends === 'ctrl' || key.sends === 'alt') {
      modifier.current = modifier.current === key.sends ? null : key.sends;
      setHeld(modifier.current);
    } else {
      session.current?.type(modifier.current === 'ctrl' ? control(key.sends) : key.sends);
      modifier.current = null;
      setHeld(null);
    }
    session.current?.focus();
  };
  const paste = (): void => {
    navigator.clipboard.readText().then((text) => session.current?.type(text), complain);
  };
  return (
    <div class="terminal-page">
      <div class="terminal-bar">
        <IconButton icon="back" label={t('back')} onClick={back} />
        <h1>{name}</h1>
        <Button onClick={paste}>{t('paste')}</Button>
      </div>
      <div class="terminal-place" ref={place} dir="ltr" />
      {ended && (
        <div class="terminal-ended" role="status">
          {t('terminalEnded')}
          <Button kind="filled" onClick={() => setRound(round + 1)}>
            {t('newTerminal')}
          </Button>
        </div>
      )}
      <div class="keys" role="toolbar" aria-label={t('keys')} dir="ltr">
        {KEYS.map((key) => (
          <button
            type="button"
            key={key.label}
            aria-pressed={key.sends === 'ctrl' || key.sends === 'alt' ? held === key.sends : undefined}
            onPointerDown={(event) => event.preventDefault()}
            onClick={() => press(key)}
          >
            {key.label}
          </button>
        ))}
      </div>
    </div>
  );
}
