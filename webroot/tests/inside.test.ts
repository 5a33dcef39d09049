// The page and what runs in containers with four init systems: services, processes and users.

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { axe, launch, phone, Watch } from './host';
import { Machine } from './machine';

let machine: Machine;
let browser: Browser;
let page: Page;
let watch: Watch;

beforeAll(async () => {
  machine = new Machine();
  browser = await launch();
  page = await (await phone(browser)).newPage();
  const address = machine.web();
  watch = new Watch(page, new URL(address).origin);
  await page.goto(address);
  await page.getByRole('heading', { name: 'Droidspaces' }).waitFor();
});

afterAll(async () => {
  await browser.close();
  machine.end();
});

function boot(name: string, fixture: string): void {
  machine.containerOf(fixture, name);
  machine.ds('start', name, '--wait');
}

const goTo = (...parts: string[]) => page.evaluate((hash) => (location.hash = hash), `#/${parts.join('/')}`);
const dialog = () => page.getByRole('dialog');

test.each([
  ['openrc', 'openrc', 'bootlogs'],
  ['runit', 'runit', 'getty-tty1'],
  ['sysvinit', 'sysvinit', 'bootlogs'],
  ['systemd', 'bookworm', 'systemd-journald'],
])('%s: services are listed, searched and shown', async (name, fixture, service) => {
  boot(name, fixture);
  await goTo('container', name, 'services');
  await page.getByRole('searchbox', { name: 'Search services' }).fill(service);
  const row = page.getByRole('button', { name: new RegExp(`^${service}`) });
  await row.waitFor();
  expect(await axe(page)).toEqual([]);
  await row.click();
  await dialog().locator('.log').waitFor();
  if (name === 'systemd') {
    await dialog().getByText('Active: active').waitFor();
    await dialog().getByRole('button', { name: 'Journal' }).click();
    await dialog().getByText('Journal started').waitFor();
    expect(await axe(page)).toEqual([]);
  }
  await dialog().getByRole('button', { name: 'Close' }).click();
  await dialog().waitFor({ state: 'detached' });
  if (name !== 'systemd') machine.ds('stop', name, '--kill');
});

test('a service of systemd is stopped, disabled, enabled and started', async () => {
  const unit = ['[Unit]', 'Description=Sleeps <b>long</b>', '[Service]', 'ExecStart=/bin/sleep 4711'];
  const install = ['[Install]', 'WantedBy=multi-user.target', ''];
  machine.ds(
    ...['run', 'systemd', '--', 'sh', '-c'],
    'printf %s "$1" >/etc/systemd/system/nap.service; systemctl daemon-reload; systemctl start nap',
    ...['sh', [...unit, ...install].join('\n')],
  );
  await goTo('container', 'systemd', 'overview');
  await goTo('container', 'systemd', 'services');
  await page.getByRole('searchbox', { name: 'Search services' }).fill('sleeps');
  await page.getByText('Sleeps <b>long</b>').waitFor();
  await page.getByRole('button', { name: 'Stop nap' }).click();
  await page.getByRole('button', { name: 'Start nap' }).click();
  await page.getByRole('button', { name: 'Stop nap' }).waitFor();
  await page.getByRole('button', { name: /^nap/ }).click();
  await dialog().getByRole('button', { name: 'Enable' }).click();
  await dialog().getByRole('button', { name: 'Disable' }).waitFor();
  expect(machine.ds('run', 'systemd', '--', 'systemctl', 'is-enabled', 'nap').trim()).toBe('enabled');
  await page.goBack();
  await dialog().waitFor({ state: 'detached' });
});

test('processes are shown with their use, and get signals', async () => {
  await goTo('container', 'systemd', 'processes');
  await page.getByRole('searchbox', { name: 'Search processes' }).fill('sleep 4711');
  const row = page.getByRole('button', { name: /sleep 4711/ });
  await row.getByText(/^[\d.]+ %$/).waitFor();
  expect(await axe(page)).toEqual([]);
  await row.click();
  await dialog().getByRole('button', { name: 'KILL' }).click();
  await dialog().getByRole('button', { name: 'Send signal' }).click();
  await page.getByText(/^Sent KILL to process \d+$/).waitFor();
  await row.waitFor({ state: 'detached' });
  await page.getByRole('searchbox', { name: 'Search processes' }).fill('init');
  await page
    .getByRole('button', { name: /^\/(usr\/)?(sbin\/init|lib\/systemd\/systemd) / })
    .first()
    .click();
  await dialog().getByText('This is the init system.').waitFor();
  await page.goBack();
});

test('users can log in', async () => {
  machine.ds('run', 'systemd', '--', 'useradd', '-m', '-s', '/bin/sh', 'ann');
  await goTo('container', 'systemd', 'users');
  await page.getByText('ann', { exact: true }).waitFor();
  expect(await axe(page)).toEqual([]);
  expect(await page.getByText('daemon', { exact: true }).count()).toBe(0);
  await page.getByRole('button', { name: 'Terminal as ann' }).click();
  const screen = page.locator('.xterm-rows');
  await screen.getByText('$').first().waitFor();
  await page.keyboard.type('id -un | tr a-z A-Z\n');
  await screen.getByText('ANN', { exact: true }).waitFor();
  await page.keyboard.type('exit\n');
  await page.getByText('The shell has ended.').waitFor();
});

test('has caused no console error and no foreign request', () => {
  expect(watch.troubles).toEqual([]);
});
