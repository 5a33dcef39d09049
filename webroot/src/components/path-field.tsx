// A path of the machine: typed, or found with the file chooser.

import { useState } from 'preact/hooks';
import { t } from '../i18n';
import { Field, type FieldProps, IconButton } from './basics';
import { Chooser, type Wanted } from './chooser';

interface Props extends FieldProps {
  wanted: Wanted;
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
