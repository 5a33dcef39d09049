// One container: details, log, settings, its file, its services, its data.

import { useEffect, useRef, useState } from 'preact/hooks';
import { AsOf } from '../components/as-of';
import { Button, copyText, Empty, IconButton, Loading, Note, TopBar } from '../components/basics';
import { act, Actions, AutostartOff, Glyph, Pill } from '../components/container-parts';
import { Dialog } from '../components/dialog';
import { date, size } from '../format';
import { isolated, t } from '../i18n';
import { container as find, containers, use } from '../model/store';
import type { Container } from '../model/types';
import { go, replace, route } from '../router';
import { exitText, Meters, subtitle } from './containers';
import { FileTab } from './file';
import { LogTab } from './log';
import { ProcessesTab } from './processes';
import { ServicesTab } from './services';
import { SettingsTab } from './settings';
import { StorageTab } from './storage';
import { UsersTab } from './users';

const TABS = ['overview', 'log', 'settings', 'services', 'processes', 'users', 'storage', 'file'] as const;

export function ContainerScreen() {
  const { name, tab } = route.value;
  const one = find(name);
  const current = TABS.find((known) => known === tab) ?? 'overview';
  const bar = useRef<HTMLElement>(null);
  const isThere = one !== undefined;
  useEffect(() => {
    bar.current?.querySelector('.on')?.scrollIntoView({ block: 'nearest', inline: 'center' });
  }, [current, isThere]);
  if (!one) {
    return (
      <>
        <TopBar title={name} />
        {containers.value ? <Empty icon="box" title={t('unknownContainer')} /> : <Loading />}
      </>
    );
  }
  return (
    <>
      <TopBar title={name}>
        <AsOf />
        <Pill container={one} />
      </TopBar>
      <nav class="tabs" aria-label={name} ref={bar}>
        {TABS.map((known) => (
          <button
            type="button"
            key={known}
            class={known === current ? 'tab on' : 'tab'}
            aria-current={known === current ? 'page' : undefined}
            onClick={() => replace('container', name, known)}
          >
            {t(known)}
          </button>
        ))}
      </nav>
      {current === 'overview' && <Details container={one} />}
      {current === 'log' && <LogTab key={name} name={name} />}
      {current === 'settings' && <SettingsTab key={name} container={one} />}
      {current === 'file' && <FileTab key={name} name={name} />}
      {current === 'storage' && <StorageTab key={name} container={one} />}
      {current === 'processes' && <ProcessesTab key={name} container={one} />}
      {current === 'users' && <UsersTab key={name} container={one} />}
      {current === 'services' && <ServicesTab key={name} container={one} />}
    </>
  );
}

function Details({ container: one }: { container: Container }) {
  const [killing, setKilling] = useState(false);
  const used = use.value[one.name];
  const mode = one.network?.mode;
  const network =
    mode === 'host' || mode === 'none' || mode === 'nat' || mode === 'gateway' ? t(`network.${mode}`) : mode;
  const kind = one.rootfs?.kind === 'image' ? t('rootfs.image') : t('rootfs.directory');
  const space = one.filesystem?.used != null && {
    used: size(one.filesystem.used),
    size: size(one.filesystem.size),
  };
  const exit = exitText(one);
  const login = `su -c "ds enter ${one.name}"`;
  const rows: [string, string | null | undefined][] = [
    [t('os'), one.os],
    [t('init'), one.init],
    [t('hostname'), one.hostname],
    [t('network'), network],
    [t('addresses'), one.network?.addresses.join(', ')],
    [t('processes'), used?.pids?.toString()],
    [t('rootfs'), one.rootfs && `${kind} · ${isolated(one.rootfs.path)}`],
    ['', space ? t('used', space) : null],
    [t('boots'), one.boots > 1 ? String(one.boots) : null],
    [t('lastExit'), exit && one.last_exit ? `${exit} · ${date(one.last_exit.at)}` : null],
  ];
  return (
    <>
      {one.problem && <Note kind="bad">{one.problem}</Note>}
      <AutostartOff container={one} />
      <section class="card">
        <div class="card-head">
          <Glyph container={one} />
          <span class="card-title">
            <bdi class="name">{one.name}</bdi>
            <span class="sub">{subtitle(one)}</span>
          </span>
        </div>
        {one.pid !== null && <Meters container={one} />}
        <div class="actions">
          {one.state === 'running' && (
            <IconButton icon="terminal" label={t('terminal')} onClick={() => go('terminal', one.name)} />
          )}
          <span class="space" />
          <Actions container={one} />
        </div>
      </section>
      <dl class="details">
        {rows
          .filter(([, value]) => value)
          .map(([label, value]) => (
            <div key={label}>
              <dt>{label}</dt>
              <dd>
                <bdi>{value}</bdi>
              </dd>
            </div>
          ))}
        <div>
          <dt>{t('login')}</dt>
          <dd class="command">
            <code>{login}</code>
            <IconButton icon="copy" label={t('copy')} onClick={() => void copyText(login)} />
          </dd>
        </div>
      </dl>
      {one.pid !== null && (
        <Button kind="danger" onClick={() => setKilling(true)}>
          {t('kill')}
        </Button>
      )}
      {killing && (
        <Dialog title={`${t('kill')}: ${one.name}`} onClose={() => setKilling(false)}>
          <div class="dialog-actions">
            <Button kind="text" onClick={() => setKilling(false)}>
              {t('cancel')}
            </Button>
            <Button
              kind="danger"
              onClick={() => {
                setKilling(false);
                void act(one.name, 'stop', '--kill', one.name);
              }}
            >
              {t('kill')}
            </Button>
          </div>
        </Dialog>
      )}
    </>
  );
}
