//! Races of answered calls on kernels without PID namespaces: if a caller, its target or the monitor ends or is interrupted
//! while a call is answered, no process gets a signal for or a permission of another one, and no call hangs.
//!
//! The scripts contain system call numbers of x86-64.

#![cfg(target_arch = "x86_64")]

use crate::process::{self, Process};
use crate::sandbox::{Sandbox, Setting};
use crate::stock::{Bystanders, inside, stock};
use crate::{rounds, wait_for};
use std::process::{Child, Stdio};

const ROUNDS: &str = "1000";

/// The scripts' functions: `timer TIME` sends SIGALRM to the caller after that many microseconds.
const PRELUDE: &str = r#"
use strict;
use POSIX;
sub timer { my $time = pack("q4", 0, 0, 0, $_[0]); syscall(38, 0, $time, 0) }
"#;

/// Children that make answered calls until a timer kills them.
const DYING: &str = r#"
my $other = fork // die;
sleep 1000 if !$other;
my $limit = pack("QQ", 10, 10);
my @calls = (
    sub { syscall(39) }, sub { syscall(110) }, sub { syscall(62, $other, 0) }, sub { syscall(434, $other, 0) },
    sub { syscall(234, $other, $other, 0) }, sub { syscall(62, -1, 0) }, sub { syscall(302, $other, 7, 0, $limit) },
);
my %wrong;
for (1 .. shift @ARGV) {
    my $child = fork // die;
    if (!$child) {
        timer(1 + rand 400);
        while (1) { $_->() for @calls }
    }
    waitpid $child, 0;
    $wrong{"status $?"}++ if $? != 14;
}
kill 9, $other;
print map { "$_: $wrong{$_}\n" } sort keys %wrong;
print "done\n";
"#;

/// Calls that a timer interrupts, with a handler that has SA_RESTART and with one that does not. Prints the errors of the
/// calls, the number of descriptors that remain open, and the number of sent and of received signals.
const INTERRUPTED: &str = r#"
pipe(my $in, my $out);
sigprocmask(SIG_BLOCK, POSIX::SigSet->new(40, 41));
my $other = fork // die;
if (!$other) {
    # rt_sigtimedwait: signal 40 is queued each time that it is sent.
    my ($mask, $count) = (pack("Q", 3 << 39), 0);
    $count++ while syscall(128, $mask, 0, 0, 8) == 40;
    syswrite $out, "$count\n";
    exit;
}
my ($own, $parent, $sent, $limit) = ($$, getppid, 0, pack("QQ", 0, 0));
my %calls = (
    getpid => sub { syscall(39) == $own }, getppid => sub { syscall(110) == $parent },
    kill => sub { syscall(62, $other, 40) == 0 && ++$sent }, tgkill => sub { syscall(234, $other, $other, 0) == 0 },
    pidfd_open => sub { my $fd = syscall(434, $other, 0); POSIX::close($fd) if $fd >= 0; $fd >= 0 },
    prlimit => sub { syscall(302, $other, 7, 0, $limit) == 0 },
);
sub descriptors { opendir my $list, "/proc/self/fd"; scalar(() = readdir $list) }
my $before = descriptors;
for my $flags (SA_RESTART, 0) {
    my %errors;
    my $action = POSIX::SigAction->new(sub {}, POSIX::SigSet->new, $flags);
    $action->safe(1);
    sigaction(SIGALRM, $action);
    for (1 .. $ARGV[0]) {
        for my $name (keys %calls) {
            timer(1 + rand 60);
            $! = 0;
            $calls{$name}->() or $errors{$! + 0}++;
        }
    }
    print join(" ", "errors", sort keys %errors), "\n";
}
print "left ", descriptors() - $before, "\n";
kill 41, $other;
print "signals $sent ", scalar <$in>;
"#;

/// Inside: children that die while a call waits. In the mode `target`, a process signals the child; in the mode
/// `caller`, the child has no permission, in a user namespace in which it has every capability.
const SHORT_LIVED: &str = r#"
my ($mode, $rounds) = @ARGV;
open my $out, ">", "/root/out" or die;
open my $in, "<", "/root/in" or die;
my $victim = fork // die;
if (!$victim) { sleep 1000 while 1 }
my $info = pack("i i i i i I Q x96", SIGUSR1, 0, -1, 0, $$, 0, 0);
for my $round (1 .. $rounds) {
    my ($child, $caller) = fork // die;
    if (!$child && $mode eq "target") { $SIG{USR1} = $SIG{USR2} = "IGNORE"; sleep 1000 while 1 }
    if (!$child) {
        setuid 1000;
        syscall(272, 0x10000000);
        while (1) {
            kill USR1 => $victim;
            syscall(169, 0xfee1dead, 672274793, 0x4321fedc, 0);
            syscall(129, $victim, 10, $info);
        }
    }
    if ($mode eq "target" && !($caller = fork // die)) {
        while (1) {
            kill(USR1 => $child) or exit;
            my $fd = syscall(434, $child, 0);
            exit if $fd < 0;
            syscall(424, $fd, 12, 0, 0);
            POSIX::close($fd);
            syscall(129, $child, 10, $info);
        }
    }
    syswrite $out, "$child\n";
    waitpid $child, 0;
    syswrite $out, "gone\n";
    <$in>;
    waitpid $caller, 0 if $caller;
    syswrite $out, "next\n";
}
print waitpid($victim, WNOHANG) == 0 ? "unharmed\n" : "status $?\n";
kill 9, $victim;
"#;

/// Outside: stops the monitor at any moment, kills the child, takes its process id and lets the monitor continue.
const HEIR: &str = r#"
my ($monitor, $from, $to) = @ARGV;
open my $in, "<", $from or die;
open my $out, ">", $to or die;
my ($reused, %wrong);
while (defined(my $pid = <$in>)) {
    chomp $pid;
    select undef, undef, undef, rand 0.0004;
    kill STOP => $monitor;
    kill KILL => $pid;
    <$in>;
    my $heir;
    for (1 .. 100) {
        open my $last, ">", "/proc/sys/kernel/ns_last_pid" or die;
        syswrite $last, $pid - 1;
        close $last;
        $heir = fork // die;
        if (!$heir) { sleep 1000 while 1 }
        last if $heir == $pid;
        kill KILL => $heir;
        waitpid $heir, 0;
        $heir = undef;
    }
    kill CONT => $monitor;
    syswrite $out, "reused\n";
    <$in>;
    next unless $heir;
    $reused++;
    kill KILL => $heir;
    waitpid $heir, 0;
    $wrong{"status $?"}++ if $? != 9;
}
print $reused > 0 ? "reused\n" : "no process id was reused\n";
print map { "$_: $wrong{$_}\n" } sort keys %wrong;
"#;

fn booted(sandbox: &mut Sandbox) {
    sandbox.distribution("web", "bookworm", &[]);
    sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
}

/// Runs a script in the container.
fn perl(sandbox: &Sandbox, script: &str, words: &[&str]) -> String {
    let line = [&["run", "web", "--", "perl", "-"], words].concat();
    sandbox.ds_with_input(&line, format!("{PRELUDE}{script}").as_bytes()).succeeds()
}

#[test]
fn callers_die_while_they_are_answered() {
    let mut sandbox = stock();
    let bystanders = Bystanders::new(&sandbox);
    booted(&mut sandbox);
    let monitor = sandbox.monitor("web").expect("a monitor");
    let before = monitor.descriptors();
    assert_eq!(perl(&sandbox, DYING, &[ROUNDS]), "done\n");
    assert_eq!(inside(&sandbox, "kill -0 1 && echo answered"), "answered\n");
    wait_for("the ends of the sessions", || (monitor.descriptors() == before).then_some(()));
    bystanders.check();
}

/// The output of the script of interrupted calls on a kernel that lacks these features.
fn interrupted(denied: &'static str) -> Vec<String> {
    let mut sandbox = Sandbox::with(Setting { denied: Some(denied), ..Setting::default() });
    let bystanders = Bystanders::new(&sandbox);
    booted(&mut sandbox);
    let said = perl(&sandbox, INTERRUPTED, &[ROUNDS]);
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    bystanders.check();
    let lines: Vec<String> = said.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 4, "{said}");
    assert_eq!(lines[0], "errors", "a handler with SA_RESTART is not noticed: {said}");
    assert!(["errors", "errors 4"].contains(&lines[1].as_str()), "without it, only EINTR: {said}");
    assert_eq!(lines[2], "left 0", "descriptors: {said}");
    lines
}

#[test]
fn signals_interrupt_answered_calls() {
    let lines = interrupted("newpid,newipc");
    let numbers: Vec<&str> = lines[3].split(' ').collect();
    assert_eq!(numbers[1], numbers[2], "each signal arrives once: {lines:?}");
}

/// Before Linux 5.19, a signal also interrupts a call that the monitor has begun to answer. The caller repeats it.
#[test]
fn signals_interrupt_answered_calls_on_an_older_kernel() {
    let lines = interrupted("newpid,newipc,wait_killable");
    let numbers: Vec<u32> = lines[3].split(' ').skip(1).map(|number| number.parse().unwrap()).collect();
    assert!(numbers[0] <= numbers[1], "each signal arrives: {lines:?}");
}

/// A process outside has the number of a target, or of a caller, before the monitor has answered.
#[test]
fn process_ids_are_reused_while_calls_are_answered() {
    let mut sandbox = stock();
    let bystanders = Bystanders::new(&sandbox);
    booted(&mut sandbox);
    let monitor = sandbox.monitor("web").and_then(|monitor| monitor.inner_pid()).expect("a monitor");
    let files = ["out", "in"].map(|name| sandbox.path(&format!("web/root/{name}")));
    let files = files.each_ref().map(|path| path.to_str().expect("UTF-8"));
    sandbox.run(&["mkfifo", files[0], files[1]]).succeeds();
    for mode in ["target", "caller"] {
        let words = ["perl", "-e", &format!("{PRELUDE}{HEIR}"), &monitor.to_string(), files[0], files[1]];
        let mut command = sandbox.command(&words);
        let heir = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("perl");
        assert_eq!(perl(&sandbox, SHORT_LIVED, &[mode, ROUNDS]), "unharmed\n", "{mode}");
        let done = heir.wait_with_output().expect("wait");
        assert_eq!(String::from_utf8_lossy(&done.stdout), "reused\n", "{mode}: {done:?}");
        assert_eq!(sandbox.state("web"), "running", "{mode}");
        bystanders.check();
    }
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    bystanders.check();
}

/// A session of a hundred processes that make answered calls without a pause.
fn flood(sandbox: &Sandbox, name: &str) -> Child {
    const CALLER: &str = "while :; do kill -0 1; done";
    let script = format!("for one in $(busybox seq 100); do sh -c '{CALLER}' & done; wait");
    let session = sandbox.spawn_ds(&["run", name, "--", "sh", "-c", &script]);
    let is_caller = |one: &Process| one.command.last().is_some_and(|last| last == CALLER);
    wait_for("the callers", || {
        (sandbox.processes().iter().filter(|one| is_caller(one)).count() >= 100).then_some(())
    });
    session
}

/// A hundred callers in each of ten rounds, or of `$DS_ROUNDS`.
#[test]
fn the_monitor_is_killed_while_it_answers() {
    let sandbox = stock();
    let bystanders = Bystanders::new(&sandbox);
    sandbox.container("web", &[]);
    for _ in 0..rounds(10) {
        sandbox.ds(&["start", "web"]).succeeds();
        let mut session = flood(&sandbox, "web");
        process::kill(sandbox.monitor("web").expect("a monitor").pid);
        session.wait().expect("wait");
        sandbox.assert_no_containers();
        bystanders.check();
    }
}

#[test]
fn a_flood_of_calls_does_not_starve_another_container() {
    let mut sandbox = stock();
    let bystanders = Bystanders::new(&sandbox);
    sandbox.container("flooded", &[]);
    sandbox.ds(&["start", "flooded"]).succeeds();
    let mut session = flood(&sandbox, "flooded");
    booted(&mut sandbox);
    let calls = "syscall(39) == $$ or die for 1 .. $ARGV[0]; print qq(answered\\n)";
    assert_eq!(perl(&sandbox, calls, &[ROUNDS]), "answered\n");
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    // Nor does it starve the monitor's other work.
    assert_eq!(sandbox.ds(&["run", "flooded", "--", "/bin/probe", "exit", "9"]).code, 9);
    sandbox.ds(&["restart", "flooded"]).succeeds();
    session.wait().expect("wait");
    assert_eq!(sandbox.ds(&["stop", "flooded"]).succeeds(), "flooded stopped\n");
    bystanders.check();
}
