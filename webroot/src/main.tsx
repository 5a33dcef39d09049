// The page: which screen is shown, and what holds all of them together.

import { render } from 'preact';
import { Alone, Note } from './components/basics';
import { Icon, type IconName } from './components/icon';
import { lazy } from './components/lazy';
import { Snackbar } from './components/snackbar';
import * as i18n from './i18n';
import { type Key, t } from './i18n';
import { follow, jobs, trouble } from './model/store';
import * as router from './router';
import { go, route } from './router';
import { isConnected } from './rpc';
import { ContainersScreen } from './screens/containers';
import './style.css';
import * as theme from './theme';

const TABS: [string, IconName][] = [
  ['containers', 'grid'],
  ['jobs', 'clock'],
  ['system', 'device'],
];

/** When the other screens are loaded: after the first one has been drawn and ds has answered, in milliseconds. */
const PRELOAD = 1500;

/** Every screen but the overview, which is what a start waits for. */
const SCREENS = new Map([
  ['container', lazy(() => import('./screens/container').then((module) => module.ContainerScreen))],
  ['create', lazy(() => import('./screens/create').then((module) => module.CreateScreen))],
  ['jobs', lazy(() => import('./screens/jobs').then((module) => module.JobsScreen))],
  ['order', lazy(() => import('./screens/order').then((module) => module.OrderScreen))],
  ['system-log', lazy(() => import('./screens/system-log').then((module) => module.SystemLogScreen))],
  ['system', lazy(() => import('./screens/system').then((module) => module.SystemScreen))],
]);

/** xterm.js is larger than the rest of the page, and is loaded when a terminal is opened. */
const terminal = lazy(() => import('./screens/terminal').then((module) => module.TerminalScreen));

function Screen() {
  const { screen } = route.value;
  const Shown = SCREENS.get(screen)?.Screen ?? ContainersScreen;
  return <Shown key={screen} />;
}

function Page() {
  const { screen } = route.value;
  if (!isConnected()) return <Alone icon="device" title={t('noBridge')} text={t('noBridgeText')} />;
  if (trouble.value?.message === 'locked') return <Alone icon="device" title={t('locked')} text={t('lockedText')} />;
  if (screen === 'terminal') {
    return (
      <>
        <terminal.Screen />
        <Snackbar />
      </>
    );
  }
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

// The request to ds is under way while the page draws; `first/start.ts` has sent it.
if (isConnected()) follow();
theme.start();
router.start();
void i18n.start().then(() => {
  const root = document.getElementById('app');
  if (root) {
    root.textContent = '';
    render(<Page />, root);
  }
  setTimeout(() => SCREENS.forEach(({ preload }) => preload()), PRELOAD);
});
