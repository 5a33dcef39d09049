// Marks a state that is not the current one: the page shows it until ds has answered.

import { duration } from '../duration';
import { t } from '../i18n';
import { now, staleSince } from '../model/store';

export function AsOf() {
  const since = staleSince.value;
  return since === null ? null : (
    <span class="as-of">{t('asOf', { time: duration(Math.max(0, (now.value - since) / 1000)) })}</span>
  );
}
