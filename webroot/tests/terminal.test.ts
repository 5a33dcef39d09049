// A terminal under load and under attack: full-screen programs, much output, text of all scripts, sizes, links, and what
// a hostile program can send.

import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Local } from './local';

let local: Local;
let page: Page;

beforeAll(async () => {
  local = await Local.open((machine) => {
    machine.container('web');
    machine.ds('start', 'web', '--wait');
  });
  ({ page } = local);
  await local.context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: local.origin });
  await local.goTo('terminal', 'web');
  await screen().getByText('#').first().waitFor();
});

afterAll(() => local.end());

const screen = () => page.locator('.terminal-place:not(.hidden) .xterm-rows');
const shell = (line: string) => page.keyboard.type(`${line}\n`);
const inside = (...words: string[]) => local.machine.ds('run', 'web', '--', ...words);

async function paste(text: string): Promise<void> {
  await page.evaluate((pasted) => {
    const data = new DataTransfer();
    data.setData('text/plain', pasted);
    const event = new ClipboardEvent('paste', { clipboardData: data, bubbles: true });
    document.querySelector('.terminal-place:not(.hidden) .xterm-helper-textarea')?.dispatchEvent(event);
  }, text);
}

/** Types a command whose last output is `word`, which the command line itself does not have. */
async function run(command: string, word: string): Promise<void> {
  await shell(`${command}; echo ${word.slice(0, 1)}""${word.slice(1)}`);
  await screen().getByText(word, { exact: true }).last().waitFor();
}

test('vi edits a file, and gives the screen back', async () => {
  await run('clear', 'before-vi');
  await shell('vi /tmp/letter');
  await screen().getByText('~').first().waitFor();
  await page.keyboard.type('ihello from vi');
  await screen().getByText('hello from vi').waitFor();
  await page.getByRole('button', { name: 'Esc' }).click();
  // A character that follows at once would be part of an escape sequence.
  await screen()
    .getByText(/^- \/tmp\/letter/)
    .waitFor();
  await page.keyboard.type(':wq\n');
  await run('clear', 'after-vi');
  expect(inside('cat', '/tmp/letter')).toBe('hello from vi\n');
});

test('top redraws the screen by itself, and ends by a key', async () => {
  await shell('top -d 1');
  await screen()
    .getByText(/^Mem: /)
    .waitFor();
  const first = await screen()
    .getByText(/^Load average/)
    .innerText();
  await screen()
    .getByText(/PID +PPID/)
    .waitFor();
  expect(first).toContain('Load average');
  await page.keyboard.press('q');
  await run('clear', 'after-top');
});

test('5 MB of output arrive in order, and the terminal answers afterwards', async () => {
  await run("seq 1000000 | head -c 5000000 | tail -n 200000; printf '\\n'", 'all-there');
  const rows = (await screen().innerText()).split('\n').map((row) => row.trim());
  const numbers = rows.filter((row) => /^\d{5,}$/.test(row)).map(Number);
  expect(numbers.length).toBeGreaterThan(3);
  numbers.slice(1).forEach((number, at) => expect(number).toBe((numbers[at] ?? 0) + 1));
  await run('clear', 'still-here');
});

test('a program learns the size of the screen when it changes', async () => {
  const size = async (): Promise<number[]> => {
    await run('clear; stty size', 'sized');
    const row = (await screen().innerText()).split('\n').find((text) => /^\d+ \d+\s*$/.test(text)) ?? '';
    return row.trim().split(' ').map(Number);
  };
  const [rows = 0, columns = 0] = await size();
  expect(await screen().locator('> div').count()).toBe(rows);
  await page.setViewportSize({ width: 800, height: 500 });
  await expect.poll(async () => (await size())[1] ?? 0).toBeGreaterThan(columns);
  expect((await size())[0]).toBeLessThan(rows);
  await page.setViewportSize({ width: 412, height: 915 });
  await expect.poll(async () => (await size())[1] ?? 0).toBe(columns);
});

test('text of all scripts goes both ways, also when it is cut anywhere', async () => {
  const text = 'äß 日本語 😀 пример हिन्दी';
  // The shell does not echo what arrives before it runs the command.
  await shell('clear; echo rea""dy; cat > /tmp/text');
  await screen().getByText('ready', { exact: true }).waitFor();
  await paste(text);
  await page.keyboard.type('\n');
  await expect.poll(() => screen().innerText()).toContain('日本語');
  await page.getByRole('button', { name: 'Ctrl' }).click();
  await page.keyboard.type('d');
  await run('clear', 'written');
  expect(inside('cat', '/tmp/text')).toBe(`${text}\n`);
  await run('for i in $(seq 400); do cat /tmp/text; done', 'shown');
  expect(await screen().innerText()).not.toContain('\ufffd');
});

test('no output of a program writes the clipboard, the title or the page', async () => {
  await page.evaluate(() => navigator.clipboard.writeText('mine'));
  const title = await page.title();
  const attacks = [
    '\\033]52;c;aGFja2Vk\\007',
    '\\033]0;hacked\\007',
    '\\033]2;hacked\\033\\\\',
    '\\033[21t',
    '\\033]1337;x\\007',
  ];
  await run(`printf '${attacks.join('')}<b>bold</b><img src=x onerror=alert(1)>\\n'`, 'attacked');
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe('mine');
  expect(await page.title()).toBe(title);
  await expect.poll(() => screen().innerText()).toContain('<b>bold</b>');
  expect(await screen().locator('b, img').count()).toBe(0);
  await run('clear', 'no-answers-typed');
});

test('a link asks before it opens, shows where it leads, and gives nothing away', async () => {
  const dialog = page.getByRole('dialog');
  const touch = async (text: string): Promise<void> => {
    const box = await screen().getByText(text).last().boundingBox();
    if (!box) throw new Error(`'${text}' is not shown`);
    await page.mouse.move(box.x + 40, box.y + 100);
    await page.mouse.move(box.x + 16, box.y + 6);
    await page.waitForTimeout(100);
    await page.mouse.click(box.x + 16, box.y + 6);
  };
  await run("clear; echo https://exam''ple.org/path?a=b", 'plain');
  await touch('https://example.org/path?a=b');
  await dialog.getByText('https://example.org/path?a=b', { exact: true }).waitFor();
  const open = dialog.getByRole('link', { name: 'Open' });
  expect(await open.getAttribute('rel')).toBe('noopener noreferrer');
  expect(await open.getAttribute('target')).toBe('_blank');
  await page.goBack();
  await dialog.waitFor({ state: 'detached' });
  await run("clear; printf '\\033]8;;https://evil.example/\\033\\\\my-bank\\033]8;;\\033\\\\\\n'", 'marked');
  await touch('my-bank');
  await dialog.getByText('https://evil.example/', { exact: true }).waitFor();
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  await dialog.waitFor({ state: 'detached' });
  await run("clear; printf '\\033]8;;javascript:alert(1)\\033\\\\no-link\\033]8;;\\033\\\\\\n'", 'refused');
  await touch('no-link');
  await page.waitForTimeout(200);
  expect(await dialog.count()).toBe(0);
});

test('a container that is frozen or stopped can be thawed, stopped and started where that matters', async () => {
  const button = (name: string) => page.getByRole('button', { name, exact: true });
  local.machine.ds('freeze', 'web');
  await local.goTo('container', 'web', 'users');
  await page.getByRole('heading', { name: 'Frozen' }).waitFor();
  await button('Thaw').click();
  await button('Terminal as root').waitFor();
  await local.goTo('container', 'web', 'storage');
  await page.getByText('The container must be stopped for this.').waitFor();
  await button('Stop').click();
  await page.getByText('The container must be stopped for this.').waitFor({ state: 'detached' });
  await local.goTo('terminal', 'web');
  const status = page.locator('.terminal-ended');
  await status.getByText('The container is not running.').waitFor();
  expect(await page.getByText('Failed:').count()).toBe(0);
  await status.getByRole('button', { name: 'Start' }).click();
  await screen().getByText('#').first().waitFor();
  await status.waitFor({ state: 'detached' });
});

test('has caused no console error and no foreign request', () => {
  expect(local.watch.troubles).toEqual([]);
});
