// Services of a container with systemd: list, search, start, stop, restart.

import { useEffect, useState } from 'preact/hooks';
import { complain, IconButton, Loading, SearchField, sentence } from '../components/basics';
import { t } from '../i18n';
import type { Container } from '../model/types';
import { ds } from '../rpc';

export interface Service {
  unit: string;
  active: string;
  sub: string;
  about: string;
}

/** The lines of `systemctl list-units --plain --no-legend`. */
export function services(output: string): Service[] {
  const rows = output.split('\n').map((line) => line.trim().split(/\s+/));
  return rows
    .filter(([unit]) => unit?.endsWith('.service'))
    .map(([unit = '', , active = '', sub = '', ...about]) => ({ unit, active, sub, about: about.join(' ') }));
}

export function ServicesTab({ container }: { container: Container }) {
  const { name } = container;
  const [list, setList] = useState<Service[] | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [search, setSearch] = useState('');
  const isThere = container.state === 'running' && container.init === 'systemd';
  const load = (): void => {
    const words = ['list-units', '--type=service', '--all', '--plain', '--no-legend', '--no-pager'];
    ds('run', name, '--', 'systemctl', ...words).then(
      ({ output }) => setList(services(output)),
      (error: unknown) => setFault(sentence(error)),
    );
  };
  useEffect(() => {
    if (isThere) load();
  }, [name, isThere]);
  if (!isThere) return <p class="quiet">{t('noServices')}</p>;
  if (fault) return <p class="quiet">{fault}</p>;
  if (!list) return <Loading />;
  const control = (verb: string, unit: string): void => {
    ds('run', name, '--', 'systemctl', verb, '--', unit).then(({ code, errors }) => {
      if (code !== 0) complain(new Error(errors.trim()));
      load();
    }, complain);
  };
  const wanted = search.toLowerCase();
  const shown = list.filter((one) => `${one.unit} ${one.about}`.toLowerCase().includes(wanted));
  return (
    <>
      <SearchField label={t('searchServices')} value={search} onInput={setSearch} />
      <ul class="rows">
        {shown.map((one) => (
          <li key={one.unit} class="row">
            <span class="card-title">
              <bdi class="name">{one.unit.replace(/\.service$/, '')}</bdi>
              <span class="sub">{one.about}</span>
            </span>
            <span class={`pill ${one.active === 'active' ? 'run' : one.active === 'failed' ? 'bad' : 'off'}`}>
              {one.sub}
            </span>
            {one.active === 'active' ? (
              <>
                <IconButton
                  icon="restart"
                  label={`${t('restart')} ${one.unit}`}
                  onClick={() => control('restart', one.unit)}
                />
                <IconButton icon="stop" label={`${t('stop')} ${one.unit}`} onClick={() => control('stop', one.unit)} />
              </>
            ) : (
              <IconButton icon="play" label={`${t('start')} ${one.unit}`} onClick={() => control('start', one.unit)} />
            )}
          </li>
        ))}
      </ul>
    </>
  );
}
