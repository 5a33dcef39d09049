// One test's machine: a data directory of its own, a container that boots, and the real ds for both.

import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

function given(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`$${name} is not set; run 'cargo xtask test --suite web'`);
  return value;
}

export const PAGE = given('DS_PAGE');
export const BROWSER = process.env.DS_BROWSER ?? 'chromium';

export class Machine {
  /** The machines that have not ended. */
  static readonly alive = new Set<Machine>();
  readonly root = mkdtempSync(join(tmpdir(), 'ds-web-'));
  readonly environment = { ...process.env, DS_ROOT: this.root, TERM: 'dumb' };
  /** What a root manager calls the module's directory. */
  readonly module = join(this.root, 'module');

  constructor() {
    mkdirSync(join(this.module, 'bin'), { recursive: true });
    symlinkSync(given('DS_BIN'), join(this.module, 'bin/ds'));
    Machine.alive.add(this);
  }

  private network: ChildProcess | null = null;

  /**
   * Gives the machine a network namespace of its own, whose loopback is its only interface. False if it cannot have
   * networks of ds. The first command of ds in it starts the supervisor there.
   */
  isolateNetwork(): boolean {
    const script = 'ip link set lo up && ip link add try type bridge && ip link del try && echo up && exec sleep 600';
    const isAble = spawnSync('unshare', ['--net', 'sh', '-c', script.replace(/ && exec.*/, '')]).status === 0;
    if (isAble) {
      this.network = spawn('unshare', ['--net', 'sh', '-c', script], { stdio: 'ignore' });
      const { pid } = this.network;
      const inside = ['--target', String(pid), '--net', 'sh', '-c', 'ip -o link show up | grep -q lo:'];
      while (spawnSync('nsenter', inside).status !== 0) spawnSync('sleep', ['0.05']);
    }
    return isAble;
  }

  /** Runs a program in the machine's network. */
  run(program: string, ...words: string[]): string {
    const { pid } = this.network ?? {};
    const all = pid === undefined ? [program] : ['nsenter', '--target', String(pid), '--net', program];
    return execFileSync(all[0] ?? '', [...all.slice(1), ...words], {
      env: this.environment,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  ds(...words: string[]): string {
    return this.run(given('DS_BIN'), ...words);
  }

  spawn(...words: string[]): ChildProcess {
    return spawn(given('DS_BIN'), words, { env: this.environment, stdio: 'ignore' });
  }

  /** A container on a copy of the smallest real root file system. */
  container(name: string, ...settings: string[]): void {
    this.containerOf('busybox', name, ...settings);
  }

  /** A container on a copy of a real root file system. */
  containerOf(fixture: string, name: string, ...settings: string[]): void {
    const tree = join(this.root, `tree-${name}`);
    // With the dot, a link to a fixture is followed: a test never gets the fixture itself.
    execFileSync('cp', ['-a', '--reflink=auto', `${join(given('DS_FIXTURES'), fixture)}/.`, tree]);
    this.ds('create', name, '--rootfs', tree, ...settings.flatMap((setting) => ['--set', setting]));
  }

  /** One more container with the settings of another: quicker than `ds copy`, for tests that need many. */
  copyOfSettings(of: string, name: string, tree: string): void {
    const containers = join(this.root, 'data/containers');
    mkdirSync(join(containers, name));
    const text = readFileSync(join(containers, of, 'container.ini'), 'utf8').replace(/^uuid.*\n/m, '');
    writeFileSync(join(containers, name, 'container.ini'), text.replace(/^rootfs.*$/m, `rootfs = ${tree}`));
  }

  /** Starts `ds web` and gives an address that works once. */
  web(): string {
    return this.ds('web', '--pages', PAGE).trim();
  }

  state(name: string): string {
    const { state } = JSON.parse(this.ds('info', name, '--json')) as { state: string };
    return state;
  }

  end(): void {
    for (const words of [
      ['web', '--stop'],
      ['stop', '--all', '--kill'],
      ['supervisor', 'stop'],
    ]) {
      try {
        this.ds(...words);
      } catch {
        // The next one is tried all the same.
      }
    }
    Machine.alive.delete(this);
    this.network?.kill('SIGKILL');
    rmSync(this.root, { recursive: true, force: true });
  }
}
