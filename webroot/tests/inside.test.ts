// The page and what runs in containers with several init systems: services, processes and users.

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { axe } from './host';
import { Local } from './local';
import type { Machine } from './machine';

let local: Local;
let machine: Machine;
let page: Page;

beforeAll(async () => {
  local = await Local.open();
  ({ machine, page } = local);
});

afterAll(() => local.end());

function boot(name: string, fixture: string): void {
  machine.containerOf(fixture, name);
  machine.ds('start', name, '--wait');
}

const dialog = () => page.getByRole('dialog');

/** Programs that services of other init systems than systemd's run, for as long as the tests need. */
function serviceOf(name: string): string {
  const tree = join(machine.root, `tree-${name}`);
  const script = (path: string, ...lines: string[]): void => {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    writeFileSync(join(tree, path), [...lines, ''].join('\n'), { mode: 0o755 });
  };
  if (name === 'openrc') {
    const settings = ['command=/bin/sleep', 'command_args=4711', 'command_background=yes', 'pidfile=/run/nap.pid'];
    script('etc/init.d/nap', '#!/sbin/openrc-run', ...settings);
  } else if (name === 'runit') {
    script('etc/sv/nap/run', '#!/bin/sh', 'exec sleep 4711');
  } else {
    const header = [
      'Provides: nap',
      'Required-Start:',
      'Required-Stop:',
      'Default-Start: 2 3 4 5',
      'Default-Stop: 0 1 6',
    ];
    const comments = ['BEGIN INIT INFO', ...header, 'END INIT INFO'].map((line) =>
      line.endsWith('INFO') ? `### ${line}` : `# ${line}`,
    );
    const daemon = 'start-stop-daemon --quiet --pidfile /run/nap.pid';
    script(
      'etc/init.d/nap',
      '#!/bin/sh',
      ...comments,
      'case "$1" in',
      `start) ${daemon} --start --background --make-pidfile --exec /bin/sleep -- 4711 ;;`,
      `stop) ${daemon} --stop --remove-pidfile ;;`,
      'restart) "$0" stop; "$0" start ;;',
      'status) kill -0 "$(cat /run/nap.pid 2>/dev/null)" 2>/dev/null && echo nap runs ;;',
      'esac',
    );
  }
  return 'nap';
}

test.each([
  ['openrc', 'bootlogs'],
  ['runit', 'getty-tty1'],
  ['sysvinit', 'bootlogs'],
])('%s: services are listed, searched, started, enabled and stopped', async (name, service) => {
  machine.containerOf(name, name);
  const nap = serviceOf(name);
  machine.ds('start', name, '--wait');
  await local.goTo('container', name, 'services');
  const search = page.getByRole('searchbox', { name: 'Search services' });
  await search.fill(service);
  await page.getByRole('button', { name: new RegExp(`^${service}`) }).waitFor();
  await search.fill(nap);
  const row = page.getByRole('button', { name: new RegExp(`^${nap}`) });
  await row.waitFor();
  expect(await page.getByRole('button', { name: new RegExp(`^${service}`) }).count()).toBe(0);
  expect(await axe(page)).toEqual([]);
  const sleeps = () => machine.ds('run', name, '--', 'sh', '-c', 'cat /proc/[0-9]*/cmdline | tr "\\0" " "');
  const runs = async (is: boolean): Promise<void> => expect.poll(() => sleeps().includes('sleep 4711')).toBe(is);
  // A service of runit runs once it is enabled.
  if (name !== 'runit') await page.getByRole('button', { name: `Start ${nap}` }).click();
  await row.click();
  await dialog().getByRole('button', { name: 'Enable' }).click();
  await dialog().getByRole('button', { name: 'Disable' }).waitFor();
  await dialog().locator('.log').waitFor();
  expect(await axe(page)).toEqual([]);
  await runs(true);
  await page.goBack();
  await dialog().waitFor({ state: 'detached' });
  if (name === 'runit') {
    // runsvdir looks for new services every five seconds; the page shows what it knows when it is opened.
    await local.goTo('container', name, 'overview');
    await local.goTo('container', name, 'services');
    await search.fill(nap);
  }
  await page.getByRole('button', { name: `Stop ${nap}` }).click();
  await page.getByRole('button', { name: `Start ${nap}` }).waitFor();
  await runs(false);
  await page.getByRole('button', { name: `Start ${nap}` }).click();
  await page.getByRole('button', { name: `Stop ${nap}` }).waitFor();
  await runs(true);
  await row.click();
  await dialog().getByRole('button', { name: 'Disable' }).click();
  await dialog().getByRole('button', { name: 'Enable' }).waitFor();
  await dialog().getByRole('button', { name: 'Close' }).click();
  await dialog().waitFor({ state: 'detached' });
  // A test below uses the other one.
  if (name !== 'runit') machine.ds('stop', name, '--kill');
});

test('systemd: services are listed, searched and shown with their journal', async () => {
  boot('systemd', 'bookworm');
  await local.goTo('container', 'systemd', 'services');
  await page.getByRole('searchbox', { name: 'Search services' }).fill('systemd-journald');
  const row = page.getByRole('button', { name: /^systemd-journald/ });
  await row.waitFor();
  expect(await axe(page)).toEqual([]);
  await row.click();
  await dialog().getByText('Active: active').waitFor();
  await dialog().getByRole('button', { name: 'Journal' }).click();
  await dialog().getByText('Journal started').waitFor();
  expect(await axe(page)).toEqual([]);
  await dialog().getByRole('button', { name: 'Close' }).click();
  await dialog().waitFor({ state: 'detached' });
  await local.goTo('container', 'systemd', 'overview');
  await local.goTo('container', 'systemd', 'services');
  await row.waitFor();
  expect(await page.getByRole('searchbox', { name: 'Search services' }).inputValue()).toBe('systemd-journald');
});

test('htop draws and redraws the whole terminal, takes keys, and gives the screen back', async () => {
  await local.goTo('terminal', 'runit');
  const screen = page.locator('.xterm-rows');
  await screen.getByText('#').first().waitFor();
  await page.keyboard.type('echo before-$((6*7)); htop\n');
  const last = () => screen.locator('> div').last();
  await expect.poll(() => last().innerText()).toMatch(/^F1Help *F2Setup/);
  // Colours and bars, not only characters.
  expect(await screen.locator('span[class*=xterm-bg-]').count()).toBeGreaterThan(3);
  // The commands are to the right of what a phone shows.
  await page.setViewportSize({ width: 1000, height: 600 });
  await expect.poll(() => last().innerText()).toMatch(/F9Kill *F10Quit/);
  await screen.getByText('runsvdir').first().waitFor();
  await page.keyboard.press('F4');
  await page.keyboard.type('htop');
  await screen.getByText('runsvdir').first().waitFor({ state: 'detached' });
  await page.keyboard.press('Enter');
  await page.setViewportSize({ width: 412, height: 915 });
  await page.keyboard.press('q');
  await screen.getByText('before-42', { exact: true }).waitFor();
  await page.keyboard.type('clear; echo after-$((6*7))\n');
  await screen.getByText('after-42', { exact: true }).waitFor();
  await page.keyboard.type('exit\n');
  await page.getByText('The shell has ended.').waitFor();
  machine.ds('stop', 'runit', '--kill');
});

/** OpenWrt's scripts and its bus as far as the page uses them, on another system. */
function fakeProcd(name: string): void {
  machine.containerOf('busybox', name, 'init=/sbin/procd');
  const tree = join(machine.root, `tree-${name}`);
  const script = (path: string, ...lines: string[]): void => {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    writeFileSync(join(tree, path), ['#!/bin/sh', ...lines, ''].join('\n'), { mode: 0o755 });
  };
  script('sbin/procd', 'exec /sbin/init');
  for (const service of ['dnsmasq', 'uhttpd']) {
    const link = `/etc/rc.d/S50${service}`;
    script(
      `etc/init.d/${service}`,
      `case "$1" in`,
      `start) touch /run/${service} ;;`,
      `stop) rm -f /run/${service} ;;`,
      `enable) mkdir -p /etc/rc.d; ln -sf /etc/init.d/${service} ${link} ;;`,
      `disable) rm -f ${link} ;;`,
      `status) [ -e /run/${service} ] && echo running || echo inactive ;;`,
      'esac',
    );
  }
  script(
    'bin/ubus',
    'comma=',
    'echo "{"',
    'for s in dnsmasq uhttpd; do',
    '  [ -e "/run/$s" ] || continue',
    '  echo "$comma\\"$s\\": { \\"instances\\": { \\"instance1\\": { \\"running\\": true, \\"pid\\": 7 } } }"; comma=,',
    'done',
    'echo "}"',
  );
}

test('procd: services are listed, started, enabled and stopped', async () => {
  fakeProcd('openwrt');
  machine.ds('start', 'openwrt', '--wait');
  await local.goTo('container', 'openwrt', 'services');
  const row = page.getByRole('button', { name: /^dnsmasq/ });
  await row.getByText('inactive').waitFor();
  await page.getByRole('button', { name: 'Start dnsmasq' }).click();
  await row.getByText('running').waitFor();
  await row.click();
  await dialog().getByText('running', { exact: true }).first().waitFor();
  await dialog().getByRole('button', { name: 'Enable' }).click();
  await dialog().getByRole('button', { name: 'Disable' }).waitFor();
  expect(machine.ds('run', 'openwrt', '--', 'ls', '/etc/rc.d').trim()).toBe('S50dnsmasq');
  await dialog().getByRole('button', { name: 'Disable' }).click();
  await dialog().getByRole('button', { name: 'Enable' }).waitFor();
  await dialog().getByRole('button', { name: 'Stop' }).click();
  await dialog().getByRole('button', { name: 'Start', exact: true }).waitFor();
  expect(await axe(page)).toEqual([]);
  await page.goBack();
  await dialog().waitFor({ state: 'detached' });
  machine.ds('stop', 'openwrt', '--kill');
});

test('a service of systemd is stopped, disabled, enabled and started', async () => {
  const unit = ['[Unit]', 'Description=Sleeps <b>long</b>', '[Service]', 'ExecStart=/bin/sleep 4711'];
  const install = ['[Install]', 'WantedBy=multi-user.target', ''];
  machine.ds(
    ...['run', 'systemd', '--', 'sh', '-c'],
    'printf %s "$1" >/etc/systemd/system/nap.service; systemctl daemon-reload; systemctl start nap',
    ...['sh', [...unit, ...install].join('\n')],
  );
  await local.goTo('container', 'systemd', 'overview');
  await local.goTo('container', 'systemd', 'services');
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
  await local.goTo('container', 'systemd', 'processes');
  await page.getByRole('searchbox', { name: 'Search processes' }).fill('sleep 4711');
  const row = page.getByRole('button', { name: /sleep 4711/ });
  await row.getByText(/^[\d.]+\s%$/).waitFor();
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

test('a process is shown with the words it chose, as text', async () => {
  const words = '<img src=x onerror=alert(1)> %22 $(reboot) \u202egnp\u001b[31m';
  machine.ds('run', 'systemd', '--', 'bash', '-c', '(exec -a "$1" sleep 4712) >/dev/null 2>&1 &', 'bash', words);
  await local.goTo('container', 'systemd', 'overview');
  await local.goTo('container', 'systemd', 'processes');
  await page.getByRole('searchbox', { name: 'Search processes' }).fill('4712');
  const row = page.getByRole('button', { name: /4712/ });
  await row.waitFor();
  expect(await row.innerText()).toContain('<img src=x onerror=alert(1)> %22 $(reboot)');
  expect(await page.locator('main img').count()).toBe(0);
  expect(await axe(page)).toEqual([]);
});

test('users can log in', async () => {
  machine.ds('run', 'systemd', '--', 'useradd', '-m', '-s', '/bin/sh', 'ann');
  await local.goTo('container', 'systemd', 'users');
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
  expect(local.watch.troubles).toEqual([]);
});
