// The page of the machine, the order of autostart, and the page's form: themes, right to left, large text, many rows.

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { axe, brokenWords, touchFaults } from './host';
import { Local } from './local';
import type { Machine } from './machine';

const MANY = 200;

let local: Local;
let machine: Machine;
let page: Page;

beforeAll(async () => {
  local = await Local.open((made) => {
    for (const [name, priority] of [
      ['one', 10],
      ['two', 20],
      ['three', 30],
    ] as const) {
      made.container(name, 'autostart=yes', `priority=${priority}`);
    }
    made.ds('start', 'one', '--wait');
  });
  ({ machine, page } = local);
});

afterAll(() => local.end());

const names = () => page.locator('.order .name').allInnerTexts();

test('the order of autostart is dragged, or moved with keys', async () => {
  await local.goTo('order');
  await expect.poll(names).toEqual(['one', 'two', 'three']);
  expect(await axe(page)).toEqual([]);
  const handle = (name: string) => page.getByRole('button', { name: new RegExp(`^${name}, position`) });
  const from = await handle('one').boundingBox();
  const to = await handle('three').boundingBox();
  if (!from || !to) throw new Error('no rows');
  await page.mouse.move(from.x + 20, from.y + 20);
  await page.mouse.down();
  await page.mouse.move(to.x + 20, to.y + 20, { steps: 12 });
  await page.mouse.up();
  await expect.poll(names).toEqual(['two', 'three', 'one']);
  await handle('three').focus();
  await page.keyboard.press('ArrowUp');
  await expect.poll(names).toEqual(['three', 'two', 'one']);
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved').waitFor();
  const stored = (JSON.parse(machine.ds('list', '--json')) as { containers: { name: string; priority: number }[] })
    .containers;
  const order = stored.sort((a, b) => a.priority - b.priority).map(({ name }) => name);
  expect(order).toEqual(['three', 'two', 'one']);
});

test('what the boot-loop guard has switched off is explained, and can be tried again', async () => {
  const record = join(machine.root, 'data/containers/two/boot-attempts');
  writeFileSync(record, JSON.stringify({ boot: 'earlier', lost: 2 }));
  await page.reload();
  await local.goTo('containers');
  const notice = page
    .getByRole('status')
    .filter({ hasText: 'two does not start by itself: the machine crashed twice' });
  await notice.getByRole('button', { name: 'Look at its log' }).waitFor();
  expect(await axe(page)).toEqual([]);
  expect(await touchFaults(page)).toEqual([]);
  await notice.getByRole('button', { name: 'Try again' }).click();
  await notice.waitFor({ state: 'detached' });
  expect(existsSync(record)).toBe(false);
});

test('the machine: storage, the log of the supervisor, a bug report', async () => {
  await local.goTo('system');
  await page.getByText(/ free$/).waitFor();
  expect(await axe(page)).toEqual([]);
  await page.getByRole('button', { name: 'Collect' }).click();
  const path = join(machine.root, 'report.tar');
  await page.getByRole('dialog').getByLabel('File').fill(path);
  await page.getByRole('dialog').getByRole('button', { name: 'Collect' }).click();
  await page.getByText(`Written to ${path}`).waitFor();
  expect(existsSync(path)).toBe(true);
  await page.goBack();
  await page.getByRole('button', { name: /^Supervisor log/ }).click();
  await page.getByText(/one: running/).waitFor();
  machine.ds('restart', 'one');
  await page
    .getByText(/one: .*restart/)
    .first()
    .waitFor();
});

test('devices of the machine are offered, and given', async () => {
  await local.goTo('container', 'two', 'settings');
  const group = page.getByRole('group', { name: 'Devices of this machine' });
  await group.getByRole('checkbox', { name: /^loop/ }).check();
  await group.getByRole('textbox').waitFor();
  expect(await group.getByRole('textbox').inputValue()).toBe('loop');
  expect(await axe(page)).toEqual([]);
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved').waitFor();
  // The message of the test before may still be there.
  await expect.poll(() => machine.ds('get', 'two', 'hardware.devices').trim()).toBe('loop');
});

test('an uplink is chosen from the interfaces of the machine', async () => {
  await local.goTo('container', 'two', 'settings');
  const group = page.getByRole('group', { name: 'Interfaces of this machine' }).first();
  await group.getByRole('button', { name: 'auto' }).waitFor();
  expect(await group.getByRole('button', { name: 'lo', exact: true }).count()).toBe(0);
  const field = page.getByLabel('Way out', { exact: true });
  await field.fill('rmnet*');
  await group.getByRole('button', { name: 'rmnet*', pressed: true }).waitFor();
  await group.getByRole('button', { name: 'vpn' }).click();
  expect(await field.inputValue()).toBe('vpn');
  expect(await axe(page)).toEqual([]);
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved').waitFor();
  // The message of the test before may still be there.
  await expect.poll(() => machine.ds('get', 'two', 'network.uplink').trim()).toBe('vpn');
  machine.ds('set', 'two', 'network.uplink=');
});

test('settings have names in the language of the page, and keep their keys', async () => {
  await page.evaluate(() => localStorage.setItem('droidspaces.language', 'de'));
  await page.reload();
  await local.goTo('container', 'two', 'settings');
  await page.getByLabel('Zeit zum Herunterfahren').waitFor();
  await page.getByText('container.stop-timeout', { exact: true }).waitFor();
  await page.evaluate(() => localStorage.clear());
  await page.reload();
});

const SCREENS = [
  ['containers'],
  ['container', 'one', 'overview'],
  ['container', 'one', 'settings'],
  ['container', 'one', 'processes'],
  ['container', 'one', 'storage'],
  ['create'],
  ['order'],
  ['system'],
];

/** Screens of which others have all elements: without what takes long. */
const QUICK = [
  ['container', 'one', 'log'],
  ['container', 'one', 'file'],
  ['container', 'one', 'users'],
  ['container', 'two', 'services'],
  ['container', 'two', 'storage'],
  ['jobs'],
  ['system-log'],
  ['terminal', 'one'],
  ['terminal', 'thelongestnameofall'],
];

test.each([
  ['dark', 'en', 100],
  ['light', 'ar', 100],
  ['amoled', 'hi', 100],
  ['light', 'de', 150],
])('%s, %s, text at %i %%: accessible, and large enough to touch', async (theme, language, scale) => {
  const more = theme === 'dark' || scale > 100 ? QUICK : [];
  await page.evaluate(
    (stored) => {
      localStorage.setItem('droidspaces.theme', stored.theme);
      localStorage.setItem('droidspaces.language', stored.language);
    },
    { theme, language },
  );
  await page.reload();
  await page.addStyleTag({ content: `html { font-size: ${scale}%; }` });
  // Many phones are as narrow as this.
  await page.setViewportSize({ width: 360, height: 780 });
  for (const screen of [...SCREENS, ...more]) {
    await local.goTo(...screen);
    await page.locator('.loading').waitFor({ state: 'detached' });
    await page.waitForTimeout(150);
    expect(await touchFaults(page), screen.join('/')).toEqual([]);
    expect(await brokenWords(page), screen.join('/')).toEqual([]);
    if (SCREENS.includes(screen)) expect(await axe(page), screen.join('/')).toEqual([]);
  }
  // With the bar that saves.
  await local.goTo('container', 'one', 'settings');
  await page.locator('.field input[type=text]').first().fill('host');
  await page.locator('.save-bar').waitFor();
  expect(await brokenWords(page)).toEqual([]);
  await page.setViewportSize({ width: 412, height: 915 });
  await page.evaluate(() => localStorage.clear());
});

test('a list of 200 containers is drawn once, and scrolls', async () => {
  const tree = join(machine.root, 'tree-two');
  for (let number = 0; number < MANY; number++) {
    machine.copyOfSettings('two', `many-${number}`, tree);
  }
  await page.reload();
  await local.goTo('containers');
  await page.getByText(`many-${MANY - 1}`, { exact: true }).waitFor({ state: 'attached' });
  const session = await page.context().newCDPSession(page);
  await session.send('Emulation.setCPUThrottlingRate', { rate: 4 });
  const frames = await page.evaluate(
    () =>
      new Promise<number>((resolve) => {
        let count = 0;
        const begun = performance.now();
        const step = (): void => {
          window.scrollBy(0, 60);
          count++;
          if (performance.now() - begun < 2000) requestAnimationFrame(step);
          else resolve(count);
        };
        requestAnimationFrame(step);
      }),
  );
  await session.send('Emulation.setCPUThrottlingRate', { rate: 1 });
  expect(await page.evaluate(() => window.scrollY)).toBeGreaterThan(1000);
  expect(frames, 'frames in two seconds').toBeGreaterThan(5);
});

test('has caused no console error and no foreign request', () => {
  expect(local.watch.troubles).toEqual([]);
});
