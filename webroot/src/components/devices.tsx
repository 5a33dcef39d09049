// The devices that a container is given: kinds of what this machine has, or any list.

import { useEffect, useState } from 'preact/hooks';
import { t } from '../i18n';
import { found, gives, toggled } from '../model/devices';
import type { Listing } from '../model/types';
import { ask } from '../rpc';
import { complain, Field, type FieldProps } from './basics';

/** Names that are shown of a kind. */
const SHOWN = 3;

export function DevicesField(props: FieldProps) {
  const [names, setNames] = useState<string[]>([]);
  useEffect(() => {
    ask({ directory: '/dev' }).then(({ document }) => {
      const listing = document as unknown as Listing;
      setNames(listing.entries.map((entry) => entry.name));
    }, complain);
  }, []);
  const kinds = found(names);
  return (
    <fieldset class="field">
      <legend>{t('devicesFound')}</legend>
      {kinds.map(([kind, devices]) => (
        <label class="option" key={kind}>
          <input
            type="checkbox"
            checked={gives(props.value, kind)}
            onChange={() => props.onInput(toggled(props.value, kind))}
          />
          <span class="card-title">
            <span>{kind}</span>
            <bdi class="sub" dir="ltr">
              {devices
                .slice(0, SHOWN)
                .map((name) => `/dev/${name}`)
                .join(', ')}
              {devices.length > SHOWN && ` +${devices.length - SHOWN}`}
            </bdi>
          </span>
        </label>
      ))}
      <Field {...props} />
    </fieldset>
  );
}
