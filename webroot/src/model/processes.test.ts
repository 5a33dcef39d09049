import { expect, test } from 'vitest';
import { people, read, signal } from './processes';

const PASSWD = [
  'root:x:0:0:root:/root:/bin/bash',
  'www:x:33:33::/var/www:/usr/sbin/nologin',
  'ann:x:1000:1000::/home/ann:/bin/sh',
  'nobody:x:65534:65534::/:/bin/sh',
].join('\n');
const stat = (pid: number, comm: string, ticks: number): string =>
  `${pid} (${comm}) S 1 ${pid} ${pid} 0 -1 0 0 0 0 0 ${ticks} 0 0 0 20 0 1 0 77 1000000 256 0`;
const output = (uptime: number, ticks: number): string =>
  `${PASSWD}\n--ds--\n${uptime}.00 5\n0\t${stat(1, 'init', 3)}\t/sbin/init \n1000\t${stat(9, 'a) b', ticks)}\t\nbroken\n`;

test('processes have a user, memory, and what they used since the reading before', () => {
  const first = read(output(10, 100), null);
  expect(first.processes.map(({ pid, user, command, cpu }) => [pid, user, command, cpu])).toEqual([
    [1, 'root', '/sbin/init', null],
    [9, 'ann', '[a) b]', null],
  ]);
  const second = read(output(14, 300), first);
  expect(second.processes[1]).toMatchObject({ cpu: 50, memory: 1 << 20, started: '77', parent: 1 });
});

test('only people log in', () => {
  expect(people(read(output(1, 1), null).users).map(({ name }) => name)).toEqual(['root', 'ann']);
});

test('a signal names the process and when it began', () => {
  const [one] = read(output(1, 1), null).processes;
  expect(one && signal('TERM', one).slice(3)).toEqual(['sh', 'TERM', '1', '77']);
});
