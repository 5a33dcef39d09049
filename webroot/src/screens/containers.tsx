// The overview: every container at a glance, what the machine does, and what needs attention.

import { useState } from 'preact/hooks';
import { AsOf } from '../components/as-of';
import { Empty, IconButton, Loading, Note, SearchField } from '../components/basics';
import { Bar, Chart } from '../components/chart';
import { Actions, AutostartOff, Glyph, Pill } from '../components/container-parts';
import { Icon } from '../components/icon';
import { JobCard } from '../components/job';
import { LinkDialog } from '../components/link-dialog';
import { duration } from '../duration';
import { percent, size } from '../format';
import { isolated, t } from '../i18n';
import { ofAddress, ofPort } from '../model/addresses';
import { useDraft } from '../model/drafts';
import { containers, heldBack, history, jobs, machine, running, uptime, use } from '../model/store';
import type { Container } from '../model/types';
import { go } from '../router';

export function ContainersScreen() {
  const { value: search, change } = useDraft<string | null>('search', null);
  const setSearch = (text: string | null): void => change(() => text);
  const all = containers.value;
  const wanted = (search ?? '').toLowerCase();
  const shown = all?.filter((one) => `${one.name} ${one.os ?? ''} ${one.state}`.toLowerCase().includes(wanted));
  return (
    <>
      <header class="top-bar">
        <h1>{t('title')}</h1>
        <AsOf />
        <IconButton icon="search" label={t('search')} onClick={() => setSearch(search === null ? '' : null)} />
      </header>
      {search !== null && <SearchField label={t('search')} value={search} onInput={setSearch} autofocus />}
      <Notices />
      {all && all.length > 0 && <Summary all={all.length} />}
      {jobs.value
        .filter((job) => job.state === 'running')
        .map((job) => (
          <JobCard key={job.id} job={job} />
        ))}
      {!shown && <Loading />}
      {all?.length === 0 && <Empty icon="box" title={t('noContainers')} text={t('noContainersText')} />}
      {all && all.length > 0 && shown?.length === 0 && <p class="quiet">{t('noMatch', { text: search ?? '' })}</p>}
      <div class="cards">{shown?.map((one) => <Card key={one.name} container={one} />)}</div>
      <button type="button" class="fab" onClick={() => go('create')}>
        <Icon name="add" />
        {t('newContainer')}
      </button>
    </>
  );
}

function Notices() {
  return (
    <>
      {heldBack.value && <Note>{t('heldBack', { reason: heldBack.value })}</Note>}
      {(containers.value ?? [])
        .filter((one) => one.autostart_off !== null && heldBack.value === null)
        .map((one) => (
          <AutostartOff key={one.name} container={one}>
            <button type="button" class="link" onClick={() => go('container', one.name, 'log')}>
              {t('lookAtLog')}
            </button>
          </AutostartOff>
        ))}
    </>
  );
}

function Summary({ all }: { all: number }) {
  const load = machine.value;
  return (
    <div class="summary">
      <div>
        <b>{t('runningOf', { running: running.value, all })}</b>
        <span>{t('running')}</span>
      </div>
      <div>
        <b>{load ? percent(load.cpu_percent) : '–'}</b>
        <span>{t('ofCores', { count: load?.processors ?? '–' })}</span>
      </div>
      <div>
        <b>{load ? size(load.memory) : '–'}</b>
        <span>{t('ofMemory', { size: load ? size(load.memory_total) : '–' })}</span>
      </div>
    </div>
  );
}

export function subtitle(one: Container): string {
  const up = uptime(one);
  const waits = one.waits_for === 'network' || one.waits_for === 'unlock' ? t(`waitsFor.${one.waits_for}`) : '';
  const disk = one.filesystem?.used != null && t('of', { size: size(one.filesystem.size) });
  const parts = [
    one.os ?? one.hostname ?? '',
    one.init && one.pid !== null ? one.init : '',
    up !== null ? t('up', { time: duration(up) }) : '',
    up === null && disk ? `${size(one.filesystem?.used ?? 0)} ${disk}` : '',
    waits,
  ];
  return parts.filter(Boolean).map(isolated).join(' · ');
}

function Card({ container }: { container: Container }) {
  const [link, setLink] = useState<string | null>(null);
  const { name } = container;
  const card = (
    <article class="card" aria-label={name}>
      <button
        type="button"
        class="card-head"
        onClick={() => go('container', name)}
        aria-label={t('openContainer', { name })}
      >
        <Glyph container={container} />
        <span class="card-title">
          <bdi class="name">{name}</bdi>
          <span class="sub">{subtitle(container)}</span>
        </span>
        <Pill container={container} />
      </button>
      {container.pid !== null ? <Meters container={container} /> : <Reason container={container} />}
      <Chips container={container} onLink={setLink} />
      <div class="actions">
        {container.state === 'running' && (
          <IconButton icon="terminal" label={t('terminal')} onClick={() => go('terminal', name)} />
        )}
        <IconButton icon="lines" label={t('log')} onClick={() => go('container', name, 'log')} />
        <span class="space" />
        <Actions container={container} />
      </div>
    </article>
  );
  // Not in the card, which contains its layout: the dialog covers the screen.
  return (
    <>
      {card}
      {link !== null && <LinkDialog address={link} text={t('openPortText')} onClose={() => setLink(null)} />}
    </>
  );
}

export function Meters({ container }: { container: Container }) {
  const used = use.value[container.name];
  const limit = container.extra.memory_limit ?? machine.value?.memory_total ?? null;
  return (
    <div class="meters">
      <div class="meter">
        {t('cpu')} <b>{used?.cpu_percent != null ? percent(used.cpu_percent) : '–'}</b>
        <Chart points={history.value[container.name] ?? []} />
      </div>
      <div class="meter">
        {t('memory')} <b>{used?.memory != null ? size(used.memory) : '–'}</b>
        {container.extra.memory_limit !== null && ` ${t('of', { size: size(container.extra.memory_limit) })}`}
        <Bar share={used?.memory != null && limit ? used.memory / limit : 0} label={t('memory')} />
      </div>
    </div>
  );
}

export function exitText(container: Container): string | null {
  const exit = container.last_exit;
  if (!exit) return null;
  const reason = exitReason(exit.reason, exit.code, exit.signal);
  return exit.message ? `${reason}: ${exit.message}` : reason;
}

function exitReason(reason: string, code: number | null, signal: number | null): string {
  switch (reason) {
    case 'stopped':
    case 'rebooted':
    case 'restarted':
    case 'powered-off':
    case 'exited':
    case 'killed':
    case 'start-failed':
    case 'lost':
      return t(`exit.${reason}`, { code: code ?? '?', signal: signal ?? '?' });
    default:
      return reason;
  }
}

function Reason({ container }: { container: Container }) {
  const text = container.problem ?? (container.state === 'failed' ? exitText(container) : null);
  return text ? <p class="sub reason">{text}</p> : null;
}

function Chips({ container, onLink }: { container: Container; onLink: (address: string) => void }) {
  const mode = container.network?.mode;
  const addresses = container.network?.addresses ?? [];
  const ports = (container.extra.ports ?? '').split(',').filter(Boolean);
  if (container.pid === null) return null;
  return (
    <div class="chips">
      {addresses.map((address) => (
        <AddressChip key={address} text={address} address={ofAddress(address)} onLink={onLink} />
      ))}
      {ports.map((port) => (
        <AddressChip key={port} text={port.trim()} address={ofPort(port)} onLink={onLink} />
      ))}
      {addresses.length === 0 && (mode === 'host' || mode === 'none' || mode === 'nat' || mode === 'gateway') && (
        <span class="chip">{t(`network.${mode}`)}</span>
      )}
    </div>
  );
}

interface AddressChipProps {
  text: string;
  address: string | null;
  onLink: (address: string) => void;
}

/** An address of the web to open, or text if it is none. */
function AddressChip({ text, address, onLink }: AddressChipProps) {
  if (address === null) return <bdi class="chip">{text}</bdi>;
  return (
    <button type="button" class="chip-link" onClick={() => onLink(address)}>
      <bdi class="chip">{text}</bdi>
    </button>
  );
}
