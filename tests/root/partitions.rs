//! Images of disks: the selected partition is found, checked and mounted, and nothing else is changed.

use crate::images::{container, loop_devices, text, tool};
use crate::root_fs::Tree;
use crate::sandbox::Sandbox;
use crate::storage::{assert_boots, assert_tidy, root_of};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MIB: u64 = 1 << 20;

/// An ext4 file system of 20 MiB with the probe, and this text in /etc/which.
fn file_system(sandbox: &Sandbox, name: &str) -> PathBuf {
    let tree = Tree::with_probe(&sandbox.path(&format!("{name}.tree")));
    tree.write("etc/which", name);
    let path = sandbox.path(&format!("{name}.fs"));
    tool(&["mke2fs", "-q", "-t", "ext4", "-m", "0", "-L", name, "-d", text(&tree.0), text(&path), "20M"]);
    path
}

/// A disk of 64 MiB with the partitions of an sfdisk(8) script, and file systems at these offsets (MiB).
fn disk(sandbox: &Sandbox, name: &str, sector: u32, script: &str, systems: &[(u64, &Path)]) -> PathBuf {
    let path = sandbox.path(&format!("{name}.img"));
    File::create(&path).expect("create").set_len(64 * MIB).expect("truncate");
    let sector = sector.to_string();
    let device =
        tool(&["losetup", "--find", "--show", "--sector-size", &sector, text(&path)]).trim().to_owned();
    let mut child = Command::new("sfdisk")
        .args(["--quiet", "--no-reread", "--no-tell-kernel", &device])
        .stdin(Stdio::piped())
        .spawn()
        .expect("sfdisk");
    child.stdin.take().expect("its input").write_all(script.as_bytes()).expect("write");
    let done = child.wait().expect("wait");
    tool(&["losetup", "--detach", &device]);
    assert!(done.success(), "sfdisk: {script}");
    let image = File::options().write(true).open(&path).expect("open");
    for (at, system) in systems {
        image.write_all_at(&fs::read(system).expect("read"), at * MIB).expect("write");
    }
    path
}

/// The file system at an offset of a disk, as a separate image.
fn part(sandbox: &Sandbox, disk: &Path, at: u64) -> PathBuf {
    let path = sandbox.path("part.fs");
    let whole = fs::read(disk).expect("read");
    let from = usize::try_from(at * MIB).expect("a place");
    fs::write(&path, &whole[from..from + 20 * usize::try_from(MIB).expect("a size")]).expect("write");
    path
}

const MBR: &str = "label: dos\nstart=1MiB, size=2MiB, type=c\nstart=3MiB, size=50MiB, type=5\nstart=4MiB, size=20MiB, type=83\n";
const GPT: &str = "label: gpt\nstart=1MiB, size=2MiB, type=uefi\nstart=4MiB, size=20MiB, type=linux\n";
const TWO: &str = "label: gpt\nstart=4MiB, size=20MiB, type=linux\nstart=30MiB, size=20MiB, type=linux\n";

#[test]
fn the_only_linux_partition_of_a_disk_boots() {
    let sandbox = Sandbox::new();
    let system = file_system(&sandbox, "one");
    for (name, sector, script) in
        [("mbr", 512, MBR), ("gpt", 512, GPT), ("gpt4k", 4096, GPT), ("mbr4k", 4096, MBR)]
    {
        let path = disk(&sandbox, name, sector, script, &[(4, &system)]);
        let before = fs::read(&path).expect("read");
        sandbox.ds(&["create", name, "--image", text(&path)]).succeeds();
        let info = sandbox.info(name);
        assert_eq!(info["filesystem"]["kind"], "ext4");
        assert!(info["filesystem"]["size"].as_u64().expect("a size") <= 20 * MIB, "{info}");
        sandbox.ds(&["start", name]).succeeds();
        let told =
            sandbox.ds(&["run", name, "--", "/bin/sh", "-c", "cat /etc/which; echo kept >/made"]).succeeds();
        assert_eq!(told, "one", "{name}");
        sandbox.ds(&["stop", name]).succeeds();
        assert_eq!(loop_devices(&sandbox), [""; 0]);
        let part = part(&sandbox, &path, 4);
        tool(&["e2fsck", "-f", "-n", text(&part)]);
        assert_eq!(crate::images::read(&part, "/made"), "kept\n");
        // The rest of the disk is unchanged.
        let after = fs::read(&path).expect("read");
        let (from, to) = (usize::try_from(4 * MIB).expect("fits"), usize::try_from(24 * MIB).expect("fits"));
        assert!(before[..from] == after[..from] && before[to..] == after[to..], "{name}");
    }
}

#[test]
fn a_partition_is_repaired_where_it_is() {
    let sandbox = Sandbox::new();
    let system = file_system(&sandbox, "one");
    tool(&["debugfs", "-w", "-R", "clri /etc/passwd", text(&system)]);
    let path = disk(&sandbox, "disk", 512, GPT, &[(4, &system)]);
    sandbox.ds(&["create", "web", "--image", text(&path)]).succeeds();
    let done = sandbox.ds(&["start", "web"]);
    assert!(done.errors.contains("e2fsck has repaired the image"), "{}", done.errors);
    done.succeeds();
    sandbox.ds(&["stop", "web"]).succeeds();
    tool(&["e2fsck", "-f", "-n", text(&part(&sandbox, &path, 4))]);
}

#[test]
fn with_several_partitions_the_setting_is_required() {
    let sandbox = Sandbox::new();
    let (one, two) = (file_system(&sandbox, "one"), file_system(&sandbox, "two"));
    let path = disk(&sandbox, "disk", 512, TWO, &[(4, &one), (30, &two)]);
    let list = ["set 'image-partition' to one of 1 (ext4 \"one\", 20 MiB), 2 (ext4 \"two\", 20 MiB)"];
    sandbox.ds(&["create", "web", "--image", text(&path)]).fails(1, &list);
    sandbox
        .ds(&["create", "web", "--image", text(&path), "--set", "image-partition=3"])
        .fails(1, &["no partition 3", list[0]]);
    sandbox.ds(&["create", "web", "--image", text(&path), "--set", "image-partition=2"]).succeeds();
    sandbox.ds(&["start", "web"]).succeeds();
    assert_eq!(sandbox.ds(&["run", "web", "--", "/bin/cat", "/etc/which"]).succeeds(), "two");
    sandbox.ds(&["stop", "web", "--kill"]).succeeds();
    sandbox.ds(&["set", "web", "image-partition="]).succeeds();
    sandbox.ds(&["start", "web"]).fails(1, &list);
    sandbox.ds(&["set", "web", "image-partition=0"]).fails(2, &["image-partition"]);
    sandbox.ds(&["set", "web", "image-partition=1"]).succeeds();
    sandbox.ds(&["resize", "web", "128M"]).fails(1, &["a disk with partitions", "ds convert web dir"]);
    let exported = sandbox.path("exported");
    sandbox.ds(&["export", "web", "-o", text(&exported)]).succeeds();
    sandbox.ds(&["import", text(&exported), "again"]).succeeds();
    assert_boots(&sandbox, "again");
    let (_, image) = root_of(&sandbox, "again");
    assert_eq!(fs::metadata(&image).expect("stat").len(), 20 * MIB);
    sandbox.ds(&["copy", "web", "twin"]).succeeds();
    assert_boots(&sandbox, "twin");
    sandbox.ds(&["convert", "web", "dir"]).succeeds();
    assert_eq!(sandbox.ds(&["get", "web", "image-partition"]).succeeds().trim(), "");
    assert_boots(&sandbox, "web");
    assert_tidy(&sandbox);
    // An image without partitions.
    container(&sandbox, "plain", &[]);
    sandbox.ds(&["set", "plain", "image-partition=1"]).succeeds();
    sandbox.ds(&["start", "plain"]).fails(1, &["it has no partitions"]);
}

#[test]
fn a_file_of_the_wrong_kind_is_reported_with_the_right_option() {
    let sandbox = Sandbox::new();
    let system = file_system(&sandbox, "one");
    let path = |name: &str| text(&sandbox.path(name)).to_owned();
    let disk = disk(&sandbox, "disk", 512, GPT, &[(4, &system)]);
    tool(&["xz", "-0", "-k", text(&system)]);
    tool(&["gzip", "-1", "-k", text(&disk)]);
    tool(&["tar", "-C", &path("one.tree"), "-cf", &path("tree.tar"), "."]);
    tool(&["xz", "-0", "-k", &path("tree.tar")]);
    fs::write(sandbox.path("x.zip"), [&b"PK\x03\x04"[..], &[7; 2000]].concat()).expect("write");
    fs::write(sandbox.path("x.deb"), "!<arch>\ndebian-binary   0").expect("write");
    for (name, top, files) in [
        ("docker", "", &["manifest.json", "0/layer.tar"][..]),
        ("incus", "", &["metadata.yaml", "templates/x"]),
        ("source", "hello-1.0/", &["README", "src/main.c"]),
        ("backup", "", &["readme", "rootfs/etc/passwd"]),
    ] {
        let tree = Tree(sandbox.path(&format!("{name}.d")));
        files.iter().for_each(|file| tree.write(&format!("{top}{file}"), "x"));
        tool(&["tar", "-C", text(&tree.0), "-cf", &path(&format!("{name}.tar")), "."]);
    }
    let cases: [(&str, &str, &[&str]); 15] = [
        ("--from", "one.fs", &["an image of a file system (ext4)", "use it with --image"]),
        ("--from", "one.fs.xz", &["(ext4)", "unpack it with 'xz -dk'", "--image"]),
        ("--from", "disk.img", &["a disk with partitions", "use it with --image"]),
        ("--from", "disk.img.gz", &["a disk with partitions", "gzip -dk"]),
        ("--from", "x.zip", &["a zip archive", "--rootfs"]),
        ("--from", "x.deb", &["a Debian package", "in a container that has a package manager"]),
        ("--from", "docker.tar", &["a Docker image in layers", "docker export"]),
        ("--from", "incus.tar", &["LXD or Incus", "use the other one"]),
        ("--from", "source.tar", &["everything is below hello-1.0/", "none of etc"]),
        ("--from", "backup.tar", &["there is one below rootfs/"]),
        ("--image", "one.fs.xz", &["compressed", "xz -dk", "--image"]),
        ("--image", "disk.img.gz", &["compressed", "gzip -dk"]),
        ("--image", "tree.tar", &["a tar archive", "--from"]),
        ("--image", "tree.tar.xz", &["a tar archive, compressed with xz", "--from"]),
        ("--image", "x.zip", &["a zip archive"]),
    ];
    for (option, name, told) in cases {
        sandbox.ds(&["create", "web", option, &path(name)]).fails(1, &[&["ds: create web: "], told].concat());
        assert_eq!(sandbox.ds(&["list", "--names"]).succeeds(), "");
    }
    assert_tidy(&sandbox);
}
