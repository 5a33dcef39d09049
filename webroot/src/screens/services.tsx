// The services of a container, by the tools of its init system: list, search, start, stop, enable, status, journal.

import { useEffect, useState } from 'preact/hooks';
import { AnsiReader } from '../ansi';
import { Button, Chips, complain, Empty, IconButton, Loading, Note, SearchField, sentence } from '../components/basics';
import { NotRunning } from '../components/container-parts';
import { Dialog } from '../components/dialog';
import { t } from '../i18n';
import { useSearch } from '../model/drafts';
import { command, hasJournal, listing, manager, type Manager, read, type Service, type Verb } from '../model/services';
import type { Container } from '../model/types';
import { ds } from '../rpc';

const FILTERS = ['all', 'running', 'failed', 'enabled'] as const;
type Filter = (typeof FILTERS)[number];

function fits(service: Service, filter: Filter): boolean {
  if (filter === 'all') return true;
  return filter === 'enabled' ? service.enabled === true : service.state === filter;
}

export function ServicesTab({ container }: { container: Container }) {
  const { name } = container;
  const [list, setList] = useState<Service[] | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [search, setSearch] = useSearch(`${name}/search/services`);
  const [filter, setFilter] = useState<Filter>('all');
  const [shown, setShown] = useState<string | null>(null);
  const [busy, setBusy] = useState<string | null>(null);
  const of = manager(container.init);
  const isThere = container.state === 'running' && of !== null;
  const load = async (): Promise<void> => {
    if (of === null) return;
    try {
      const { output, errors } = await ds('run', name, '--', ...listing(of));
      const services = read(of, output);
      // systemd forgets the description of a unit that has stopped.
      setList((before) => {
        const known = new Map(before?.map((one) => [one.unit, one.about]));
        return services.map((one) => ({ ...one, about: one.about || (known.get(one.unit) ?? '') }));
      });
      setFault(services.length === 0 ? errors.trim() || null : null);
    } catch (error) {
      setFault(sentence(error));
    }
  };
  useEffect(() => {
    if (isThere) void load();
  }, [name, isThere]);
  if (container.state !== 'running') return <NotRunning container={container} icon="lines" />;
  if (of === null) return <Empty icon="lines" title={t('noServices')} text={t('noServicesText')} />;
  if (fault) return <Note kind="bad">{fault}</Note>;
  if (!list) return <Loading />;
  const control = async (verb: Verb, unit: string): Promise<void> => {
    setBusy(unit);
    try {
      const { code, errors, output } = await ds('run', name, '--', ...command(of, verb, unit));
      if (code !== 0) complain(new Error((errors || output).trim() || `${verb}: ${code}`));
      await load();
    } catch (error) {
      complain(error);
    } finally {
      setBusy(null);
    }
  };
  const wanted = search.toLowerCase();
  const found = list.filter((one) => fits(one, filter) && `${one.unit} ${one.about}`.toLowerCase().includes(wanted));
  const open = list.find((one) => one.unit === shown);
  return (
    <>
      <SearchField label={t('searchServices')} value={search} onInput={setSearch} />
      <Chips
        label={t('services')}
        value={filter}
        options={FILTERS.map((one) => [one, `${t(`filter.${one}`)} ${list.filter((s) => fits(s, one)).length}`])}
        onChange={setFilter}
      />
      {found.length === 0 && <p class="quiet">{t('noServiceMatches')}</p>}
      <ul class="rows">
        {found.map((one) => (
          <Row
            key={one.unit}
            service={one}
            busy={busy === one.unit}
            onOpen={() => setShown(one.unit)}
            onControl={(verb) => void control(verb, one.unit)}
          />
        ))}
      </ul>
      {open && (
        <ServiceDialog
          container={name}
          of={of}
          service={open}
          onControl={(verb) => control(verb, open.unit)}
          onClose={() => setShown(null)}
        />
      )}
    </>
  );
}

function title(unit: string): string {
  return unit.replace(/\.service$/, '');
}

function State({ service }: { service: Service }) {
  const kind = { running: 'run', failed: 'bad', stopped: 'off', other: 'off' }[service.state];
  return <span class={`pill ${kind}`}>{service.word}</span>;
}

interface RowProps {
  service: Service;
  busy: boolean;
  onOpen: () => void;
  onControl: (verb: Verb) => void;
}

function Row({ service, busy, onOpen, onControl }: RowProps) {
  const name = title(service.unit);
  const about = [service.about, service.enabled ? t('enabled') : ''].filter(Boolean).join(' · ');
  return (
    <li class="row">
      <button type="button" class="row-open" onClick={onOpen}>
        <span class="card-title">
          <bdi class="name">{name}</bdi>
          <span class="sub">{about}</span>
        </span>
        <State service={service} />
      </button>
      {service.state === 'running' ? (
        <IconButton icon="stop" label={`${t('stop')} ${name}`} disabled={busy} onClick={() => onControl('stop')} />
      ) : (
        <IconButton
          icon="play"
          label={`${t('start')} ${name}`}
          disabled={busy || service.word === 'masked'}
          onClick={() => onControl('start')}
        />
      )}
    </li>
  );
}

interface DialogProps {
  container: string;
  of: Manager;
  service: Service;
  onControl: (verb: Verb) => Promise<void>;
  onClose: () => void;
}

function ServiceDialog({ container, of, service, onControl, onClose }: DialogProps) {
  const [view, setView] = useState<'status' | 'journal'>('status');
  const [round, setRound] = useState(0);
  const [text, setText] = useState<string | null>(null);
  useEffect(() => {
    let wanted = true;
    setText(null);
    ds('run', container, '--', ...command(of, view, service.unit)).then(
      ({ output, errors }) => wanted && setText(plain(output + errors)),
      (error: unknown) => wanted && setText(sentence(error)),
    );
    return () => {
      wanted = false;
    };
  }, [view, round]);
  const control = (verb: Verb): void => void onControl(verb).then(() => setRound((before) => before + 1));
  return (
    <Dialog title={title(service.unit)} onClose={onClose} wide>
      <div class="chips-line">
        <State service={service} />
        <span class="sub">{service.about}</span>
      </div>
      <div class="buttons">
        {service.state !== 'running' && <Button onClick={() => control('start')}>{t('start')}</Button>}
        {service.state === 'running' && <Button onClick={() => control('stop')}>{t('stop')}</Button>}
        <Button onClick={() => control('restart')}>{t('restart')}</Button>
        {service.enabled === true && <Button onClick={() => control('disable')}>{t('disable')}</Button>}
        {service.enabled === false && <Button onClick={() => control('enable')}>{t('enable')}</Button>}
      </div>
      {hasJournal(of) && (
        <Chips
          label={t('log')}
          value={view}
          options={[
            ['status', t('status')],
            ['journal', t('journal')],
          ]}
          onChange={setView}
        />
      )}
      {text === null ? (
        <Loading />
      ) : (
        <pre class="log fixed" tabIndex={0} dir="ltr" aria-label={t(view)}>
          {text.trim() === '' ? t('emptyOutput') : text}
        </pre>
      )}
      <div class="dialog-actions sticky">
        <Button kind="text" onClick={onClose}>
          {t('close')}
        </Button>
      </div>
    </Dialog>
  );
}

/** Output of a program without its control sequences. */
export function plain(output: string): string {
  return new AnsiReader()
    .read(output)
    .map((line) => line.map(({ text }) => text).join(''))
    .join('\n')
    .trimEnd();
}
