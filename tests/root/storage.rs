//! Containers are made from archives, turned into images and back, resized, copied, exported and imported: what comes
//! out is what went in, and it boots.

use crate::images::{field, loop_devices};
use crate::root_fs::Tree;
use crate::sandbox::Sandbox;
use crate::{given, wait_for};
use ds::archive::compare::compare;
use ds::rootfs::root::Root;
use ds::sys::xattr;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The tree of every container in these tests: the probe, and one file of every kind.
pub fn full_tree(path: &Path) -> Tree {
    let tree = Tree::with_probe(path);
    tree.write("etc/motd", "hello\n");
    fs::hard_link(tree.path("etc/motd"), tree.path("etc/motd.again")).expect("link");
    tree.write("usr/bin/su", "#!/bin/sh\n");
    chown(tree.path("usr/bin/su"), Some(0), Some(42)).expect("chown");
    fs::set_permissions(tree.path("usr/bin/su"), PermissionsExt::from_mode(0o4755)).expect("chmod");
    symlink("/etc/motd", tree.path("etc/absolute")).expect("symlink");
    symlink("nowhere", tree.path("etc/dangling")).expect("symlink");
    fs::set_permissions(tree.path("tmp"), PermissionsExt::from_mode(0o1777)).expect("chmod");
    let mode = Mode::from_bits_truncate(0o600);
    mknod(&tree.path("dev/loop"), SFlag::S_IFBLK, mode, makedev(7, 200)).expect("mknod");
    mknod(&tree.path("run/pipe"), SFlag::S_IFIFO, mode, 0).expect("mkfifo");
    let file = File::create(tree.path("root/holes")).expect("create");
    file.set_len(300 << 20).expect("truncate");
    file.write_all_at(b"in the middle", 150 << 20).expect("write");
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let file = File::open(tree.path("bin/busybox")).expect("open");
    xattr::set(file.as_fd(), c"security.capability", &capability).expect("setxattr");
    tree.write(&["a-long-name"; 20].join("/"), "deep\n");
    tree
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Packs a tree with tar.
pub fn archive(sandbox: &Sandbox, tree: &Tree, name: &str, options: &[&str]) -> PathBuf {
    let path = sandbox.path(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
    let done = Command::new("tar")
        .args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "-S"])
        .args(options)
        .args(["-cf", text(&path), "-C", text(&tree.0), "."])
        .status();
    assert!(done.expect("tar").success());
    path
}

/// The current root file system of a container.
pub fn root_of(sandbox: &Sandbox, name: &str) -> (String, PathBuf) {
    let own = sandbox.data(&format!("containers/{name}"));
    let ini = fs::read_to_string(own.join("container.ini")).expect("read");
    let roots: Vec<(&str, &str)> = ini
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .filter(|(key, _)| ["rootfs", "image"].contains(key))
        .collect();
    assert_eq!(roots.len(), 1, "{ini}");
    let (key, path) = roots[0];
    (key.to_owned(), own.join(path.trim_start_matches("./")))
}

/// Asserts that a container's directory has only its own files, and the containers' directory only containers.
#[track_caller]
pub fn assert_tidy(sandbox: &Sandbox) {
    for _ in 0..1000 {
        if left_over(sandbox).is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(left_over(sandbox), [""; 0]);
}

/// Unexpected and missing files below the containers' directory.
pub fn left_over(sandbox: &Sandbox) -> Vec<String> {
    let names = |path: &Path| -> Vec<String> {
        let entries = fs::read_dir(path).into_iter().flatten();
        entries.map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8")).collect()
    };
    let containers = sandbox.data("containers");
    let (hidden, visible): (Vec<String>, Vec<String>) =
        names(&containers).into_iter().partition(|name| name.starts_with('.'));
    let mut left = hidden;
    for name in visible {
        let (_, root) = root_of(sandbox, &name);
        let own = root.file_name().expect("a name").to_str().expect("UTF-8");
        let known =
            |file: &String| ["container.ini", "log", "seed.json"].contains(&file.as_str()) || file == own;
        let inside = names(&containers.join(&name));
        left.extend(inside.iter().filter(|file| !known(file)).map(|file| format!("{name}/{file}")));
        if root.starts_with(&containers) && !root.exists() {
            left.push(format!("{name} has lost {}", root.display()));
        }
    }
    left
}

/// Asserts that it starts and stops.
#[track_caller]
pub fn assert_boots(sandbox: &Sandbox, name: &str) {
    assert_eq!(sandbox.ds(&["start", name]).succeeds(), format!("{name} started\n"));
    assert_eq!(sandbox.state(name), "running");
    sandbox.ds(&["stop", name, "--kill"]).succeeds();
    assert_eq!(loop_devices(sandbox), [""; 0]);
}

#[track_caller]
pub fn assert_same(left: &Path, right: &Path) {
    let (left, right) = (Root::open(left).expect("open"), Root::open(right).expect("open"));
    let differences = compare(&left, &right, &mut |_| {}).expect("compare");
    assert!(differences.is_empty(), "{differences:#?}");
}

/// The tree of a container that was converted to a directory.
pub fn directory(sandbox: &Sandbox, name: &str) -> PathBuf {
    let (key, path) = root_of(sandbox, name);
    assert_eq!(key, "rootfs");
    path
}

#[test]
fn an_archive_becomes_a_container_that_boots() {
    let sandbox = Sandbox::new();
    let tree = full_tree(&sandbox.path("tree"));
    for (name, option) in [("plain", "--sparse"), ("gzip", "-z"), ("xz", "-J"), ("zstd", "--zstd")] {
        let packed = archive(&sandbox, &tree, &format!("{name}.archive"), &[option]);
        let created = sandbox.ds(&["create", name, "--from", text(&packed), "--set", "priority=7"]);
        assert_eq!(created.succeeds(), format!("{name} created\n"));
        assert_same(&tree.0, &directory(&sandbox, name));
        assert_eq!(sandbox.info(name)["priority"], 7);
    }
    let packed = fs::read(sandbox.path("gzip.archive")).expect("read");
    let created = sandbox.ds_with_input(&["create", "piped", "--from", "-"], &packed);
    assert_eq!(created.succeeds(), "piped created\n");
    assert_same(&tree.0, &directory(&sandbox, "piped"));
    assert_tidy(&sandbox);
    assert_boots(&sandbox, "piped");
}

#[test]
fn an_archive_becomes_an_image_that_boots() {
    let sandbox = Sandbox::new();
    let tree = full_tree(&sandbox.path("tree"));
    let packed = archive(&sandbox, &tree, "tree.tar.gz", &["-z"]);
    sandbox.ds(&["create", "web", "--from", text(&packed), "--size", "96M"]).succeeds();
    let (key, image) = root_of(&sandbox, "web");
    assert_eq!((key.as_str(), image.as_path()), ("image", &*sandbox.data("containers/web/rootfs.img")));
    let about = fs::metadata(&image).expect("stat");
    assert_eq!((about.len(), about.permissions().mode() & 0o7777), (96 << 20, 0o600));
    assert!(about.blocks() * 512 < 48 << 20, "not sparse: {} blocks", about.blocks());
    assert_eq!(field(&image, "Filesystem state"), "clean");
    assert_eq!(field(&image, "Filesystem volume name"), "web");
    assert_eq!(field(&image, "Reserved block count"), "0");
    assert_tidy(&sandbox);
    assert_boots(&sandbox, "web");
    // A start creates it.
    let started = sandbox.ds(&["start", "db", "--from", text(&packed), "--size", "96M"]);
    assert_eq!(started.succeeds(), "db started\n");
    sandbox.ds(&["stop", "db", "--kill"]).succeeds();
    for name in ["web", "db"] {
        sandbox.ds(&["rm", name]).succeeds();
    }
    assert_eq!(fs::read_dir(sandbox.data("containers")).expect("containers").count(), 0);
}

#[test]
fn a_tree_below_one_directory_and_one_without_init_are_reported() {
    let sandbox = Sandbox::new();
    let tree = full_tree(&sandbox.path("above/bookworm"));
    let above = archive(&sandbox, &Tree(sandbox.path("above")), "above.tar", &[]);
    let created = sandbox.ds(&["create", "web", "--from", text(&above)]);
    assert_eq!(created.errors.matches('\n').count(), 1, "{}", created.errors);
    assert!(
        created.errors.contains("below bookworm/, which became the root directory"),
        "{}",
        created.errors
    );
    created.succeeds();
    assert_same(&tree.0, &directory(&sandbox, "web"));
    let empty = Tree::empty(&sandbox.path("empty"));
    let packed = archive(&sandbox, &empty, "empty.tar", &[]);
    let created = sandbox.ds(&["create", "none", "--from", text(&packed)]);
    assert!(created.errors.contains("no init system found: /sbin/init does not exist"), "{}", created.errors);
    created.succeeds();
}

#[test]
fn an_unusable_archive_is_one_line_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let tree = full_tree(&sandbox.path("tree"));
    let packed = archive(&sandbox, &tree, "tree.tar.gz", &["-z"]);
    let whole = fs::read(&packed).expect("read");
    fs::write(sandbox.path("cut"), &whole[..whole.len() / 2]).expect("write");
    fs::write(sandbox.path("garbage"), vec![7; 100_000]).expect("write");
    fs::write(sandbox.path("nothing"), "").expect("write");
    let outside = sandbox.path("tree/etc/motd");
    let hostile = ["--absolute-names", "--transform", "s,^,../../../,"];
    let done =
        Command::new("tar").args(hostile).arg("-cf").arg(sandbox.path("hostile")).arg(&outside).status();
    assert!(done.expect("tar").success());
    let path = |name: &str| text(&sandbox.path(name)).to_owned();
    let cases: [(&[&str], &[&str]); 9] = [
        (&["--from", &path("cut")], &["incomplete"]),
        (&["--from", &path("garbage")], &["garbage: ", "not a tar archive"]),
        (&["--from", &path("nothing")], &["empty"]),
        (&["--from", &path("hostile")], &[".."]),
        (&["--from", &path("tree")], &["it is a directory"]),
        (&["--from", &path("missing")], &["ENOENT"]),
        (&["--from", "debian:13"], &["cannot download the list of images"]),
        (&["--from", text(&packed), "--size", "8M"], &["at least 16M"]),
        (&["--from", text(&packed), "--set", "priority=high"], &["priority"]),
    ];
    for (words, expected) in cases {
        for size in [&[][..], &["--size", "64M"]] {
            if words.contains(&"--size") && !size.is_empty() {
                continue;
            }
            let line = [&["create", "web"], words, size].concat();
            let code = if words.contains(&"--set") { 2 } else { 1 };
            sandbox.ds(&line).fails(code, &[&["ds: create web: "], expected].concat());
            assert_tidy(&sandbox);
            assert_eq!(sandbox.ds(&["list", "--names"]).succeeds(), "");
        }
    }
    fs::write(tree.path("root/large"), vec![1; 20 << 20]).expect("write");
    let packed = archive(&sandbox, &tree, "large.tar.gz", &["-z"]);
    let small = ["create", "web", "--from", text(&packed), "--size", "16M"];
    sandbox.ds(&small).fails(1, &["ds: create web: an image of 16 MiB is too small: it needs 128 MiB"]);
    assert_tidy(&sandbox);
    sandbox.ds(&["create", "web", "--from", text(&packed), "--size", "128M"]).succeeds();
    let again = sandbox.ds(&["create", "web", "--from", text(&packed)]);
    again.fails(1, &["a container web already exists"]);
}

#[test]
fn a_directory_becomes_an_image_and_a_directory_again() {
    let sandbox = Sandbox::new();
    let tree = full_tree(&sandbox.path("tree"));
    let packed = archive(&sandbox, &tree, "tree.tar", &[]);
    sandbox.ds(&["create", "web", "--from", text(&packed)]).succeeds();
    let ini = sandbox.data("containers/web/container.ini");
    let before = fs::read_to_string(&ini).expect("read");
    let commented = before.replace("uuid =", "# the identity\nuuid =");
    fs::write(&ini, &commented).expect("write");
    assert_eq!(sandbox.ds(&["convert", "web", "image"]).succeeds(), "web is an image now\n");
    assert_tidy(&sandbox);
    let (key, image) = root_of(&sandbox, "web");
    assert_eq!((key.as_str(), fs::metadata(&image).expect("stat").len()), ("image", 1 << 30));
    assert!(fs::read_to_string(&ini).expect("read").contains("# the identity\nuuid ="));
    assert_boots(&sandbox, "web");
    assert_eq!(sandbox.ds(&["convert", "web", "image"]).succeeds(), "web is already an image\n");
    assert_eq!(sandbox.ds(&["convert", "web", "dir"]).succeeds(), "web is a directory now\n");
    assert_tidy(&sandbox);
    let back = directory(&sandbox, "web");
    assert_eq!(back, sandbox.data("containers/web/rootfs"));
    // Files that the boot has created.
    for left in ["report.json", "booted", "signals", "lost+found"] {
        let _ = fs::remove_file(back.join(left)).or_else(|_| fs::remove_dir(back.join(left)));
    }
    assert_eq!(fs::read(back.join("etc/motd.again")).expect("read"), b"hello\n");
    let same = ["etc/motd", "etc/motd.again"].map(|name| fs::metadata(back.join(name)).expect("stat").ino());
    assert_eq!(same[0], same[1], "one file with two names");
    assert_eq!(fs::metadata(back.join("usr/bin/su")).expect("stat").mode() & 0o7777, 0o4755);
    assert!(fs::metadata(back.join("root/holes")).expect("stat").blocks() < 1000);
    let file = File::open(back.join("bin/busybox")).expect("open");
    assert!(xattr::get(file.as_fd(), c"security.capability").is_ok(), "the capability is kept");
    assert_boots(&sandbox, "web");
}

#[test]
fn what_is_used_in_place_is_never_deleted() {
    let sandbox = Sandbox::new();
    let tree = full_tree(&sandbox.path("tree"));
    sandbox.ds(&["create", "web", "--rootfs", text(&tree.0)]).succeeds();
    let converted = sandbox.ds(&["convert", "web", "image", "--size", "128M"]);
    assert!(converted.errors.contains("was used in place and is kept"), "{}", converted.errors);
    converted.succeeds();
    assert!(tree.path("etc/motd").exists());
    assert_tidy(&sandbox);
    assert_boots(&sandbox, "web");
    // An image in place, with another name than that of a container's own image.
    let image = sandbox.path("disk.img");
    fs::rename(sandbox.data("containers/web/rootfs.img"), &image).expect("rename");
    sandbox.ds(&["set", "web", &format!("image={}", text(&image))]).succeeds();
    sandbox.ds(&["convert", "web", "dir"]).succeeds();
    assert!(image.exists());
    assert_tidy(&sandbox);
    sandbox.ds(&["set", "web", "rootfs=", &format!("image={}", text(&image))]).succeeds();
    // The target exists and does not belong to ds.
    let blocked = sandbox.ds(&["convert", "web", "dir"]);
    blocked.fails(1, &["containers/web/rootfs already exists; move it away"]);
    sandbox.ds(&["resize", "web", "160M"]).succeeds();
    assert_eq!(fs::metadata(&image).expect("stat").len(), 160 << 20);
    let beside: Vec<_> =
        fs::read_dir(sandbox.path("")).expect("own").map(|entry| entry.expect("entry").file_name()).collect();
    assert_eq!(beside.len(), 2, "{beside:?}");
}

#[test]
fn an_image_grows_and_shrinks_and_keeps_its_content() {
    let sandbox = Sandbox::new();
    let tree = full_tree(&sandbox.path("tree"));
    let packed = archive(&sandbox, &tree, "tree.tar", &[]);
    sandbox.ds(&["create", "web", "--from", text(&packed), "--size", "96M"]).succeeds();
    let (_, image) = root_of(&sandbox, "web");
    let file = File::open(&image).expect("open");
    file.set_permissions(PermissionsExt::from_mode(0o640)).expect("chmod");
    xattr::set(file.as_fd(), c"user.label", b"kept").expect("setxattr");
    drop(file);
    let done = sandbox.ds(&["resize", "web", "256M"]);
    assert_eq!(done.succeeds(), "web resized from 96 MiB to 256 MiB\n");
    assert_eq!(sandbox.ds(&["resize", "web", "256M"]).succeeds(), "web already has that size\n");
    assert_boots(&sandbox, "web");
    sandbox.ds(&["resize", "web", "80M"]).succeeds();
    let about = fs::metadata(&image).expect("stat");
    assert_eq!((about.len(), about.mode() & 0o7777), (80 << 20, 0o640));
    let file = File::open(&image).expect("open");
    assert_eq!(xattr::get(file.as_fd(), c"user.label"), Ok(b"kept".to_vec()));
    assert_eq!(field(&image, "Block count"), ((80 << 20) / 4096).to_string());
    let refused = sandbox.ds(&["resize", "web", "8M"]);
    let line = refused.fails(1, &["does not fit in 8 MiB; the minimum size is "]);
    let least = line.trim().rsplit(' ').next().expect("a size").to_owned();
    sandbox.ds(&["resize", "web", &least]).succeeds();
    assert_eq!(field(&image, "Filesystem state"), "clean");
    assert_tidy(&sandbox);
    sandbox.ds(&["resize", "web", "96M"]).succeeds();
    assert_boots(&sandbox, "web");
    sandbox.ds(&["convert", "web", "dir"]).succeeds();
    sandbox.ds(&["resize", "web", "1G"]).fails(1, &["is a directory", "ds help convert"]);
}

#[test]
fn a_full_disk_is_one_line_and_nothing_is_lost() {
    let mut sandbox = Sandbox::new();
    let tree = full_tree(&sandbox.path("tree"));
    let packed = archive(&sandbox, &tree, "tree.tar", &[]);
    // Enough for the small tree and the reserve, but not for the next job.
    let containers = sandbox.data("containers");
    fs::create_dir_all(&containers).expect("mkdir");
    sandbox.mount(&["-t", "tmpfs", "-o", "size=128m,mode=700", "tmpfs", text(&containers)]);
    sandbox.ds(&["create", "web", "--from", text(&packed)]).succeeds();
    fs::write(tree.path("root/large"), vec![1; 140 << 20]).expect("write");
    let large = archive(&sandbox, &tree, "large.tar.gz", &["-z"]);
    let create = |name: &str, more: &[&str]| {
        sandbox.ds(&[&["create", name, "--from", text(&large)], more].concat()).fails(1, &["space"]);
        assert_eq!(sandbox.ds(&["list", "--names"]).succeeds(), "web\n");
        let names: Vec<_> =
            sandbox.run(&["ls", "-A", text(&containers)]).succeeds().lines().map(str::to_owned).collect();
        assert_eq!(names, ["web"]);
    };
    create("dir", &[]);
    sandbox.ds(&["convert", "web", "image", "--size", "512M"]).succeeds();
    create("img", &["--size", "1G"]);
    sandbox.ds(&["start", "web"]).succeeds();
    sandbox.ds(&["stop", "web", "--kill"]).succeeds();
}

#[test]
fn an_incomplete_bug_report_is_removed() {
    let mut sandbox = Sandbox::new();
    let small = sandbox.path("small");
    fs::create_dir_all(&small).expect("mkdir");
    sandbox.mount(&["-t", "tmpfs", "-o", "size=16k,mode=700", "tmpfs", text(&small)]);
    sandbox
        .ds(&["doctor", "-o", text(&small.join("ds.tar"))])
        .fails(1, &["ds: doctor: write ", "No space left"]);
    assert_eq!(sandbox.run(&["ls", "-A", text(&small)]).succeeds(), "");
}

#[test]
fn only_a_regular_file_is_replaced() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    let make = "cd \"$0\" && mkfifo pipe && mknod device c 1 3 && mkdir directory && ln -s directory link && ln -s device to-device && touch file";
    let directory = sandbox.path("out");
    fs::create_dir_all(&directory).expect("mkdir");
    sandbox.run(&["sh", "-c", make, text(&directory)]).succeeds();
    for name in ["pipe", "device", "directory", "link", "to-device"] {
        let path = directory.join(name);
        let kind = || fs::symlink_metadata(&path).expect("an entry").file_type();
        let before = kind();
        let told = ["is not a regular file", "is a directory"][usize::from(name == "directory")];
        sandbox.ds(&["export", "web", "-o", text(&path), "--force"]).fails(1, &[text(&path), told]);
        sandbox.ds(&["doctor", "-o", text(&path)]).fails(1, &[text(&path), told]);
        assert_eq!(kind(), before, "{name}");
    }
    let file = directory.join("file");
    sandbox.ds(&["export", "web", "-o", text(&file), "--force"]).succeeds();
    sandbox.ds(&["doctor", "-o", text(&file)]).succeeds();
    let archive = sandbox.command(&[text(&sandbox.binary()), "doctor", "-o", "-"]).output().expect("run");
    assert!(archive.status.success() && archive.stdout.starts_with(b"ds-doctor/"), "{archive:?}");
}

#[test]
fn a_distribution_becomes_an_image_and_boots() {
    let sandbox = Sandbox::new();
    let tree = Tree(given("DS_FIXTURES").join("bookworm"));
    let packed = archive(&sandbox, &tree, "bookworm.tar", &[]);
    sandbox.ds(&["create", "web", "--from", text(&packed), "--size", "1G"]).succeeds();
    assert_eq!(sandbox.ds(&["start", "web", "--wait=300"]).succeeds(), "web is up\n");
    assert_eq!(sandbox.info("web")["init"], "systemd");
    sandbox.ds(&["stop", "web"]).succeeds();
    let (_, image) = root_of(&sandbox, "web");
    assert_eq!(field(&image, "Filesystem state"), "clean");
    wait_for("its loop device to be free", || loop_devices(&sandbox).is_empty().then_some(()));
}

#[test]
fn a_container_whose_directory_another_one_uses_is_not_renamed() {
    let sandbox = Sandbox::new();
    let tree = Tree::with_probe(&sandbox.path("tree"));
    sandbox.create("other", &tree.0, &[]);
    sandbox.ds(&["copy", "other", "web"]).succeeds();
    let inside = sandbox.data("containers/web/rootfs");
    sandbox.create("other", &inside, &[]);
    sandbox
        .ds(&["rename", "web", "new"])
        .fails(1, &["rename web", "rootfs of other", "ds set other rootfs="]);
    let linked = sandbox.path("linked");
    std::os::unix::fs::symlink(&inside, &linked).expect("symlink");
    sandbox.create("other", &linked, &[]);
    sandbox.ds(&["rename", "web", "new"]).fails(1, &["rename web", "rootfs of other"]);
    sandbox.create("other", &tree.0, &[&format!("mounts.bind={}:/srv", inside.display())]);
    sandbox.ds(&["rename", "web", "new"]).fails(1, &["rename web", "mounts.bind of other"]);
    sandbox.create("other", &tree.0, &[]);
    sandbox.ds(&["rename", "web", "new"]).succeeds();
    sandbox.ds(&["start", "new"]).succeeds();
}
