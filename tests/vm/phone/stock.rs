//! A phone with a kernel like those that phones are sold with: the flashed module boots Debian without PID namespaces, and
//! the container affects no process outside.
//!
//! xtask builds the kernel (`tests/vm/stock.config`). `census` in `android/` records the processes outside: which ones
//! exist, when they started, and for some of them every property that another process can change. Each step ends with a
//! census that equals the first one.

use super::life::{self, LOG, TOY};
use super::{Phone, newest_systemd};
use crate::platform::PHONE_STOCK;
use std::collections::BTreeSet;

/// The number of random attacks on processes outside.
const ATTACKS: &str = "ds run debian -- perl - 10000 20261129 </mnt/vm/attacks";

#[test]
fn debian_boots_on_the_kernel_that_a_phone_was_sold_with() {
    let mut phone = Phone::with(PHONE_STOCK, "bookworm", &[newest_systemd::IMAGE]);
    what_stock_kernels_lack_is_not_there(&mut phone);
    life::flash(&mut phone);
    life::debian_at_late_start(&mut phone);
    let outside = Outside::begin(&mut phone);
    sessions(&mut phone);
    devices_stay_shut(&mut phone);
    outside.is_unharmed(&mut phone, "sessions");
    let said = phone.slowly(ATTACKS).succeeds();
    assert_eq!(said.lines().count(), 1, "calls affected a process outside: {said}");
    assert!(said.ends_with(" attempts\n"), "{said}");
    outside.is_unharmed(&mut phone, "10000 calls");
    everything_inside_is_killed(&mut phone);
    outside.is_unharmed(&mut phone, "signals to everybody");
    reboot_inside(&mut phone);
    outside.is_unharmed(&mut phone, "a reboot inside");
    power_off_inside(&mut phone);
    outside.is_unharmed(&mut phone, "a power-off inside");
    start_and_stop(&mut phone);
    outside.is_unharmed(&mut phone, "stop");
    newest_systemd::lives_and_shuts_down(&mut phone, &outside);
    phone.root("ds stop neighbour").succeeds();
}

fn what_stock_kernels_lack_is_not_there(phone: &mut Phone) {
    let namespaces = phone.run("ls /proc/self/ns").succeeds();
    let expected = "cgroup\nmnt\nnet\ntime\ntime_for_children\nuts\n";
    assert_eq!(namespaces, expected, "the kernel's namespaces");
    let file_systems = phone.run("cat /proc/filesystems").succeeds();
    for kind in ["devtmpfs", "mqueue", "squashfs", "btrfs"] {
        assert!(!file_systems.contains(kind), "{kind}: {file_systems}");
    }
    for kind in ["ext4", "erofs", "f2fs", "overlay"] {
        assert!(file_systems.contains(kind), "no {kind}: {file_systems}");
    }
    let controllers = phone.run("cut -f 1 /proc/cgroups").succeeds();
    for controller in ["pids", "devices"] {
        assert!(!controllers.lines().any(|line| line == controller), "{controller}: {controllers}");
    }
    phone.run("test ! -e /proc/sysvipc && test ! -e /sys/module/nf_tables").succeeds();
}

/// The processes outside containers, and those of another container.
pub struct Outside {
    first: BTreeSet<String>,
}

impl Outside {
    pub fn begin(phone: &mut Phone) -> Self {
        phone.run(&TOY.replace("/toy", "/neighbour")).succeeds();
        phone.root("ds start neighbour --rootfs /data/local/neighbour").succeeds();
        phone.run("census start").succeeds();
        let first = Self::look(phone);
        for name in ["sentinel", "ds:neighbour", "init"] {
            assert!(first.iter().any(|line| line.split(' ').nth(1) == Some(name)), "no {name} in {first:#?}");
        }
        Self { first }
    }

    fn look(phone: &mut Phone) -> BTreeSet<String> {
        phone.run("census").succeeds().lines().map(str::to_owned).collect()
    }

    /// Asserts that every process still exists and has not been signalled, slowed down or inspected.
    pub fn is_unharmed(&self, phone: &mut Phone, after: &str) {
        let now = Self::look(phone);
        let gone: Vec<_> = self.first.difference(&now).collect();
        let new: Vec<_> = now.difference(&self.first).collect();
        assert!(gone.is_empty(), "after {after}, outside: {gone:#?} became {new:#?}");
        let caught: Vec<_> = new.into_iter().filter(|line| line.split(' ').count() == 2).collect();
        assert!(caught.is_empty(), "after {after}, signals reached processes outside: {caught:?}");
    }
}

fn sessions(phone: &mut Phone) {
    let one = "ds run debian -- sh -c 'cat /proc/1/comm; kill -0 1 && echo there; exit 7'";
    let done = phone.root(one);
    assert_eq!((done.code, done.text().as_str()), (7, "systemd\nthere\n"), "{done:?}");
    let login = phone.root("echo 'id -un; echo $0; systemctl is-system-running' | ds enter debian");
    let text = login.text();
    assert!(text.contains("root") && text.contains("running"), "{login:?}");
    let unit = "ds run debian -- systemd-run --quiet --wait --pipe -p DynamicUser=yes -p PrivateTmp=yes \
        -p ProtectSystem=strict -p MemoryMax=64M sh -c 'echo $(id -u)'";
    let user = phone.root(unit).succeeds();
    assert!(user.trim().parse::<u32>().is_ok_and(|user| user >= 61184), "{user}");
}

/// Root in the container opens the phone's storage through its own device node.
fn devices_stay_shut(phone: &mut Phone) {
    let number = phone.run("cat /sys/class/block/vdb/dev").succeeds().trim().replace(':', " ");
    let read =
        format!("mknod /root/storage b {number}; head -c 16 /root/storage | wc -c; rm -f /root/storage");
    let said = phone.root(&format!("ds run debian -- sh -c '{read}'"));
    assert_eq!(said.text(), "0\n", "{said:?}");
    let trigger = phone.root("ds run debian -- sh -c 'echo b >/proc/sysrq-trigger'");
    assert!(!trigger.is_success(), "{trigger:?}");
}

/// Root in the container kills all processes that it can see.
fn everything_inside_is_killed(phone: &mut Phone) {
    let bomb = "i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i + 1)); done; kill -9 -1";
    phone.root(&format!("ds run debian -- sh -c '{bomb}'"));
    phone.root("ds run debian -- sh -c 'for p in /proc/[0-9]*; do kill -9 ${p#/proc/}; done'");
    assert_eq!(phone.root("ds run debian -- cat /proc/1/comm").succeeds(), "systemd\n");
    phone.slowly("ds restart debian --wait=550").succeeds();
}

fn reboot_inside(phone: &mut Phone) {
    let before = phone.pid("debian");
    phone.root("ds run debian -- systemctl reboot");
    phone.wait_for(&format!("ds list | grep '^debian *running' | grep -qv ' {before} '"));
    phone.slowly("ds start debian --wait=550").succeeds();
    let state = phone.slowly("ds run debian -- systemctl is-system-running --wait");
    assert_eq!(state.text(), "running\n", "{state:?}");
    // The system call reboot(2), from a session.
    let before = phone.pid("debian");
    phone.root("ds run debian -- reboot -f -f");
    phone.wait_for(&format!("ds list | grep '^debian *running' | grep -qv ' {before} '"));
}

fn power_off_inside(phone: &mut Phone) {
    phone.slowly("ds start debian --wait=550").succeeds();
    phone.root("ds run debian -- systemctl poweroff");
    phone.wait_for("ds list | grep -q '^debian *stopped'");
    nothing_is_left(phone, "debian");
}

fn start_and_stop(phone: &mut Phone) {
    phone.slowly("ds start debian --wait=550").succeeds();
    phone.slowly("ds stop debian").succeeds();
    nothing_is_left(phone, "debian");
    assert!(!phone.run(&format!("cat {LOG}")).text().contains("panicked"));
}

/// Asserts that no control group, mount or loop device of a container exists.
pub fn nothing_is_left(phone: &mut Phone, name: &str) {
    let groups = format!("find /sys/fs/cgroup /dev/memcg /dev/cpuctl /dev/cpuset /dev/blkio -name {name}");
    let wait = format!("for i in $(seq 1 50); do [ -z \"$({groups})\" ] && exit; sleep 0.2; done; {groups}");
    assert_eq!(phone.run(&wait).succeeds(), "");
    assert!(!phone.run("cat /proc/mounts").succeeds().contains("/dev/loop"));
    let mut loops = String::new();
    for _ in 0..50 {
        loops = phone.run("busybox losetup | grep debian.img; true").succeeds();
        if loops.is_empty() {
            return;
        }
        phone.run("sleep 0.2").succeeds();
    }
    panic!("loop devices: {loops}");
}
