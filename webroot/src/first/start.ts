// What runs before anything else, as a script in index.html: it draws the list of containers, the last known or the
// first that ds answers, and then loads the page's script, which takes over the list and the request.

import { adoptHostStyle, hasBridge } from '../bridge';
import { applyLanguage, initial } from '../languages';
import { recall } from '../model/last';
import type { Container } from '../model/types';
import { applyTheme, prefersDark, storedTheme } from '../palette';
import { way } from '../way';
import { begin, OVERVIEW } from './early';
import { draw } from './list';

/** Milliseconds after which the page's script is loaded although ds has not answered. */
const PATIENCE = 300;

function start(root: Element): void {
  const language = initial();
  const messages = __DS_FIRST__[language] ?? {};
  const theme = storedTheme();
  applyLanguage(language);
  applyTheme(theme, theme === 'auto' ? prefersDark() : theme !== 'light');
  if (hasBridge()) adoptHostStyle();

  let isLoading = false;
  const load = (): void => {
    if (isLoading) return;
    isLoading = true;
    const script = document.createElement('script');
    script.type = 'module';
    script.src = __DS_ENTRY__;
    // Not the list of a page that does not come.
    script.onerror = () => (root.textContent = '');
    document.head.append(script);
  };
  /** After the frame that shows the list: when the next one begins, it is on the screen. */
  const afterFrame = (act: () => void): void => {
    requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(act)));
  };

  const ds = way();
  const isOverview = /^(#\/?(containers)?)?$/.test(location.hash);
  if (!ds || document.hidden || !isOverview) {
    if (ds && !document.hidden) begin(ds, OVERVIEW, () => undefined);
    load();
    return;
  }
  const last = recall();
  if (last) {
    draw(root, last.containers, Date.now() - last.at, messages);
    afterFrame(() => {
      begin(ds, OVERVIEW, () => undefined);
      load();
    });
  } else {
    begin(ds, OVERVIEW, (line) => {
      if (!line.includes('"event":"state"')) return;
      const { containers } = JSON.parse(line) as { containers: Container[] };
      if (containers.length > 0) draw(root, containers, null, messages);
      afterFrame(load);
    });
  }
  // No frame comes while the page is hidden.
  setTimeout(load, PATIENCE);
}

const root = document.getElementById('app');
if (root) start(root);
