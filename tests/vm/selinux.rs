//! Images under SELinux: the threads of a loop device run in the kernel's domain, which may not access the files of the
//! data directory on Android.
//!
//! As on phones, the disk has sectors of 4096 bytes. With sectors of 512 bytes, a loop device would use direct I/O, for
//! which this kernel does not consult SELinux.

use crate::disk::Disk;
use crate::given;
use crate::machine::{Machine, Setup};
use std::fs;
use std::path::Path;

/// A machine whose data directory is labelled as on Android.
const PREPARE: &str = "mount -t ext4 /dev/vdb /var/lib/droidspaces
chcon -R u:object_r:adb_data_file:s0 /var/lib/droidspaces
";

const LABEL: &str = "getfattr --only-values --absolute-names -n security.selinux";

fn machine(folder: &Path, image: &str) -> Machine {
    let tree = folder.join("tree");
    fs::create_dir_all(&tree).unwrap();
    fs::hard_link(given("DS_VM").join("images").join(image), tree.join(image)).unwrap();
    let disk = Disk::ext4(&folder.join("disk"), 1 << 30, &tree);
    let mut machine =
        Machine::boot(&Setup::new().memory_mib(1024).disk(&disk, 4096).prepare(PREPARE).selinux());
    let about = machine.run("cat /sys/fs/selinux/enforce; cat /proc/self/attr/current").succeeds();
    assert_eq!(about.trim_end_matches('\0'), "1u:r:su:s0");
    machine
}

fn label(machine: &mut Machine, file: &str) -> String {
    machine.run(&format!("{LABEL} {file}")).succeeds().trim_end_matches('\0').to_owned()
}

#[test]
fn an_image_is_labelled_or_does_not_start() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut machine = machine(folder.path(), "busybox");
    let image = "/var/lib/droidspaces/busybox";
    let read = format!("device=$(losetup -f --show {image}) && dd if=$device of=/dev/null bs=4096 count=1");
    // The policy itself: the kernel may not read the image.
    assert_eq!(label(&mut machine, image), "u:object_r:adb_data_file:s0");
    assert_ne!(machine.run(&read).code, 0);
    let denied = "dmesg | grep -c 'denied  { read }.*scontext=u:r:kernel:s0.*u:object_r:adb_data_file:s0'";
    assert_ne!(machine.run(denied).succeeds(), "0\n");
    machine.run("losetup --detach-all").succeeds();

    machine.run(&format!("ds create box --image {image} --set container.image-label=no")).succeeds();
    machine.run("ds start box").fails(&["box", image, "SELinux", "image-label", "EIO"]);
    // The start leaves nothing behind.
    assert_eq!(
        machine.run("losetup --list --noheadings; find /sys/fs/cgroup -name 'droidspaces*'").succeeds(),
        ""
    );
    assert_eq!(label(&mut machine, image), "u:object_r:adb_data_file:s0");

    machine.run("dmesg --clear; ds set box container.image-label= && ds start box").succeeds();
    assert_eq!(label(&mut machine, image), "u:object_r:vold_data_file:s0");
    machine.run("ds run box -- sh -c 'echo written >/written && sync'").succeeds();
    machine.run("ds stop box && ds start box").succeeds();
    assert_eq!(machine.run("ds run box -- cat /written").succeeds(), "written\n");
    machine.run("ds stop box").succeeds();
    assert_eq!(
        machine
            .run("dmesg | grep -E 'denied|I/O error|EXT4-fs error'; losetup --list --noheadings")
            .succeeds(),
        ""
    );
    machine.power_off();
}

#[test]
fn a_distribution_boots_from_an_image_in_a_directory_that_the_kernel_may_not_read() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut machine = machine(folder.path(), "bookworm");
    machine.run("ds create web --image /var/lib/droidspaces/bookworm && ds start web --wait").succeeds();
    assert_eq!(machine.run("ds run web -- systemctl is-system-running").succeeds(), "running\n");
    assert_eq!(label(&mut machine, "/var/lib/droidspaces/bookworm"), "u:object_r:vold_data_file:s0");
    machine.run("ds stop web").succeeds();
    machine.power_off();
}
