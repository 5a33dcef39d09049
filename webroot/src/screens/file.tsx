// container.ini as text. ds checks it while one types and says where a fault is.

import { useEffect, useRef, useState } from 'preact/hooks';
import { Button, complain, Loading, Note } from '../components/basics';
import { say } from '../components/snackbar';
import { t } from '../i18n';
import { useDraft } from '../model/drafts';
import { ask, DsError, ds } from '../rpc';

const PAUSE = 500;

interface Edited {
  /** The file as it was when the user began. */
  of: string;
  text: string;
}

export function FileTab({ name }: { name: string }) {
  const [saved, setSaved] = useState<string | null>(null);
  const draft = useDraft<Edited | null>(`${name}/file`, null);
  const [fault, setFault] = useState<string | null>(null);
  const timer = useRef<ReturnType<typeof setTimeout>>();
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    ds('get', name, '--file').then(({ output }) => {
      setSaved(output);
    }, complain);
    return () => clearTimeout(timer.current);
  }, [name]);
  if (saved === null) return <Loading />;
  const text = draft.value?.text ?? saved;
  const isOutdated = draft.value !== null && draft.value.of !== saved;
  const write = (value: string, ...more: string[]): Promise<unknown> =>
    ask({ argv: ['set', name, '--file', '-', ...more], input: value });
  const tell = (error: unknown): void => {
    if (!(error instanceof DsError)) return;
    const { line, column, reason, message } = error.fault;
    const place = line != null && column != null;
    setFault(place ? t('lineFault', { line, column, reason: reason ?? message }) : (reason ?? message));
  };
  const input = (value: string): void => {
    draft.change((before) => (value === saved ? null : { of: before?.of ?? saved, text: value }));
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      write(value, '--dry-run').then(() => setFault(null), tell);
    }, PAUSE);
  };
  const save = (): void => {
    write(text).then(() => {
      setSaved(text);
      draft.forget();
      setFault(null);
      say(t('saved'));
    }, tell);
  };
  return (
    <section class="file">
      <p class="quiet">{t('fileText')}</p>
      {isOutdated && <Note>{t('fileChanged')}</Note>}
      <textarea
        ref={area}
        aria-label={t('file')}
        aria-invalid={fault ? true : undefined}
        spellcheck={false}
        autocapitalize="none"
        dir="ltr"
        value={text}
        onInput={(event) => input(event.currentTarget.value)}
      />
      <p class="help fault" role="alert">
        {fault}
      </p>
      <div class="dialog-actions">
        <Button kind="text" disabled={text === saved} onClick={() => input(saved)}>
          {t('discard')}
        </Button>
        <Button kind="filled" disabled={text === saved || fault !== null} onClick={save}>
          {t('save')}
        </Button>
      </div>
    </section>
  );
}
