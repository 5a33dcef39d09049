// The page in a root manager's app, with the real ds behind the emulated bridge of four kinds of hosts.

import { createHash } from 'node:crypto';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { APP, axe, HOSTS, launch, openApp } from './host';
import { Machine } from './machine';

/** The one command, and one word that no shell takes apart. */
const COMMAND = /^'[A-Za-z0-9._/-]+\/bin\/ds' rpc '[A-Za-z0-9_-]+' <\/dev\/null$/;

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
    expect(command).toMatch(COMMAND);
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

test('keys reach the shell without a worker of the supervisor', async () => {
  machine.ds('start', 'web', '--wait');
  const { page, watch } = await openApp(browser, machine, 'ksunext');
  await page.evaluate(() => (location.hash = '#/terminal/web'));
  const screen = page.locator('.xterm-rows');
  await screen.getByText('#').first().waitFor();
  await page.keyboard.type('clear; echo before-$((6*7))\n');
  await screen.getByText('before-42', { exact: true }).waitFor();
  const { pid } = JSON.parse(machine.ds('supervisor', 'status', '--json')) as { pid: number };
  process.kill(pid, 'SIGSTOP');
  try {
    await page.keyboard.type('echo without-$((6*7))\n');
    await screen.getByText('without-42', { exact: true }).waitFor();
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  expect(watch.troubles).toEqual([]);
  await page.context().close();
});

test('over the bridge, 5 MB of output arrive in order, and 100 KB are pasted', { timeout: 180_000 }, async () => {
  const { page, watch, commands } = await openApp(browser, machine, 'apatch');
  await page.evaluate(() => (location.hash = '#/terminal/web'));
  const screen = page.locator('.xterm-rows');
  await screen.getByText('#').first().waitFor();
  await page.keyboard.type('clear; seq 1000000 | head -c 5000000; echo; echo all-$((6*7))\n');
  await screen.getByText('all-42', { exact: true }).waitFor({ timeout: 120_000 });
  const numbers = (await screen.innerText()).split('\n').filter((row) => /^\d{6}\s*$/.test(row));
  expect(numbers.length).toBeGreaterThan(3);
  numbers.slice(1).forEach((row, at) => expect(Number(row)).toBe(Number(numbers[at]) + 1));

  await page.keyboard.type('clear; stty -echo; echo rea""dy; cat >/tmp/pasted; stty echo; md5sum </tmp/pasted\n');
  await screen.getByText('ready', { exact: true }).waitFor();
  const text = `${'%41 ünï $(id) \'"'.repeat(10)}\n`.repeat(650);
  expect(text.length).toBeGreaterThan(100_000);
  await page.evaluate((pasted) => {
    const data = new DataTransfer();
    data.setData('text/plain', pasted);
    const event = new ClipboardEvent('paste', { clipboardData: data, bubbles: true });
    document.querySelector('.xterm-helper-textarea')?.dispatchEvent(event);
  }, text);
  await page.getByRole('button', { name: 'Ctrl' }).click();
  await page.keyboard.type('d');
  await screen.getByText(createHash('md5').update(text).digest('hex')).waitFor();
  expect(watch.troubles).toEqual([]);
  for (const command of commands) expect(command).toMatch(COMMAND);
  await page.context().close();
});

test('without a bridge the page says so', async () => {
  const { page, watch } = await openApp(browser, machine, 'none');
  await page.getByText('This page needs a root manager').waitFor();
  expect(await axe(page)).toEqual([]);
  expect(watch.troubles).toEqual([]);
  await page.context().close();
});

test('a bridge that is lost in the middle is found again, with the terminal as it was', async () => {
  machine.ds('start', 'web', '--wait');
  const app = await openApp(browser, machine, 'kernelsu');
  const { page } = app;
  const card = page.getByRole('article', { name: 'web' });
  await card.getByText('Running').waitFor();
  await card.getByRole('button', { name: 'Terminal' }).click();
  const screen = page.locator('.xterm-rows');
  await screen.getByText('#').first().waitFor();
  await page.keyboard.type('echo before-$((6*7))\n');
  await screen.getByText('before-42', { exact: true }).waitFor();
  app.lose();
  machine.ds('run', 'web', '--', 'sh', '-c', 'for t in /dev/pts/[0-9]*; do echo meanwhile >$t; done');
  const before = app.commands.length;
  await expect.poll(() => app.commands.length).toBeGreaterThan(before + 1);
  app.restore();
  // The page tries again by itself for a while, and then on request.
  const again = page.getByRole('button', { name: 'Show here' });
  await screen.getByText('meanwhile').first().or(again).first().waitFor();
  if (await again.isVisible()) await again.click();
  await screen.getByText('meanwhile').first().waitFor();
  await page.keyboard.type('echo after-$((6*7))\n');
  await screen.getByText('after-42', { exact: true }).waitFor();
  await page.goBack();

  app.lose();
  await page.getByText('No connection to ds').waitFor();
  expect(await axe(page)).toEqual([]);
  machine.ds('freeze', 'web');
  app.restore();
  await page.getByText('No connection to ds').waitFor({ state: 'detached' });
  await card.getByText('Frozen').waitFor();
  machine.ds('thaw', 'web');
  expect(app.watch.troubles).toEqual([]);
  await page.context().close();
});

test('a page that is opened again shows the last state at once, marked, and then the current one', async () => {
  machine.ds('start', 'web', '--wait');
  const app = await openApp(browser, machine, 'kernelsu');
  const before = app.page.getByRole('article', { name: 'web' });
  await before.getByText('Running').waitFor();
  // The first list has no buttons: with them, the page has taken over and kept the state.
  await before.getByRole('button', { name: 'Stop' }).waitFor();
  await app.page.close();
  app.lose();
  machine.ds('stop', 'web', '--kill');
  const page = await app.page.context().newPage();
  await page.goto(APP);
  const card = page.getByRole('article', { name: 'web' });
  await card.getByText('Running').waitFor();
  await page.getByText(/ ago$/).waitFor();
  expect(await card.getByRole('button', { name: 'Stop' }).isDisabled()).toBe(true);
  app.restore();
  await card.getByText('Stopped').waitFor();
  await page.getByText(/ ago$/).waitFor({ state: 'detached' });
  expect(await card.getByRole('button', { name: 'Start' }).isEnabled()).toBe(true);
  await page.context().close();
});

test('two pages at once show the same, and a refresh is one call of ds', async () => {
  const app = await openApp(browser, machine, 'kernelsu');
  await app.page.getByRole('article', { name: 'web' }).getByText('Stopped').waitFor();
  expect(app.commands.length).toBe(1);
  const other = await app.page.context().newPage();
  await other.goto(APP);
  await other.getByRole('article', { name: 'web' }).getByText('Stopped').waitFor();
  expect(app.commands.length).toBe(2);
  await app.page.getByRole('article', { name: 'web' }).getByRole('button', { name: 'Start' }).click();
  await other.getByRole('article', { name: 'web' }).getByText('Running').waitFor();
  await other.getByRole('article', { name: 'web' }).getByRole('button', { name: 'Stop' }).click();
  await app.page.getByRole('article', { name: 'web' }).getByText('Stopped').waitFor();
  await other.reload();
  await other.getByRole('article', { name: 'web' }).getByText('Stopped').waitFor();
  expect(app.watch.troubles).toEqual([]);
  await app.page.context().close();
});

test('the colours and the insets of the app are used, also in dialogs and terminals', async () => {
  const colours: Record<string, string> = {
    background: '#141218',
    onSurface: '#e6e0e9',
    onSurfaceVariant: '#cac4d0',
    primary: '#d0bcff',
    onPrimary: '#381e72',
    primaryContainer: '#4f378b',
    onPrimaryContainer: '#eaddff',
    surfaceContainerLow: '#1d1b20',
    surfaceContainer: '#211f26',
    surfaceContainerHighest: '#36343b',
    outlineVariant: '#49454f',
  };
  const root = Object.entries(colours).map(([name, colour]) => `--${name}: ${colour};`);
  const { page, watch } = await openApp(browser, machine, 'kernelsu', 1, {
    '/internal/colors.css': `:root { ${root.join(' ')} }`,
    '/internal/insets.css': ':root { --window-inset-top: 40px; --window-inset-bottom: 30px; }',
  });
  const padding = (selector: string, side: 'Top' | 'Bottom') =>
    page
      .locator(selector)
      .evaluate((element, name) => parseFloat(getComputedStyle(element)[name]), `padding${side}` as const);
  await page.getByRole('article', { name: 'web' }).getByRole('button', { name: 'Log' }).waitFor();
  // The phone is light, the app is dark.
  await expect.poll(() => page.evaluate(() => document.documentElement.dataset.theme)).toBe('dark');
  expect(await page.evaluate(() => getComputedStyle(document.body).backgroundColor)).toBe('rgb(20, 18, 24)');
  expect(await padding('.top-bar', 'Top')).toBe(48);
  expect(await padding('.bottom-bar', 'Bottom')).toBe(42);
  expect(await axe(page)).toEqual([]);
  await page.evaluate(() => (location.hash = '#/container/web/storage'));
  await page.getByText('Makes a second container').waitFor();
  expect(await padding('.top-bar', 'Top')).toBe(48);
  expect(await axe(page)).toEqual([]);
  await page.evaluate(() => (location.hash = '#/terminal/web'));
  await page.getByRole('toolbar').waitFor();
  expect(await padding('.terminal-bar', 'Top')).toBe(44);
  expect(await padding('.keys', 'Bottom')).toBe(36);
  expect(watch.troubles).toEqual([]);
  await page.context().close();
});

test('in an app, an address of a terminal is copied and never opened', async () => {
  machine.ds('start', 'web', '--wait');
  const { page, watch } = await openApp(browser, machine, 'kernelsu');
  await page.evaluate(() => (location.hash = '#/terminal/web'));
  const screen = page.locator('.xterm-rows');
  await screen.getByText('#').first().waitFor();
  await page.keyboard.type("clear; echo https://exam''ple.org/\n");
  const box = await screen.getByText('https://example.org/', { exact: true }).boundingBox();
  if (!box) throw new Error('no link');
  await page.mouse.move(box.x + 12, box.y + 4);
  await page.mouse.move(box.x + 16, box.y + 6);
  await page.waitForTimeout(100);
  await page.mouse.click(box.x + 16, box.y + 6);
  const dialog = page.getByRole('dialog');
  await dialog.getByText('Copy it into a browser').waitFor();
  expect(await dialog.getByRole('link').count()).toBe(0);
  expect(watch.troubles).toEqual([]);
  await page.context().close();
});
