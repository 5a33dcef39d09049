// How full the file system with the containers is, what each of them uses, and the downloads that are kept.

import { useEffect, useState } from 'preact/hooks';
import { Button, complain } from '../components/basics';
import { Bar } from '../components/chart';
import { say } from '../components/snackbar';
import { size } from '../format';
import { t } from '../i18n';
import { containers } from '../model/store';
import type { Download, Status } from '../model/types';
import { ds } from '../rpc';

async function downloads(): Promise<Download[]> {
  const { document } = await ds('cache', 'list');
  return (document?.files ?? []) as unknown as Download[];
}

export function StorageSummary({ data }: { data: Status['data'] }) {
  const [files, setFiles] = useState<Download[]>([]);
  const load = (): void => void downloads().then(setFiles, complain);
  useEffect(load, []);
  const kept = files.reduce((sum, file) => sum + file.size, 0);
  const images = (containers.value ?? []).filter((one) => one.rootfs?.kind === 'image' && one.filesystem !== null);
  const prune = (): void => {
    ds('cache', 'prune').then(() => {
      say(t('pruned', { size: size(kept) }));
      load();
    }, complain);
  };
  return (
    <>
      <h2>{t('storage')}</h2>
      <div class="card storage">
        <bdi class="sub" dir="ltr">
          {data.path}
        </bdi>
        {data.size !== null && data.used !== null && (
          <>
            <Bar share={data.used / data.size} label={t('storage')} />
            <p class="sub">
              {t('used', { used: size(data.used), size: size(data.size) })} ·{' '}
              {t('free', { size: size(data.size - data.used) })}
            </p>
          </>
        )}
        {images.map((one) => (
          <p class="storage-row" key={one.name}>
            <bdi>{one.name}</bdi>
            <span class="sub">
              {size(one.filesystem?.used ?? 0)} {t('of', { size: size(one.filesystem?.size ?? 0) })}
            </span>
          </p>
        ))}
        <div class="storage-row">
          <span class="card-title">
            <span>{t('downloads')}</span>
            <span class="sub">{t('downloadsText', { count: files.length, size: size(kept) })}</span>
          </span>
          <Button disabled={files.length === 0} onClick={prune}>
            {t('delete')}
          </Button>
        </div>
      </div>
    </>
  );
}
