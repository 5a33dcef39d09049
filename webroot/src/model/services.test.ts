import { expect, test } from 'vitest';
import { command, manager, read } from './services';

const brief = (of: Parameters<typeof read>[0], text: string) =>
  read(of, text).map(({ unit, state, enabled }) => [unit, state, enabled]);

test('the services of systemd', () => {
  const text = [
    'cron.service loaded active running Regular background program processing daemon',
    'bad.service loaded failed failed Bad',
    'gone.service not-found inactive dead gone.service',
    '--ds--',
    'cron.service enabled enabled',
    'ssh.service disabled enabled',
    'getty@.service enabled enabled',
    'dbus.service static -',
    'dbus-org.freedesktop.login1.service alias -',
    '',
  ].join('\n');
  expect(brief('systemd', text)).toEqual([
    ['bad.service', 'failed', null],
    ['cron.service', 'running', true],
    ['dbus.service', 'stopped', null],
    ['ssh.service', 'stopped', false],
  ]);
  expect(read('systemd', text)[1]?.about).toBe('Regular background program processing daemon');
});

test('the services of OpenRC', () => {
  const text =
    ' agetty   [  stopped  ]\n cron   [  started 00:01:02 (0)  ]\n--ds--\n      cron | default\n  agetty |\n';
  expect(brief('openrc', text)).toEqual([
    ['cron', 'running', true],
    ['agetty', 'stopped', false],
  ]);
});

test('the services of sysvinit', () => {
  const text = ' [ + ]  cron\n [ - ]  ssh\n [ ? ]  hwclock.sh\n--ds--\n/etc/rc2.d:\nREADME\nK01ssh\nS01cron\n';
  expect(brief('sysvinit', text)).toEqual([
    ['cron', 'running', true],
    ['hwclock.sh', 'other', false],
    ['ssh', 'stopped', false],
  ]);
});

test('the services of runit', () => {
  const text = 'getty-tty1\nssh\n--ds--\nrun: /etc/service/ssh: (pid 12) 34s\nfail: /etc/service/x: unable to open\n';
  expect(brief('runit', text)).toEqual([
    ['x', 'failed', true],
    ['ssh', 'running', true],
    ['getty-tty1', 'stopped', false],
  ]);
});

test('the services of procd', () => {
  const scripts = 'boot\ncron\ndnsmasq\ndropbear\nuhttpd\n--ds--\nK90boot\nS10boot\nS19dnsmasq\nS50cron\n--ds--\n';
  const ubus = {
    boot: {},
    cron: { instances: { instance1: { running: false, exit_code: 1 } } },
    dnsmasq: { instances: { cfg01411c: { running: true, pid: 12 } } },
    uhttpd: { instances: { instance1: { running: false, exit_code: 0 } } },
  };
  expect(brief('procd', scripts + JSON.stringify(ubus))).toEqual([
    ['cron', 'failed', true],
    ['dnsmasq', 'running', true],
    ['boot', 'other', true],
    ['dropbear', 'stopped', false],
    ['uhttpd', 'stopped', false],
  ]);
  expect(brief('procd', scripts)[0], 'ubus does not answer').toEqual(['boot', 'other', true]);
});

test('a name is one word of a command line', () => {
  const hostile = '$(reboot); x';
  for (const of of ['systemd', 'openrc', 'sysvinit', 'runit', 'procd'] as const) {
    const words = command(of, 'start', hostile);
    expect(words[words.length - 1]).toBe(hostile);
    expect(words.filter((word) => word.includes('reboot'))).toEqual([hostile]);
  }
  expect(manager('OpenRC')).toBe('openrc');
  expect(manager('procd')).toBe('procd');
  expect(manager(null)).toBeNull();
});
