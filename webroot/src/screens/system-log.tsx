// What the supervisor writes to its log, as it writes it.

import { TopBar } from '../components/basics';
import { t } from '../i18n';
import { LogView } from './log';

export function SystemLogScreen() {
  return (
    <>
      <TopBar title={t('supervisorLog')} />
      <LogView request={{ subscribe: ['supervisor'], lines: 500 }} event="supervisor" empty={t('emptyLog')} />
    </>
  );
}
