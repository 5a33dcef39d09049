//! Common services: each is up, and an idle container uses almost no processor time.

use crate::sandbox::Sandbox;
use crate::wait_for;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Units of the fixture, each with a command that checks it.
const SERVICES: [(&str, &str); 16] = [
    ("rsyslog", "logger -t test heard; until grep -q 'test: heard' /var/log/syslog; do sleep 0.1; done"),
    ("cron", "until test -e /run/cron-ran; do sleep 0.1; done"),
    ("ssh", "bash -c 'read -t 5 banner </dev/tcp/127.0.0.1/22; [[ $banner == SSH-2.0-* ]]'"),
    (
        "nginx",
        "bash -c 'exec 3<>/dev/tcp/127.0.0.1/80; echo -e \"GET / HTTP/1.0\\n\" >&3; grep -q nginx <&3'",
    ),
    ("postgresql@15-main", "su postgres -c 'psql -Atc \"select 6 * 7\"' | grep -qx 42"),
    ("mariadb", "mariadb -BNe 'select 6 * 7' | grep -qx 42"),
    ("redis-server", "redis-cli ping | grep -qx PONG"),
    ("exim4", "bash -c 'read -t 5 banner </dev/tcp/127.0.0.1/25; [[ $banner == 220* ]]'"),
    ("avahi-daemon", ""),
    ("NetworkManager", "nmcli -t -f RUNNING general | grep -qx running"),
    ("smbd", "smbstatus --brief >/dev/null"),
    ("nmbd", ""),
    ("fail2ban", "fail2ban-client ping | grep -q pong"),
    ("udisks2", "udisksctl status >/dev/null"),
    ("cups", "test -S /run/cups/cups.sock"),
    ("systemd-logind", "loginctl --no-legend list-seats >/dev/null"),
];

/// Prints the processor time of each unit, in microseconds.
const USAGE: &str = "cd /sys/fs/cgroup/system.slice; grep usage_usec */cpu.stat";

fn run(sandbox: &Sandbox, script: &str) -> String {
    sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", script]).succeeds()
}

/// An interface of the machine that is up and has an address, as nmbd wants one before it starts.
fn connect(sandbox: &Sandbox) {
    let script = "ip link set lo up && ip link add here type veth peer name there && \
                  ip addr add 192.0.2.1/24 dev here && ip link set here up && ip link set there up && \
                  ip link add unused type bridge && ip route add default via 192.0.2.254";
    sandbox.run(&["sh", "-c", script]).succeeds();
}

/// Links, addresses and routes of the machine, without what the kernel changes by itself.
fn network(sandbox: &Sandbox) -> String {
    sandbox.run(&["sh", "-c", "ip -o -4 addr; ip -o link; ip route"]).succeeds()
}

/// The processor time of all processes of the container.
fn used(sandbox: &Sandbox) -> Duration {
    let groups: Vec<_> = sandbox.group_directories().into_iter().map(|top| top.join("web")).collect();
    let version2 = groups.iter().find_map(|group| {
        let text = fs::read_to_string(group.join("cpu.stat")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok())
    });
    let version1 = || {
        let text = groups.iter().find_map(|group| fs::read_to_string(group.join("cpuacct.usage")).ok())?;
        text.trim().parse().ok().map(Duration::from_nanos)
    };
    version2.map(Duration::from_micros).or_else(version1).expect("a group that counts processor time")
}

/// The average processor usage while this waits.
fn load(sandbox: &Sandbox, wait: Duration) -> f64 {
    let (begun, before) = (Instant::now(), used(sandbox));
    sleep(wait);
    (used(sandbox) - before).as_secs_f64() / begun.elapsed().as_secs_f64()
}

#[test]
fn common_services_run_and_are_idle() {
    let mut sandbox = Sandbox::new();
    connect(&sandbox);
    let before = network(&sandbox);
    // No name server is reachable here, and exim resolves the name of each client before its greeting.
    sandbox.distribution("web", "services", &["network.dns=no"]);
    let job =
        format!("echo '@reboot root touch /run/cron-ran' >{}/etc/cron.d/job", sandbox.path("web").display());
    sandbox.run(&["sh", "-c", &job]).succeeds();
    assert_eq!(sandbox.ds(&["start", "web", "--wait=110"]).succeeds(), "web is up\n");
    let state = run(&sandbox, "systemctl is-system-running --wait; systemctl --failed --no-legend --plain");
    assert_eq!(state, "running\n", "nothing failed");
    for (unit, question) in SERVICES {
        assert_eq!(run(&sandbox, &format!("systemctl is-active {unit}; true")), "active\n", "{unit}");
        run(&sandbox, question);
    }
    // The clock is the host's: chrony detects that and does not run.
    assert_eq!(run(&sandbox, "systemctl show -P ConditionResult chrony"), "no\n");
    assert_eq!(network(&sandbox), before, "the host's network is unmanaged");
    assert_eq!(run(&sandbox, "nmcli -t -f STATE device | sort -u"), "unmanaged\n");

    // Concurrent tests attach loop devices, and udevd receives the events.
    run(&sandbox, "systemctl stop systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udevd");
    wait_for("the services to become idle", || (load(&sandbox, Duration::from_secs(2)) < 0.02).then_some(()));
    // A service that spins takes a whole processor; the bench holds the real value against its target. A job of a
    // timer may fall into one minute, but not into two.
    let mut usage = Vec::new();
    let quiet = (0..2).any(|_| {
        usage.push(run(&sandbox, USAGE));
        let load = load(&sandbox, Duration::from_secs(60));
        usage.push(format!("{:.2} % of a processor", load * 100.0));
        load < 0.03
    });
    usage.push(run(&sandbox, USAGE));
    println!("{}", usage[1]);
    assert!(quiet, "processor time of each unit before, between and after:\n{}", usage.join("\n"));
}

/// A read of the kernel log blocks and never reports the end: also after a restart, in a session and in a temporary
/// container.
#[test]
fn readers_of_the_kernel_log_block() {
    let script = "state() { busybox cut -d' ' -f3 /proc/$1/stat; }; head -c 1 /proc/kmsg & \
                  while case $(state $!) in R|D) ;; *) false;; esac; do sleep 0.1; done; sleep 0.3; state $!; kill $!; \
                  ls /dev/kmsg 2>&1";
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    let expected = "S\nls: /dev/kmsg: No such file or directory\n";
    sandbox.ds(&["start", "web"]).succeeds();
    for _ in 0..2 {
        let report = wait_for("the report", || tree.report());
        assert_eq!(report["files"]["/proc/kmsg"]["read"], "EAGAIN");
        let read = sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", script]);
        assert_eq!(read.text(), expected, "{}", read.errors);
        fs::remove_file(tree.path("report.json")).unwrap();
        sandbox.ds(&["restart", "web"]).succeeds();
    }
    let path = tree.0.to_str().unwrap();
    assert_eq!(sandbox.ds(&["shell", path, "/bin/sh", "-c", script]).text(), expected);
}

/// Access to the terminals and the kernel log of the host without a file.
#[test]
fn requests_that_reach_beyond_the_container_are_refused() {
    let mut sandbox = Sandbox::new();
    sandbox.distribution("web", "bookworm", &[]);
    let script = "foreach my $request (0x5412, 0x541c, 0x541d, 0xc0045877, 0x5413) { \
                  ioctl(STDIN, $request, my $nothing = \"x\" x 64); print \"$!\\n\"; }";
    let tree = sandbox.path("web").display().to_string();
    let done = sandbox.ds(&["shell", &tree, "/usr/bin/perl", "-e", script]).succeeds();
    // TIOCSTI, TIOCLINUX, TIOCCONS, FIFREEZE; TIOCGWINSZ reaches the null device, which is not a terminal.
    let refused = "Operation not permitted\n";
    assert_eq!(done, format!("{}Inappropriate ioctl for device\n", refused.repeat(4)));
    let log = sandbox.ds(&["shell", &tree, "/usr/bin/dmesg"]);
    assert!(log.errors.contains("Operation not permitted"), "{}", log.errors);
}
