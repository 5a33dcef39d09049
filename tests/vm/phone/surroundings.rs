//! That the phone is as hostile as a real one: each of these facts is one that `ds` has to live with.

use super::Phone;
use crate::platform::{PHONE_AMD64, PHONE_ARM64, Platform};

/// A classic BPF program, as `struct sock_filter` in memory: what apps may not call is answered with SIGSYS.
pub fn filter_of_apps() -> Vec<u8> {
    const LOAD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const KILL: u32 = 0x8000_0000;
    const ALLOW: u32 = 0x7fff_0000;
    // By the architecture that the numbers belong to: mount, umount2, pivot_root, setns, unshare, init_module, and the
    // calls that are newer than any app: fsopen, mount_setattr.
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

#[test]
fn a_phone_is_as_hostile_as_a_real_one() {
    check(PHONE_AMD64);
}

fn check(platform: Platform) {
    let mut phone = Phone::new(platform, "busybox");
    eprintln!("{}", phone.run("cat /proc/uptime; mount; ls / /dev /dev/block; cat /proc/self/attr/current; cat /proc/self/cgroup; ps -A; dmesg | tail -50; /system/bin/ip rule; ls -la /data /data/adb; cat /sys/fs/selinux/enforce").text());
    eprintln!("{:?}", phone.root("cat /proc/self/attr/current; ls -la /data/adb; id; echo $PATH"));
    eprintln!("{:?}", phone.app("cat /proc/self/attr/current; grep -i seccomp /proc/self/status; cat /proc/self/cgroup; mount -t tmpfs x /mnt; ls /data/local"));
}

#[test]
fn a_phone_of_the_other_processor_is_as_hostile_as_a_real_one() {
    check(PHONE_ARM64);
}

#[test]
fn lab() {
    let mut phone =
        Phone::new(if std::env::var("ARM").is_ok() { PHONE_ARM64 } else { PHONE_AMD64 }, "busybox");
    let script = std::fs::read_to_string("/tmp/lab.sh").unwrap();
    for part in script.split("====\n") {
        let now = std::time::Instant::now();
        if part.trim() == "crash" {
            phone.crash();
        } else if part.trim() == "reboot" {
            phone.reboot();
        } else {
            let done = phone.run(part);
            eprintln!("--- {part}{} {:?}\n{}\n{}", done.code, now.elapsed(), done.text(), done.errors);
        }
        eprintln!("{:?}", now.elapsed());
    }
}
