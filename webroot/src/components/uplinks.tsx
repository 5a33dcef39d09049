// The way out of a container: a word, or interfaces of this machine in the order in which they are tried.

import { useEffect, useState } from 'preact/hooks';
import { t } from '../i18n';
import type { Listing } from '../model/types';
import { chosen, offered, toggled, WORDS } from '../model/uplinks';
import { ask } from '../rpc';
import { complain, Field, type FieldProps } from './basics';

export function UplinksField(props: FieldProps) {
  const [names, setNames] = useState<string[]>([]);
  const { value, onInput } = props;
  const load = (): void => {
    ask({ directory: '/sys/class/net' }).then(({ document }) => {
      const listing = document as unknown as Listing;
      setNames(listing.entries.map((entry) => entry.name));
    }, complain);
  };
  useEffect(() => {
    load();
    // Interfaces come and go while the user is in the settings of the phone.
    const look = (): void => {
      if (!document.hidden) load();
    };
    document.addEventListener('visibilitychange', look);
    return () => document.removeEventListener('visibilitychange', look);
  }, []);
  const inUse = chosen(value);
  const position = (name: string): number => inUse.indexOf(name) + 1;
  return (
    <fieldset class="field">
      <legend>{t('interfacesFound')}</legend>
      <div class="places" role="group" aria-label={t('interfacesFound')} onPointerEnter={load}>
        {WORDS.map((word) => (
          <button
            type="button"
            key={word}
            class={value === word ? 'place on' : 'place'}
            aria-pressed={value === word}
            onClick={() => onInput(word)}
          >
            {word}
          </button>
        ))}
        {offered(value, names).map((name) => (
          <button
            type="button"
            key={name}
            class={inUse.includes(name) ? 'place on' : 'place'}
            aria-pressed={inUse.includes(name)}
            onClick={() => onInput(toggled(value, name))}
          >
            <bdi dir="ltr">{inUse.length > 1 && position(name) > 0 ? `${position(name)}. ${name}` : name}</bdi>
          </button>
        ))}
      </div>
      <Field {...props} />
    </fieldset>
  );
}
