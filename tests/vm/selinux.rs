//! Images under SELinux: the threads of a loop device are in the kernel's domain, which on Android may not touch the files
//! of the data directory.

use crate::disk::Disk;
use crate::machine::{Machine, Setup};
use std::fs;

const PREPARE: &str = "mount -t ext4 /dev/vdb /var/lib/droidspaces\n\
     chcon -R u:object_r:adb_data_file:s0 /var/lib/droidspaces\n";

#[test]
fn an_image_is_labelled_or_the_kernel_may_not_touch_it() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir_all(&tree).unwrap();
    fs::hard_link(crate::given("DS_VM").join("images/busybox"), tree.join("image")).unwrap();
    let disk = Disk::ext4(&folder.path().join("disk"), 1 << 30, &tree);
    let mut machine = Machine::boot(&Setup::new().disk(&disk, 4096).prepare(PREPARE).selinux());
    assert_eq!(machine.run("cat /proc/self/attr/current").succeeds().trim_end_matches(['\0', '\n']), "u:r:su:s0");
    eprintln!("{:?}", machine.run("ls -Z /var/lib/droidspaces; cd /var/lib/droidspaces; losetup -f --show image; dd if=/dev/loop0 of=/dev/null bs=4096 count=1; losetup -d /dev/loop0; sleep 0.5; chcon u:object_r:vold_data_file:s0 image; losetup -f --show image;  dd if=/dev/loop0 of=/dev/null bs=4096 count=1;  mount /dev/loop0 /mnt && ls /mnt; dmesg | grep -E 'I/O|avc' | tail"));
    machine.power_off();
}
