// The page: which screen is shown, and what holds all of them together.

import { type ComponentType, render } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { adoptHostStyle, hasBridge } from './bridge';
import { Empty, Loading, Note } from './components/basics';
import { Icon, type IconName } from './components/icon';
import { Snackbar } from './components/snackbar';
import * as i18n from './i18n';
import { type Key, t } from './i18n';
import { follow, jobs, trouble } from './model/store';
import * as router from './router';
import { go, route } from './router';
import { isConnected } from './rpc';
import { ContainerScreen } from './screens/container';
import { ContainersScreen } from './screens/containers';
import { CreateScreen } from './screens/create';
import { JobsScreen } from './screens/jobs';
import { OrderScreen } from './screens/order';
import { SystemLogScreen } from './screens/system-log';
import { SystemScreen } from './screens/system';
import './style.css';
import * as theme from './theme';

const TABS: [string, IconName][] = [
  ['containers', 'grid'],
  ['jobs', 'clock'],
  ['system', 'device'],
];

/** xterm.js is half of the page's size, and is loaded when a terminal is opened. */
function LazyTerminal() {
  const [Screen, setScreen] = useState<ComponentType | null>(null);
  useEffect(() => {
    void import('./screens/terminal').then((module) => setScreen(() => module.TerminalScreen));
  }, []);
  return Screen ? <Screen /> : <Loading />;
}

function Screen() {
  switch (route.value.screen) {
    case 'container':
      return <ContainerScreen />;
    case 'create':
      return <CreateScreen />;
    case 'jobs':
      return <JobsScreen />;
    case 'order':
      return <OrderScreen />;
    case 'system-log':
      return <SystemLogScreen />;
    case 'system':
      return <SystemScreen />;
    default:
      return <ContainersScreen />;
  }
}

function Page() {
  const { screen } = route.value;
  if (!isConnected()) return <Empty icon="device" title={t('noBridge')} text={t('noBridgeText')} />;
  if (trouble.value?.message === 'locked') return <Empty icon="device" title={t('locked')} text={t('lockedText')} />;
  if (screen === 'terminal') return <LazyTerminal />;
  const active = jobs.value.filter((job) => job.state === 'running').length;
  const isTop = TABS.some(([name]) => name === screen);
  return (
    <>
      <main class={isTop ? 'screen' : 'screen inner'}>
        {trouble.value && (
          <Note kind="bad">
            <b>{t('disconnected')}</b> {trouble.value.message} <span>{t('disconnectedText')}</span>
          </Note>
        )}
        <Screen />
      </main>
      {isTop && (
        <nav class="bottom-bar" aria-label={t('title')}>
          {TABS.map(([name, icon]) => (
            <button
              type="button"
              key={name}
              class={screen === name ? 'on' : ''}
              aria-current={screen === name ? 'page' : undefined}
              onClick={() => go(name)}
            >
              <i>
                <Icon name={icon} />
                {name === 'jobs' && active > 0 && <span class="badge">{active}</span>}
              </i>
              {t(name as Key)}
            </button>
          ))}
        </nav>
      )}
      <Snackbar />
    </>
  );
}

if (hasBridge()) adoptHostStyle();
i18n.apply();
theme.start();
router.start();
if (isConnected()) follow();
const root = document.getElementById('app');
if (root) render(<Page />, root);
