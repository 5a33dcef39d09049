// The page in a root manager's app, with the real ds behind the emulated bridge of four kinds of hosts.

import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { HOSTS, launch, openApp } from './host';
import { Machine } from './machine';

let machine: Machine;
let browser: Browser;

beforeAll(async () => {
  machine = new Machine();
  machine.container('web', 'hostname=a-b');
  browser = await launch();
});

afterAll(async () => {
  await browser.close();
  machine.end();
});

test.each(HOSTS)('%s shows, starts, follows and stops a container', async (kind) => {
  const { page, watch, commands } = await openApp(browser, machine, kind);
  const card = page.getByRole('article', { name: 'web' });
  await card.getByText('Stopped').waitFor();
  await card.getByRole('button', { name: 'Start' }).click();
  await card.getByText('Running').waitFor();
  await card.getByRole('button', { name: 'Log' }).click();
  const hostile = 'bad %22 quote a%41b <b>x</b> $(reboot)';
  machine.ds('run', 'web', '--', 'sh', '-c', `printf '%s\\n' "$1" >/dev/console`, 'sh', hostile);
  await page.getByText(hostile).first().waitFor();
  await page.goBack();
  await card.getByRole('button', { name: 'Stop' }).click();
  await card.getByText('Stopped').waitFor();
  expect(watch.troubles).toEqual([]);
  expect(commands.length).toBeGreaterThan(2);
  for (const command of commands) {
    expect(command).toMatch(/^'[A-Za-z0-9._/-]+\/bin\/ds' rpc '[A-Za-z0-9_-]+' <\/dev\/null$/);
  }
  await page.context().close();
});

test('a terminal works over the bridge', async () => {
  machine.ds('start', 'web', '--wait');
  const { page, watch } = await openApp(browser, machine, 'kernelsu');
  await page.getByRole('article', { name: 'web' }).getByRole('button', { name: 'Terminal' }).click();
  const screen = page.locator('.xterm-rows');
  await screen.getByText('#').first().waitFor();
  await page.keyboard.type('echo %41-$((6*7))\n');
  await screen.getByText('%41-42', { exact: true }).waitFor();
  expect(watch.troubles).toEqual([]);
  await page.context().close();
});

test('without a bridge the page says so', async () => {
  const { page, watch } = await openApp(browser, machine, 'none');
  await page.getByText('This page needs a root manager').waitFor();
  expect(watch.troubles).toEqual([]);
  await page.context().close();
});
