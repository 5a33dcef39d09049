// The pictures of docs/webui.md, made on request: DS_SHOTS names the directory.

import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { launch, phone } from './host';
import { Machine } from './machine';

const SHOTS = process.env.DS_SHOTS;

describe.skipIf(SHOTS === undefined)('pictures', () => {
  let machine: Machine;
  let browser: Browser;

  beforeAll(async () => {
    machine = new Machine();
    machine.container('web', 'limits.memory=512M', 'autostart=yes');
    machine.container('dns');
    machine.container('backup');
    machine.ds('start', 'web', 'dns', '--wait');
    browser = await launch();
  });

  afterAll(async () => {
    await browser.close();
    machine.end();
  });

  test.each(['light', 'dark'])('%s', async (theme) => {
    const context = await phone(browser, theme === 'dark');
    const page = await context.newPage();
    await page.goto(machine.web());
    await page
      .getByText(/^CPU \d/)
      .first()
      .waitFor();
    await page.waitForTimeout(7000);
    const shoot = (name: string) => page.screenshot({ path: join(SHOTS ?? '', `${name}-${theme}.png`) });
    const goTo = (hash: string) => page.evaluate((value) => (location.hash = value), hash);
    await shoot('overview');
    await goTo('#/container/web/settings');
    await page.getByLabel('Hostname').waitFor();
    await shoot('settings');
    await goTo('#/container/web/log');
    await page.getByText('login:').waitFor();
    await shoot('log');
    await goTo('#/create');
    await page.getByText('Where does its system come from?').waitFor();
    await shoot('create');
    await goTo('#/terminal/web');
    await page.locator('.xterm-rows').getByText('#').first().waitFor();
    await page.keyboard.type('ls -l /\n');
    await page.locator('.xterm-rows').getByText('root').first().waitFor();
    await page.waitForTimeout(500);
    await shoot('terminal');
    await context.close();
  });
});
