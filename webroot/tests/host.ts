// A browser, and a root manager's app in it: the page at its real address, and `window.ksu` with the semantics of four
// hosts. Commands are given to a real shell by its standard input, as libsu does.

import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { extname, join, normalize } from 'node:path';
import { chromium, type Browser, type BrowserContext, type CDPSession, type Page } from 'playwright-core';
import { BROWSER, type Machine, PAGE } from './machine';

export const HOSTS = ['kernelsu', 'ksunext', 'apatch', 'webuix'] as const;
export type HostKind = (typeof HOSTS)[number];

const ORIGIN = 'https://mui.kernelsu.org';
/** The address of the page in an app. */
export const APP = `${ORIGIN}/index.html`;
const USUAL = '/data/adb/modules/droidspaces-supervisor';
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const END = 'ds-test-end';
const TYPES: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

export async function launch(): Promise<Browser> {
  const executablePath = BROWSER.includes('/') ? BROWSER : `/usr/bin/${BROWSER}`;
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] });
}

/** What axe finds wrong on a page. */
export async function axe(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => {
    const { axe } = window as unknown as {
      axe: { run: () => Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> };
    };
    const { violations } = await axe.run();
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(' | ')}`);
  });
  return found;
}

/** Boxes that a finger must hit and that are smaller than 48 pixels, and whether something is wider than the screen. */
export async function touchFaults(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const targets = [
      ...document.querySelectorAll<HTMLElement>('button, select, input:not([type=checkbox]):not([type=radio])'),
    ];
    const small = targets.filter((one) => {
      const { width, height } = one.getBoundingClientRect();
      return width > 0 && (height < 47.5 || width < 47.5);
    });
    const { scrollWidth, clientWidth } = document.documentElement;
    return [
      ...small.map((one) => `small: ${one.outerHTML.slice(0, 120)}`),
      ...(scrollWidth > clientWidth ? [`wider than the screen: ${scrollWidth} > ${clientWidth}`] : []),
    ];
  });
}

/** Words, and numbers with their unit, that the end of a line cuts. Text of programs may break anywhere. */
export async function brokenWords(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const found: string[] = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node.parentElement?.closest('.log, .xterm, textarea, code, pre, bdi, script, style, option')) continue;
      const text = node.textContent ?? '';
      for (const { 0: word, index } of text.matchAll(/(?!\p{sc=Han})\p{L}[\p{L}\p{M}]{2,}|\d\s(?:[KMGT]?B\b|%)/gu)) {
        const range = document.createRange();
        range.setStart(node, index);
        range.setEnd(node, index + word.length);
        const lines = new Set([...range.getClientRects()].map(({ bottom }) => Math.round(bottom / 8)));
        if (lines.size > 1) found.push(`broken: ${word} in ${text}`);
      }
    }
    return found;
  });
}

/** What must not happen on a page. */
export class Watch {
  readonly troubles: string[] = [];

  constructor(page: Page, origin: string) {
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') this.troubles.push(`console: ${message.text()}`);
    });
    page.on('pageerror', (error) => this.troubles.push(`error: ${error.message}`));
    page.on('request', (request) => {
      const url = request.url();
      if (!url.startsWith(`${origin}/`) && !url.startsWith('data:')) this.troubles.push(`foreign: ${url}`);
    });
  }
}

export function phone(browser: Browser, dark = false): Promise<BrowserContext> {
  return browser.newContext({
    viewport: { width: 412, height: 915 },
    deviceScaleFactor: 1,
    hasTouch: true,
    isMobile: true,
    locale: 'en',
    colorScheme: dark ? 'dark' : 'light',
    reducedMotion: 'reduce',
  });
}

export interface App {
  page: Page;
  watch: Watch;
  /** Commands that were given to a shell. */
  commands: string[];
  /** Kills the shells of the host with what they run; until `restore`, it starts no others. */
  lose: () => void;
  restore: () => void;
}

/** Opens the page as a root manager's app does; `styles` are what it has for colours and insets. */
export async function openApp(
  browser: Browser,
  machine: Machine,
  kind: HostKind | 'none',
  throttling = 1,
  styles: Record<string, string> = {},
): Promise<App> {
  const context = await phone(browser);
  const page = await context.newPage();
  const watch = new Watch(page, ORIGIN);
  const commands: string[] = [];
  const shells = new Set<ChildProcess>();
  let isLost = false;
  await context.route('**/*', (route) => {
    const url = new URL(route.request().url());
    if (url.origin !== ORIGIN) return route.abort();
    if (url.pathname.startsWith('/internal/')) {
      return route.fulfill({ contentType: 'text/css', body: styles[url.pathname] ?? '' });
    }
    try {
      const body = readFileSync(join(PAGE, normalize(url.pathname)));
      return route.fulfill({ contentType: TYPES[extname(url.pathname)] ?? 'text/plain', body });
    } catch {
      return route.fulfill({ status: 404, body: '' });
    }
  });
  if (kind !== 'none') {
    await context.exposeBinding('hostSpawn', ({ page: from }, command: string, callback: string) => {
      commands.push(command);
      if (isLost) {
        from.evaluate(`window[${JSON.stringify(callback)}]?.emit('error', { exitCode: 1 })`).catch(() => undefined);
        return;
      }
      const shell = run(from, machine, kind, command, callback);
      shells.add(shell);
      shell.on('exit', () => shells.delete(shell));
    });
    await context.addInitScript(
      ({ module, hasInfo }) => {
        const ksu: Record<string, unknown> = {
          spawn: (command: string, words: string, options: string, callback: string) => {
            if (words !== '[]' || options !== '{}') throw new Error('a word for a shell');
            (window as unknown as { hostSpawn: (a: string, b: string) => void }).hostSpawn(command, callback);
          },
          exec: () => {
            throw new Error('exec blocks the page');
          },
        };
        if (hasInfo) ksu.moduleInfo = () => JSON.stringify({ moduleDir: module, id: 'droidspaces-supervisor' });
        Object.assign(window, { ksu });
      },
      { module: machine.module, hasInfo: kind !== 'apatch' },
    );
  }
  if (throttling > 1) {
    await (await context.newCDPSession(page)).send('Emulation.setCPUThrottlingRate', { rate: throttling });
    // When the first container is on the screen: after the frame that shows it.
    await context.addInitScript(() => {
      const look = (): void => {
        if (document.querySelector('article')) {
          requestAnimationFrame(() => setTimeout(() => Object.assign(window, { usefulAt: performance.now() })));
        } else {
          requestAnimationFrame(look);
        }
      };
      requestAnimationFrame(look);
    });
  }
  await page.goto(APP);
  const lose = (): void => {
    isLost = true;
    for (const { pid } of shells) if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  };
  return { page, watch, commands, lose, restore: () => void (isLost = false) };
}

const consoles = new WeakMap<Page, Promise<CDPSession>>();

/** Runs a script in a page as evaluateJavascript() does. Playwright's own way takes several messages for each script. */
function evaluate(page: Page, script: string): void {
  let session = consoles.get(page);
  if (!session) consoles.set(page, (session = page.context().newCDPSession(page)));
  session.then((one) => one.send('Runtime.evaluate', { expression: script })).catch(() => undefined);
}

function run(page: Page, machine: Machine, kind: HostKind, command: string, callback: string): ChildProcess {
  // In a group of its own, so that it can be killed with what it runs.
  const shell = spawn('sh', [], { env: machine.environment, stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  // KernelSU and APatch give JavaScript to loadUrl(), which decodes what looks like percent-encoding.
  const decodes = kind === 'kernelsu' || kind === 'apatch';
  const deliver = (script: string): void => {
    const seen = decodes
      ? script.replace(/%([0-9a-f]{2})/gi, (_, digits: string) => String.fromCharCode(parseInt(digits, 16)))
      : script;
    evaluate(page, seen);
  };
  const lines = (stream: NodeJS.ReadableStream, name: string, end: (code: number) => void): void => {
    let rest = '';
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => {
      const all = (rest + text).split('\n');
      rest = all.pop() ?? '';
      for (const line of all) {
        const marker = new RegExp(`^${END} (\\d+)$`).exec(line);
        if (marker) end(Number(marker[1]));
        else deliver(`window[${JSON.stringify(callback)}]?.${name}.emit('data', ${JSON.stringify(line)})`);
      }
    });
  };
  lines(shell.stdout, 'stdout', (code) => {
    deliver(`window[${JSON.stringify(callback)}]?.emit('exit', ${code})`);
    if (code !== 0) deliver(`window[${JSON.stringify(callback)}]?.emit('error', { exitCode: ${code} })`);
    shell.stdin.end();
  });
  lines(shell.stderr, 'stderr', () => undefined);
  // Killed before its end: libsu reports an error.
  shell.on('exit', (_code, signal) => {
    if (signal) deliver(`window[${JSON.stringify(callback)}]?.emit('error', { exitCode: 137 })`);
  });
  shell.stdin.write(`${command.replace(USUAL, machine.module)}\necho ${END} $?\n`);
  return shell;
}
