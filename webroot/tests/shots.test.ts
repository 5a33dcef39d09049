// The pictures of docs/webui.md, made on request: DS_SHOTS names the directory.

import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { launch, openApp } from './host';
import { Machine } from './machine';

const SHOTS = process.env.DS_SHOTS;
/** How long the pages measure before the pictures: their charts show two minutes. */
const MEASURED = 70_000;

interface Look {
  dark?: boolean;
  theme?: string;
  language?: string;
  width?: number;
  height?: number;
  screens: string[];
}

const LOOKS: Record<string, Look> = {
  light: { screens: ['overview', 'container', 'settings', 'services', 'storage', 'create', 'chooser', 'system'] },
  dark: { dark: true, screens: ['overview', 'settings', 'processes', 'log', 'terminal'] },
  amoled: { dark: true, theme: 'amoled', screens: ['overview', 'jobs'] },
  arabic: { language: 'ar', screens: ['overview', 'settings', 'order'] },
  tablet: { width: 1280, height: 800, screens: ['overview', 'users'] },
};

const OF_THE_MACHINE = ['create', 'order', 'system', 'jobs'];

describe.skipIf(SHOTS === undefined)('pictures', () => {
  let machine: Machine;
  let browser: Browser | undefined;

  beforeAll(() => {
    machine = new Machine();
    const isAble = machine.isolateNetwork();
    const network = isAble ? ['network.mode=nat', 'network.ports=8080:80,2222:22'] : [];
    machine.containerOf('bookworm', 'web', 'limits.memory=512M', 'autostart=yes', ...network);
    machine.containerOf('openrc', 'dns', 'autostart=yes');
    machine.container('desk', 'limits.memory=256M');
    machine.container('backup');
    machine.ds('start', 'web', 'dns', 'desk', '--wait');
    // Some use, which rises and falls.
    const work =
      'while :; do for n in 2000 90000 20000 150000 9000 60000; do i=0; while [ $i -lt $n ]; do i=$((i+1)); done; sleep 1; done; done';
    for (const name of ['web', 'desk']) machine.ds('run', name, '--', 'sh', '-c', `(${work}) >/dev/null 2>&1 &`);
  }, 300_000);

  afterAll(async () => {
    await browser?.close();
    machine.end();
  });

  test('of each look', { timeout: 900_000 }, async () => {
    browser = await launch();
    // In an app: `ds web` would listen in the network of the machine.
    const pages = new Map<string, Page>();
    for (const [name, look] of Object.entries(LOOKS)) {
      const { page } = await openApp(browser, machine, 'kernelsu');
      await page.setViewportSize({ width: look.width ?? 412, height: look.height ?? 915 });
      await page.emulateMedia({ colorScheme: look.dark ? 'dark' : 'light', reducedMotion: 'reduce' });
      await page.evaluate(
        (stored) => {
          localStorage.setItem('droidspaces.language', stored.language);
          localStorage.setItem('droidspaces.theme', stored.theme);
        },
        { language: look.language ?? 'en', theme: look.theme ?? 'auto' },
      );
      await page.reload();
      await page.locator('.chart').first().waitFor();
      pages.set(name, page);
    }
    await pages.get('light')?.waitForTimeout(MEASURED);
    for (const [name, page] of pages) {
      for (const screen of LOOKS[name]?.screens ?? []) {
        await show(page, screen);
        await page.screenshot({ path: join(SHOTS ?? '', `${screen}-${name}.png`) });
      }
    }
  });

  async function show(page: Page, screen: string): Promise<void> {
    const goTo = (hash: string) => page.evaluate((value) => (location.hash = value), hash);
    const rows = page.locator('.xterm-rows');
    if (screen === 'terminal') {
      await goTo('#/terminal/web');
      await rows.getByText('#').first().waitFor();
      await page.keyboard.type('cat /etc/os-release; ls -l /etc/systemd\n');
      await rows.getByText('system.conf').first().waitFor();
    } else if (screen === 'chooser') {
      await goTo('#/create');
      await page.locator('.row.choice').nth(1).click();
      await page.locator('.entry .icon-button').click();
      await page.locator('.entries .row').first().waitFor();
    } else if (OF_THE_MACHINE.includes(screen)) {
      await goTo(`#/${screen}`);
    } else if (screen !== 'overview') {
      await goTo(`#/container/web/${screen === 'container' ? 'overview' : screen}`);
      // Their use is measured between two lists.
      if (screen === 'processes') await page.getByText(/%$/).first().waitFor();
    }
    await page.locator('.loading').waitFor({ state: 'detached' });
    await page.waitForTimeout(600);
  }
});
