// The list that index.html draws before the page's script: what it shows while that script does not come, and how the
// page takes it over.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, Page, Route } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type App, APP, launch, openApp, Watch } from './host';
import { Machine } from './machine';

const HOSTILE = '<img src=x onerror=alert(1)> %22';

let machine: Machine;
let browser: Browser;
let app: App;

beforeAll(async () => {
  machine = new Machine();
  machine.container('web');
  machine.container('db');
  machine.ds('start', 'web', '--wait');
  writeFileSync(join(machine.root, 'tree-db/etc/os-release'), `PRETTY_NAME='${HOSTILE}'\n`);
  browser = await launch();
  app = await openApp(browser, machine, 'kernelsu');
  await app.page.getByText('1 of 2').waitFor();
});

afterAll(async () => {
  await browser.close();
  machine.end();
});

/** Opens the page in another tab; its script waits for `release`. */
async function openWithoutScript(hash = ''): Promise<{ page: Page; release: () => Promise<void>; watch: Watch }> {
  const held: Route[] = [];
  let isOpen = false;
  const page = await app.page.context().newPage();
  const watch = new Watch(page, new URL(APP).origin);
  await page.route(/\/assets\/index-/, (route) => {
    if (isOpen) return route.fallback();
    held.push(route);
  });
  // The page is not complete without its script.
  await page.goto(`${APP}${hash}`, { waitUntil: 'commit' });
  const release = async (): Promise<void> => {
    isOpen = true;
    await Promise.all(held.splice(0).map((route) => route.fallback()));
  };
  return { page, release, watch };
}

const card = (page: Page, name: string) => page.getByRole('article', { name });

test('the first time, the list is the first answer of ds, and the page goes on with the same call', async () => {
  await app.page.evaluate(() => localStorage.clear());
  const before = app.commands.length;
  const { page, release, watch } = await openWithoutScript();
  await card(page, 'web').getByText('Running').waitFor();
  await card(page, 'db').getByText('Stopped').waitFor();
  await card(page, 'db').getByText(HOSTILE).waitFor();
  expect(await page.getByText(/ ago$/).count()).toBe(0);
  expect(await page.getByRole('button').count(), 'not the page yet').toBe(0);
  await release();
  await card(page, 'db').getByRole('button', { name: 'Start' }).waitFor();
  await card(page, 'db').getByText(HOSTILE).waitFor();
  await card(page, 'web')
    .getByText(/^CPU \d/)
    .waitFor();
  expect(app.commands.length - before).toBe(1);
  expect(watch.troubles).toEqual([]);
  await page.close();
});

test('opened again, the list is the last known one, marked, in the language and the theme of the page', async () => {
  await app.page.evaluate(() => {
    localStorage.setItem('droidspaces.language', 'ar');
    localStorage.setItem('droidspaces.theme', 'amoled');
  });
  app.lose();
  const { page, release, watch } = await openWithoutScript();
  await card(page, 'web').getByText('تعمل').waitFor();
  await page.getByText(/^منذ /).waitFor();
  await card(page, 'db').getByText(HOSTILE).waitFor();
  const { dir, lang, theme, black } = await page.evaluate(() => {
    const { dir, lang, dataset } = document.documentElement;
    return { dir, lang, theme: dataset.theme, black: dataset.black };
  });
  expect({ dir, lang, theme, black }).toEqual({ dir: 'rtl', lang: 'ar', theme: 'dark', black: 'true' });
  const height = (name: string): Promise<number> =>
    card(page, name).evaluate((element) => element.getBoundingClientRect().height);
  const before = await height('web');
  await release();
  await page.getByRole('button').first().waitFor();
  expect(Math.abs((await height('web')) - before), 'what replaces the list is about as high').toBeLessThan(24);
  expect(await page.getByRole('article').count()).toBe(2);
  app.restore();
  await page.getByText(/^منذ /).waitFor({ state: 'detached' });
  await app.page.evaluate(() => localStorage.clear());
  expect(watch.troubles).toEqual([]);
  await page.close();
});

test('another screen waits for the page', async () => {
  await app.page.evaluate(() => localStorage.clear());
  const { page, release, watch } = await openWithoutScript('#/system');
  await page.locator('head script[type=module]').waitFor({ state: 'attached' });
  expect(await page.getByRole('article').count()).toBe(0);
  await release();
  await page.getByLabel('Language').waitFor();
  expect(watch.troubles).toEqual([]);
  await page.close();
});
