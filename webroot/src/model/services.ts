// Services of a container, by the tools of its init system: which command lines, and how their output is read.

export type Manager = 'systemd' | 'openrc' | 'sysvinit' | 'runit' | 'procd';

export interface Service {
  unit: string;
  state: 'running' | 'stopped' | 'failed' | 'other';
  /** The init system's own word for the state. */
  word: string;
  about: string;
  /** Whether it starts with the container; null if the init system does not decide that. */
  enabled: boolean | null;
}

export type Verb = 'start' | 'stop' | 'restart' | 'enable' | 'disable' | 'status' | 'journal';

/** What separates the parts of a list. */
const MARK = '--ds--';

const MANAGERS: Record<string, Manager> = {
  systemd: 'systemd',
  openrc: 'openrc',
  'sysv-init': 'sysvinit',
  sysvinit: 'sysvinit',
  runit: 'runit',
  procd: 'procd',
};

/** Init systems whose log can be read by service. */
export function hasJournal(of: Manager): boolean {
  return of === 'systemd' || of === 'procd';
}

export function manager(init: string | null): Manager | null {
  return MANAGERS[init?.toLowerCase() ?? ''] ?? null;
}

// Debian links services in /etc/service, Void in /var/service.
const RUNIT = 'd=/etc/service; [ -d /var/service ] && d=/var/service;';

const LISTS: Record<Manager, string> = {
  systemd:
    'systemctl list-units --type=service --all --plain --no-legend --no-pager;' +
    ` echo ${MARK}; systemctl list-unit-files --type=service --plain --no-legend --no-pager`,
  openrc: `rc-status --nocolor --servicelist; echo ${MARK}; rc-update show`,
  sysvinit:
    'if command -v service >/dev/null; then service --status-all 2>&1; else ls /etc/init.d; fi;' +
    ` echo ${MARK}; ls /etc/rc2.d /etc/rc3.d 2>/dev/null`,
  runit: `${RUNIT} ls /etc/sv; echo ${MARK};` + ' for s in "$d"/*; do [ -e "$s" ] && sv status "$s"; done 2>&1; true',
  procd: `ls /etc/init.d; echo ${MARK}; ls /etc/rc.d 2>/dev/null; echo ${MARK}; ubus call service list`,
};

/** `$1` is the name of the service. */
const SCRIPTS: Record<Exclude<Manager, 'systemd'>, Record<Exclude<Verb, 'journal'>, string> & { journal?: string }> = {
  openrc: {
    start: 'rc-service "$1" start',
    stop: 'rc-service "$1" stop',
    restart: 'rc-service "$1" restart',
    status: 'rc-service "$1" status',
    enable: 'rc-update add "$1"',
    disable: 'rc-update --all del "$1"',
  },
  sysvinit: {
    start: '"/etc/init.d/$1" start',
    stop: '"/etc/init.d/$1" stop',
    restart: '"/etc/init.d/$1" restart',
    status: '"/etc/init.d/$1" status',
    enable:
      'if command -v update-rc.d >/dev/null; then update-rc.d "$1" defaults && update-rc.d "$1" enable;' +
      ' else chkconfig "$1" on; fi',
    disable: 'if command -v update-rc.d >/dev/null; then update-rc.d "$1" disable; else chkconfig "$1" off; fi',
  },
  runit: {
    start: `${RUNIT} sv start "$d/$1"`,
    stop: `${RUNIT} sv stop "$d/$1"`,
    restart: `${RUNIT} sv restart "$d/$1"`,
    status: `${RUNIT} sv status "$d/$1"`,
    enable: `${RUNIT} ln -s "/etc/sv/$1" "$d/$1"`,
    // Anything but a link is not ours to remove.
    disable: `${RUNIT} [ -L "$d/$1" ] && rm "$d/$1"`,
  },
  procd: {
    start: '"/etc/init.d/$1" start',
    stop: '"/etc/init.d/$1" stop',
    restart: '"/etc/init.d/$1" restart',
    status: '"/etc/init.d/$1" status',
    enable: '"/etc/init.d/$1" enable',
    disable: '"/etc/init.d/$1" disable',
    journal: 'logread | grep -F -e " $1[" -e " $1:" | tail -n 300',
  },
};

/** The program in the container that lists its services. */
export function listing(of: Manager): string[] {
  return ['sh', '-c', LISTS[of]];
}

/** The program in the container that does `verb`. */
export function command(of: Manager, verb: Verb, unit: string): string[] {
  if (of === 'systemd') {
    if (verb === 'journal') return ['journalctl', '--no-pager', '-n', '300', '-u', unit];
    const options = verb === 'status' ? ['--no-pager', '--full', '--lines=0'] : [];
    return ['systemctl', ...options, verb, '--', unit];
  }
  return ['sh', '-c', SCRIPTS[of][verb] ?? 'true', 'sh', unit];
}

function lines(text: string): string[] {
  return text.split('\n').filter((line) => line.trim() !== '');
}

export function read(of: Manager, output: string): Service[] {
  const [first = '', second = '', third = ''] = output.split(`${MARK}\n`);
  const services = READERS[of](lines(first), lines(second), third);
  const rank = { failed: 0, running: 1, other: 2, stopped: 2 };
  return services.sort((a, b) => rank[a.state] - rank[b.state] || a.unit.localeCompare(b.unit));
}

type Reader = (states: string[], enabled: string[], more: string) => Service[];

const systemd: Reader = (states, files) => {
  const words = (line: string): string[] => line.trim().split(/\s+/);
  const enabled = new Map(files.map(words).map(([unit = '', state = '']) => [unit, state]));
  const seen = new Set<string>();
  const loaded = states.map(words).flatMap(([unit = '', load = '', active = '', sub = '', ...about]): Service[] => {
    if (!unit.endsWith('.service') || load === 'not-found') return [];
    seen.add(unit);
    const kinds: Record<string, Service['state']> = { active: 'running', failed: 'failed', inactive: 'stopped' };
    const state = kinds[active] ?? 'other';
    return [{ unit, state, word: sub, about: about.join(' '), enabled: unitFile(enabled.get(unit)) }];
  });
  const others = [...enabled].flatMap(([unit, state]): Service[] =>
    seen.has(unit) || unit.includes('@.') || state === 'alias'
      ? []
      : [{ unit, state: 'stopped', word: state === 'masked' ? 'masked' : 'dead', about: '', enabled: unitFile(state) }],
  );
  return [...loaded, ...others];
};

function unitFile(state: string | undefined): boolean | null {
  if (state?.startsWith('enabled')) return true;
  return state === 'disabled' ? false : null;
}

const openrc: Reader = (states, levels) => {
  const enabled = new Set(levels.filter((line) => /\|\s*\S/.test(line)).map((line) => line.split('|')[0]?.trim()));
  return states.flatMap((line): Service[] => {
    const [, unit, word] = /^\s*(\S+)\s+\[\s*([a-z]+)/.exec(line) ?? [];
    if (unit === undefined || word === undefined) return [];
    const kinds: Record<string, Service['state']> = { started: 'running', stopped: 'stopped', crashed: 'failed' };
    return [{ unit, state: kinds[word] ?? 'other', word, about: '', enabled: enabled.has(unit) }];
  });
};

const sysvinit: Reader = (states, links) => {
  const enabled = new Set(links.map((link) => /^S\d\d(.+)$/.exec(link.trim())?.[1]));
  return states.flatMap((line): Service[] => {
    const [, sign, unit] = /^\s*(?:\[ ([+?-]) \]\s+)?([A-Za-z0-9][\w.@-]*)\s*$/.exec(line) ?? [];
    if (unit === undefined || unit === 'README') return [];
    const state = sign === '+' ? 'running' : sign === '-' ? 'stopped' : 'other';
    const word = { running: 'running', stopped: 'stopped', other: '?' }[state];
    return [{ unit, state, word, about: '', enabled: enabled.has(unit) }];
  });
};

const runit: Reader = (available, states) => {
  const found = new Map(
    states.flatMap((line) => {
      const [, word, path] = /^([a-z]+): (\S+?):/.exec(line) ?? [];
      return word === undefined || path === undefined ? [] : [[path.split('/').pop() ?? '', word] as const];
    }),
  );
  const names = new Set([...available.map((name) => name.trim()), ...found.keys()]);
  return [...names].map((unit): Service => {
    const word = found.get(unit);
    const kinds: Record<string, Service['state']> = { run: 'running', down: 'stopped', fail: 'failed' };
    const state = word === undefined ? 'stopped' : (kinds[word] ?? 'other');
    return { unit, state, word: word ?? 'down', about: '', enabled: word !== undefined };
  });
};

interface Instance {
  running?: boolean;
  exit_code?: number;
}

type Procd = Record<string, { instances?: Record<string, Instance> }>;

function registered(text: string): Procd | null {
  try {
    const value = JSON.parse(text) as unknown;
    return value !== null && typeof value === 'object' ? (value as Procd) : null;
  } catch {
    return null;
  }
}

/** Without an answer of ubus, the state of a service is unknown. One that only sets something up has no instance. */
const procd: Reader = (available, links, more) => {
  const enabled = new Set(links.map((link) => /^S\d\d(.+)$/.exec(link.trim())?.[1]));
  const known = registered(more);
  const state = (unit: string): [Service['state'], string] => {
    if (known === null) return ['other', '?'];
    const instances = Object.values(known[unit]?.instances ?? {});
    if (instances.some((one) => one.running)) return ['running', 'running'];
    if (instances.some((one) => (one.exit_code ?? 0) !== 0)) return ['failed', 'failed'];
    return unit in known && instances.length === 0 ? ['other', 'active'] : ['stopped', 'inactive'];
  };
  return available.map((line): Service => {
    const unit = line.trim();
    const [kind, word] = state(unit);
    return { unit, state: kind, word, about: '', enabled: enabled.has(unit) };
  });
};

const READERS: Record<Manager, Reader> = { systemd, openrc, sysvinit, runit, procd };
