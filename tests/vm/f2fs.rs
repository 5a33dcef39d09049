//! A data directory on f2fs with case folding, as on phones. overlayfs refuses such a file system as its lower layer;
//! therefore, ds refuses a volatile container in a directory. Everything else works there.

use crate::disk::Disk;
use crate::given;
use crate::machine::{Machine, Setup};
use std::fs;

const PREPARE: &str = "modprobe f2fs
mkdir /mnt/images
mount -t ext4 -o ro /dev/vdb /mnt/images
mkfs.f2fs -q -f -O casefold,encrypt,extra_attr,quota,verity -C utf8 /dev/vdc
mount -t f2fs /dev/vdc /var/lib/droidspaces
";

/// Copies the files of the image to a tree in the data directory.
const UNPACK: &str = "mkdir /mnt/image && mount -o ro,loop /mnt/images/busybox /mnt/image \
     && cp -a /mnt/image /var/lib/droidspaces/tree && umount /mnt/image";

#[test]
fn a_volatile_directory_is_refused_where_case_is_folded_and_an_image_works_there() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir_all(&tree).unwrap();
    fs::hard_link(given("DS_VM").join("images/busybox"), tree.join("busybox")).unwrap();
    let images = Disk::ext4(&folder.path().join("images"), 128 << 20, &tree);
    let data = Disk::new(&folder.path().join("data"), 512 << 20);
    let setup = Setup::new().disk(&images, 512).disk(&data, 4096).prepare(PREPARE);
    let mut machine = Machine::boot(&setup);
    machine.run(UNPACK).succeeds();
    // The file system itself: it folds case.
    let mixed = "cd /var/lib/droidspaces && mkdir mixed && chattr +F mixed && touch mixed/A && ls mixed/a";
    assert_eq!(machine.run(mixed).succeeds(), "mixed/a\n");

    machine.run("ds create tree --rootfs /var/lib/droidspaces/tree --set volatile=yes").succeeds();
    machine.run("ds start tree").fails(&["tree", "volatile", "image"]);
    assert_eq!(machine.run("find /sys/fs/cgroup -name 'droidspaces*'").succeeds(), "");
    // Without `volatile`, the directory is supported.
    machine
        .run("ds set tree volatile=no && ds start tree && ds run tree -- sh -c 'echo kept >/kept'")
        .succeeds();
    machine.run("ds stop tree").succeeds();
    assert_eq!(machine.run("cat /var/lib/droidspaces/tree/kept").succeeds(), "kept\n");

    let image = "/var/lib/droidspaces/image";
    machine.run(&format!("cp /mnt/images/busybox {image} && ds create image --image {image}")).succeeds();
    machine.run("ds start image && ds run image -- sh -c 'echo kept >/kept' && ds stop image").succeeds();
    machine.run("ds set image volatile=yes && ds start image").succeeds();
    assert_eq!(machine.run("ds run image -- cat /kept").succeeds(), "kept\n");
    machine.run("ds run image -- sh -c 'rm /kept && echo lost >/lost' && ds stop image").succeeds();
    machine.run("ds start image").succeeds();
    assert_eq!(machine.run("ds run image -- ls /kept /lost 2>/dev/null").text(), "/kept\n");
    machine.run("ds stop image").succeeds();
    assert_eq!(
        machine.run("losetup --list --noheadings; dmesg | grep -E 'I/O error|(EXT4|F2FS)-fs error'").text(),
        ""
    );
    machine.power_off();
}
