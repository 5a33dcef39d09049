// One job: what it does, how far it is, how fast, and how long it still takes.

import { useRef, useState } from 'preact/hooks';
import { duration } from '../duration';
import { percent, size } from '../format';
import { t } from '../i18n';
import type { Job } from '../model/types';
import { ask } from '../rpc';
import { Button, complain, IconButton } from './basics';
import { Bar } from './chart';
import { Dialog } from './dialog';

export function jobTitle(job: Job): string {
  const name = job.name ?? '';
  switch (job.verb) {
    case 'create':
    case 'import':
    case 'export':
    case 'copy':
    case 'resize':
    case 'convert':
    case 'rm':
      return t(`job.${job.verb}`, { name });
    default:
      return t('job.other', { verb: job.verb, name });
  }
}

/** Bytes in a second since the step began, from what was seen here. */
function useRate(job: Job): number | null {
  const first = useRef({ step: '', done: 0, at: 0 });
  const done = job.done ?? 0;
  if (first.current.step !== job.step) first.current = { step: job.step ?? '', done, at: Date.now() };
  const seconds = (Date.now() - first.current.at) / 1000;
  return seconds > 1 && done > first.current.done ? (done - first.current.done) / seconds : null;
}

/** Asks before the work of minutes is lost. */
function StopDialog({ job, onStop, onClose }: { job: Job; onStop: () => void; onClose: () => void }) {
  return (
    <Dialog title={t('job.stopTitle')} onClose={onClose}>
      <p>
        <bdi>{jobTitle(job)}</bdi>
      </p>
      <p class="sub">{t('job.stopText')}</p>
      <div class="dialog-actions">
        <Button kind="text" onClick={onClose}>
          {t('job.keep')}
        </Button>
        <Button kind="danger" onClick={onStop}>
          {t('job.stop')}
        </Button>
      </div>
    </Dialog>
  );
}

export function JobCard({ job }: { job: Job }) {
  const [stopping, setStopping] = useState(false);
  const rate = useRate(job);
  const { done = 0, total = null } = job;
  const inPercent = total === 100;
  const parts = [
    job.step ?? '',
    inPercent || !done ? '' : total ? `${size(done)} ${t('of', { size: size(total) })}` : size(done),
    rate && !inPercent ? t('perSecond', { size: size(rate) }) : '',
    rate && total && total > done ? t('left', { time: duration(Math.ceil((total - done) / rate)) }) : '',
  ];
  const kind = { running: 'busy', done: 'run', failed: 'bad' }[job.state];
  const share = total ? Math.min(1, done / total) : 0;
  const label = job.state === 'running' && total ? percent(Math.floor(share * 100)) : t(`job.${job.state}`);
  const send = (request: { cancel: string } | { forget: string }): void => void ask(request).catch(complain);
  return (
    <>
      <article class="card job" aria-label={jobTitle(job)}>
        <div class="card-head">
          <span class="card-title">
            <bdi class="name">{jobTitle(job)}</bdi>
            {job.state === 'running' && <span class="sub">{parts.filter(Boolean).join(' · ')}</span>}
          </span>
          <span class={`pill ${kind}`}>{label}</span>
          {job.state === 'running' ? (
            <IconButton icon="close" label={t('job.stop')} onClick={() => setStopping(true)} />
          ) : (
            <IconButton icon="close" label={t('dismiss')} onClick={() => send({ forget: job.id })} />
          )}
        </div>
        {job.state === 'running' && <Bar share={share} label={jobTitle(job)} />}
        {job.error && <p class="sub reason">{job.error.message}</p>}
        {job.warnings?.map((text) => (
          <p class="sub reason" key={text}>
            {text}
          </p>
        ))}
      </article>
      {stopping && job.state === 'running' && (
        <StopDialog
          job={job}
          onStop={() => {
            setStopping(false);
            send({ cancel: job.id });
          }}
          onClose={() => setStopping(false)}
        />
      )}
    </>
  );
}
