// What a container looks like wherever it is shown.

import { t } from '../i18n';
import { ds } from '../rpc';
import { pending, staleSince } from '../model/store';
import type { Container } from '../model/types';
import { complain, IconButton } from './basics';

const COLOURS: [RegExp, string][] = [
  [/debian/i, '#a80030'],
  [/ubuntu/i, '#c8410e'],
  [/alpine/i, '#0d597f'],
  [/arch/i, '#0f6d96'],
  [/fedora/i, '#294172'],
  [/suse/i, '#3d6e1c'],
  [/void/i, '#3a6150'],
  [/kali/i, '#2d4f8a'],
];

export function Glyph({ container }: { container: Container }) {
  const text = container.os ?? container.name;
  const colour = COLOURS.find(([pattern]) => pattern.test(text))?.[1] ?? '#55635b';
  return (
    <div class="glyph" style={{ background: colour }} aria-hidden="true">
      {text.charAt(0).toUpperCase()}
    </div>
  );
}

export function Pill({ container }: { container: Container }) {
  const { state, ready } = container;
  const kind = { running: 'run', failed: 'bad', stopped: 'off', frozen: 'busy' }[state as string] ?? 'busy';
  const isComing = state === 'running' && !ready;
  return <span class={`pill ${isComing ? 'busy' : kind}`}>{isComing ? t('notUp') : t(`state.${state}`)}</span>;
}

/** Runs a verb on a container; the subscription shows what comes of it. */
export async function act(name: string, ...argv: string[]): Promise<void> {
  pending.value = { ...pending.value, [name]: argv[0] ?? '' };
  try {
    await ds(...argv);
  } catch (error) {
    complain(error);
  } finally {
    pending.value = Object.fromEntries(Object.entries(pending.value).filter(([other]) => other !== name));
  }
}

export function Actions({ container }: { container: Container }) {
  const { name, state } = container;
  const verb = pending.value[name];
  const busy = verb !== undefined || container.extra.busy || staleSince.value !== null;
  const isOn = container.pid !== null || state === 'starting' || state === 'restarting';
  if (!isOn) {
    return (
      <IconButton tonal icon="play" label={t('start')} disabled={busy} onClick={() => void act(name, 'start', name)} />
    );
  }
  return (
    <>
      {state === 'frozen' ? (
        <IconButton icon="play" label={t('thaw')} disabled={busy} onClick={() => void act(name, 'thaw', name)} />
      ) : (
        <IconButton icon="pause" label={t('freeze')} disabled={busy} onClick={() => void act(name, 'freeze', name)} />
      )}
      <IconButton icon="restart" label={t('restart')} disabled={busy} onClick={() => void act(name, 'restart', name)} />
      <IconButton
        tonal
        icon="stop"
        label={t('stop')}
        disabled={verb === 'stop' || staleSince.value !== null}
        onClick={() => void act(name, 'stop', name)}
      />
    </>
  );
}
