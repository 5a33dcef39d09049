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
    machine.containerOf('bookworm', 'debian', 'limits.memory=2G', 'autostart=yes');
    machine.ds('start', 'web', 'dns', 'debian', '--wait');
    browser = await launch();
  });

  afterAll(async () => {
    await browser.close();
    machine.end();
  });

  interface Look {
    name: string;
    dark: boolean;
    theme?: string;
    language: string;
    width: number;
    height: number;
  }

  const LOOKS: Look[] = [
    { name: 'light', dark: false, language: 'en', width: 412, height: 915 },
    { name: 'dark', dark: true, language: 'en', width: 412, height: 915 },
    { name: 'amoled', dark: true, theme: 'amoled', language: 'en', width: 412, height: 915 },
    { name: 'arabic', dark: false, language: 'ar', width: 412, height: 915 },
    { name: 'tablet', dark: false, language: 'en', width: 1280, height: 800 },
  ];

  test.each(LOOKS)('$name', async ({ name: look, dark, theme = 'auto', language, width, height }) => {
    const context = await phone(browser, dark);
    const page = await context.newPage();
    await page.setViewportSize({ width, height });
    await page.addInitScript(
      (stored) => {
        localStorage.setItem('droidspaces.language', stored.language);
        localStorage.setItem('droidspaces.theme', stored.theme);
      },
      { language, theme },
    );
    await page.goto(machine.web());
    await page.locator('.chart').first().waitFor();
    await page.waitForTimeout(7000);
    const shoot = (name: string) => page.screenshot({ path: join(SHOTS ?? '', `${name}-${look}.png`) });
    const goTo = (hash: string) => page.evaluate((value) => (location.hash = value), hash);
    const settled = async (): Promise<void> => {
      await page.locator('.loading').waitFor({ state: 'detached' });
      await page.waitForTimeout(600);
    };
    await shoot('overview');
    for (const screen of ['overview', 'settings', 'services', 'processes', 'users', 'storage', 'log']) {
      await goTo(`#/container/debian/${screen}`);
      await settled();
      if (screen === 'processes') await page.waitForTimeout(2500);
      await shoot(screen === 'overview' ? 'container' : screen);
    }
    for (const screen of ['create', 'order', 'system', 'jobs']) {
      await goTo(`#/${screen}`);
      await settled();
      await shoot(screen);
    }
    await goTo('#/create');
    await page.locator('.row.choice').nth(1).click();
    await page.locator('.entry .icon-button').click();
    await page.locator('.entries .row').first().waitFor();
    await shoot('chooser');
    await page.goBack();
    await goTo('#/terminal/debian');
    await page.locator('.xterm-rows').getByText('#').first().waitFor();
    await page.keyboard.type('ls -l /\n');
    await page.locator('.xterm-rows').getByText('root').first().waitFor();
    await page.waitForTimeout(500);
    await shoot('terminal');
    await context.close();
  });
});
