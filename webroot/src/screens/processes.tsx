// What runs in a container: by use, and with signals. It is read while it is shown, and never otherwise.

import { useEffect, useRef, useState } from 'preact/hooks';
import { Button, Chips, complain, Loading, Note, SearchField, sentence } from '../components/basics';
import { NotRunning } from '../components/container-parts';
import { Dialog } from '../components/dialog';
import { say } from '../components/snackbar';
import { percent, size } from '../format';
import { t } from '../i18n';
import { useSearch } from '../model/drafts';
import { listing, type Process, read, type Reading, signal } from '../model/processes';
import type { Container } from '../model/types';
import { ds } from '../rpc';

const INTERVAL = 4000;
/** Rows that are drawn at most; the search narrows the list down. */
const MOST = 200;
type Order = 'cpu' | 'memory' | 'pid';
const SIGNALS = ['TERM', 'HUP', 'INT', 'USR1', 'STOP', 'CONT', 'KILL'] as const;

export function sorted(processes: Process[], order: Order): Process[] {
  const value = ({ cpu, memory, pid }: Process): number => ({ cpu: -(cpu ?? 0), memory: -memory, pid })[order];
  return [...processes].sort((a, b) => value(a) - value(b) || a.pid - b.pid);
}

export function ProcessesTab({ container }: { container: Container }) {
  const { name } = container;
  const [reading, setReading] = useState<Reading | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [search, setSearch] = useSearch(`${name}/search/processes`);
  const [order, setOrder] = useState<Order>('cpu');
  const [chosen, setChosen] = useState<Process | null>(null);
  const last = useRef<Reading | null>(null);
  const isThere = container.state === 'running';
  useEffect(() => {
    if (!isThere) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let wanted = true;
    setFault(null);
    const look = async (): Promise<void> => {
      try {
        if (!document.hidden) {
          const { output } = await ds('run', name, '--', ...listing);
          last.current = read(output, last.current);
          if (wanted) setReading(last.current);
        }
      } catch (error) {
        if (wanted) setFault(sentence(error));
        return;
      }
      // The second reading follows soon: only then is the use of the processor known.
      if (wanted)
        timer = setTimeout(
          () => void look(),
          last.current?.processes.some((one) => one.cpu !== null) ? INTERVAL : 1000,
        );
    };
    void look();
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, [name, isThere]);
  if (!isThere) return <NotRunning container={container} icon="lines" />;
  if (fault) return <Note kind="bad">{fault}</Note>;
  if (!reading) return <Loading />;
  const wanted = search.toLowerCase();
  const found = sorted(reading.processes, order).filter((one) =>
    `${one.pid} ${one.user} ${one.command}`.toLowerCase().includes(wanted),
  );
  return (
    <>
      <SearchField label={t('searchProcesses')} value={search} onInput={setSearch} />
      <Chips
        label={t('sortBy')}
        value={order}
        options={[
          ['cpu', t('cpu')],
          ['memory', t('memory')],
          ['pid', 'PID'],
        ]}
        onChange={setOrder}
      />
      <ul class="rows">
        {found.slice(0, MOST).map((one) => (
          <li key={one.pid}>
            <button type="button" class="row choice" onClick={() => setChosen(one)}>
              <span class="card-title">
                <bdi class="name one-line" dir="ltr">
                  {one.command}
                </bdi>
                <span class="sub">
                  {one.pid} · <bdi>{one.user}</bdi>
                </span>
              </span>
              <span class="numbers">
                <b>{one.cpu === null ? '–' : percent(one.cpu)}</b>
                <span class="sub">{size(one.memory)}</span>
              </span>
            </button>
          </li>
        ))}
      </ul>
      {found.length > MOST && <p class="quiet">{t('moreEntries', { count: found.length - MOST })}</p>}
      {chosen && <SignalDialog container={name} process={chosen} onClose={() => setChosen(null)} />}
    </>
  );
}

interface SignalProps {
  container: string;
  process: Process;
  onClose: () => void;
}

function SignalDialog({ container, process, onClose }: SignalProps) {
  const [name, setName] = useState<(typeof SIGNALS)[number]>('TERM');
  const send = (): void => {
    ds('run', container, '--', ...signal(name, process)).then(({ code, errors }) => {
      if (code === 0) say(t('signalSent', { signal: name, pid: process.pid }));
      else complain(new Error(errors.trim() || t('processEnded')));
    }, complain);
    onClose();
  };
  return (
    <Dialog title={t('process', { pid: process.pid })} onClose={onClose}>
      <pre class="command" dir="ltr">
        {process.command}
      </pre>
      {process.pid === 1 ? (
        <p>{t('processOne')}</p>
      ) : (
        <Chips label={t('signal')} value={name} options={SIGNALS.map((one) => [one, one])} onChange={setName} />
      )}
      <div class="dialog-actions">
        <Button kind="text" onClick={onClose}>
          {t('close')}
        </Button>
        {process.pid !== 1 && (
          <Button kind={name === 'KILL' ? 'danger' : 'filled'} onClick={send}>
            {t('sendSignal')}
          </Button>
        )}
      </div>
    </Dialog>
  );
}
