// Terminals in a container, as tabs. ds holds them: they survive the page, and are found again.

import { useEffect, useRef, useState } from 'preact/hooks';
import { Button, complain, copyText, IconButton } from '../components/basics';
import { act } from '../components/container-parts';
import { LinkDialog } from '../components/link-dialog';
import { t } from '../i18n';
import { container, pending } from '../model/store';
import { back, route } from '../router';
import { ask } from '../rpc';
import { type Key, KEYS, type Modifier, modified } from '../terminal/keys';
import { Session, type State } from '../terminal/session';

interface Tab {
  /** Of this page: a terminal gets its id later. */
  key: number;
  id: string | null;
  user: string;
  state: State;
}

interface Known {
  id: string;
  name: string;
  user: string;
}

let keys = 0;

function tab(user: string, id: string | null): Tab {
  return { key: ++keys, id, user, state: 'open' };
}

async function existing(name: string): Promise<Known[]> {
  const { document } = await ask({ terminal: { action: 'list' } });
  const all = (document?.terminals ?? []) as unknown as Known[];
  return all.filter((one) => one.name === name).sort((a, b) => a.id.localeCompare(b.id));
}

export function TerminalScreen() {
  const { name, tab: user } = route.value;
  const [tabs, setTabs] = useState<Tab[]>([]);
  const [current, setCurrent] = useState(0);
  const [held, setHeld] = useState<Modifier | null>(null);
  const [searching, setSearching] = useState(false);
  const [link, setLink] = useState<string | null>(null);
  const sessions = useRef(new Map<number, Session>());
  const show = (one: Tab): void => {
    setTabs((all) => [...all, one]);
    setCurrent(one.key);
  };
  useEffect(() => {
    existing(name).then((found) => {
      const known = found.map((one) => tab(one.user, one.id));
      const wanted = known.find((one) => one.user === (user || 'root')) ?? tab(user || 'root', null);
      setTabs(known.includes(wanted) ? known : [...known, wanted]);
      setCurrent(wanted.key);
    }, complain);
  }, [name]);
  const active = tabs.find((one) => one.key === current);
  const session = sessions.current.get(current);
  const change = (key: number, part: Partial<Tab>): void =>
    setTabs((all) => all.map((one) => (one.key === key ? { ...one, ...part } : one)));
  const close = (one: Tab): void => {
    void sessions.current.get(one.key)?.close().catch(complain);
    const rest = tabs.filter(({ key }) => key !== one.key);
    setTabs(rest);
    if (rest.length === 0) back();
    else if (one.key === current) setCurrent(rest[rest.length - 1]?.key ?? 0);
  };
  const press = (key: Key): void => {
    if (!session) return;
    if (key.sends === 'ctrl' || key.sends === 'alt') {
      session.held = session.held === key.sends ? null : key.sends;
    } else {
      session.type(modified(session.held, key.sends));
      session.held = null;
    }
    setHeld(session.held);
    session.focus();
  };
  return (
    <main class="terminal-page">
      <div class="terminal-bar">
        <IconButton icon="back" label={t('back')} onClick={back} />
        <h1 title={name}>{name}</h1>
        <IconButton icon="search" label={t('search')} onClick={() => setSearching(!searching)} />
        <IconButton icon="copy" label={t('copy')} onClick={() => void copyText(session?.text() ?? '')} />
        <Button onClick={() => void navigator.clipboard.readText().then((text) => session?.type(text), complain)}>
          {t('paste')}
        </Button>
      </div>
      <Tabs
        tabs={tabs}
        current={current}
        onShow={setCurrent}
        onClose={close}
        onAdd={() => show(tab(active?.user ?? 'root', null))}
      />
      {searching && <Search session={session} onClose={() => setSearching(false)} />}
      <div class="terminal-places">
        {tabs.map((one) => (
          <Pane
            key={one.key}
            name={name}
            tab={one}
            isShown={one.key === current}
            onSession={(made) => (made ? sessions.current.set(one.key, made) : sessions.current.delete(one.key))}
            onChange={(part) => change(one.key, part)}
            onReleased={() => setHeld(null)}
            onLink={setLink}
          />
        ))}
      </div>
      {link !== null && <LinkDialog address={link} onClose={() => setLink(null)} />}
      {active && active.state !== 'open' && (
        <Ended
          name={name}
          state={active.state}
          onResume={() => session?.resume()}
          onNew={() => {
            setTabs((all) => all.map((one) => (one === active ? tab(active.user, null) : one)));
            setCurrent(keys);
          }}
        />
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
    </main>
  );
}

interface TabsProps {
  tabs: Tab[];
  current: number;
  onShow: (key: number) => void;
  onClose: (tab: Tab) => void;
  onAdd: () => void;
}

function Tabs({ tabs, current, onShow, onClose, onAdd }: TabsProps) {
  return (
    <div class="terminal-tabs">
      {tabs.map((one, index) => {
        const label = `${one.user} ${index + 1}`;
        return (
          <span key={one.key} class={one.key === current ? 'terminal-tab on' : 'terminal-tab'}>
            <button
              type="button"
              aria-current={one.key === current ? 'true' : undefined}
              onClick={() => onShow(one.key)}
            >
              <bdi>{label}</bdi>
            </button>
            <IconButton icon="close" label={`${t('close')} ${label}`} onClick={() => onClose(one)} />
          </span>
        );
      })}
      <IconButton icon="add" label={t('newTerminal')} onClick={onAdd} />
    </div>
  );
}

function Search({ session, onClose }: { session: Session | undefined; onClose: () => void }) {
  const [text, setText] = useState('');
  const [isFound, setFound] = useState(true);
  const find = (wanted: string, backwards: boolean): void =>
    setFound(wanted === '' || (session?.find(wanted, backwards) ?? false));
  return (
    <form
      class="terminal-search"
      onSubmit={(event) => {
        event.preventDefault();
        find(text, true);
      }}
    >
      <input
        type="search"
        aria-label={t('search')}
        placeholder={t('search')}
        aria-invalid={isFound ? undefined : true}
        autofocus
        autocapitalize="none"
        value={text}
        onInput={(event) => {
          setText(event.currentTarget.value);
          find(event.currentTarget.value, true);
        }}
      />
      <IconButton icon="upward" label={t('findPrevious')} onClick={() => find(text, true)} />
      <IconButton icon="downward" label={t('findNext')} onClick={() => find(text, false)} />
      <IconButton
        icon="close"
        label={t('close')}
        onClick={() => {
          onClose();
          session?.focus();
        }}
      />
      <span class="terminal-missing" role="status">
        {isFound ? '' : t('notFound')}
      </span>
    </form>
  );
}

interface PaneProps {
  name: string;
  tab: Tab;
  isShown: boolean;
  onSession: (session: Session | null) => void;
  onChange: (part: Partial<Tab>) => void;
  onReleased: () => void;
  onLink: (address: string) => void;
}

/** A terminal is attached when its tab is shown for the first time. */
function Pane({ name, tab, isShown, onSession, onChange, onReleased, onLink }: PaneProps) {
  const place = useRef<HTMLDivElement>(null);
  const session = useRef<Session | null>(null);
  useEffect(() => {
    if (!isShown || !place.current) return;
    if (!session.current) {
      const user = tab.user === 'root' ? null : tab.user;
      session.current = new Session(
        place.current,
        { name, user, id: tab.id },
        {
          opened: (id) => onChange({ id }),
          state: (state) => onChange({ state }),
          released: onReleased,
          // What is below the terminal says it, and offers to start the container.
          failed: (error) => isOff(name) || complain(error),
          link: onLink,
        },
      );
      onSession(session.current);
    }
    session.current.focus();
  }, [isShown]);
  useEffect(
    () => () => {
      session.current?.dispose();
      onSession(null);
    },
    [],
  );
  return <div class={isShown ? 'terminal-place' : 'terminal-place hidden'} ref={place} dir="ltr" />;
}

/** Whether a container is known not to run. */
function isOff(name: string): boolean {
  return container(name)?.pid === null;
}

interface EndedProps {
  name: string;
  state: State;
  onResume: () => void;
  onNew: () => void;
}

function Ended({ name, state, onResume, onNew }: EndedProps) {
  const mustStart = state === 'ended' && isOff(name);
  const text = { ended: t('terminalEnded'), elsewhere: t('terminalElsewhere'), lost: t('disconnected'), open: '' };
  return (
    <div class="terminal-ended" role="status">
      {mustStart ? t('notRunning') : text[state]}
      {mustStart ? (
        <Button
          kind="filled"
          disabled={pending.value[name] !== undefined}
          onClick={() => void act(name, 'start', name).then(onNew)}
        >
          {t('start')}
        </Button>
      ) : state === 'ended' ? (
        <Button kind="filled" onClick={onNew}>
          {t('newTerminal')}
        </Button>
      ) : (
        <Button kind="filled" onClick={onResume}>
          {t('showHere')}
        </Button>
      )}
    </div>
  );
}
