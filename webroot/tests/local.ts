// A page that `ds web` serves on a machine of its own, in the browser of a phone: how most tests begin.

import type { Browser, BrowserContext, Page } from 'playwright-core';
import { vi } from 'vitest';
import { launch, phone, Watch } from './host';
import { Machine } from './machine';

export class Local {
  private constructor(
    readonly machine: Machine,
    readonly browser: Browser,
    readonly context: BrowserContext,
    readonly page: Page,
    readonly origin: string,
    readonly watch: Watch,
  ) {}

  /** Opens the overview, after `prepare` has made containers. */
  static async open(prepare: (machine: Machine) => void = () => undefined): Promise<Local> {
    const machine = new Machine();
    prepare(machine);
    const browser = await launch();
    const context = await phone(browser);
    const page = await context.newPage();
    const address = machine.web();
    const { origin } = new URL(address);
    const watch = new Watch(page, origin);
    await page.goto(address);
    await page.getByRole('heading', { name: 'Droidspaces' }).waitFor();
    return new Local(machine, browser, context, page, origin, watch);
  }

  /** Shows a screen of the page. */
  async goTo(...parts: string[]): Promise<void> {
    // A dialog that closes goes back in the history, which would leave the new screen again. Not waitForFunction(), which
    // the page's policy forbids as soon as it has to wait.
    const depth = () => this.page.evaluate(() => (history.state as { overlay?: number } | null)?.overlay ?? 0);
    await vi.waitUntil(async () => (await depth()) === 0, 30000);
    await this.page.evaluate((hash) => (location.hash = hash), `#/${parts.join('/')}`);
  }

  async end(): Promise<void> {
    await this.browser.close();
    this.machine.end();
  }
}
