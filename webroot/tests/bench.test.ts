// Speed of the page, measured on request: DS_BENCH names the file for the numbers. `cargo xtask bench page` runs it.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { launch, openApp, phone } from './host';
import { Machine } from './machine';

const BENCH = process.env.DS_BENCH;
const ROUNDS = 5;
const TIMEOUT = 180_000;
const SECONDS = 10;
const MANY = 200;

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}

async function throttle(page: Page, rate: number): Promise<void> {
  const session = await page.context().newCDPSession(page);
  await session.send('Emulation.setCPUThrottlingRate', { rate });
}

/** Milliseconds from a key to the text that it makes, as the page itself sees both. */
async function echo(page: Page): Promise<number> {
  await page.locator('.xterm-rows').getByText('#').first().waitFor();
  const times: number[] = [];
  for (const letter of 'abcdefghijklm') {
    const seen = page.evaluate(
      (wanted) =>
        new Promise<number>((resolve) => {
          let begun = 0;
          window.addEventListener('keydown', () => (begun = performance.now()), { once: true, capture: true });
          const look = (): void => {
            const text = document.querySelector('.xterm-rows')?.textContent ?? '';
            if (begun > 0 && text.includes(wanted)) resolve(performance.now() - begun);
            else setTimeout(look, 1);
          };
          look();
        }),
      `# ${'abcdefghijklm'.slice(0, 'abcdefghijklm'.indexOf(letter) + 1)}`,
    );
    await page.waitForTimeout(50);
    await page.keyboard.press(letter);
    times.push(await seen);
  }
  return median(times);
}

/** Voluntary context switches of each process of ds that belongs to this machine. */
function switches(machine: Machine): Map<string, number> {
  const counts = new Map<string, number>();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (!readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('ds')) continue;
      if (!readFileSync(`/proc/${pid}/environ`, 'utf8').includes(machine.root)) continue;
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      counts.set(pid, Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1]));
    } catch {
      // It has ended.
    }
  }
  return counts;
}

async function wakeups(machine: Machine): Promise<number> {
  const before = switches(machine);
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
  const after = [...switches(machine)].map(([pid, count]) => count - (before.get(pid) ?? count));
  return after.reduce((sum, count) => sum + count, 0) / SECONDS;
}

describe.skipIf(BENCH === undefined)('bench', () => {
  let machine: Machine;
  let browser: Browser;
  const results: Record<string, number> = {};

  beforeAll(async () => {
    machine = new Machine();
    machine.container('web');
    machine.container('db');
    machine.ds('start', 'web', '--wait');
    browser = await launch();
  });

  afterAll(async () => {
    await browser.close();
    machine.end();
    writeFileSync(BENCH ?? '', JSON.stringify(results));
  });

  test('first useful paint, and calls of ds', { timeout: TIMEOUT }, async () => {
    const times: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const { page, commands } = await openApp(browser, machine, 'kernelsu', 6);
      await page.getByRole('article', { name: 'web' }).waitFor();
      times.push(await page.evaluate(() => (window as unknown as { usefulAt: number }).usefulAt));
      results.calls = commands.length;
      await page.context().close();
    }
    results.paint = median(times);
  });

  test('wakeups with an open page, and with none', { timeout: TIMEOUT }, async () => {
    const { page } = await openApp(browser, machine, 'kernelsu');
    await page
      .getByText(/^CPU \d/)
      .first()
      .waitFor();
    await page.waitForTimeout(3000);
    results.wakeups = await wakeups(machine);
    await page.context().close();
    // A stream over the bridge cannot be stopped: it ends with its lease of a minute.
    await new Promise((resolve) => setTimeout(resolve, 65_000));
    results.closed = await wakeups(machine);
  });

  test('echo over the bridge and over ds web', { timeout: TIMEOUT }, async () => {
    const word = Buffer.from('{"terminal":{"action":"list"}}').toString('base64url');
    const calls: number[] = [];
    for (let round = 0; round < ROUNDS * 3; round++) {
      const begun = performance.now();
      execFileSync('sh', ['-c', `'${machine.module}/bin/ds' rpc '${word}' </dev/null`], {
        env: machine.environment,
        stdio: 'ignore',
      });
      calls.push(performance.now() - begun);
    }
    results.call = median(calls);
    const { page } = await openApp(browser, machine, 'ksunext');
    await page.evaluate(() => (location.hash = '#/terminal/web'));
    results.echoBridge = await echo(page);
    await page.context().close();
    machine.ds('restart', 'web', '--wait');
    const other = await phone(browser);
    const local = await other.newPage();
    await local.goto(machine.web());
    await local.getByRole('article', { name: 'web' }).waitFor();
    await local.evaluate(() => (location.hash = '#/terminal/web'));
    results.echoWeb = await echo(local);
    await other.close();
  });

  test('frames while 200 containers scroll', async () => {
    for (let number = 0; number < MANY; number++) {
      machine.copyOfSettings('db', `many-${number}`, join(machine.root, 'tree-db'));
    }
    const context = await phone(browser);
    const page = await context.newPage();
    await page.goto(machine.web());
    await page.getByText(`many-${MANY - 1}`, { exact: true }).waitFor({ state: 'attached' });
    await throttle(page, 4);
    results.frame = await page.evaluate(
      () =>
        new Promise<number>((resolve) => {
          const times: number[] = [];
          let last = performance.now();
          const begun = last;
          const step = (now: number): void => {
            times.push(now - last);
            last = now;
            window.scrollBy(0, 40);
            if (now - begun < 3000) requestAnimationFrame(step);
            else resolve(times.sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0);
          };
          requestAnimationFrame(step);
        }),
    );
    await context.close();
  });
});
