// A path of the machine: typed, or found with the file chooser.

import { useState } from 'preact/hooks';
import type { ComponentChildren } from 'preact';
import { t } from '../i18n';
import { Field, IconButton } from './basics';
import { Chooser, type Wanted } from './chooser';

interface Props {
  label: string;
  value: string;
  wanted: Wanted;
  placeholder?: string;
  help?: ComponentChildren;
  error?: string | null;
  onInput: (value: string) => void;
}

export function PathField({ wanted, ...field }: Props) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <Field {...field} button={<IconButton icon="folder" label={t('browse')} onClick={() => setOpen(true)} />} />
      {open && (
        <Chooser
          title={wanted === 'directory' ? t('chooseDirectory') : t('chooseFile')}
          wanted={wanted}
          value={field.value}
          onChoose={field.onInput}
          onClose={() => setOpen(false)}
        />
      )}
    </>
  );
}
