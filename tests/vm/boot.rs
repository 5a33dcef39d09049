//! The virtual machines themselves: scripts, kills and disks.

use crate::disk::Disk;
use crate::machine::{Machine, Setup};

#[test]
fn a_machine_runs_scripts_and_keeps_what_it_flushed() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let disk = Disk::new(&folder.path().join("disk"), 64 << 20);
    let setup = Setup::new().disk(&disk, 512);
    let mut machine = Machine::boot(&setup);
    let done = machine.run("printf 'a\\0b\\n'; echo no >&2; exit 3");
    assert_eq!((done.code, &done.output[..], &done.errors[..]), (3, &b"a\0b\n"[..], "no\n"));
    machine.run("mke2fs -q /dev/vdb && mount /dev/vdb /data && echo kept >/data/kept && sync && echo done >/run/reports")
        .succeeds();
    machine.run("uname -a; cat /proc/uptime; ds --version; echo lost >/data/lost").succeeds();
    machine.wait_until(|reports| reports == ["done"]);
    assert_eq!(machine.kill(), ["done"]);
    let mut machine = Machine::boot(&setup);
    assert_eq!(machine.run("mount /dev/vdb /data && ls /data").succeeds(), "kept\nlost+found\n");
    machine.power_off();
}
