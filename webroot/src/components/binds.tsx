// The bind mounts of a container as rows: a directory of the machine, by the chooser, and where it appears.

import { useState } from 'preact/hooks';
import { t } from '../i18n';
import { type Bind, read, suggestion, write } from '../model/binds';
import { Button, Field, IconButton, IniKey, Prose } from './basics';
import { Chooser } from './chooser';

interface Props {
  label: string;
  code: string;
  value: string;
  about: string;
  fault: string | null;
  onChange: (value: string) => void;
}

export function BindsField({ label, code, value, about, fault, onChange }: Props) {
  const [choosing, setChoosing] = useState<number | null>(null);
  const binds = read(value);
  const change = (at: number, part: Partial<Bind>): void =>
    onChange(write(binds.map((bind, index) => (index === at ? { ...bind, ...part } : bind))));
  const choose = (source: string): void => {
    if (choosing === null) return;
    if (choosing === binds.length) {
      onChange(write([...binds, { source, target: suggestion(source), options: [] }]));
    } else {
      change(choosing, { source });
    }
  };
  return (
    <fieldset class="field binds">
      <legend>{label}</legend>
      <IniKey name={code} />
      <div class={fault ? 'help fault' : 'help'} aria-live="polite">
        {fault ?? <Prose text={about} />}
      </div>
      {binds.map((bind, at) => (
        <div class="bind" key={at}>
          <Field
            label={t('bindSource')}
            value={bind.source}
            onInput={(source) => change(at, { source })}
            button={<IconButton icon="folder" label={t('browse')} onClick={() => setChoosing(at)} />}
          />
          <Field label={t('bindTarget')} value={bind.target} onInput={(target) => change(at, { target })} />
          <div class="bind-row">
            <label class="option">
              <input
                type="checkbox"
                checked={bind.options.includes('ro')}
                onChange={(event) => {
                  const others = bind.options.filter((option) => option !== 'ro' && option !== 'rw');
                  change(at, { options: event.currentTarget.checked ? ['ro', ...others] : others });
                }}
              />
              {t('readOnly')}
            </label>
            <IconButton
              icon="trash"
              label={`${t('remove')} ${bind.source}`}
              onClick={() => onChange(write(binds.filter((_, index) => index !== at)))}
            />
          </div>
        </div>
      ))}
      <Button onClick={() => setChoosing(binds.length)}>{t('addBind')}</Button>
      {choosing !== null && (
        <Chooser
          title={t('chooseDirectory')}
          wanted="any"
          value={binds[choosing]?.source ?? ''}
          onChoose={choose}
          onClose={() => setChoosing(null)}
        />
      )}
    </fieldset>
  );
}
