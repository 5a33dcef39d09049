// The machine: what its kernel can do, versions, the look of the page, a bug report.

import { useEffect, useState } from 'preact/hooks';
import { Button, complain, copyText, Field, Loading, Note, sentence } from '../components/basics';
import { Dialog } from '../components/dialog';
import { Icon } from '../components/icon';
import { say } from '../components/snackbar';
import { duration } from '../duration';
import { language, setLanguage, t } from '../i18n';
import { NAMES } from '../languages';
import { useDraft } from '../model/drafts';
import type { Feature, Status } from '../model/types';
import { go } from '../router';
import { ds } from '../rpc';
import { THEMES } from '../palette';
import { setTheme, theme } from '../theme';
import { StorageSummary } from './storage-summary';

/** Of the program that this page was built with. */
const VERSION = __DS_VERSION__;

interface Check {
  ok: boolean;
  kernel: string;
  machine: string;
  summary: string;
  features: Feature[];
}

export function SystemScreen() {
  const [check, setCheck] = useState<Check | null>(null);
  const [status, setStatus] = useState<Status | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [all, setAll] = useState(false);
  const [report, setReport] = useState<string | null>(null);
  const loadStatus = (): void =>
    void ds('supervisor', 'status').then(({ document }) => setStatus(document as unknown as Status), complain);
  const reload = (): void => {
    ds('supervisor', 'reload').then(({ output }) => {
      say(output.trim() || t('upToDate'));
      loadStatus();
    }, complain);
  };
  useEffect(() => {
    ds('check').then(
      ({ document }) => setCheck(document as unknown as Check),
      (error: unknown) => setFault(sentence(error)),
    );
    loadStatus();
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
      {status && status.version !== VERSION && (
        <Note>
          {t('updatePending', { running: status.version, page: VERSION })}
          <button type="button" class="link" onClick={reload}>
            {t('reloadSupervisor')}
          </button>
        </Note>
      )}
      <button type="button" class="row choice" onClick={() => go('system-log')}>
        <Icon name="lines" />
        <span class="card-title">
          <span class="name">{t('supervisorLog')}</span>
          <span class="sub">{t('supervisorLogText')}</span>
        </span>
      </button>
      <button type="button" class="row choice" onClick={() => go('order')}>
        <Icon name="drag" />
        <span class="card-title">
          <span class="name">{t('startOrder')}</span>
          <span class="sub">{t('startOrderText')}</span>
        </span>
      </button>
      {status && <StorageSummary data={status.data} />}
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
        <select
          id="language"
          value={language.value}
          onChange={(event) => void setLanguage(event.currentTarget.value).catch(complain)}
        >
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
      {check && <Note kind={check.ok ? 'info' : 'bad'}>{capitalized(check.summary)}</Note>}
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
      <div class="row acting">
        <span class="card-title">
          <span class="sub">{t('bugReportText')}</span>
        </span>
        <Button onClick={() => setReport(reportPath())}>{t('collect')}</Button>
      </div>
      {report !== null && <ReportDialog path={report} onClose={() => setReport(null)} />}
    </>
  );
}

/** ds writes its messages to follow a colon. */
function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function reportPath(): string {
  const folder = navigator.userAgent.includes('Android') ? '/data/media/0/Download' : '/tmp';
  return `${folder}/ds-report-${new Date().toISOString().slice(0, 19).replace(/[:T]/g, '-')}.tar`;
}

function ReportDialog({ path, onClose }: { path: string; onClose: () => void }) {
  const { value: target, change, forget } = useDraft('report', path);
  const [busy, setBusy] = useState(false);
  const [written, setWritten] = useState<string | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const collect = async (): Promise<void> => {
    setBusy(true);
    setFault(null);
    try {
      await ds('doctor', '-o', target);
      setWritten(target);
      forget();
    } catch (error) {
      setFault(sentence(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog title={t('bugReport')} onClose={onClose}>
      <p>{t('bugReportText')}</p>
      {written !== null ? (
        <Note kind="info">{t('written', { path: written })}</Note>
      ) : (
        <Field label={t('targetFile')} value={target} error={fault} onInput={(text) => change(() => text)} />
      )}
      <div class="dialog-actions">
        <Button kind="text" onClick={onClose}>
          {t('close')}
        </Button>
        {written !== null ? (
          <Button onClick={() => void copyText(written)}>{t('copyPath')}</Button>
        ) : (
          <Button kind="filled" disabled={busy || target.trim() === ''} onClick={() => void collect()}>
            {busy ? t('loading') : t('collect')}
          </Button>
        )}
      </div>
    </Dialog>
  );
}
