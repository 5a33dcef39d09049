// What a container looks like wherever it is shown.

import type { ComponentChildren } from 'preact';
import { t } from '../i18n';
import { ds } from '../rpc';
import { glyph, pill } from '../model/look';
import { heldBack, pending, staleSince } from '../model/store';
import type { Container } from '../model/types';
import { Button, complain, Empty, IconButton, Note } from './basics';
import type { IconName } from './icon';

export function Glyph({ container }: { container: Container }) {
  const { letter, colour } = glyph(container);
  return (
    <div class="glyph" style={{ background: colour }} aria-hidden="true">
      {letter}
    </div>
  );
}

export function Pill({ container }: { container: Container }) {
  const { kind, message } = pill(container);
  return <span class={`pill ${kind}`}>{t(message)}</span>;
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

/** In place of what only a running container has, with the way to make it run. */
export function NotRunning({ container, icon }: { container: Container; icon: IconName }) {
  const { name, state, pid } = container;
  const busy = pending.value[name] !== undefined || container.extra.busy || staleSince.value !== null;
  const verb = state === 'frozen' ? 'thaw' : 'start';
  return (
    <Empty icon={icon} title={state === 'frozen' ? t('state.frozen') : t('notRunning')}>
      {(state === 'frozen' || pid === null) && (
        <p class="way-out">
          <Button disabled={busy} onClick={() => void act(name, verb, name)}>
            {t(verb)}
          </Button>
        </p>
      )}
    </Empty>
  );
}

/** Why autostart does not start a container, and how to try it again. */
export function AutostartOff({ container, children }: { container: Container; children?: ComponentChildren }) {
  const { name, autostart_off: reason } = container;
  if (reason === null) return null;
  // The boot-loop guard forgets what it has seen.
  const retry = (): void => void act(name, 'set', name, 'autostart=yes');
  return (
    <Note>
      {t('autostartOff', { name, reason: reason.replace(/^autostart is off: /, '') })}
      <div class="note-actions">
        {children}
        {heldBack.value === null && (
          <button type="button" class="link" onClick={retry}>
            {t('retry')}
          </button>
        )}
      </div>
    </Note>
  );
}
