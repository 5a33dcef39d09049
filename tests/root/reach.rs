//! Attempts of root inside to reach the host and ds: processes, files, sockets, control groups. Each attack is refused, or
//! docs/threat-model.md lists it.

use crate::attacker::{boot, inside, is_listed};
use crate::given;
use crate::root_fs::Tree;
use crate::sandbox::{Sandbox, Setting};
use crate::{rounds, wait_for};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::fs;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn nothing_of_the_host_is_in_proc_or_among_the_sockets() {
    for denied in [None, Some("old")] {
        let (sandbox, tree) = boot(Setting { denied, ..Setting::default() }, &[]);
        // The process of a session is the closest one to ds: it is a former worker.
        let links = inside(
            &sandbox,
            "for process in /proc/[0-9]*; do for link in exe cwd root; do busybox readlink $process/$link; done; \
             for fd in $process/fd/*; do busybox readlink $fd; done; done; busybox sort -u /proc/self/mountinfo; \
             busybox env",
        );
        let outside = sandbox.root().to_str().unwrap().to_owned();
        let own = tree.0.to_str().unwrap();
        let leaks: Vec<_> = links.lines().filter(|line| line.replace(own, "").contains(&outside)).collect();
        assert!(leaks.is_empty(), "{denied:?}: {leaks:#?}");
        assert!(inside(&sandbox, "ls /proc/1/root/bin/probe /proc/self/root/bin/probe").lines().count() == 2);
        // The container shares the host's network and its abstract sockets. ds has no such socket.
        let sockets = inside(&sandbox, "cat /proc/net/unix");
        let ours = sockets.lines().filter(|line| line.contains('@') && line.contains("ds"));
        assert_eq!(ours.collect::<Vec<_>>(), Vec::<&str>::new());
    }
}

/// CVE-2022-0492 and similar: files that name a program for the kernel to run on the host.
#[test]
fn the_kernel_runs_no_program_for_root_inside() {
    for groups in ["all", "v1", "v2"] {
        let (sandbox, _) = boot(Setting { groups, ..Setting::default() }, &["network.mode=none"]);
        let script = "for kind in devices memory cpu pids freezer blkio cpuset name=systemd; do mkdir -p /tmp/$kind; \
                      busybox mount -t cgroup -o $kind none /tmp/$kind || \
                      busybox mount -t cgroup -o none,$kind none /tmp/$kind; done >/dev/null 2>&1; \
                      mkdir -p /tmp/v2; busybox mount -t cgroup2 none /tmp/v2; \
                      busybox find /tmp /sys/fs/cgroup -name release_agent | while read file; do \
                      echo /bin/true >$file && echo WRITTEN $file; done; \
                      for file in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/kernel/hotplug \
                      /sys/kernel/uevent_helper /proc/sysrq-trigger /proc/sys/fs/binfmt_misc/register; do \
                      [ -e $file ] && ( : >>$file ) && echo OPENED $file; done; echo tried";
        let said = inside(&sandbox, script);
        assert!(!said.contains("WRITTEN") && !said.contains("OPENED"), "{groups}: {said}");
        assert!(said.ends_with("tried\n"), "{said}");
        inside(&sandbox, "busybox hostname attacked");
        let host = sandbox.run(&["hostname"]).succeeds();
        assert_ne!(host.trim(), "attacked");
    }
}

/// The container may use a descriptor that was passed in from the host, as docs/threat-model.md states.
#[test]
fn a_descriptor_that_was_passed_in_is_used_by_design() {
    for row in [
        "use a device through a descriptor that was passed in",
        "bpf(2), perf_event_open(2), userfaultfd(2) and io_uring",
        "abstract sockets of the host",
        "keys of user 0",
        "disk quotas",
    ] {
        is_listed(row);
    }
    let (sandbox, _) = boot(Setting::default(), &[]);
    let file = sandbox.root().join("disk");
    fs::write(&file, [b'x'; 4096]).unwrap();
    let disk = sandbox.run(&["losetup", "--find", "--show", file.to_str().unwrap()]).succeeds();
    let disk = disk.trim();
    let mut words = vec![sandbox.binary().into_os_string()];
    words.extend(
        [
            "run",
            "web",
            "--",
            "/bin/sh",
            "-c",
            "busybox dd bs=3 count=1 2>/dev/null; echo raw >&0; : </proc/self/fd/0",
        ]
        .map(Into::into),
    );
    let mut command = sandbox.command(&words);
    let passed = fs::OpenOptions::new().read(true).write(true).open(disk).unwrap();
    let done = command.stdin(Stdio::from(passed)).output().unwrap();
    assert_eq!(done.stdout, b"xxx", "the descriptor is not readable");
    assert!(!done.status.success(), "the file was opened again");
    let written = sandbox.run(&["sh", "-c", &format!("sync {disk}; head -c 8 {disk}")]).succeeds();
    assert!(written.contains("raw"), "the descriptor is not writable: {written:?}");
    sandbox.run(&["losetup", "--detach", disk]).succeeds();
}

/// Debian's perl makes the system calls, because no shell has them.
#[test]
fn a_file_of_the_host_cannot_be_opened_by_its_handle() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let mut sandbox = Sandbox::new();
    sandbox.distribution("web", "bookworm", &[]);
    let script = r#"
        open(my $top, "<", "/run") or die; my $path = "/run/file"; open(my $file, ">", $path) or die;
        my ($handle, $mount) = (pack("Iix128", 128, 0), pack("i", 0));
        syscall(303, -100, $path, $handle, $mount, 0) == 0 or die "name_to_handle_at: $!";
        my $opened = syscall(304, fileno($top), $handle, 0);
        print $opened < 0 ? "refused: $!\n" : "opened\n";
    "#;
    let tree = sandbox.path("web");
    let said = sandbox.ds(&["shell", tree.to_str().unwrap(), "/usr/bin/perl", "-e", script]);
    assert_eq!(said.succeeds(), "refused: Operation not permitted\n");
}

/// A process of the host, or of another container with the same tree, changes the tree during starts.
#[test]
fn a_tree_that_changes_during_starts_leads_nowhere() {
    let sandbox = Sandbox::new();
    let outside = sandbox.root().join("outside");
    fs::create_dir(&outside).unwrap();
    let tree = sandbox.container("web", &[&format!("mounts.bind={}:/srv/a/b:ro", outside.display())]);
    fs::create_dir_all(tree.path("srv")).unwrap();
    std::os::unix::fs::symlink(&outside, tree.path("link")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (shown, link) = (tree.path("srv"), tree.path("link"));
            while !stop.load(Ordering::Relaxed) {
                let exchange = RenameFlags::RENAME_EXCHANGE;
                renameat2(AT_FDCWD, &shown, AT_FDCWD, &link, exchange).unwrap();
            }
        });
        for _ in 0..rounds(25) {
            // A start may fail, but must leave nothing outside the tree.
            sandbox.ds(&["start", "web"]);
            sandbox.ds(&["stop", "web", "--kill"]);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    sandbox.assert_no_containers();
}

/// A program that writes to its console endlessly does not fill the disk.
#[test]
fn the_log_of_a_console_stays_small() {
    let (sandbox, _) = boot(Setting::default(), &[]);
    inside(&sandbox, "busybox yes attack | busybox head -c 12000000 >/dev/console");
    let size = || -> u64 {
        let log = fs::read_dir(sandbox.data("containers/web/log")).unwrap();
        log.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    };
    assert!(size() < 8 << 20, "{} bytes", size());
}

/// ds runs in a container of ds and boots a complete container there.
#[test]
fn ds_works_in_a_container_of_ds() {
    let sandbox = Sandbox::new();
    let settings = ["security.nesting=yes", "network.mode=none"];
    let tree = sandbox.container("web", &settings);
    let inner = Tree::with_probe(&tree.path("inner"));
    tree.copy(&given("DS_BIN"), "bin/ds");
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    let script = "set -e; export DS_ROOT=/root/ds; ds create b --rootfs /inner; ds start b; \
                  ds run b -- /bin/sh -c 'echo uid $(busybox id -u); busybox hostname; : </dev/null && echo null'; \
                  busybox mknod /inner/mem c 1 1; ds run b -- /bin/cat /mem 2>&1 | busybox tail -n 1; \
                  ds info b | busybox grep ^devices; ds shell /inner /bin/true; ds stop b --kill; ds supervisor stop";
    let done = sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", script]);
    let said = done.succeeds();
    assert!(inner.report().is_some(), "the inner container has not booted");
    assert!(said.contains("uid 0\nb\nnull\n"), "{said}");
    assert!(said.contains("not permitted"), "{said}");
    sandbox.ds(&["stop", "web"]).succeeds();
    sandbox.assert_no_containers();
}
