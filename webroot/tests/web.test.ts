// The page as `ds web` serves it, with a real browser, the real ds and a container that has booted.

import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { basename, join } from 'node:path';
import type { BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { axe, touchFaults } from './host';
import { Local } from './local';
import type { Machine } from './machine';

const HOSTILE = '<script>alert(1)</script> %22 $(reboot) \u202egnp\u001b]52;c;aGk=\u0007 \u001b[31mred\u001b[0m';

const HOSTILE_NAME = '<b>a%22 $(id)';
/** A new line, an order of characters turned around, and a colour. */
const DECEIVING_NAME = 'new\nline \u202egpj.exe \u001b[31mred';

let local: Local;
let machine: Machine;
let context: BrowserContext;
let page: Page;
let origin: string;

beforeAll(async () => {
  local = await Local.open((made) => {
    made.container('web', 'limits.memory=512M');
    made.container('db');
    made.ds('start', 'web', '--wait');
  });
  ({ machine, context, page, origin } = local);
});

afterAll(() => local.end());

const goTo = (...parts: string[]) => local.goTo(...parts);
const card = (name: string) => page.getByRole('article', { name });

describe('the page', () => {
  test('shows what runs, what it uses, and is accessible', async () => {
    await card('web').getByText('Running').waitFor();
    await card('db').getByText('Stopped').waitFor();
    await page.getByText('1 of 2').waitFor();
    await card('web')
      .getByText(/of 512\sMB/)
      .waitFor();
    await card('web')
      .getByText(/^CPU \d/)
      .waitFor();
    expect(await axe(page)).toEqual([]);
    expect(await touchFaults(page)).toEqual([]);
    const moving = () =>
      page
        .locator('*')
        .evaluateAll((all) => all.filter((one) => getComputedStyle(one).transitionDuration !== '0s').length);
    expect(await moving(), 'with reduced motion').toBe(0);
    await page.emulateMedia({ reducedMotion: 'no-preference' });
    expect(await moving()).toBeGreaterThan(0);
    await page.emulateMedia({ reducedMotion: 'reduce' });
  });

  test('starts, freezes and stops a container', async () => {
    await card('db').getByRole('button', { name: 'Start' }).click();
    await card('db').getByText('Running').waitFor();
    await card('db').getByRole('button', { name: 'Freeze' }).click();
    await card('db').getByText('Frozen').waitFor();
    expect(machine.state('db')).toBe('frozen');
    await card('db').getByRole('button', { name: 'Thaw' }).click();
    await card('db').getByText('Running').waitFor();
    await card('db').getByRole('button', { name: 'Stop' }).click();
    await card('db').getByText('Stopped').waitFor();
    expect(machine.state('db')).toBe('stopped');
  });

  test('hears of what is done elsewhere', async () => {
    machine.ds('rename', 'db', 'store');
    await card('store').waitFor();
    await card('db').waitFor({ state: 'detached' });
    machine.ds('rename', 'store', 'db');
    await card('db').waitFor();
  });

  test('shows the console as text and colours, whatever it is', async () => {
    await goTo('container', 'web', 'log');
    machine.ds('run', 'web', '--', 'sh', '-c', `printf '%s\\n' "$1" >/dev/console`, 'sh', HOSTILE);
    const line = page.getByText('<script>alert(1)</script> %22 $(reboot) gnp');
    await line.waitFor();
    expect(await page.locator('.log .c1').last().innerText()).toBe('red');
    expect(await page.locator('.log script').count()).toBe(0);
    expect(await axe(page)).toEqual([]);
  });

  test('explains and checks settings while one types, and writes them', async () => {
    await goTo('container', 'web', 'settings');
    const limit = (key: string) => page.locator('.field').filter({ hasText: key });
    await limit('limits.memory')
      .getByText(/^of [\d.]+\s[MG]B$/)
      .waitFor();
    await limit('limits.cpus')
      .getByText(/^of \d+ cores$/)
      .waitFor();
    const memory = page.getByLabel('Memory', { exact: true });
    await memory.fill('much');
    await page.getByText(/'much' is not a number/).waitFor();
    expect(await page.getByRole('button', { name: 'Save' }).isDisabled()).toBe(true);
    await memory.fill('256M');
    await page.getByLabel('Start with the device', { exact: true }).check();
    await page.getByText('2 changed').waitFor();
    expect(await axe(page)).toEqual([]);
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('Saved').waitFor();
    expect(machine.ds('get', 'web', 'limits.memory').trim()).toBe('256M');
    expect(machine.ds('get', 'web', 'autostart').trim()).toBe('yes');
  });

  test('edits the file and says where a fault is', async () => {
    await goTo('container', 'web', 'file');
    const area = page.getByRole('textbox', { name: 'File' });
    const before = await area.inputValue();
    await area.fill(`${before}\nnonsense`);
    await page.getByText(/^Line \d+, column 1/).waitFor();
    await area.fill(`# kept\n${before}`);
    await page.getByRole('button', { name: 'Save' }).click();
    // The message of the test before may still be there.
    await expect.poll(() => machine.ds('get', 'web', '--file')).toBe(`# kept\n${before}`);
  });

  test('has a terminal that echoes, pastes, resizes and is found again', async () => {
    await goTo('terminal', 'web');
    const screen = page.locator('.xterm-rows');
    await screen.getByText('#').first().waitFor();
    await page.keyboard.type('echo a$((1+1))b\n');
    await screen.getByText('a2b', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'Ctrl' }).click();
    await page.keyboard.type('c');
    await page.keyboard.type('stty size\n');
    await screen
      .getByText(/^\d+ \d+$/)
      .first()
      .waitFor();
    const paste = 'x'.repeat(100_000);
    await page.keyboard.type('stty -echo; n=$(head -c 100000 | wc -c); stty echo; echo got $n\n');
    await page.evaluate(
      (text) => {
        const data = new DataTransfer();
        data.setData('text/plain', text);
        const event = new ClipboardEvent('paste', { clipboardData: data, bubbles: true });
        document.querySelector('.xterm-helper-textarea')?.dispatchEvent(event);
      },
      paste.replace(/(.{1000})/g, '$1\n'),
    );
    await screen.getByText('got 100000').waitFor();
    await page.keyboard.type('clear; echo stays\n');
    await screen.getByText('stays', { exact: true }).waitFor();
    await page.reload();
    await screen.getByText('stays', { exact: true }).waitFor();
    await page.keyboard.type('exit\n');
    await page.getByText('The shell has ended.').waitFor();
    await page.getByRole('button', { name: 'Close root 1' }).click();
    await page.locator('.terminal-page').waitFor({ state: 'detached' });
  });

  test('has several terminals with search and zoom, which are all found again', async () => {
    await goTo('containers');
    await goTo('terminal', 'web');
    const screen = page.locator('.terminal-place:not(.hidden) .xterm-rows');
    await screen.getByText('#').first().waitFor();
    await page.keyboard.type('echo first-$((1+1))\n');
    await screen.getByText('first-2', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'New shell' }).click();
    await page.getByRole('button', { name: 'root 2', exact: true }).waitFor();
    await screen.getByText('#').first().waitFor();
    await page.keyboard.type('seq 300; echo second-$((1+1))\n');
    await screen.getByText('second-2', { exact: true }).waitFor();
    expect(await axe(page)).toEqual([]);

    await page.getByRole('button', { name: 'Search' }).click();
    await page.getByRole('searchbox', { name: 'Search' }).fill('no such text');
    await page.getByText('Not found').waitFor();
    await page.getByRole('searchbox', { name: 'Search' }).fill('157');
    await screen.getByText('157', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'Close', exact: true }).click();

    const before = await screen.evaluate((element) => parseFloat(getComputedStyle(element).fontSize));
    await page.evaluate(() => {
      const place = document.querySelector('.terminal-place:not(.hidden)');
      const touch = (identifier: number, clientY: number) =>
        new Touch({ identifier, target: place ?? document.body, clientX: 100, clientY });
      const send = (type: string, distance: number) =>
        place?.dispatchEvent(
          new TouchEvent(type, { touches: [touch(1, 200), touch(2, 200 + distance)], cancelable: true }),
        );
      send('touchstart', 100);
      send('touchmove', 150);
      place?.dispatchEvent(new TouchEvent('touchend', { touches: [] }));
    });
    await expect
      .poll(() => screen.evaluate((element) => parseFloat(getComputedStyle(element).fontSize)))
      .toBeGreaterThan(before * 1.3);

    await page.reload();
    await page
      .getByRole('button', { name: /^root [12]$/ })
      .nth(1)
      .waitFor();
    const texts: string[] = [];
    for (const one of ['root 1', 'root 2']) {
      await page.getByRole('button', { name: one, exact: true }).click();
      await screen
        .getByText(/(first|second)-2/)
        .first()
        .waitFor();
      texts.push((await screen.innerText()).includes('second-2') ? 'second' : 'first');
    }
    expect(texts.sort()).toEqual(['first', 'second']);

    await page.getByRole('button', { name: 'root 1', exact: true }).click();
    const other = await context.newPage();
    await other.goto(page.url());
    await page.getByText('Another page shows this terminal.').waitFor();
    await other.close();
    await page.getByRole('button', { name: 'Show here' }).click();
    await page.getByText('Another page shows this terminal.').waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Close root 2' }).click();
    await page.getByRole('button', { name: 'Close root 1' }).click();
    await page.getByRole('heading', { name: 'Droidspaces' }).waitFor();
  });

  test('copies as a job that goes on without the page, and deletes by name', async () => {
    await goTo('container', 'db', 'storage');
    await page.getByRole('button', { name: 'Copy' }).click();
    await page.getByLabel('New name').fill('twin');
    await page.getByRole('dialog').getByRole('button', { name: 'Copy' }).click();
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.reload();
    await goTo('jobs');
    await page.getByRole('article', { name: 'Copy db' }).getByText('Done').waitFor();
    expect(await axe(page)).toEqual([]);
    await goTo('container', 'twin', 'storage');
    await page.getByRole('button', { name: 'Delete' }).click();
    const confirm = page.getByRole('dialog').getByRole('button', { name: 'Delete' });
    await page.getByLabel('Type twin to confirm').fill('twi');
    expect(await confirm.isDisabled()).toBe(true);
    await page.goBack();
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Delete' }).click();
    await page.getByLabel('Type twin to confirm').fill('twin');
    await confirm.click();
    await page.waitForURL(/#\/containers$/);
    await expect.poll(() => machine.ds('list', '--names')).not.toContain('twin');
  });

  test('finds directories and files of the machine with the file chooser', async () => {
    writeFileSync(join(machine.root, HOSTILE_NAME), '');
    writeFileSync(join(machine.root, DECEIVING_NAME), '');
    await goTo('create');
    await page.getByRole('button', { name: /^Directory/ }).click();
    await page.getByLabel('Path on this device').fill(join(machine.root, 'x'));
    await page.getByRole('button', { name: 'Browse' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText(HOSTILE_NAME).waitFor();
    expect(await dialog.getByRole('button', { name: HOSTILE_NAME }).isDisabled(), 'a file is no directory').toBe(true);
    const deceiving = dialog.locator('bdi').filter({ hasText: 'gpj.exe' });
    expect(await deceiving.count(), 'its order ends with its element').toBe(1);
    await dialog.getByRole('button', { name: /^tree-db/ }).click();
    await dialog.getByRole('button', { name: /^sbin/ }).waitFor();
    expect(await axe(page)).toEqual([]);
    await dialog.getByRole('button', { name: 'Use this directory' }).click();
    await dialog.waitFor({ state: 'detached' });
    expect(await page.getByLabel('Path on this device').inputValue()).toBe(join(machine.root, 'tree-db'));
    await page.getByRole('button', { name: 'Back' }).last().click();

    await goTo('container', 'db', 'settings');
    await page.getByRole('button', { name: 'Add a directory' }).click();
    await dialog
      .getByRole('navigation')
      .getByRole('button', { name: basename(machine.root) })
      .click();
    await dialog.getByRole('button', { name: /^tree-web/ }).click();
    await dialog.getByRole('button', { name: 'Use this directory' }).click();
    await dialog.waitFor({ state: 'detached' });
    expect(await page.getByLabel('In the container', { exact: true }).inputValue()).toBe('/mnt/tree-web');
    await page.getByLabel('Read only').check();
    expect(await axe(page)).toEqual([]);
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('Saved').waitFor();
    expect(machine.ds('get', 'db', 'mounts.bind').trim()).toBe(`${join(machine.root, 'tree-web')}:/mnt/tree-web:ro`);
    machine.ds('set', 'db', 'mounts.bind=');
  });

  test('makes a container from a directory, and says what the machine can do', async () => {
    await goTo('create');
    await page.getByRole('button', { name: /^Directory/ }).click();
    await page.getByLabel('Path on this device').fill(join(machine.root, 'tree-db'));
    await page.getByLabel('Name').fill('web');
    await page.getByText('There is a container of this name.').waitFor();
    await page.getByLabel('Name').fill('new');
    expect(await axe(page)).toEqual([]);
    await page.getByRole('button', { name: 'Create' }).click();
    await card('new').waitFor();
    machine.ds('rm', 'new');
    await goTo('system');
    await page.getByText(/^Containers with an init system/).waitFor();
    await page.getByLabel('Language').selectOption('de');
    await page.getByText('Was dieser Kernel kann').waitFor();
    await goTo('container', 'web', 'settings');
    await page.getByText('Speichergrenze, mindestens 4M').waitFor();
    await goTo('system');
    await page.getByLabel('Sprache').selectOption('en');
    await page.getByLabel('Theme').selectOption('dark');
    expect(await axe(page)).toEqual([]);
    await page.getByLabel('Theme').selectOption('auto');
  });

  test('has caused no console error and no foreign request', () => {
    expect(local.watch.troubles).toEqual([]);
  });
});

interface Reply {
  status: number;
  body: string;
  cookies: string[];
}

function http(path: string, headers: Record<string, string> = {}, body?: string): Promise<Reply> {
  const { hostname, port } = new URL(origin);
  return new Promise((resolve, reject) => {
    const sent = httpRequest(
      { hostname, port, path, method: body === undefined ? 'GET' : 'POST', headers, agent: false },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (part: string) => (text += part));
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: text, cookies: response.headers['set-cookie'] ?? [] }),
        );
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

/** Sends bytes as they are, and gives what comes back until the end. */
function raw(bytes: string): Promise<string> {
  const { port } = new URL(origin);
  return new Promise((resolve) => {
    const socket = connect(Number(port), '127.0.0.1', () => socket.write(bytes));
    let text = '';
    socket.on('data', (part) => (text += part.toString()));
    socket.on('close', () => resolve(text));
    socket.on('error', () => resolve(text));
  });
}

describe('ds web', () => {
  const list = Buffer.from('{"argv":["list"]}').toString('base64url');
  let cookie: string;

  beforeAll(async () => {
    const path = new URL(machine.web()).pathname;
    const { status, cookies } = await http(path);
    expect(status).toBe(200);
    expect(cookies[0]).toMatch(/; Path=\/; HttpOnly; SameSite=Strict$/);
    cookie = cookies[0]?.split(';')[0] ?? '';
    expect((await http(path)).status, 'a second use of the secret').toBe(403);
  });

  test('another browser has taken its place, and the page says so', async () => {
    // As after the phone was locked: the page asks again.
    await page.evaluate(() => {
      for (const value of [true, false]) {
        Object.defineProperty(document, 'hidden', { value, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
      }
    });
    await page.getByRole('heading', { name: 'This address has expired' }).waitFor();
    expect(await axe(page)).toEqual([]);
  });

  test('refuses requests without the cookie', async () => {
    for (const path of ['/', '/index.html', '/config.json', '/nothing', '/open/', `/open/${'0'.repeat(64)}`]) {
      expect((await http(path)).status, path).toBe(403);
      expect((await http(path, { Cookie: 'ds-session=' })).status, path).toBe(403);
      expect((await http(path, { Cookie: `${cookie}0` })).status, path).toBe(403);
    }
    expect((await http('/rpc', { Origin: origin }, list)).status).toBe(403);
    expect((await http('/', { Cookie: cookie })).status).toBe(200);
  });

  test('answers no other name, no other page and no other way', async () => {
    const host = new URL(origin).host;
    expect((await http('/', { Cookie: cookie, Host: 'evil.example' })).status).toBe(421);
    expect((await http('/', { Cookie: cookie, Host: `${host}.evil.example` })).status).toBe(421);
    expect((await http('/rpc', { Cookie: cookie, Origin: 'http://evil.example' }, list)).status).toBe(403);
    expect((await http('/rpc', { Cookie: cookie }, list)).status).toBe(403);
    expect((await http('/rpc', { Cookie: cookie, Origin: origin }, '$(reboot)')).status).toBe(400);
    expect((await http('/rpc', { Cookie: cookie, Origin: origin }, 'A'.repeat(200_000))).status).toBe(413);
    const answered = await http('/rpc', { Cookie: cookie, Origin: origin }, list);
    expect(answered.status).toBe(200);
    expect(JSON.parse(answered.body)).toHaveProperty('containers');
  });

  test('gives no other file, whatever the path', async () => {
    for (const path of [
      '/../module/bin/ds',
      '/%2e%2e/x',
      '/assets/../../x',
      '//etc/passwd',
      '/assets',
      '/index.html/',
    ]) {
      expect((await http(path, { Cookie: cookie })).status, path).toBe(404);
    }
  });

  test('gives nothing to another user of this machine', () => {
    // A stranger finds the port, but neither the cookie nor an unused secret.
    machine.ds('web');
    const script = `
      const { readdirSync, readFileSync } = require('node:fs');
      const tries = [() => readdirSync('${machine.root}/run'), () => readFileSync('${machine.root}/run/web/cookie')];
      const read = tries.map((one) => { try { one(); return 'read'; } catch (error) { return error.code; } });
      const ask = (path, method) => fetch('${origin}' + path, { method, body: method && '${list}',
        headers: method ? { Origin: '${origin}' } : {} }).then((answer) => answer.status);
      Promise.all([ask('/'), ask('/rpc', 'POST'), ask('/open/' + '0'.repeat(64))])
        .then((statuses) => console.log(JSON.stringify([...read, ...statuses])));`;
    const stranger = { uid: 65534, gid: 65534, cwd: '/', encoding: 'utf8' as const };
    const seen = execFileSync(process.execPath, ['-e', script], stranger);
    expect(JSON.parse(seen)).toEqual(['EACCES', 'EACCES', 403, 403, 403]);
  });

  test('ends what is no request, too long or too slow', async () => {
    expect(await raw('nonsense\r\n\r\n')).toMatch(/^HTTP\/1.1 400 /);
    expect(await raw(`GET / HTTP/1.1\r\nX: ${'x'.repeat(70_000)}`)).toMatch(/^(HTTP\/1.1 431 |$)/);
    const { host } = new URL(origin);
    const post = `POST /rpc HTTP/1.1\r\nHost: ${host}\r\nOrigin: ${origin}\r\nCookie: ${cookie}\r\n`;
    expect(await raw(`${post}Content-Length: 99999999999\r\n\r\n`)).toMatch(/^HTTP\/1.1 (400|413) /);
    expect(await raw(`${post}Transfer-Encoding: chunked\r\n\r\n1\r\nA\r\n`)).toMatch(/^HTTP\/1.1 411 /);
    const begun = Date.now();
    const slow = [raw('GET / HTTP/1.1\r\nHost:'), raw(`${post}Content-Length: 30\r\n\r\nA`)];
    // Others are answered meanwhile.
    expect((await http('/', { Cookie: cookie })).status).toBe(200);
    for (const answer of await Promise.all(slow)) expect(answer).toMatch(/^HTTP\/1.1 408 /);
    expect(Date.now() - begun).toBeLessThan(40_000);
  });

  test('forgets the browser before when another one comes, and ends on request', async () => {
    const { cookies } = await http(new URL(machine.web()).pathname);
    expect((await http('/', { Cookie: cookie })).status).toBe(403);
    expect((await http('/', { Cookie: cookies[0]?.split(';')[0] ?? '' })).status).toBe(200);
    machine.ds('web', '--stop');
    await expect(http('/')).rejects.toThrow();
    machine.ds('web', '--stop');
  });
});
