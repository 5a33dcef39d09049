// What is done with the data of a container: back up, copy, rename, resize, convert, delete. Long work is a job.

import { useState } from 'preact/hooks';
import { Button, complain, Field, sentence } from '../components/basics';
import { act } from '../components/container-parts';
import { Dialog } from '../components/dialog';
import { say } from '../components/snackbar';
import { t } from '../i18n';
import { forgetContainer, useDraft } from '../model/drafts';
import { pending } from '../model/store';
import type { Container } from '../model/types';
import { ds, job } from '../rpc';
import { go, route } from '../router';

type Action = 'export' | 'copy' | 'rename' | 'resize' | 'convert' | 'rm';

export function StorageTab({ container }: { container: Container }) {
  const [action, setAction] = useState<Action | null>(null);
  const { name } = container;
  const isImage = container.rootfs?.kind === 'image';
  const isStopped = container.pid === null && container.state !== 'starting' && !container.extra.busy;
  const rows: [Action, string, string][] = [
    ['export', t('backUp'), t('backUpText')],
    ['copy', t('copyContainer'), t('copyText')],
    ['rename', t('rename'), t('renameText')],
    ...(isImage ? ([['resize', t('resize'), t('resizeText')]] as [Action, string, string][]) : []),
    ['convert', t('convert'), isImage ? t('convertToDirectory') : t('convertToImage')],
    ['rm', t('delete'), t('deleteText')],
  ];
  return (
    <>
      {!isStopped && (
        <div class="row acting">
          <span class="card-title quiet">{t('mustStop')}</span>
          {container.pid !== null && (
            <Button disabled={pending.value[name] !== undefined} onClick={() => void act(name, 'stop', name)}>
              {t('stop')}
            </Button>
          )}
        </div>
      )}
      <ul class="rows">
        {rows.map(([id, title, text]) => (
          <li key={id} class="row acting">
            <span class="card-title">
              <span class="name">{title}</span>
              <span class="sub">{text}</span>
            </span>
            <Button kind={id === 'rm' ? 'danger' : 'tonal'} disabled={!isStopped} onClick={() => setAction(id)}>
              {title}
            </Button>
          </li>
        ))}
      </ul>
      {action && <ActionDialog action={action} container={container} onClose={() => setAction(null)} />}
    </>
  );
}

/** Leaves the page of a container that is no more, unless the user has gone elsewhere meanwhile. */
function leave(name: string): void {
  if (route.value.screen === 'container' && route.value.name === name) go('containers');
}

interface DialogProps {
  action: Action;
  container: Container;
  onClose: () => void;
}

function ActionDialog({ action, container, onClose }: DialogProps) {
  const { name } = container;
  const isImage = container.rootfs?.kind === 'image';
  const folder = navigator.userAgent.includes('Android') ? '/sdcard/Download' : '/root';
  const typed = useDraft(`${name}/${action}`, action === 'export' ? `${folder}/${name}.tar.zst` : '');
  // The confirmation of a deletion is not kept: it is typed each time.
  const [confirmed, setConfirmed] = useState('');
  const value = action === 'rm' ? confirmed : typed.value;
  const [fault, setFault] = useState<string | null>(null);
  const titles = {
    export: t('backUp'),
    copy: t('copyContainer'),
    rename: t('rename'),
    resize: t('resize'),
    convert: t('convert'),
    rm: t('delete'),
  };
  const labels = {
    export: t('targetFile'),
    copy: t('newName'),
    rename: t('newName'),
    resize: t('newSize'),
    convert: t('newSize'),
    rm: t('typeName', { name }),
  };
  const needsValue = !(action === 'convert' && isImage);
  const isReady = action === 'rm' ? value === name : !needsValue || value.trim() !== '';
  const perform = async (): Promise<void> => {
    switch (action) {
      case 'export':
        return job('export', name, '-o', value);
      case 'copy':
        return job('copy', name, value);
      case 'resize':
        return job('resize', name, value);
      case 'convert':
        return isImage ? job('convert', name, 'dir') : job('convert', name, 'image', '--size', value);
      case 'rename':
        await ds('rename', name, value);
        break;
      case 'rm':
        return job('rm', name);
    }
  };
  const submit = (): void => {
    perform().then(
      () => {
        typed.forget();
        onClose();
        if (action !== 'rename') say(t('jobStarted'));
        if (action === 'rename' || action === 'rm') {
          forgetContainer(name);
          // After the dialog has closed, which goes back in the history.
          setTimeout(() => leave(name));
        }
      },
      (error: unknown) => (needsValue ? setFault(sentence(error)) : complain(error)),
    );
  };
  return (
    <Dialog title={`${titles[action]}: ${name}`} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (isReady) submit();
        }}
      >
        {action === 'rm' && <p>{t('deleteText')}</p>}
        {needsValue && (
          <Field
            label={labels[action]}
            value={value}
            error={fault}
            onInput={(text) => {
              if (action === 'rm') setConfirmed(text);
              else typed.change(() => text);
              setFault(null);
            }}
          />
        )}
        <div class="dialog-actions">
          <Button
            kind="text"
            onClick={() => {
              typed.forget();
              onClose();
            }}
          >
            {t('cancel')}
          </Button>
          <Button type="submit" kind={action === 'rm' ? 'danger' : 'filled'} disabled={!isReady}>
            {titles[action]}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
