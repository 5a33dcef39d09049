//! Kernels without PID and IPC namespaces, as on phones: real distributions boot and work, and reach no process
//! outside. Every test takes a census of bystanders: processes of the sandbox that must be unchanged afterwards.

use crate::init_systems::RUNIT_SERVICE;
use crate::process::{Process, below};
use crate::sandbox::{Sandbox, Setting};
use crate::wait_for;
use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Stdio};

/// A machine with the missing features of stock kernels.
pub fn stock() -> Sandbox {
    Sandbox::with(Setting { denied: Some("newpid,newipc"), ..Setting::default() })
}

/// Processes of the machine that no container may affect, of root and of another user.
pub struct Bystanders {
    children: Vec<Child>,
    seen: BTreeMap<i32, String>,
}

impl Bystanders {
    pub fn new(sandbox: &Sandbox) -> Self {
        let scripts =
            ["exec sleep 7001", "exec setpriv --reuid 1000 sleep 7002", "set -m; sleep 7003 & wait"];
        let spawn = |script: &&str| {
            let mut command = sandbox.command_within(7000, &["sh", "-c", script]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a bystander")
        };
        let children: Vec<Child> = scripts.iter().map(spawn).collect();
        let sleepers = |child: &Child| {
            let found = below(i32::try_from(child.id()).expect("a number"));
            found.into_iter().find(|one| one.name == "sleep")
        };
        let known = wait_for("the bystanders", || children.iter().map(sleepers).collect::<Option<Vec<_>>>());
        let mut seen: BTreeMap<i32, String> =
            known.iter().map(|process| (process.pid, mark(process.pid))).collect();
        for own in
            [sandbox.supervisor().map(|process| process.pid), Some(sandbox.init_pid())].into_iter().flatten()
        {
            seen.insert(own, mark(own));
        }
        Self { children, seen }
    }

    /// Their process ids in the sandbox, which the container sees.
    pub fn numbers(&self) -> String {
        let inner = self.seen.keys().filter_map(|pid| Process::of(*pid)?.inner_pid());
        inner.filter(|number| *number != 1).map(|number| number.to_string()).collect::<Vec<_>>().join(" ")
    }

    /// One that the test ends.
    pub fn forget(&mut self, pid: i32) {
        self.seen.remove(&pid);
    }

    /// Asserts that each one still runs and was neither stopped nor changed.
    #[track_caller]
    pub fn check(&self) {
        for (pid, before) in &self.seen {
            assert_eq!(mark(*pid), *before, "bystander {pid}: {:?}", Process::of(*pid));
        }
    }
}

impl Drop for Bystanders {
    fn drop(&mut self) {
        for pid in self.seen.keys().filter(|pid| Process::of(**pid).is_some_and(|one| one.name == "sleep")) {
            crate::process::kill(*pid);
        }
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The identity of a process, and the attributes that another process could change.
fn mark(pid: i32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or(vec![], |(_, rest)| rest.split_whitespace().collect());
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kept = ["State:", "TracerPid:", "SigPnd:", "ShdPnd:", "Cpus_allowed:"];
    let lines: Vec<&str> =
        status.lines().filter(|line| kept.iter().any(|name| line.starts_with(name))).collect();
    // SIGCHLD comes from the supervisor's own workers.
    let lines = lines.iter().map(|line| match line.split_once("Pnd:\t") {
        Some((name, set)) => {
            let child = 1 << (libc::SIGCHLD - 1);
            format!("{name}: {:x}", u64::from_str_radix(set, 16).unwrap_or(u64::MAX) & !child)
        }
        None => (*line).to_owned(),
    });
    let lines: Vec<String> = lines.collect();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    // Start time, nice value, scheduling policy.
    let numbers: Vec<&str> = [19, 16, 38].iter().filter_map(|at| fields.get(*at).copied()).collect();
    // Of the states, only that of a stopped or traced process: "State:\tT (stopped)".
    let is_kept = |line: &&String| {
        line.strip_prefix("State:").is_none_or(|state| state.trim_start().starts_with(['T', 't']))
    };
    let lines: Vec<_> = lines.iter().filter(is_kept).collect();
    format!("{numbers:?} {lines:?} {limits} {groups}")
}

pub fn inside(sandbox: &Sandbox, script: &str) -> String {
    sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", script]).text()
}

#[test]
fn the_probe_boots_as_pid_1() {
    let sandbox = stock();
    let bystanders = Bystanders::new(&sandbox);
    sandbox.container("web", &[]);
    let started = sandbox.ds(&["start", "web"]);
    assert!(started.errors.contains("CONFIG_PID_NS"), "{}", started.errors);
    started.succeeds();
    assert_eq!(inside(&sandbox, "exec /bin/busybox readlink /proc/1/exe"), "/bin/probe\n");
    assert_eq!(sandbox.ds(&["run", "web", "--", "/bin/probe", "exit", "9"]).code, 9);
    sandbox.ds(&["restart", "web"]).succeeds();
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    bystanders.check();
}

/// A process is named after its program, in whatever encoding; longer names are cut after 15 bytes, also within a
/// character.
#[test]
fn a_process_whose_name_is_not_unicode_is_answered_as_well() {
    const SCRIPT: &str = "printf '\\351' >/proc/self/comm; sleep 100 & printf '\\351' >/proc/$!/comm; kill $!; wait $!; echo $?";
    let sandbox = stock();
    sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    assert_eq!(inside(&sandbox, SCRIPT), "143\n");
}

/// Boots a distribution, uses it, restarts it, reboots and powers it off from inside.
fn lives(fixture: &str, up: &str, expected: &str, reboot: &str, power_off: &str) {
    let mut sandbox = stock();
    let bystanders = Bystanders::new(&sandbox);
    // sysvinit's killall5 sees the machine's processes and waits ten seconds for their end.
    sandbox.distribution("web", fixture, &["stop-timeout=45"]);
    let started = sandbox.ds(&["start", "web", "--wait=90"]);
    assert!(started.errors.contains("CONFIG_PID_NS"), "{}", started.errors);
    assert_eq!(started.succeeds(), "web is up\n");
    assert_eq!(inside(&sandbox, up), expected, "{fixture}");
    bystanders.check();
    let before = sandbox.info("web")["pid"].clone();
    sandbox.ds(&["restart", "web"]).succeeds();
    assert_ne!(sandbox.info("web")["pid"], before);
    assert_eq!(sandbox.ds(&["start", "web", "--wait=90"]).code, 0);
    wait_for("the init system to be up", || (sandbox.info("web")["ready"] == true).then_some(()));
    let before = sandbox.info("web")["pid"].clone();
    sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", reboot]);
    wait_for("the second boot", || {
        let info = sandbox.info("web");
        (info["state"] == "running" && info["pid"] != before && info["ready"] == true).then_some(())
    });
    bystanders.check();
    assert_eq!(sandbox.info("web")["last_exit"]["reason"], "rebooted");
    sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", power_off]);
    sandbox.wait_for_state("web", "stopped");
    assert_eq!(sandbox.info("web")["last_exit"]["reason"], "powered-off");
    bystanders.check();
    assert_eq!(sandbox.ds(&["start", "web", "--wait=90"]).code, 0);
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    assert_eq!(sandbox.info("web")["last_exit"]["signal"], serde_json::Value::Null, "PID 1 was not killed");
    bystanders.check();
}

/// systemd executes itself again and is still PID 1.
const RUNNING: &str = "systemctl daemon-reexec; systemctl is-system-running --wait; \
                       systemctl --failed --no-legend --plain";

#[test]
fn systemd_252_lives() {
    lives("bookworm", RUNNING, "running\n", "systemctl reboot", "systemctl poweroff");
}

#[test]
fn the_newest_systemd_lives() {
    lives("forky", RUNNING, "running\n", "reboot", "poweroff");
}

#[test]
fn openrc_lives() {
    lives("openrc", "rc-status --crashed; rc-status --runlevel", "default\n", "reboot", "poweroff");
}

#[test]
fn sysvinit_lives() {
    lives("sysvinit", "/sbin/runlevel", "N 2\n", "reboot", "poweroff");
}

#[test]
fn runit_lives() {
    lives("runit", &format!("{RUNIT_SERVICE} | cut -c1-4"), "run:\n", "reboot", "poweroff");
}

#[test]
fn busybox_lives() {
    lives("busybox", "echo up", "up\n", "reboot", "poweroff");
}

/// Calls of every kind on processes outside: each must fail with "no such process". The numbers are those of x86-64.
const CALLS: &str = r#"
use strict;
my @targets = map { $_ + 0 } split / /, shift @ARGV;
my $info = pack("i i i i i I Q x96", 15, 0, -1, 0, $$, 0, 0);
my ($mask, $limit, $param, $buffer) = (pack("Q", 1), pack("QQ", 10, 10), pack("i x60", 0), "\0" x 8);
my $vector = pack("QQ", unpack("Q", pack("p", $buffer)), 8);
my @calls = (
    sub { syscall(62, $_[0], $_[1]) }, sub { syscall(200, $_[0], $_[1]) }, sub { syscall(234, $_[0], $_[0], $_[1]) },
    sub { syscall(129, $_[0], 15, $info) }, sub { syscall(297, $_[0], $_[0], 15, $info) },
    sub { syscall(434, $_[0], 0) }, sub { syscall(101, 16, $_[0], 0, 0) }, sub { syscall(101, 0x4206, $_[0], 0, 0) },
    sub { syscall(310, $_[0], $vector, 1, $vector, 1, 0) }, sub { syscall(311, $_[0], $vector, 1, $vector, 1, 0) },
    sub { syscall(141, 0, $_[0], 19) }, sub { syscall(251, 1, $_[0], 0) }, sub { syscall(142, $_[0], $param) },
    sub { syscall(144, $_[0], 3, $param) }, sub { syscall(203, $_[0], 8, $mask) },
    sub { syscall(302, $_[0], 7, $limit, 0) }, sub { syscall(312, $_[0], $$, 0, 1, 1) },
    sub { syscall(72, 0, 8, $_[0]) }, sub { syscall(62, -$_[0], $_[1]) }, sub { syscall(141, 1, $_[0], 19) },
    sub { syscall(141, 2, 1000, 19) }, sub { syscall(256, $_[0], 8, $mask, $mask) },
);
my @signals = (0, 1, 9, 15, 18, 19, 34);
my %wrong;
for my $round (1 .. shift @ARGV) {
    my $call = int(rand(@calls));
    $! = 0;
    my $result = $calls[$call]->($targets[rand(@targets)], $signals[rand(@signals)]);
    $wrong{"call $call: $result, " . ($! + 0)}++ unless $result == -1 && $! == 3;
}
print map { "$_\n" } sort keys %wrong;
print "done\n";
"#;

#[test]
#[cfg(target_arch = "x86_64")]
fn no_call_reaches_a_process_outside() {
    let mut sandbox = stock();
    let bystanders = Bystanders::new(&sandbox);
    sandbox.distribution("web", "bookworm", &[]);
    sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
    let targets = bystanders.numbers();
    let words = ["run", "web", "--", "perl", "-", &targets, "10000"];
    assert_eq!(sandbox.ds_with_input(&words, CALLS.as_bytes()).text(), "done\n");
    // As another user, and as a service.
    let words = ["run", "web", "--user", "user", "--", "perl", "-", &targets, "300"];
    assert_eq!(sandbox.ds_with_input(&words, CALLS.as_bytes()).text(), "done\n");
    bystanders.check();
    // Common commands of administrators.
    for script in ["kill -9 -1", "pkill -9 -f .", "pkill sleep", "kill -STOP -1; kill -CONT -1"] {
        inside(&sandbox, script);
        bystanders.check();
    }
    // PID 1 is as safe from its own processes as in a PID namespace.
    let before = sandbox.info("web")["pid"].clone();
    inside(&sandbox, &format!("kill -9 1; kill -9 {before}; kill -STOP 1"));
    assert_eq!(sandbox.info("web")["pid"], before);
    assert_eq!(sandbox.state("web"), "running");
    assert_eq!(
        inside(&sandbox, "sleep 100 & kill -9 $!; wait $!; echo $?"),
        "137\n",
        "its own processes are reachable"
    );
    // A shell without a terminal creates no process groups.
    let group = "setsid sleep 100 & until kill -s 0 -- -$! 2>/dev/null; do sleep 0.1; done; kill -- -$!; wait $!; echo $?";
    assert_eq!(inside(&sandbox, group), "143\n", "and groups");
    sandbox.ds(&["stop", "web"]).succeeds();
    bystanders.check();
}

#[test]
fn killall5_ends_at_the_container() {
    let mut sandbox = stock();
    let bystanders = Bystanders::new(&sandbox);
    sandbox.distribution("web", "sysvinit", &[]);
    sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
    for signal in ["-15", "-9"] {
        inside(&sandbox, &format!("killall5 {signal}"));
        bystanders.check();
    }
    assert_eq!(sandbox.state("web"), "running");
    sandbox.ds(&["stop", "web"]).succeeds();
    bystanders.check();
}

/// Processes that fork endlessly, so that none lives long.
const MOVING: &str = "for (1 .. 20) { next if fork; setpgrp; while (1) { exit if fork; select(undef, undef, undef, 0.001) } } sleep 100";

#[test]
fn nothing_stays_whoever_is_killed() {
    let mut sandbox = stock();
    let bystanders = Bystanders::new(&sandbox);
    sandbox.distribution("web", "bookworm", &[]);
    for victim in ["nobody", "monitor", "manager", "stop"] {
        sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
        let mut session = sandbox.spawn_ds(&["run", "web", "--", "perl", "-e", MOVING]);
        wait_for("the processes that fork", || {
            let busy = sandbox.processes().iter().filter(|one| one.name == "perl").count();
            (busy > 10).then_some(())
        });
        match victim {
            "monitor" => crate::process::kill(sandbox.monitor("web").expect("a monitor").pid),
            "manager" => {
                let inner = sandbox.info("web")["pid"].to_string();
                sandbox.run(&["kill", "-9", &inner]).succeeds();
            }
            "stop" => drop(sandbox.ds(&["stop", "web", "--kill"]).succeeds()),
            _ => drop(sandbox.ds(&["stop", "web"]).succeeds()),
        }
        session.wait().expect("wait");
        sandbox.assert_no_containers();
        bystanders.check();
    }
}

#[test]
fn callers_that_die_while_they_are_answered_harm_nobody() {
    const SCRIPT: &str = "for (1 .. 1000) { my $pid = fork; if (!$pid) { while (1) { kill 0, 2; getppid } } \
                          select(undef, undef, undef, 0.0005); kill 9, $pid; waitpid $pid, 0 } print qq(done\n)";
    let mut sandbox = stock();
    let bystanders = Bystanders::new(&sandbox);
    sandbox.distribution("web", "bookworm", &[]);
    sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
    assert_eq!(sandbox.ds(&["run", "web", "--", "perl", "-e", SCRIPT]).text(), "done\n");
    assert_eq!(inside(&sandbox, "systemctl is-system-running"), "running\n");
    sandbox.ds(&["stop", "web"]).succeeds();
    bystanders.check();
}

#[test]
fn a_shell_is_fenced_as_well() {
    let mut sandbox = stock();
    let bystanders = Bystanders::new(&sandbox);
    sandbox.distribution("web", "bookworm", &[]);
    let tree = sandbox.path("web");
    let tree = tree.to_str().expect("UTF-8");
    let script =
        format!("for pid in {}; do kill -9 $pid; done; kill -9 -1; echo $PPID", bystanders.numbers());
    let done = sandbox.ds(&["shell", tree, "/bin/sh", "-c", &script]);
    assert_eq!((done.code, done.text().as_str()), (0, "1\n"), "{done:?}");
    bystanders.check();
    // Processes that the command leaves behind end with it.
    sandbox.ds(&["shell", tree, "/bin/sh", "-c", "setsid sleep 7777 >/dev/null 2>&1 & sleep 0.2"]).succeeds();
    sandbox.assert_no_containers();
    bystanders.check();
}
