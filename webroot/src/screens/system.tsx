// The machine: what its kernel can do, versions, the look of the page, a bug report.

import { useEffect, useState } from 'preact/hooks';
import { Button, complain, Loading, Note, sentence } from '../components/basics';
import { say } from '../components/snackbar';
import { duration } from '../format';
import { language, NAMES, setLanguage, t } from '../i18n';
import type { Feature } from '../model/types';
import { ds } from '../rpc';
import { setTheme, theme, THEMES } from '../theme';

interface Check {
  ok: boolean;
  kernel: string;
  machine: string;
  summary: string;
  features: Feature[];
}

interface Status {
  pid: number;
  version: string;
  uptime_s: number;
}

export function SystemScreen() {
  const [check, setCheck] = useState<Check | null>(null);
  const [status, setStatus] = useState<Status | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [all, setAll] = useState(false);
  useEffect(() => {
    ds('check').then(
      ({ document }) => setCheck(document as unknown as Check),
      (error: unknown) => setFault(sentence(error)),
    );
    ds('supervisor', 'status').then(({ document }) => setStatus(document as unknown as Status), complain);
  }, []);
  const missing = check?.features.filter((one) => !one.present) ?? [];
  return (
    <>
      <header class="top-bar">
        <h1>{t('system')}</h1>
      </header>
      <dl class="details">
        {status && (
          <>
            <div>
              <dt>{t('version')}</dt>
              <dd>{status.version}</dd>
            </div>
            <div>
              <dt>{t('supervisor')}</dt>
              <dd>
                pid {status.pid} · {t('up', { time: duration(status.uptime_s) })}
              </dd>
            </div>
          </>
        )}
        {check && (
          <div>
            <dt>{t('kernel')}</dt>
            <dd>
              <bdi>
                {check.kernel} · {check.machine}
              </bdi>
            </dd>
          </div>
        )}
      </dl>
      <h2>{t('appearance')}</h2>
      <div class="field">
        <label for="theme">{t('theme')}</label>
        <select id="theme" value={theme.value} onChange={(event) => setTheme(event.currentTarget.value)}>
          {THEMES.map((name) => (
            <option key={name} value={name}>
              {t(`theme.${name}`)}
            </option>
          ))}
        </select>
      </div>
      <div class="field">
        <label for="language">{t('language')}</label>
        <select id="language" value={language.value} onChange={(event) => setLanguage(event.currentTarget.value)}>
          {Object.entries(NAMES).map(([tag, name]) => (
            <option key={tag} value={tag}>
              {name}
            </option>
          ))}
        </select>
      </div>
      <h2>{t('requirements')}</h2>
      {fault && <Note kind="bad">{fault}</Note>}
      {!check && !fault && <Loading />}
      {check && <Note kind={check.ok ? 'info' : 'bad'}>{check.summary}</Note>}
      {check && missing.length === 0 && <p class="quiet">{t('allPresent')}</p>}
      <ul class="rows">
        {(all ? (check?.features ?? []) : missing).map((one) => (
          <li key={one.name} class="row">
            <span class="card-title">
              <span class="name">{one.name}</span>
              <span class="sub">{one.present ? one.purpose : one.without}</span>
              {one.option && <code class="sub">{one.option}</code>}
            </span>
            <span class={`pill ${one.present ? 'run' : one.required ? 'bad' : 'off'}`}>
              {one.present ? t('present') : one.required ? t('required') : t('missing')}
            </span>
          </li>
        ))}
      </ul>
      {check && !all && (
        <Button kind="text" onClick={() => setAll(true)}>
          {t('more')}
        </Button>
      )}
      <h2>{t('bugReport')}</h2>
      <div class="row">
        <span class="card-title">
          <span class="sub">{t('bugReportText')}</span>
        </span>
        <Button onClick={() => void collect()}>{t('collect')}</Button>
      </div>
    </>
  );
}

async function collect(): Promise<void> {
  const folder = navigator.userAgent.includes('Android') ? '/sdcard/Download' : '/tmp';
  const path = `${folder}/ds-report-${Date.now()}.tar`;
  try {
    await ds('doctor', '-o', path);
    say(t('written', { path }));
  } catch (error) {
    complain(error);
  }
}
