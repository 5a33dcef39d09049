// A port that is published in the page, with a network of the machine's own: what is asked there reaches the container.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { axe, launch, openApp } from './host';
import { Machine } from './machine';

let machine: Machine;
let browser: Browser;
let isAble: boolean;

beforeAll(async () => {
  machine = new Machine();
  isAble = machine.isolateNetwork();
  machine.container('web');
  browser = await launch();
});

afterAll(async () => {
  await browser.close();
  machine.end();
});

/** What a server on the machine answers, or null. */
function get(port: number): string | null {
  const script = `fetch('http://127.0.0.1:${port}/word').then((answer) => answer.text()).then(console.log)`;
  try {
    return machine.run(process.execPath, '-e', script).trim();
  } catch {
    return null;
  }
}

test('a port is published in the settings, forwards, is shown, and moves while the container runs', async (context) => {
  // No bridges, or no iproute2.
  if (!isAble) context.skip();
  const { page, watch } = await openApp(browser, machine, 'kernelsu');
  const goTo = (...parts: string[]) => page.evaluate((hash) => (location.hash = hash), `#/${parts.join('/')}`);
  const card = page.getByRole('article', { name: 'web' });
  const save = async (): Promise<void> => {
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('Saved').first().waitFor();
  };
  await card.waitFor();
  await goTo('container', 'web', 'settings');
  await page.getByLabel('Network', { exact: true }).selectOption('nat');
  const ports = page.getByLabel('Forwarded ports', { exact: true });
  await ports.fill('8080:eighty');
  await page
    .getByText(/eighty/)
    .first()
    .waitFor();
  await ports.fill('8080:80');
  await save();
  await goTo('containers');
  await card.getByRole('button', { name: 'Start' }).click();
  // In an app, the address of the port is only copied; its chip is large enough for a finger.
  const chip = card.getByRole('button', { name: '8080:80' });
  await chip.waitFor();
  expect(await axe(page)).toEqual([]);
  const box = await chip.boundingBox();
  expect(Math.min(box?.width ?? 0, box?.height ?? 0)).toBeGreaterThanOrEqual(48);
  await chip.click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('http://127.0.0.1:8080/', { exact: true }).waitFor();
  expect(await dialog.getByRole('link').count()).toBe(0);
  await page.goBack();
  await dialog.waitFor({ state: 'detached' });
  writeFileSync(join(machine.root, 'tree-web/tmp/word'), 'from inside\n');
  machine.ds('run', 'web', '--', 'httpd', '-p', '80', '-h', '/tmp');
  await expect.poll(() => get(8080)).toBe('from inside');

  await goTo('container', 'web', 'settings');
  await ports.fill('8081:80');
  await save();
  await expect.poll(() => get(8081)).toBe('from inside');
  expect(get(8080)).toBeNull();
  await goTo('containers');
  await card.getByText('8081:80').waitFor();
  await card.getByRole('button', { name: 'Stop' }).click();
  await card.getByText('Stopped').waitFor();
  expect(get(8081)).toBeNull();
  expect(watch.troubles).toEqual([]);
});
