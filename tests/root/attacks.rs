//! Attacks of root in a container on the machine: each is refused, or docs/threat-model.md lists it as possible.
//!
//! Attacks on devices are in `device_policy`, on limits in `limits` and `cgroups`, on the program in `own_program`.

use crate::attacker::{boot, inside, is_listed, is_refused};
use crate::sandbox::{Sandbox, Setting};
use crate::wait_for;
use std::fs;

/// Script, a word of its output, and the row of the table "Refused".
const REFUSED: [(&str, &str, &str); 8] = [
    ("busybox insmod /bin/busybox", "not permitted", "load a kernel module"),
    ("busybox date -s @1000000000", "not permitted", "set the clock"),
    (
        "(echo 'monotonic 5 0' >/proc/self/timens_offsets)",
        "not permitted",
        "change the offsets of its time namespace",
    ),
    ("busybox dmesg -c", "not permitted", "read or clear the kernel log"),
    ("(: >>/proc/sys/kernel/core_pattern)", "Read-only", "write /proc/sys"),
    ("(: >>/proc/sys/kernel/printk)", "Read-only", "/proc/sysrq-trigger"),
    ("(: >>/sys/kernel/uevent_seqnum)", "Read-only", "or /sys through the existing mounts"),
    ("busybox mount -t cgroup2 none /root && ls /root/../droidspaces", "No such file", "see or join a group"),
];

#[test]
fn attacks_that_the_threat_model_calls_refused_are_refused() {
    for denied in [None, Some("old")] {
        let (sandbox, _) = boot(Setting { denied, ..Setting::default() }, &[]);
        for (script, answer, row) in REFUSED {
            let said = inside(&sandbox, script);
            assert!(said.contains(answer), "{denied:?}: {script}: {said}");
            is_refused(row);
        }
        sandbox.ds(&["stop", "web"]).succeeds();
    }
}

/// A harmless script whose success shows that root inside can perform the action; and its row.
const POSSIBLE: [(&str, &str); 4] = [
    (
        "mkdir -p /root/p && busybox mount -t proc proc /root/p && : >>/root/p/sys/kernel/core_pattern",
        "mount proc without masks",
    ),
    ("mkdir -p /root/s && busybox mount -t sysfs sysfs /root/s && [ -d /root/s/kernel ]", "mount sysfs"),
    ("mkdir -p /root/d && busybox mount -t devtmpfs dev /root/d && ls /root/d/null", "mount devtmpfs"),
    ("busybox umount -l /proc/sys", "remove masks"),
];

#[test]
fn what_root_inside_can_do_is_in_the_threat_model() {
    let (sandbox, _) = boot(Setting::default(), &[]);
    for (script, row) in POSSIBLE {
        is_listed(row);
        let said = inside(&sandbox, &format!("( {script} ) >/root/said && echo possible || cat /root/said"));
        assert!(
            said.ends_with("possible\n"),
            "no longer possible, say so in docs/threat-model.md: {row}: {said}"
        );
    }
    let nodes = "for node in loop0 loop-control kmsg console tty0 mem; do [ -e /root/d/$node ] && \
                 (: <>/root/d/$node) 2>/dev/null && echo $node; done; echo tried";
    assert_eq!(inside(&sandbox, nodes), "tried\n", "a node of the host can be opened");
}

#[test]
fn a_fork_bomb_and_full_memory_file_systems_leave_the_machine_alone() {
    let (sandbox, _) = boot(Setting::default(), &["limits.pids=60", "limits.memory=256M"]);
    let bomb = "while true; do busybox sleep 100 & done";
    let mut child = sandbox.spawn_ds(&["run", "web", "--", "/bin/sh", "-c", bomb]);
    let fill =
        "for place in /run /dev/shm; do busybox dd if=/dev/zero of=$place/big bs=65536 2>/dev/null; done";
    let mut filler = sandbox.spawn_ds(&["run", "web", "--", "/bin/sh", "-c", fill]);
    let first = sandbox.first_process("web").unwrap();
    wait_for("many processes", || (crate::process::below(first.parent).len() > 40).then_some(()));
    assert!(crate::process::below(first.parent).len() <= 70);
    sandbox.ds(&["list"]).succeeds();
    sandbox.ds(&["stop", "web", "--kill"]).succeeds();
    for child in [&mut child, &mut filler] {
        child.wait().unwrap();
    }
    sandbox.assert_no_containers();
}

/// CVE-2025-52881: ds writes only to the kernel's /proc, even if the tree contains files in /proc.
#[test]
fn nothing_is_written_to_a_proc_of_the_tree() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &["oom-score=7"]);
    let files =
        ["self/oom_score_adj", "self/timens_offsets", "self/attr/current", "sysrq-trigger", "sys/kernel/x"];
    for file in files {
        tree.write(&format!("proc/{file}"), "as it was");
    }
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    let score = sandbox.ds(&["run", "web", "--", "/bin/cat", "/proc/1/oom_score_adj"]).succeeds();
    assert_eq!(score, "7\n");
    sandbox.ds(&["shell", tree.0.to_str().unwrap(), "/bin/true"]).succeeds();
    sandbox.ds(&["stop", "web"]).succeeds();
    for file in files {
        assert_eq!(fs::read_to_string(tree.path(&format!("proc/{file}"))).unwrap(), "as it was", "{file}");
    }
}
