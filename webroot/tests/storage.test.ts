// Containers from a directory and from an image that the chooser finds; what is done with their storage; and forms, which
// lose nothing that was typed when the back gesture closes them.

import { execFileSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Locator, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { axe, touchFaults } from './host';
import { Local } from './local';
import type { Machine } from './machine';

const MIB = 1024 * 1024;
const IMAGE = 'x.img';

let local: Local;
let machine: Machine;
let page: Page;

beforeAll(async () => {
  local = await Local.open((made) => {
    // Its tree is what the tests make containers from.
    made.container('first');
    execFileSync('truncate', ['-s', '64M', join(made.root, IMAGE)]);
    execFileSync('mkfs.ext4', ['-q', '-d', join(made.root, 'tree-first'), join(made.root, IMAGE)]);
  });
  ({ machine, page } = local);
});

afterAll(() => local.end());

const card = (name: string) => page.getByRole('article', { name, exact: true });
const dialog = () => page.getByRole('dialog');
const path = () => page.getByLabel('Path on this device');

/** Opens the chooser beside the path, in the directory of the machine. */
async function browse(): Promise<void> {
  await path().fill(join(machine.root, 'x'));
  await page.getByRole('button', { name: 'Browse' }).click();
  await dialog().getByText('tree-first', { exact: true }).waitFor();
}

/** Performs an action of the storage page in its dialog, and waits until its job is done. */
async function perform(container: string, action: string, job: string, value: string | null): Promise<void> {
  await local.goTo('container', container, 'storage');
  await page.getByRole('button', { name: action }).click();
  if (value !== null) await dialog().getByLabel(/^Size/).fill(value);
  await dialog().getByRole('button', { name: action }).click();
  await dialog().waitFor({ state: 'detached' });
  await local.goTo('jobs');
  const done = page.getByRole('article', { name: `${job} ${container}` });
  await done.getByText('Done').waitFor();
  await done.getByRole('button', { name: 'Dismiss' }).click();
  await done.waitFor({ state: 'detached' });
}

interface Rootfs {
  kind: string;
  path: string;
}

const rootfs = (name: string) => (JSON.parse(machine.ds('info', name, '--json')) as { rootfs: Rootfs }).rootfs;

test('a container is made from a directory that the chooser finds', async () => {
  await page.getByRole('button', { name: 'New container' }).click();
  await page.getByRole('button', { name: /^Directory/ }).click();
  await browse();
  expect(await touchFaults(page)).toEqual([]);
  expect(await dialog().getByRole('button', { name: IMAGE }).isDisabled(), 'a file is no directory').toBe(true);
  await dialog()
    .getByRole('button', { name: /^tree-first/ })
    .click();
  await dialog().getByRole('button', { name: /^sbin/ }).waitFor();
  await dialog().getByRole('button', { name: 'Use this directory' }).click();
  await dialog().waitFor({ state: 'detached' });
  await page.getByLabel('Name', { exact: true }).fill('tree');
  await page.getByLabel('Start with the device').check();
  await page.getByRole('button', { name: 'Create' }).click();
  await card('tree').getByText('Stopped').waitFor();
  expect(rootfs('tree')).toMatchObject({ kind: 'directory', path: join(machine.root, 'tree-first') });
  expect(machine.ds('get', 'tree', 'autostart').trim()).toBe('yes');
  machine.ds('rm', 'tree');
});

test('a container is made from an image that the chooser finds, starts and restarts', async () => {
  await local.goTo('create');
  await page.getByRole('button', { name: /^Image/ }).click();
  await browse();
  await dialog()
    .getByRole('button', { name: new RegExp(`^${IMAGE}`) })
    .click();
  await dialog().waitFor({ state: 'detached' });
  expect(await path().inputValue()).toBe(join(machine.root, IMAGE));
  expect(await page.locator('pre.command').innerText()).toContain(`--image ${join(machine.root, IMAGE)}`);
  await page.getByLabel('Name', { exact: true }).fill('disk');
  await page.getByRole('button', { name: 'Create' }).click();
  await card('disk').getByText('Stopped').waitFor();
  expect(rootfs('disk').kind).toBe('image');
  await card('disk').getByRole('button', { name: 'Start' }).click();
  await card('disk').getByText('Running').waitFor();
  const boot = () => (JSON.parse(machine.ds('info', 'disk', '--json')) as { pid: number | null }).pid;
  const before = boot();
  await card('disk').getByRole('button', { name: 'Restart' }).click();
  await expect.poll(boot).not.toBe(before);
  await card('disk').getByText('Running').waitFor();
  await expect.poll(() => machine.state('disk')).toBe('running');
  await local.goTo('container', 'disk', 'storage');
  await page.getByText('The container must be stopped for this.').waitFor();
  expect(await page.getByRole('button', { name: 'Resize' }).isDisabled(), 'while it runs').toBe(true);
  await local.goTo('containers');
  await card('disk').getByRole('button', { name: 'Stop' }).click();
  await card('disk').getByText('Stopped').waitFor();
});

test('an image is resized, and converted into a directory and back', async () => {
  await local.goTo('container', 'disk', 'storage');
  await page.getByRole('button', { name: 'Resize' }).click();
  await dialog().getByLabel(/^Size/).fill('much');
  await dialog().getByRole('button', { name: 'Resize' }).click();
  await dialog()
    .getByText(/much is not a size/)
    .waitFor();
  expect(await axe(page)).toEqual([]);
  await dialog().getByRole('button', { name: 'Cancel' }).click();
  await perform('disk', 'Resize', 'Resize', '96M');
  expect(statSync(join(machine.root, IMAGE)).size).toBe(96 * MIB);

  await perform('disk', 'Convert', 'Convert', null);
  expect(rootfs('disk').kind).toBe('directory');
  expect(existsSync(join(rootfs('disk').path, 'bin/busybox'))).toBe(true);
  await local.goTo('container', 'disk', 'storage');
  await page.getByRole('button', { name: 'Convert' }).waitFor();
  expect(await page.getByRole('button', { name: 'Resize' }).count(), 'a directory has no size').toBe(0);

  await perform('disk', 'Convert', 'Convert', '64M');
  expect(rootfs('disk').kind).toBe('image');
  await local.goTo('containers');
  await card('disk').getByRole('button', { name: 'Start' }).click();
  await card('disk').getByText('Running').waitFor();
  machine.ds('stop', 'disk', '--kill');
});

test('a failed job says why', async () => {
  await local.goTo('container', 'disk', 'storage');
  await page.getByRole('button', { name: 'Back up' }).click();
  await dialog().getByLabel('File').fill('/proc/no/such.tar.zst');
  await dialog().getByRole('button', { name: 'Back up' }).click();
  await dialog().waitFor({ state: 'detached' });
  await local.goTo('jobs');
  const job = page.getByRole('article', { name: 'Back up disk' });
  await job.getByText('Failed').waitFor();
  await job.getByText(/\/proc\/no/).waitFor();
  expect(await axe(page)).toEqual([]);
});

test('a running job is stopped only after a question', async () => {
  // Nobody writes into it: the job runs until it is stopped.
  const archive = join(machine.root, 'endless.tar');
  execFileSync('mkfifo', [archive]);
  const request = { argv: ['create', 'never', '--from', archive], job: true };
  machine.ds('rpc', Buffer.from(JSON.stringify(request)).toString('base64url'));
  await local.goTo('jobs');
  const job = page.getByRole('article', { name: 'Create never' });
  const stop = job.getByRole('button', { name: 'Stop job' });
  await stop.click();
  await dialog().getByRole('button', { name: 'Let it finish' }).click();
  await dialog().waitFor({ state: 'detached' });
  expect(await job.getByText('Running', { exact: true }).count()).toBe(1);
  await stop.click();
  expect(await axe(page)).toEqual([]);
  await dialog().getByRole('button', { name: 'Stop job' }).click();
  await job.getByText('Failed').waitFor();
  expect(machine.ds('list')).not.toContain('never');
  await job.getByRole('button', { name: 'Dismiss' }).click();
  await job.waitFor({ state: 'detached' });
});

test('the back gesture closes dialogs and screens, and loses nothing that was typed', async () => {
  await local.goTo('containers');
  await page.getByRole('button', { name: 'New container' }).click();
  await page.getByRole('button', { name: /^Image/ }).click();
  await path().fill('/data/half');
  await page.getByLabel('Name', { exact: true }).fill('half-typed');
  await page.getByRole('button', { name: 'Browse' }).click();
  await dialog().waitFor();
  await page.goBack();
  await dialog().waitFor({ state: 'detached' });
  expect(await path().inputValue()).toBe('/data/half');
  await page.goBack();
  await card('first').waitFor();
  await page.getByRole('button', { name: 'New container' }).click();
  expect(await path().inputValue()).toBe('/data/half');
  expect(await page.getByLabel('Name', { exact: true }).inputValue()).toBe('half-typed');
  await page.goBack();

  await card('first').getByRole('button', { name: 'Open first' }).click();
  await page.getByRole('button', { name: 'Storage', exact: true }).click();
  await page.getByRole('button', { name: 'Copy' }).click();
  const isFocused = (locator: Locator) => locator.evaluate((element) => element === document.activeElement);
  expect(await isFocused(dialog().getByLabel('New name'))).toBe(true);
  expect(await touchFaults(page)).toEqual([]);
  await dialog().getByLabel('New name').fill('seco');
  await page.goBack();
  await dialog().waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Copy' }).click();
  expect(await dialog().getByLabel('New name').inputValue()).toBe('seco');
  await dialog().getByRole('button', { name: 'Cancel' }).click();
  await dialog().waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Copy' }).click();
  expect(await dialog().getByLabel('New name').inputValue(), 'discarded').toBe('');
  // Twice is not too often: the screen stays.
  await page.keyboard.press('Escape');
  await page.keyboard.press('Escape');
  await dialog().waitFor({ state: 'detached' });
  expect(await isFocused(page.getByRole('button', { name: 'Copy' })), 'where the user was').toBe(true);
  await page.getByRole('button', { name: 'Delete' }).click();
  await dialog().getByLabel('Type first to confirm').fill('first');
  await page.goBack();
  await dialog().waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Delete' }).click();
  expect(await dialog().getByLabel('Type first to confirm').inputValue(), 'a confirmation is typed anew').toBe('');
  await page.goBack();
  await dialog().waitFor({ state: 'detached' });
});

/** How many entries of the history belong to dialogs. */
const depth = () => page.evaluate(() => (history.state as { overlay?: number } | null)?.overlay ?? 0);

/** As on a device that takes half a second to go back. */
const slowDown = () =>
  page.evaluate(() => {
    const back = history.back.bind(history);
    history.back = () => void setTimeout(back, 500);
  });
const speedUp = () => page.evaluate(() => Reflect.deleteProperty(history, 'back'));

test('a dialog has the keyboard as soon as it is there, and wherever the focus went', async () => {
  // In the instant in which it is there, before the browser shows it.
  await page.evaluate(
    () =>
      new Promise<void>((resolve) => {
        new MutationObserver((_, observer) => {
          if (!document.querySelector('[role=dialog]')) return;
          observer.disconnect();
          document.activeElement?.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }));
          resolve();
        }).observe(document.body, { childList: true, subtree: true });
        const copy = [...document.querySelectorAll('button')].find((button) => button.textContent === 'Copy');
        copy?.focus();
        copy?.click();
      }),
  );
  await dialog().waitFor({ state: 'detached' });
  await expect.poll(depth).toBe(0);
  await page.getByRole('button', { name: 'Copy' }).click();
  await page.evaluate(() => (document.activeElement as HTMLElement).blur());
  await page.keyboard.press('Tab');
  expect(await page.evaluate(() => document.activeElement?.closest('[role=dialog]') !== null)).toBe(true);
  await page.evaluate(() => (document.activeElement as HTMLElement).blur());
  await page.keyboard.press('Escape');
  await dialog().waitFor({ state: 'detached' });
  await expect.poll(depth).toBe(0);
});

test('a dialog closes although the one before it is still in the history', async () => {
  await slowDown();
  await page.getByRole('button', { name: 'Copy' }).click();
  await expect.poll(depth).toBe(1);
  await dialog().getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'Copy' }).click();
  expect(await depth(), 'the entry of the first dialog').toBe(1);
  await page.keyboard.press('Escape');
  await dialog().waitFor({ state: 'detached' });
  await expect.poll(depth).toBe(0);
  await speedUp();
  await page.getByRole('button', { name: 'Copy' }).click();
  await expect.poll(depth).toBe(1);
  await page.goBack();
  await dialog().waitFor({ state: 'detached' });
});

test('a dialog stays although the one before it leaves the history only now', async () => {
  await slowDown();
  await page.getByRole('button', { name: 'Copy' }).click();
  await expect.poll(depth).toBe(1);
  await dialog().getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'Copy' }).click();
  await page.evaluate(
    () => new Promise((resolve) => window.addEventListener('popstate', () => setTimeout(resolve, 100), { once: true })),
  );
  await expect.poll(depth).toBe(1);
  expect(await dialog().count(), 'the second one').toBe(1);
  await speedUp();
  await page.goBack();
  await dialog().waitFor({ state: 'detached' });
});

test('searches are kept while the user looks elsewhere', async () => {
  machine.ds('start', 'first', '--wait');
  const fields: [string, string[]][] = [
    ['Search settings', ['container', 'first', 'settings']],
    ['Filter lines', ['container', 'first', 'log']],
    ['Search processes', ['container', 'first', 'processes']],
    ['Filter lines', ['system-log']],
  ];
  const field = (name: string) => page.getByRole('searchbox', { name });
  for (const [index, [name, place]] of fields.entries()) {
    await local.goTo('containers');
    await card('first').waitFor();
    await local.goTo(...place);
    await field(name).fill(`text ${index}`);
    await page.goBack();
    await card('first').waitFor();
  }
  for (const [index, [name, place]] of fields.entries()) {
    await local.goTo(...place);
    await field(name).waitFor();
    expect(await field(name).inputValue(), place.join(' ')).toBe(`text ${index}`);
    await field(name).fill('');
  }
  await local.goTo('containers');
  await page.getByRole('button', { name: 'Search', exact: true }).click();
  await field('Search').fill('fir');
  await card('first').getByRole('button', { name: 'Open first' }).click();
  await page.goBack();
  expect(await field('Search').inputValue()).toBe('fir');
  await page.getByRole('button', { name: 'Search', exact: true }).click();
  machine.ds('stop', 'first', '--kill');
  await card('first').getByText('Stopped').waitFor();
  await card('first').getByRole('button', { name: 'Open first' }).click();
});

test('settings and the file keep what was typed while the user looks elsewhere', async () => {
  await page.getByRole('button', { name: 'Settings', exact: true }).click();
  const hostname = page.getByLabel('Host name', { exact: true });
  await hostname.fill('not valid');
  const fault = page.getByText(/'not valid' contains a character/);
  await fault.waitFor();
  await page.getByRole('button', { name: 'File', exact: true }).click();
  const area = page.getByRole('textbox', { name: 'File' });
  const original = await area.inputValue();
  await area.fill(`${original}# half`);
  await page.goBack();
  await card('first').getByRole('button', { name: 'Open first' }).click();
  await page.getByRole('button', { name: 'Settings', exact: true }).click();
  await page.getByText('1 changed').waitFor();
  expect(await hostname.inputValue()).toBe('not valid');
  await fault.waitFor();
  expect(await page.getByRole('button', { name: 'Save' }).isDisabled()).toBe(true);
  await hostname.fill('valid');
  await fault.waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Save' }).click();
  await expect.poll(() => machine.ds('get', 'first', 'hostname').trim()).toBe('valid');

  // The text was begun before this change.
  await page.getByRole('button', { name: 'File', exact: true }).click();
  await page.getByText(/^The file has changed since/).waitFor();
  expect(await area.inputValue()).toBe(`${original}# half`);
  expect(await axe(page)).toEqual([]);
  await page.getByRole('button', { name: 'Discard' }).click();
  expect(await area.inputValue()).toMatch(/hostname *= *valid/);
  expect(await page.getByText(/^The file has changed since/).count()).toBe(0);
});

test('has caused no console error and no foreign request', () => {
  expect(local.watch.troubles).toEqual([]);
});
