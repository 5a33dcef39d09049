//! Containers from ext4 images and block devices: attached, checked, kept during restarts, and released.

use crate::root_fs::Tree;
use crate::sandbox::{Sandbox, Setting};
use crate::{given, wait_for};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Number of blocks of the test images, which are small and have a journal.
const SIZE: &str = "24M";

/// Runs a program of the machine outside the sandbox; returns its output.
#[track_caller]
pub fn tool(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).env("LC_ALL", "C").output().expect(words[0]);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An ext4 image with the probe as its init program.
pub fn image(sandbox: &Sandbox, name: &str) -> PathBuf {
    let tree = Tree::with_probe(&sandbox.path(&format!("{name}.tree")));
    image_of(sandbox, name, &tree.0, SIZE)
}

/// An ext4 image with this tree in it.
fn image_of(sandbox: &Sandbox, name: &str, tree: &Path, size: &str) -> PathBuf {
    let path = sandbox.path(&format!("{name}.img"));
    fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
    tool(&["mke2fs", "-q", "-t", "ext4", "-m", "0", "-d", text(tree), text(&path), size]);
    path
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A container that boots an image.
pub fn container(sandbox: &Sandbox, name: &str, settings: &[&str]) -> PathBuf {
    let path = image(sandbox, name);
    create(sandbox, name, &path, settings);
    path
}

pub fn create(sandbox: &Sandbox, name: &str, image: &Path, settings: &[&str]) {
    let mut words = vec!["create", name, "--image", text(image)];
    words.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    sandbox.ds(&words).succeeds();
}

/// A file of an image that is not mounted.
pub fn read(image: &Path, file: &str) -> String {
    tool(&["debugfs", "-R", &format!("cat {file}"), text(image)])
}

/// A value of the super block.
pub fn field(image: &Path, name: &str) -> String {
    let all = tool(&["dumpe2fs", "-h", text(image)]);
    let line = all.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name} in {all}")).trim().to_owned()
}

/// Whether it was unmounted cleanly, with an empty journal.
#[track_caller]
pub fn assert_unmounted(image: &Path) {
    assert_eq!(field(image, "Filesystem state"), "clean");
    let features = field(image, "Filesystem features");
    assert!(!features.contains("needs_recovery"), "{features}");
}

/// The loop devices with a file of the sandbox.
pub fn loop_devices(sandbox: &Sandbox) -> Vec<String> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().filter_map(Result::ok);
    let name = |entry: fs::DirEntry| {
        let file = fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
        let below = Path::new(file.trim()).starts_with(sandbox.root());
        below.then(|| entry.file_name().to_string_lossy().into_owned())
    };
    devices.filter_map(name).collect()
}

/// Sets the time of the last check to a date long ago.
pub fn forget_check(image: &Path) -> String {
    tool(&["tune2fs", "-T", "20200101", text(image)]);
    field(image, "Last checked")
}

/// Replaces e2fsck by a script for this sandbox.
fn replace_e2fsck(sandbox: &mut Sandbox, script: &str) {
    let path = sandbox.path("e2fsck");
    fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("write");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("chmod");
    hide_e2fsck(sandbox, text(&path));
}

fn hide_e2fsck(sandbox: &mut Sandbox, by: &str) {
    for place in ["/sbin/e2fsck", "/usr/sbin/e2fsck"] {
        let real = fs::canonicalize(place).ok();
        if real.is_some_and(|real| real == Path::new(place)) {
            sandbox.mount(&["--bind", by, place]);
        }
    }
}

#[test]
fn an_image_boots_and_is_unmounted_when_the_stop_returns() {
    let sandbox = Sandbox::new();
    let path = container(&sandbox, "web", &[]);
    assert_eq!(sandbox.ds(&["start", "web"]).succeeds(), "web started\n");
    let devices = loop_devices(&sandbox);
    assert_eq!(devices.len(), 1);
    let setting = |name: &str| {
        let text = fs::read_to_string(format!("/sys/block/{}/loop/{name}", devices[0])).expect("sysfs");
        text.trim() == "1"
    };
    assert!(setting("autoclear"), "it is detached with its last user");
    let mounts = sandbox.run(&["cat", "/proc/self/mounts"]).succeeds();
    assert!(!mounts.contains("Droidspaces"), "the host sees: {mounts}");
    let info = sandbox.info("web");
    assert_eq!(info["rootfs"]["kind"], "image");
    assert_eq!(info["rootfs"]["path"], text(&path));
    assert_eq!(info["filesystem"]["kind"], "ext4");
    assert!(info["filesystem"]["used"].as_u64().expect("used") > 1 << 20, "{info}");
    let stats = sandbox.ds(&["stats", "web", "--json"]).json();
    assert!(stats["containers"][0]["disk"].as_u64().expect("disk") > 1 << 20, "{stats}");
    let inside =
        sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", "echo kept >/made; cat /proc/self/mounts"]);
    let inside = inside.succeeds();
    assert!(inside.starts_with("/dev/loop") || inside.contains("\n/dev/loop"), "{inside}");
    assert!(inside.lines().any(|line| line.contains(" / ext4 rw,")), "{inside}");
    assert!(!inside.contains("Droidspaces"), "{inside}");
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    assert_eq!(loop_devices(&sandbox), [""; 0], "when the stop returns");
    assert_unmounted(&path);
    assert_eq!(read(&path, "/made"), "kept\n");
    let info = sandbox.info("web");
    assert_eq!(info["filesystem"]["kind"], "ext4");
    assert!(info["filesystem"]["used"].as_u64().expect("used") > 1 << 20, "{info}");
}

#[test]
fn restarts_and_reboots_inside_use_the_same_mount() {
    let sandbox = Sandbox::new();
    let path = container(&sandbox, "web", &["fsck=never"]);
    sandbox.ds(&["start", "web"]).succeeds();
    let device = loop_devices(&sandbox);
    for boots in 2..5 {
        sandbox.ds(&["restart", "web"]).succeeds();
        assert_eq!(sandbox.info("web")["boots"], boots);
    }
    // The command ends with its container.
    let _ = sandbox.ds(&["run", "web", "--", "/bin/probe", "reboot"]);
    wait_for("the reboot", || (sandbox.info("web")["boots"] == 5).then_some(()));
    sandbox.wait_for_state("web", "running");
    assert_eq!(loop_devices(&sandbox), device);
    sandbox.ds(&["stop", "web"]).succeeds();
    assert_eq!(field(&path, "Mount count"), "1");
    assert_unmounted(&path);
}

#[test]
fn an_image_is_checked_when_it_should_be() {
    let sandbox = Sandbox::new();
    let path = container(&sandbox, "web", &["fsck=auto"]);
    let boot = || {
        sandbox.ds(&["start", "web"]).succeeds();
        sandbox.ds(&["stop", "web"]).succeeds();
        field(&path, "Last checked")
    };
    let long_ago = forget_check(&path);
    assert_eq!(boot(), long_ago, "auto, and it was unmounted");
    tool(&["debugfs", "-w", "-R", "set_super_value state 0", text(&path)]);
    assert_ne!(boot(), long_ago, "auto, and it was not unmounted");
    tool(&["tune2fs", "-c", "1", text(&path)]);
    let long_ago = forget_check(&path);
    assert_ne!(boot(), long_ago, "auto, and it was mounted often enough");
    tool(&["tune2fs", "-c", "0", text(&path)]);
    sandbox.ds(&["set", "web", "fsck=always"]).succeeds();
    let long_ago = forget_check(&path);
    assert_ne!(boot(), long_ago, "always");
    sandbox.ds(&["set", "web", "fsck=never"]).succeeds();
    let long_ago = forget_check(&path);
    assert_eq!(boot(), long_ago, "never");
}

#[test]
fn a_damaged_image_is_repaired() {
    let sandbox = Sandbox::new();
    let path = container(&sandbox, "web", &["fsck=auto"]);
    // A block with two owners, and a used block that the bitmap marks as free.
    tool(&["debugfs", "-w", "-R", "clri /etc/passwd", text(&path)]);
    tool(&["debugfs", "-w", "-R", "set_super_value state 2", text(&path)]);
    let done = sandbox.ds(&["start", "web"]);
    let repairs = done.errors.split_once("e2fsck has repaired the image (").expect("a warning").1;
    let repairs: usize = repairs.split(' ').next().expect("a number").parse().expect("a number");
    done.succeeds();
    let log = sandbox.log();
    assert_eq!(
        log.lines().filter(|line| line.contains("e2fsck: ") && line.ends_with("? yes")).count(),
        repairs,
        "{log}"
    );
    assert!(repairs > 0, "{log}");
    sandbox.ds(&["stop", "web"]).succeeds();
    tool(&["e2fsck", "-f", "-n", text(&path)]);
}

#[test]
fn what_e2fsck_cannot_repair_is_not_started() {
    let mut sandbox = Sandbox::new();
    let path = container(&sandbox, "web", &[]);
    let before = fs::read(&path).expect("read");
    replace_e2fsck(&mut sandbox, "echo the inode table is gone; exit 4");
    sandbox.ds(&["start", "web"]).fails(1, &["exit code 4", "the inode table is gone", "e2fsck -f "]);
    assert_eq!(loop_devices(&sandbox), [""; 0]);
    assert!(fs::read(&path).expect("read") == before, "the image is untouched");
}

#[test]
fn without_e2fsck_there_is_a_warning() {
    let mut sandbox = Sandbox::new();
    container(&sandbox, "web", &[]);
    hide_e2fsck(&mut sandbox, "/dev/null");
    let done = sandbox.ds(&["start", "web"]);
    assert!(done.errors.contains("no e2fsck; install e2fsprogs"), "{}", done.errors);
    assert_eq!(done.succeeds(), "web started\n");
    sandbox.ds(&["stop", "web"]).succeeds();
}

#[test]
fn a_check_shows_progress_and_can_be_interrupted() {
    let mut sandbox = Sandbox::new();
    let path = container(&sandbox, "web", &[]);
    let before = fs::read(&path).expect("read");
    let ended = sandbox.path("ended");
    let script = format!(
        "trap 'echo x >{}; exit 32' TERM\necho 1 4 8 /proc/self/fd/9\nwhile :; do sleep 0.05; done",
        ended.display()
    );
    replace_e2fsck(&mut sandbox, &script);
    let mut terminal = sandbox.ds_on_terminal(&["start", "web"]);
    terminal.expect("web: checking the image 35 %");
    assert_eq!(sandbox.state("web"), "starting", "its monitor answers in the meantime");
    assert!(sandbox.info("web")["problem"].is_null());
    terminal.send(b"\x03");
    terminal.expect("interrupted");
    assert_eq!(terminal.wait(), 1);
    wait_for("the end of e2fsck", || ended.exists().then_some(()));
    sandbox.assert_no_containers();
    assert!(fs::read(&path).expect("read") == before, "the image is untouched");
}

#[test]
fn a_stop_during_a_check_ends_the_start() {
    let mut sandbox = Sandbox::new();
    container(&sandbox, "web", &[]);
    let (began, go_on) = (sandbox.path("began"), sandbox.path("go-on"));
    let script = format!(
        "echo x >{}; while ! [ -e {} ]; do sleep 0.05; done; exit 0",
        began.display(),
        go_on.display()
    );
    replace_e2fsck(&mut sandbox, &script);
    let start = sandbox.spawn_ds(&["start", "web"]);
    wait_for("the check", || began.exists().then_some(()));
    let stop = sandbox.spawn_ds(&["stop", "web", "--kill"]);
    assert_eq!(sandbox.state("web"), "starting");
    fs::write(&go_on, "x").expect("write");
    let [start, stop] = [start, stop].map(|child| child.wait_with_output().expect("wait"));
    assert!(stop.status.success(), "{stop:?}");
    let said = String::from_utf8_lossy(&start.stderr);
    assert!(start.status.code() == Some(1) && said.contains("it was stopped while it started"), "{start:?}");
    wait_for("the end", || (sandbox.state("web") == "stopped").then_some(()));
    assert_eq!(loop_devices(&sandbox), [""; 0]);
}

#[test]
fn an_image_is_used_once_whatever_it_is_called() {
    let sandbox = Sandbox::new();
    let path = container(&sandbox, "web", &[]);
    let [hard, soft] = ["hard", "soft"].map(|name| sandbox.path(&format!("{name}.img")));
    fs::hard_link(&path, &hard).expect("link");
    symlink(&path, &soft).expect("symlink");
    create(&sandbox, "same", &path, &[]);
    create(&sandbox, "hard", &hard, &[]);
    create(&sandbox, "soft", &soft, &["volatile=yes"]);
    sandbox.ds(&["start", "web"]).succeeds();
    for name in ["same", "hard", "soft"] {
        sandbox.ds(&["start", name]).fails(1, &["uses the image"]);
    }
    assert_eq!(loop_devices(&sandbox).len(), 1);
    sandbox.ds(&["stop", "web"]).succeeds();
    sandbox.ds(&["start", "hard"]).succeeds();
    sandbox.ds(&["stop", "hard"]).succeeds();
}

/// A loop device of the test.
struct Loop(String);

impl Loop {
    fn new(image: &Path) -> Self {
        Self(tool(&["losetup", "--find", "--show", text(image)]).trim().to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
fn an_image_in_use_is_refused() {
    let sandbox = Sandbox::new();
    let path = container(&sandbox, "web", &[]);
    let device = Loop::new(&path);
    let number = device.0.trim_start_matches("/dev/").to_owned();
    sandbox.ds(&["start", "web"]).fails(1, &[&number, "losetup -l"]);
    drop(device);
    sandbox.ds(&["start", "web"]).succeeds();
    sandbox.ds(&["stop", "web"]).succeeds();
}

#[test]
fn a_block_device_boots_unless_it_is_mounted() {
    let mut sandbox = Sandbox::new();
    let path = image(&sandbox, "disk");
    let device = Loop::new(&path);
    create(&sandbox, "web", Path::new(&device.0), &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    assert!(tool(&["losetup", "-l", &device.0]).contains("disk.img"), "no second loop device");
    assert_eq!(loop_devices(&sandbox).len(), 1);
    sandbox.ds(&["stop", "web"]).succeeds();
    assert_unmounted(&path);
    let place = sandbox.path("mounted");
    fs::create_dir_all(&place).expect("mkdir");
    sandbox.mount(&[&device.0, text(&place)]);
    sandbox.ds(&["start", "web"]).fails(1, &["mounted, swap"]);
    sandbox.run(&["umount", text(&place)]).succeeds();
    sandbox.mount(&["-t", "tmpfs", "tmpfs", text(&place)]);
    sandbox.ds(&["start", "web"]).succeeds();
    sandbox.ds(&["stop", "web"]).succeeds();
}

#[test]
fn a_file_that_is_no_image_is_reported_and_unchanged() {
    let sandbox = Sandbox::new();
    let good = image(&sandbox, "good");
    let whole = fs::read(&good).expect("read");
    let with = |offset: usize, magic: &[u8]| {
        let mut content = vec![0; 1 << 20];
        content[offset..offset + magic.len()].copy_from_slice(magic);
        content
    };
    let cases: [(&str, Vec<u8>, &str); 7] = [
        ("empty", Vec::new(), "is empty"),
        ("garbage", b"garbage\n".repeat(9000), "no file system in it"),
        ("cut-off", whole[..whole.len() / 2].to_vec(), "truncated"),
        ("short", whole[..1500].to_vec(), "no file system in it"),
        ("xfs", with(0, b"XFSB"), "holds xfs"),
        ("f2fs", with(1024, &[0x10, 0x20, 0xF5, 0xF2]), "holds f2fs"),
        ("archive", with(0, &[0x1F, 0x8B]), "an archive"),
    ];
    for (name, content, words) in cases {
        let path = sandbox.path(&format!("{name}.img"));
        fs::write(&path, &content).expect("write");
        sandbox.ds(&["create", name, "--image", text(&path)]).fails(1, &[words, text(&path)]);
        // An image that was damaged after the creation.
        fs::copy(&good, &path).expect("copy");
        create(&sandbox, name, &path, &[]);
        fs::write(&path, &content).expect("write");
        sandbox.ds(&["start", name]).fails(1, &[words, text(&path)]);
        assert!(fs::read(&path).expect("read") == content, "{name} is untouched");
    }
    let fifo = sandbox.path("fifo");
    tool(&["mkfifo", text(&fifo)]);
    sandbox.ds(&["create", "fifo", "--image", text(&fifo)]).fails(1, &["neither a file nor a block device"]);
    let directory = sandbox.path("good.tree");
    sandbox.ds(&["create", "dir", "--image", text(&directory)]).fails(1, &["is a directory", "--rootfs"]);
    assert_eq!(loop_devices(&sandbox), [""; 0]);
    sandbox.assert_no_containers();
}

#[test]
fn an_error_of_mount_is_explained() {
    let sandbox = Sandbox::new();
    let path = container(&sandbox, "web", &["fsck=never"]);
    // An unknown feature.
    tool(&["debugfs", "-w", "-R", "set_super_value feature_incompat 0x80000042", text(&path)]);
    sandbox.ds(&["start", "web"]).fails(1, &["the kernel refuses its file system", "dmesg"]);
    assert_eq!(loop_devices(&sandbox), [""; 0]);
}

#[test]
fn a_read_only_medium_is_for_volatile_containers() {
    let mut sandbox = Sandbox::new();
    let path = container(&sandbox, "web", &[]);
    let medium = sandbox.path("medium");
    fs::create_dir_all(&medium).expect("mkdir");
    fs::rename(&path, medium.join("web.img")).expect("rename");
    sandbox.mount(&["--bind", text(&medium), text(&medium)]);
    sandbox.mount(&["-o", "remount,bind,ro", text(&medium)]);
    let moved = medium.join("web.img");
    sandbox.ds(&["set", "web", &format!("image={}", moved.display())]).succeeds();
    sandbox.ds(&["start", "web"]).fails(1, &["cannot be written to", "volatile=yes"]);
    sandbox.ds(&["set", "web", "volatile=yes"]).succeeds();
    sandbox.ds(&["start", "web"]).succeeds();
    sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", "echo x >/made"]).succeeds();
    sandbox.ds(&["stop", "web"]).succeeds();
}

#[test]
fn missing_nodes_are_created() {
    let mut sandbox = Sandbox::new();
    let path = container(&sandbox, "web", &[]);
    let bare = sandbox.path("dev");
    fs::create_dir_all(&bare).expect("mkdir");
    sandbox.mount(&["-t", "tmpfs", "tmpfs", text(&bare)]);
    for (name, number) in [("null", "3"), ("zero", "5"), ("full", "7"), ("random", "8"), ("urandom", "9")] {
        let node = bare.join(name);
        sandbox.run(&["mknod", "-m", "666", text(&node), "c", "1", number]).succeeds();
    }
    sandbox.run(&["mknod", "-m", "666", text(&bare.join("tty")), "c", "5", "0"]).succeeds();
    sandbox.mount(&["--bind", text(&bare), "/dev"]);
    sandbox.ds(&["start", "web"]).succeeds();
    assert_eq!(loop_devices(&sandbox).len(), 1);
    sandbox.ds(&["stop", "web"]).succeeds();
    assert_unmounted(&path);
}

#[test]
fn a_distribution_boots_from_an_image() {
    let sandbox = Sandbox::new();
    let path = image_of(&sandbox, "web", &given("DS_FIXTURES").join("bookworm"), "1G");
    create(&sandbox, "web", &path, &["fsck=auto"]);
    sandbox.ds(&["start", "web", "--wait"]).succeeds();
    let state = |words: &[&str]| sandbox.ds(words).text();
    let is_running = ["run", "web", "--", "systemctl", "is-system-running", "--wait"];
    assert_eq!(state(&is_running), "running\n");
    sandbox.ds(&["restart", "web"]).succeeds();
    wait_for("the second boot", || sandbox.info("web")["ready"].as_bool().filter(|ready| *ready));
    assert_eq!(state(&is_running), "running\n");
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    assert_eq!(loop_devices(&sandbox), [""; 0]);
    assert_unmounted(&path);
    tool(&["e2fsck", "-f", "-n", text(&path)]);
}

#[test]
fn old_kernels_attach_in_two_steps() {
    let sandbox = Sandbox::with(Setting { denied: Some("old"), ..Setting::default() });
    let path = container(&sandbox, "web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    assert_eq!(loop_devices(&sandbox).len(), 1);
    sandbox.ds(&["restart", "web"]).succeeds();
    sandbox.ds(&["stop", "web"]).succeeds();
    assert_eq!(loop_devices(&sandbox), [""; 0], "it is detached automatically nevertheless");
    assert_unmounted(&path);
}
