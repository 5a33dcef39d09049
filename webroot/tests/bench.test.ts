// Speed of the page, measured on request: DS_BENCH names the file for the numbers. `cargo xtask bench page` runs it.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { APP, launch, openApp, phone } from './host';
import { Machine } from './machine';

const BENCH = process.env.DS_BENCH;
const ROUNDS = Number(process.env.DS_BENCH_ROUNDS ?? 5);
const TIMEOUT = 180_000;
const SECONDS = 10;
const MANY = 200;
const EMPTY = APP.replace('index.html', 'empty.html');

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}

async function throttle(page: Page, rate: number): Promise<void> {
  const session = await page.context().newCDPSession(page);
  await session.send('Emulation.setCPUThrottlingRate', { rate });
}

/** Milliseconds from a key to the text that it makes, as the page itself sees both, without the wait for a frame. */
async function echo(page: Page): Promise<number> {
  await page.locator('.xterm-rows').getByText('#').first().waitFor();
  await page.evaluate(() => {
    window.requestAnimationFrame = (draw) => {
      queueMicrotask(() => draw(performance.now()));
      return 1;
    };
  });
  // The shell may be one that was used before.
  await page.keyboard.press('Control+u');
  await page.waitForTimeout(500);
  const times: number[] = [];
  const letters = 'abcdefghijklmnopqrstuvwxyz';
  for (let count = 1; count <= letters.length; count++) {
    // The page is ready for the key before it is pressed.
    await page.evaluate(
      (wanted) => {
        const rows = document.querySelector('.xterm-rows');
        let begun = 0;
        const seen = new Promise<number>((resolve) => {
          const observer = new MutationObserver(() => {
            if (begun === 0 || !rows?.textContent?.includes(wanted)) return;
            observer.disconnect();
            resolve(performance.now() - begun);
          });
          if (rows) observer.observe(rows, { childList: true, subtree: true, characterData: true });
        });
        Object.assign(window, { seen });
        window.addEventListener('keydown', () => (begun = performance.now()), { once: true, capture: true });
      },
      `# ${letters.slice(0, count)}`,
    );
    await page.waitForTimeout(100);
    await page.keyboard.press(letters.charAt(count - 1));
    times.push(await page.evaluate(() => (window as unknown as { seen: Promise<number> }).seen));
  }
  return median(times);
}

/** Milliseconds of one call over the bridge, as the page sees it: what the bridge takes for itself is in it. */
function callOverBridge(page: Page, machine: Machine, word: string): Promise<number> {
  return page.evaluate(
    (command) =>
      new Promise<number>((resolve) => {
        const begun = performance.now();
        const host = window as unknown as { ksu: { spawn: (...words: string[]) => void }; measured: unknown };
        host.measured = {
          stdout: { emit: () => undefined },
          stderr: { emit: () => undefined },
          emit: () => resolve(performance.now() - begun),
        };
        host.ksu.spawn(command, '[]', '{}', 'measured');
      }),
    `'${machine.module}/bin/ds' rpc '${word}' </dev/null`,
  );
}

/** Average milliseconds of a frame while the page scrolls. */
function scroll(page: Page): Promise<number> {
  return page.evaluate(
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
          else resolve(times.reduce((sum, time) => sum + time, 0) / times.length);
        };
        requestAnimationFrame(step);
      }),
  );
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

  // First: a stream over the bridge that a closed page leaves behind goes on for a minute.
  test('wakeups with an open page, and with none', { timeout: TIMEOUT }, async () => {
    const { page } = await openApp(browser, machine, 'kernelsu');
    await page
      .getByText(/^CPU \d/)
      .first()
      .waitFor();
    await page.waitForTimeout(3000);
    results.wakeups = await wakeups(machine);
    await page.context().close();
    await new Promise((resolve) => setTimeout(resolve, 65_000));
    results.closed = await wakeups(machine);
  });

  test('useful paint, and calls of ds', { timeout: TIMEOUT }, async () => {
    const times: Record<'paint' | 'paintFirst' | 'paintEmpty', number[]> = {
      paint: [],
      paintFirst: [],
      paintEmpty: [],
    };
    const useful = async (page: Page): Promise<number> => {
      const handle = await page.waitForFunction(() => (window as unknown as { usefulAt?: number }).usefulAt);
      return Number(await handle.jsonValue());
    };
    for (let round = 0; round < ROUNDS; round++) {
      const { page, commands } = await openApp(browser, machine, 'kernelsu', 6);
      times.paintFirst.push(await useful(page));
      results.calls = commands.length;
      await page.getByText('1 of 2').waitFor();
      const context = page.context();
      // What the browser and this measurement take for themselves.
      const body = '<!doctype html><title>empty</title><article>web</article>';
      await context.route(EMPTY, (route) => route.fulfill({ contentType: 'text/html', body }));
      for (const [kind, address] of [
        ['paint', APP],
        ['paintEmpty', EMPTY],
      ] as const) {
        const again = await context.newPage();
        await throttle(again, 6);
        await again.goto(address);
        times[kind].push(await useful(again));
        await again.close();
      }
      await context.close();
    }
    for (const kind of ['paint', 'paintFirst', 'paintEmpty'] as const) results[kind] = median(times[kind]);
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
    await page.getByRole('article', { name: 'web' }).waitFor();
    const bridged: number[] = [];
    for (let round = 0; round < ROUNDS * 3; round++) bridged.push(await callOverBridge(page, machine, word));
    results.callBridge = median(bridged);
    await page.evaluate(() => (location.hash = '#/terminal/web'));
    results.echoBridge = await echo(page);
    await page.context().close();
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
    results.frame = await scroll(page);
    // What the browser takes for a page of one element.
    const empty = await context.newPage();
    await empty.setContent('<!doctype html><title>empty</title><div style="height: 30000px">empty</div>');
    await throttle(empty, 4);
    results.frameEmpty = await scroll(empty);
    await context.close();
  });
});
