// The life of a container by the page alone: from a catalogue on this machine to its deletion, and back from a backup.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { arch } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { axe } from './host';
import { Local } from './local';
import type { Machine } from './machine';

const FILE = '/images/busybox/rootfs.tar.xz';
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG1hZGVmb3JhdGVzdG1hZGVmb3JhdGVzdG1hZGVmb3Jh ann';
const PASSWORD = "p w%22'$(reboot)";

let server: Server;
let local: Local;
let machine: Machine;
let page: Page;

/** A server with one image: a copy of the smallest real root file system. */
async function catalogue(archive: Buffer): Promise<{ server: Server; address: string }> {
  const architecture = { x64: 'amd64', arm64: 'arm64' }[arch()] ?? arch();
  const sha256 = createHash('sha256').update(archive).digest('hex');
  const item = { ftype: 'root.tar.xz', sha256, size: archive.length, path: FILE.slice(1) };
  const index = {
    content_id: 'images',
    datatype: 'image-downloads',
    format: 'products:1.0',
    products: {
      [`busybox:1:${architecture}:default`]: {
        aliases: 'busybox/1/default,busybox/1',
        versions: { '20260821_05:24': { items: { 'root.tar.xz': item } } },
      },
    },
  };
  const made = createServer((request, response) => {
    const body = { '/streams/v1/images.json': JSON.stringify(index), [FILE]: archive }[request.url ?? ''];
    response.statusCode = body === undefined ? 404 : 200;
    response.end(body);
  });
  await new Promise<void>((resolve) => made.listen(0, '127.0.0.1', resolve));
  return { server: made, address: `http://127.0.0.1:${(made.address() as AddressInfo).port}` };
}

beforeAll(async () => {
  const tree = join(process.env.DS_FIXTURES ?? '', 'busybox');
  const archive = execFileSync('tar', ['-C', tree, '-cJf', '-', '.'], { maxBuffer: 1 << 28 });
  const made = await catalogue(archive);
  server = made.server;
  local = await Local.open(({ root }) => {
    mkdirSync(join(root, 'data'), { recursive: true });
    writeFileSync(join(root, 'data/supervisor.ini'), `[images]\nmirror = ${made.address}\n`);
  });
  ({ machine, page } = local);
});

afterAll(async () => {
  await local.end();
  server.close();
});

const card = (name: string) => page.getByRole('article', { name, exact: true });
const dialog = () => page.getByRole('dialog');

test('a container is made from the catalogue, with a user, a password and a key', async () => {
  await page.getByText('No containers yet').waitFor();
  expect(await axe(page)).toEqual([]);
  await local.goTo('jobs');
  await page.getByText('No jobs', { exact: true }).waitFor();
  expect(await axe(page)).toEqual([]);
  await local.goTo('containers');
  await page.getByRole('button', { name: 'New container' }).click();
  await page.getByRole('button', { name: /^Catalogue/ }).click();
  await page.getByRole('searchbox', { name: 'Search the catalogue' }).fill('box 1');
  await page.getByRole('button', { name: /^busybox:1/ }).click();
  await page.getByLabel('Name', { exact: true }).fill('made');
  await page.getByLabel('a directory').check();
  const top = (selector: string) => page.locator(selector).evaluate((element) => element.getBoundingClientRect().top);
  expect(await top('legend'), 'the name of a group is inside of it').toBeGreaterThan((await top('fieldset')) + 8);
  await page.getByLabel('User', { exact: true }).fill('ann');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('SSH key', { exact: true }).fill(KEY);
  const summary = await page.locator('pre.command').innerText();
  expect(summary).toContain('ds create made --from busybox:1');
  expect(summary, 'the password is not on the command line').not.toContain('reboot');
  expect(await axe(page)).toEqual([]);
  await page.getByRole('button', { name: 'Create' }).click();
  await local.goTo('jobs');
  await page.getByRole('article', { name: 'Create made' }).getByText('Done').waitFor();
  await local.goTo('containers');
  await card('made').getByText('Stopped').waitFor();
  const tree = join(machine.root, 'data/containers/made/rootfs');
  await expect.poll(() => machine.ds('list', '--names')).toContain('made');
  const shadow = readFileSync(join(tree, 'etc/shadow'), 'utf8');
  expect(shadow).toMatch(/^root:\$/m);
  expect(shadow).toMatch(/^ann:\$/m);
  expect(readFileSync(join(tree, 'root/.ssh/authorized_keys'), 'utf8')).toContain(KEY);
});

test('it starts, its log is watched, and a port is written into its settings', async () => {
  await card('made').getByRole('button', { name: 'Start' }).click();
  await card('made').getByText('Running').waitFor();
  await card('made').getByRole('button', { name: 'Log' }).click();
  await page.locator('.log').getByText('BusyBox').first().waitFor();
  await local.goTo('container', 'made', 'settings');
  await page.getByLabel('Forwarded ports', { exact: true }).fill('127.0.0.1:8080:80');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved').waitFor();
  expect(machine.ds('get', 'made', 'network.ports').trim()).toBe('127.0.0.1:8080:80');
  machine.ds('set', 'made', 'network.ports=');
  await local.goTo('containers');
  await card('made').getByRole('button', { name: 'Stop' }).click();
  await card('made').getByText('Stopped').waitFor();
});

test('it is backed up, deleted, and restored under another name', async () => {
  const file = join(machine.root, 'made.tar.zst');
  await local.goTo('container', 'made', 'storage');
  await page.getByRole('button', { name: 'Back up' }).click();
  await dialog().getByLabel('File').fill(file);
  await dialog().getByRole('button', { name: 'Back up' }).click();
  await dialog().waitFor({ state: 'detached' });
  await local.goTo('jobs');
  await page.getByRole('article', { name: 'Back up made' }).getByText('Done').waitFor();
  expect(existsSync(file)).toBe(true);

  await local.goTo('container', 'made', 'storage');
  await page.getByRole('button', { name: 'Delete' }).click();
  await dialog().getByLabel('Type made to confirm').fill('made');
  await dialog().getByRole('button', { name: 'Delete' }).click();
  await expect.poll(() => machine.ds('list', '--names')).not.toContain('made');

  await local.goTo('create');
  await page.getByRole('button', { name: /^Backup/ }).click();
  await page.getByLabel('Path on this device').fill(file);
  await page.getByLabel('Name', { exact: true }).fill('again');
  await page.getByRole('button', { name: 'Create' }).click();
  await card('again').getByText('Stopped').waitFor();
  const tree = join(machine.root, 'data/containers/again/rootfs');
  expect(readFileSync(join(tree, 'root/.ssh/authorized_keys'), 'utf8')).toContain(KEY);
});

test('has caused no console error and no foreign request', () => {
  expect(local.watch.troubles).toEqual([]);
});
