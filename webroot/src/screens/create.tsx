// A new container in three steps: where its system comes from, what it is called, and a summary before anything is done.

import { useEffect, useState } from 'preact/hooks';
import { Button, complain, Field, Loading, Note, SearchField, sentence, TopBar } from '../components/basics';
import { PathField } from '../components/path-field';
import { Icon, type IconName } from '../components/icon';
import { say } from '../components/snackbar';
import { size as shownSize } from '../format';
import { t } from '../i18n';
import { useDraft, useSearch } from '../model/drafts';
import { container as find } from '../model/store';
import type { Image } from '../model/types';
import { go } from '../router';
import { ask, ds } from '../rpc';

type Kind = 'catalogue' | 'archive' | 'directory' | 'image' | 'backup';

export const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$/;

interface Draft {
  kind: Kind | null;
  from: string;
  name: string;
  size: string;
  autostart: boolean;
  user: string;
  password: string;
  sshKey: string;
}

const EMPTY: Draft = {
  kind: null,
  from: '',
  name: '',
  size: '8G',
  autostart: false,
  user: '',
  password: '',
  sshKey: '',
};

/** The command line that a draft is. It has no password: ds reads that from its standard input. */
export function commandLine({ kind, from, name, size, autostart, user, password, sshKey }: Draft): string[] {
  if (kind === 'backup') return ['import', from, name];
  const option = kind === 'directory' ? '--rootfs' : kind === 'image' ? '--image' : '--from';
  const unpacks = option === '--from';
  return [
    'create',
    name,
    option,
    from,
    ...(unpacks && size ? ['--size', size] : []),
    ...(autostart ? ['--set', 'autostart=yes'] : []),
    ...(user ? ['--user', user] : []),
    ...(password ? ['--password-file', '-'] : []),
    ...(sshKey ? ['--ssh-key', sshKey] : []),
  ];
}

const KINDS: [Kind, IconName][] = [
  ['catalogue', 'down'],
  ['archive', 'box'],
  ['directory', 'folder'],
  ['image', 'device'],
  ['backup', 'copy'],
];

export function CreateScreen() {
  const { value: draft, change: set, forget } = useDraft('create', EMPTY);
  const change = (part: Partial<Draft>): void => set((before) => ({ ...before, ...part }));
  return (
    <>
      <TopBar title={t('newContainer')} />
      {draft.kind === null && <SourceStep onChoose={(kind) => change({ kind, from: '' })} />}
      {draft.kind === 'catalogue' && !draft.from && (
        <CatalogueStep
          onBack={() => change({ kind: null })}
          onChoose={(image) =>
            change({ from: image.name, name: draft.name || image.distribution.replace(/[^a-z0-9]/g, '') })
          }
        />
      )}
      {draft.kind !== null && (draft.kind !== 'catalogue' || draft.from) && (
        <DetailsStep draft={draft} change={change} forget={forget} />
      )}
    </>
  );
}

function kindTexts(kind: Kind): [string, string] {
  switch (kind) {
    case 'catalogue':
      return [t('fromCatalogue'), t('fromCatalogueText')];
    case 'archive':
      return [t('fromArchive'), t('fromArchiveText')];
    case 'directory':
      return [t('fromDirectory'), t('fromDirectoryText')];
    case 'image':
      return [t('fromImage'), t('fromImageText')];
    case 'backup':
      return [t('fromBackup'), t('fromBackupText')];
  }
}

function SourceStep({ onChoose }: { onChoose: (kind: Kind) => void }) {
  return (
    <>
      <h2>{t('source')}</h2>
      <ul class="rows">
        {KINDS.map(([kind, icon]) => {
          const [title, text] = kindTexts(kind);
          return (
            <li key={kind}>
              <button type="button" class="row choice" onClick={() => onChoose(kind)}>
                <Icon name={icon} />
                <span class="card-title">
                  <span class="name">{title}</span>
                  <span class="sub">{text}</span>
                </span>
              </button>
            </li>
          );
        })}
      </ul>
    </>
  );
}

/** Rows that are drawn at most; the search narrows the list down. */
const MOST = 80;

function CatalogueStep({ onChoose, onBack }: { onChoose: (image: Image) => void; onBack: () => void }) {
  const [images, setImages] = useState<Image[] | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [search, setSearch] = useSearch('catalogue');
  const load = (): void => {
    setFault(null);
    ds('images').then(
      ({ document }) => setImages((document?.images ?? []) as unknown as Image[]),
      (error: unknown) => setFault(sentence(error)),
    );
  };
  useEffect(load, []);
  if (fault) {
    return (
      <>
        <Note kind="bad">{fault}</Note>
        <div class="dialog-actions">
          <Button kind="text" onClick={onBack}>
            {t('back')}
          </Button>
          <Button onClick={load}>{t('retry')}</Button>
        </div>
      </>
    );
  }
  if (!images) return <Loading />;
  const words = search.toLowerCase().split(/\s+/);
  const fits = (image: Image): boolean => {
    const text = `${image.name} ${image.aliases.join(' ')} ${image.variant}`.toLowerCase();
    return words.every((word) => text.includes(word));
  };
  const shown = images.filter(fits);
  return (
    <>
      <SearchField label={t('searchImages')} value={search} onInput={setSearch} autofocus />
      {shown.length === 0 && <p class="quiet">{t('noImages')}</p>}
      <ul class="rows">
        {shown.slice(0, MOST).map((image) => (
          <li key={image.name}>
            <button type="button" class="row choice" onClick={() => onChoose(image)}>
              <span class="card-title">
                <bdi class="name">{image.name}</bdi>
                <span class="sub">
                  {[image.aliases.join(', '), image.build, image.size === null ? '' : shownSize(image.size)]
                    .filter(Boolean)
                    .join(' · ')}
                </span>
              </span>
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}

interface StepProps {
  draft: Draft;
  change: (part: Partial<Draft>) => void;
}

function LoginFields({ draft, change }: StepProps) {
  return (
    <>
      <Field
        label={t('loginUser')}
        value={draft.user}
        help={t('loginUserText')}
        onInput={(user) => change({ user: user.trim() })}
      />
      <Field
        label={t('password')}
        value={draft.password}
        help={t('passwordText')}
        secret
        onInput={(password) => change({ password })}
      />
      <Field
        label={t('sshKey')}
        value={draft.sshKey}
        placeholder="ssh-ed25519 …"
        help={t('sshKeyText')}
        onInput={(sshKey) => change({ sshKey: sshKey.trim() })}
      />
    </>
  );
}

interface DetailsProps extends StepProps {
  forget: () => void;
}

function DetailsStep({ draft, change, forget }: DetailsProps) {
  const [fault, setFault] = useState<string | null>(null);
  const { kind, from, name, size, autostart } = draft;
  if (kind === null) return null;
  const unpacks = kind === 'catalogue' || kind === 'archive';
  const nameFault = name && !NAME.test(name) ? t('nameRule') : find(name) ? t('nameTaken') : null;
  const isReady = NAME.test(name) && !nameFault && from.trim() !== '';
  const begin = (): void => {
    const isLong = unpacks || kind === 'backup';
    const input = draft.password && kind !== 'backup' ? { input: `${draft.password}\n` } : {};
    const made = ask({ argv: commandLine(draft), ...input, ...(isLong ? { job: true } : {}) });
    made.then(
      () => {
        forget();
        if (isLong) say(t('jobStarted'));
        go('containers');
      },
      (error: unknown) => {
        setFault(sentence(error));
        complain(error);
      },
    );
  };
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (isReady) begin();
      }}
    >
      <h2>{kindTexts(kind)[0]}</h2>
      {kind === 'catalogue' ? (
        <div class="row">
          <span class="card-title">
            <bdi class="name">{from}</bdi>
          </span>
          <Button kind="text" onClick={() => change({ from: '' })}>
            {t('back')}
          </Button>
        </div>
      ) : (
        <PathField
          label={t('path')}
          value={from}
          placeholder="/data/media/0/Download/…"
          wanted={kind === 'directory' ? 'directory' : kind === 'image' ? 'image' : 'file'}
          onInput={(text) => {
            change({ from: text });
            setFault(null);
          }}
        />
      )}
      <Field
        label={t('name')}
        value={name}
        help={t('nameRule')}
        error={nameFault}
        onInput={(text) => change({ name: text })}
      />
      {unpacks && (
        <fieldset class="field">
          <legend>{t('storageKind')}</legend>
          <label class="option">
            <input type="radio" name="form" checked={size === ''} onChange={() => change({ size: '' })} />{' '}
            {t('asDirectory')}
          </label>
          <label class="option">
            <input type="radio" name="form" checked={size !== ''} onChange={() => change({ size: '8G' })} />{' '}
            {t('asImage')}
          </label>
          {size !== '' && <Field label={t('newSize')} value={size} onInput={(text) => change({ size: text || ' ' })} />}
        </fieldset>
      )}
      {kind !== 'backup' && <LoginFields draft={draft} change={change} />}
      {kind !== 'backup' && (
        <div class="field switch-field">
          <label for="autostart">{t('autostart')}</label>
          <input
            id="autostart"
            type="checkbox"
            role="switch"
            class="switch"
            checked={autostart}
            onChange={(event) => change({ autostart: event.currentTarget.checked })}
          />
          <div class="help">{t('autostartText')}</div>
        </div>
      )}
      <h2>{t('summary')}</h2>
      <pre class="command" dir="ltr">
        ds
        {commandLine({ ...draft, name: name || '…', from: from || '…' }).map((word) => (
          <>
            {' '}
            <span>{word}</span>
          </>
        ))}
      </pre>
      {fault && <Note kind="bad">{fault}</Note>}
      <div class="dialog-actions">
        <Button kind="text" onClick={() => change({ kind: null, from: '' })}>
          {t('back')}
        </Button>
        <Button type="submit" kind="filled" disabled={!isReady}>
          {t('create')}
        </Button>
      </div>
    </form>
  );
}
