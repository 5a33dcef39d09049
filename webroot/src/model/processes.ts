// What runs in a container, and its users: one script of POSIX sh, because not every distribution has a useful ps(1).

/** Clock ticks in a second: USER_HZ of every architecture that ds runs on. proc_stat(5). */
const TICKS = 100;
const PAGE = 4096;
const MARK = '--ds--';

// passwd, uptime, and then for each process its state, its user and its command. The shell itself is left out.
const SCRIPT = [
  `cat /etc/passwd; echo ${MARK}; cat /proc/uptime`,
  'for d in /proc/[0-9]*; do p=${d#/proc/}; [ "$p" = "$$" ] && continue',
  'read -r s <"$d/stat" || continue; u=; while read -r k v r; do [ "$k" = Uid: ] && u=$v; done <"$d/status"',
  "c=$(tr '\\000\\n\\t' '   ' <\"$d/cmdline\")",
  'printf "%s\\t%s\\t%s\\n" "$u" "$s" "$c"; done 2>/dev/null; true',
].join('\n');

// A PID can be reused: only the process that was seen gets the signal.
const KILL =
  'read -r s <"/proc/$2/stat" || exit 1; s=${s##*) }; n=$1; p=$2; w=$3; set -- $s; [ "${20}" = "$w" ] && kill -"$n" "$p"';

export interface User {
  name: string;
  uid: number;
  home: string;
  shell: string;
}

export interface Process {
  pid: number;
  parent: number;
  user: string;
  /** Bytes. */
  memory: number;
  /** Of one processor, since the reading before; null at the first. */
  cpu: number | null;
  ticks: number;
  /** In ticks since the boot; with the PID it identifies a process. */
  started: string;
  command: string;
}

export interface Reading {
  at: number;
  users: User[];
  processes: Process[];
}

export const listing: string[] = ['sh', '-c', SCRIPT];

export function signal(name: string, { pid, started }: Process): string[] {
  return ['sh', '-c', KILL, 'sh', name, String(pid), started];
}

function passwd(text: string): User[] {
  return text.split('\n').flatMap((line): User[] => {
    const [name = '', , uid = '', , , home = '', shell = ''] = line.split(':');
    return name && /^\d+$/.test(uid) ? [{ name, uid: Number(uid), home, shell }] : [];
  });
}

/** Root, and the users that may log in. */
export function people(users: User[]): User[] {
  const isUsual = ({ uid }: User): boolean => uid === 0 || (uid >= 1000 && uid < 65_534);
  return users.filter((user) => isUsual(user) && !/(nologin|false)$/.test(user.shell));
}

function process(line: string, users: User[]): Process | null {
  const [uid = '', stat = '', ...rest] = line.split('\t');
  const [, pid, comm, tail] = /^(\d+) \((.*)\) (.*)$/.exec(stat) ?? [];
  if (pid === undefined || comm === undefined || tail === undefined) return null;
  const fields = tail.split(' ');
  const number = (index: number): number => Number(fields[index] ?? 0);
  const command = rest.join(' ').trim();
  return {
    pid: Number(pid),
    parent: number(1),
    user: users.find((user) => user.uid === Number(uid))?.name ?? uid,
    memory: number(21) * PAGE,
    cpu: null,
    ticks: number(11) + number(12),
    started: fields[19] ?? '',
    command: command || `[${comm}]`,
  };
}

export function read(output: string, before: Reading | null): Reading {
  const [first = '', second = ''] = output.split(`${MARK}\n`);
  const users = passwd(first);
  const [uptime = '', ...lines] = second.split('\n');
  const at = parseFloat(uptime);
  const known = new Map(before?.processes.map((one) => [`${one.pid} ${one.started}`, one.ticks]));
  const seconds = before ? at - before.at : 0;
  const processes = lines.flatMap((line): Process[] => {
    const one = process(line, users);
    if (!one) return [];
    const ticks = known.get(`${one.pid} ${one.started}`);
    const cpu = ticks === undefined || seconds <= 0 ? null : Math.max(0, ((one.ticks - ticks) / TICKS / seconds) * 100);
    return [{ ...one, cpu }];
  });
  return { at, users, processes };
}
