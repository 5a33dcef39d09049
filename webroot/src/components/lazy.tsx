// A screen whose code is loaded when it is first shown, or earlier on request.

import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { t } from '../i18n';
import { Button, Loading, Note, sentence } from './basics';

export interface LazyScreen {
  Screen: ComponentType;
  /** Loads the code ahead of time. An error shows when the screen does. */
  preload: () => void;
}

export function lazy(load: () => Promise<ComponentType>): LazyScreen {
  let loaded: ComponentType | null = null;
  const get = async (): Promise<ComponentType> => (loaded ??= await load());
  function Screen() {
    const [Loaded, setLoaded] = useState<ComponentType | null>(() => loaded);
    const [fault, setFault] = useState<unknown>(null);
    useEffect(() => {
      if (!Loaded) get().then((component) => setLoaded(() => component), setFault);
    }, []);
    if (fault !== null) return <Outdated fault={fault} />;
    return Loaded ? <Loaded /> : <Loading />;
  }
  return { Screen, preload: () => void get().catch(() => undefined) };
}

/** An update of the module replaces the files of a page that is open. */
function Outdated({ fault }: { fault: unknown }) {
  return (
    <Note kind="bad">
      {sentence(fault)} <Button onClick={() => location.reload()}>{t('retry')}</Button>
    </Note>
  );
}
