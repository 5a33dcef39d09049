//! Verifies that the phone is as restrictive as a real one. `ds` must work under each of these restrictions.

use super::Phone;
use nix::libc::SIGSYS;

/// A classic BPF program, as `struct sock_filter` in memory: calls that apps may not make cause SIGSYS.
pub fn filter_of_apps() -> Vec<u8> {
    const LOAD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const KILL: u32 = 0x8000_0000;
    const ALLOW: u32 = 0x7fff_0000;
    // The system call numbers of each architecture: mount, umount2, pivot_root, setns, unshare, init_module, and calls
    // that are newer than Android's filter: fsopen, mount_setattr.
    const X86_64: (u32, [u32; 8]) = (0xc000_003e, [165, 166, 155, 308, 272, 175, 430, 442]);
    const AARCH64: (u32, [u32; 8]) = (0xc000_00b7, [40, 39, 41, 268, 97, 105, 430, 442]);
    let mut program: Vec<(u16, u8, u8, u32)> = Vec::new();
    for (architecture, calls) in [X86_64, AARCH64] {
        let length = u8::try_from(2 * calls.len() + 1).expect("short");
        program.push((LOAD, 0, 0, 4));
        program.push((JUMP_EQUAL, 0, length, architecture));
        program.push((LOAD, 0, 0, 0));
        for call in calls {
            program.push((JUMP_EQUAL, 0, 1, call));
            program.push((RETURN, 0, 0, KILL));
        }
    }
    program.push((RETURN, 0, 0, ALLOW));
    let bytes = |(code, yes, no, k): (u16, u8, u8, u32)| {
        let mut bytes = code.to_ne_bytes().to_vec();
        bytes.extend([yes, no]);
        bytes.extend(k.to_ne_bytes());
        bytes
    };
    program.into_iter().flat_map(bytes).collect()
}

/// Verifies all restrictions, on a phone in its first boot.
pub fn check(phone: &mut Phone) {
    data_is_as_android_mounts_it(phone);
    nothing_is_where_linux_has_it(phone);
    the_kernel_may_not_touch_what_is_not_labelled(phone);
    init_leaves_nothing_of_a_service(phone);
    only_what_the_uplink_routes_gets_out(phone);
    apps_live_in_a_cage(phone);
}

fn data_is_as_android_mounts_it(phone: &mut Phone) {
    let mounts = phone.run("grep ' /data ' /proc/mounts").succeeds();
    for word in ["f2fs", "nosuid", "nodev", "noatime"] {
        assert!(mounts.contains(word), "no {word}: {mounts}");
    }
    // The kernel of `stock.rs` lacks Unicode, which case folding needs.
    if !phone.run("test -e /sys/fs/f2fs/features/casefold").is_success() {
        return;
    }
    let overlay = "cd /data/local && mkdir lower upper work merged &&
        mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged";
    assert!(!phone.run(overlay).is_success(), "overlayfs accepts directories with case folding");
}

fn nothing_is_where_linux_has_it(phone: &mut Phone) {
    let there = phone
        .run("ls -d /run /tmp /var /home /root /dev/shm /dev/log /dev/loop0 /dev/vda /etc/passwd /bin/bash");
    assert_eq!(there.text(), "");
    phone
        .run("test -b /dev/block/loop0 && test -c /dev/loop-control && test -x /system/bin/mke2fs")
        .succeeds();
    assert!(!phone.run("touch /system/x").is_success(), "/system is writable");
    let groups = phone.run("cat /proc/self/cgroup").succeeds();
    for controllers in ["cpuset", "blkio", "memory", "cpu"] {
        assert!(groups.contains(&format!(":{controllers}:/\n")), "{controllers}: {groups}");
    }
    phone.run("test -e /dev/cpuset/cpus && test -e /sys/fs/cgroup/cgroup.procs").succeeds();
    assert_eq!(phone.run("cat /sys/fs/selinux/enforce").succeeds(), "1");
}

fn the_kernel_may_not_touch_what_is_not_labelled(phone: &mut Phone) {
    let read = "busybox losetup /dev/block/loop7 /data/adb/image && dd if=/dev/block/loop7 of=/dev/null bs=4096 count=1
        code=$?
        until busybox losetup -d /dev/block/loop7 && ! busybox losetup /dev/block/loop7; do sleep 0.1; done
        exit $code";
    phone.run("truncate -s 1M /data/adb/image").succeeds();
    assert!(!phone.run(read).is_success(), "the kernel may read adb_data_file");
    phone.run("chcon u:object_r:vold_data_file:s0 /data/adb/image").succeeds();
    phone.run(read).succeeds();
    phone.run("rm /data/adb/image").succeeds();
}

fn init_leaves_nothing_of_a_service(phone: &mut Phone) {
    let service =
        "sleep 1234 & busybox setsid sleep 1235 & until [ $(pgrep -c -x sleep) = 2 ]; do true; done";
    phone.run(&format!("service u:r:su:s0 /system/bin/sh -c '{service}'")).succeeds();
    // Killed processes exist until their parent has reaped them.
    phone.run("while pgrep -x sleep >&2; do true; done").succeeds();
}

fn only_what_the_uplink_routes_gets_out(phone: &mut Phone) {
    let rules = phone.run("/system/bin/ip rule").succeeds();
    assert!(rules.trim_end().ends_with("32000:\tfrom all unreachable"), "{rules}");
    assert!(phone.run("/system/bin/ip route get 203.0.113.1").succeeds().contains("dev wlan0"));
    let forwarded = phone.run("/system/bin/ip route get 203.0.113.1 from 192.0.2.9 iif lo");
    assert!(!forwarded.is_success(), "{forwarded:?}");
}

fn apps_live_in_a_cage(phone: &mut Phone) {
    // The app may write to root's pipe, but not to root's files.
    let as_app = |script: &str| {
        format!("busybox sh -c 'printf u:r:untrusted_app:s0 >/proc/self/attr/exec; exec {script}' 2>&1 | cat")
    };
    let own = phone.run(&as_app("toybox cat /proc/self/attr/current")).succeeds();
    assert_eq!(own.trim_end_matches(['\0', '\n']), "u:r:untrusted_app:s0");
    let seen = phone.run(&as_app("toybox ls /data/adb")).succeeds();
    assert!(seen.contains("Permission denied") && !seen.contains("modules"), "{seen}");
    let root = phone
        .app("grep -x 'Seccomp:.*2' /proc/self/status; cat /proc/self/cgroup; ls /data/local")
        .succeeds();
    for words in ["Seccomp:", ":memory:/apps\n", ":cpuset:/top-app\n", "0::/uid_10123/pid_"] {
        assert!(root.contains(words), "no '{words}' in: {root}");
    }
    let caught = phone.app("mount -t tmpfs tmpfs /mnt");
    assert_eq!(caught.code, 128 + SIGSYS, "{caught:?}");
    phone.run("kill-app").succeeds();
}
