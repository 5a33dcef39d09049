//! Calls that take the monitor long to answer, on kernels without PID namespaces: those with arguments on a file system
//! that a process of the container serves, which may itself wait for an answer; and those that affect many processes. The
//! monitor serves its clients in the meantime.
//!
//! The script contains system call numbers of x86-64.

#![cfg(target_arch = "x86_64")]

use crate::stock::{Bystanders, inside, stock};
use crate::wait_for;

/// Serves a file system that consists of one file, in which nothing can be read and which has no size of its file system:
/// these requests are never answered. Prints what calls return whose arguments are in memory mapped from the file.
const SCRIPT: &str = r#"
use strict;
use POSIX;
$| = 1;
open my $file, ">", "/root/file" or die;
open my $device, "+<", "/dev/fuse" or die;
my ($type, $place) = ("fuse", "/root/file");
my $options = "fd=" . fileno($device) . ",rootmode=100000,user_id=0,group_id=0";
syscall(165, $type, $place, $type, 0, $options) == 0 or die "mount: $!";
my $server = fork // die;
if (!$server) {
    my $attributes = pack("Q x8 Q6 L10", 60, 1, 4096, 8, 0, 0, 0, 0, 0, 0, 0100644, 1, 0, 0, 0, 4096, 0);
    while (sysread $device, my $request, 1 << 18) {
        my (undef, $kind, $unique) = unpack("LLQ", $request);
        my $answer = $kind == 26 ? pack("L4 SS L", 7, 19, 0, 0, 12, 9, 4096)    # INIT
            : $kind == 3 || $kind == 4 ? $attributes                            # GETATTR, SETATTR
            : $kind == 14 ? pack("x16")                                         # OPEN
            : $kind == 16 ? pack("Lx4", unpack("x56 L", $request))              # WRITE
            : $kind == 18 || $kind == 25 ? ""                                   # RELEASE, FLUSH
            : $kind == 15 || $kind == 17 ? next                                 # READ, STATFS
            : undef;
        my $error = defined $answer ? 0 : -38;
        syswrite $device, pack("LlQ", 16 + length($answer // ""), $error, $unique) . ($answer // "");
    }
    exit;
}
close $device;
sysopen my $served, "/root/file", O_RDWR or die "open: $!";
-s $served == 4096 or die "size";
my $address = syscall(9, 0, 4096, 1, 2, fileno $served, 0);
print "written ", syswrite($served, "1\n") // $!, "\n";
open my $list, ">", "/sys/fs/cgroup/cgroup.procs" or die "list: $!";
for ([1, fileno $list, $address, 2], [129, $server, 10, $address]) {
    $! = 0;
    print "call $$_[0]: ", syscall($$_[0], $$_[1], $$_[2], $$_[3]), " ", $! + 0, "\n";
}
kill 9, $server;
"#;

#[test]
fn the_monitor_does_not_wait_for_a_file_system_of_its_container() {
    let mut sandbox = stock();
    let bystanders = Bystanders::new(&sandbox);
    sandbox.distribution("web", "bookworm", &[]);
    sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
    let calls = sandbox.spawn_ds(&["run", "web", "--", "perl", "-e", SCRIPT]);
    for _ in 0..5 {
        assert_eq!(inside(&sandbox, "kill -0 1 && echo answered"), "answered\n");
        assert_eq!(sandbox.state("web"), "running");
    }
    let done = calls.wait_with_output().expect("wait");
    let fault = format!("-1 {}", libc::EFAULT);
    let expected = format!("written 2\ncall 1: {fault}\ncall 129: {fault}\n");
    assert_eq!(String::from_utf8_lossy(&done.stdout), expected, "{done:?}");
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    bystanders.check();
}

/// Sixty sessions send signal 0 to five hundred processes without a pause.
#[test]
fn clients_are_served_between_calls_that_take_long() {
    const CALLER: &str = "while :; do kill -0 -1; done";
    let sandbox = stock();
    sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    let many = "for one in $(busybox seq 500); do busybox sleep 1000 & done; wait";
    let mut sessions = vec![sandbox.spawn_ds(&["run", "web", "--", "sh", "-c", many])];
    let count = |word: &str| {
        let found = sandbox.processes();
        found.iter().filter(|one| one.command.last().is_some_and(|last| last == word)).count()
    };
    wait_for("the processes", || (count("1000") >= 500).then_some(()));
    sessions.extend((0..60).map(|_| sandbox.spawn_ds(&["run", "web", "--", "sh", "-c", CALLER])));
    wait_for("the callers", || (count(CALLER) >= 60).then_some(()));
    for _ in 0..5 {
        let info = sandbox.info("web");
        assert!(info["pid"].is_number(), "the monitor did not answer: {info}");
    }
    // Nor do the calls of one session wait for all others.
    assert_eq!(inside(&sandbox, "kill -0 1 && echo answered"), "answered\n");
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    sessions.iter_mut().for_each(|session| drop(session.wait()));
    sandbox.assert_no_containers();
}
