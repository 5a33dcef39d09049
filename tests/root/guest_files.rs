//! Any kind of file at each path that `ds` reads in a guest: every verb ends, reports it, and touches nothing outside.

use crate::root_fs::Tree;
use crate::sandbox::Sandbox;
use crate::wait_for;
use ds::rootfs::files::{self, GuestFile};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Kinds of files that may replace an expected one.
const KINDS: [&str; 8] = ["fifo", "device", "directory", "socket", "sparse", "loop", "out", "nothing"];
/// A file that is larger than memory.
const ENDLESS: u64 = 100 << 30;
/// The timeout of each command in seconds; none needs more than one or two.
const LIMIT: u32 = 120;

/// A file of the host that a guest points to.
fn bait(sandbox: &Sandbox) -> PathBuf {
    let bait = sandbox.path("bait");
    fs::create_dir_all(bait.parent().unwrap()).unwrap();
    fs::write(&bait, "mallory:x:0:0::/:/bin/sh\nNAME=host\nPRETTY_NAME=host\n").unwrap();
    bait
}

/// Replaces a file by one of this kind.
fn put(path: &Path, kind: &str, bait: &Path) {
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => fs::create_dir_all(path.parent().unwrap()).unwrap(),
    }
    let node = |kind, device| mknod(path, kind, Mode::from_bits_truncate(0o777), device).unwrap();
    match kind {
        "fifo" => node(SFlag::S_IFIFO, 0),
        // /dev/zero: reading it never ends.
        "device" => node(SFlag::S_IFCHR, makedev(1, 5)),
        "socket" => node(SFlag::S_IFSOCK, 0),
        "directory" => fs::create_dir(path).unwrap(),
        "sparse" => {
            File::create(path).unwrap().set_len(ENDLESS).unwrap();
            fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
        }
        "loop" => symlink(path.file_name().unwrap(), path).unwrap(),
        "out" => symlink(bait, path).unwrap(),
        _ => {}
    }
}

fn replace_all(top: &Path, which: impl Fn(&str) -> bool, kind: &str, bait: &Path) {
    for file in files::ALL.iter().map(|file: &GuestFile| file.as_str()).filter(|path| which(path)) {
        put(&top.join(&file[1..]), kind, bait);
    }
}

/// The probe as a program that ds recognises as a certain init system.
fn disguised(sandbox: &Sandbox, name: &str) -> Tree {
    let (program, mark) = match name {
        "systemd" => ("opt/systemd", ""),
        "runit" => ("sbin/runit", ""),
        "debian-runit" => ("sbin/runit", "/run/runit.stopit"),
        "sysvinit" => ("sbin/classic-init", "/run/initctl"),
        _ => ("sbin/openrc-init", ""),
    };
    let tree = Tree::disguised(&sandbox.path(name), program);
    let mut bytes = fs::read(tree.path(program)).unwrap();
    // The unused build id: an ELF note of type 3.
    let note = bytes.windows(8).position(|window| window == b"\x03\0\0\0GNU\0").expect("a build id") + 8;
    bytes[note..note + mark.len()].copy_from_slice(mark.as_bytes());
    fs::write(tree.path(program), bytes).unwrap();
    tree
}

/// Runs `ds`, which must end by itself and print only a few lines.
fn ends(sandbox: &Sandbox, words: &[&str]) -> i32 {
    let binary = sandbox.binary();
    let all = [&[binary.to_str().unwrap()][..], words].concat();
    let output = sandbox.command_within(LIMIT, &all).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().unwrap_or(-1);
    assert!((0..=127).contains(&code) && code != 124, "ds {words:?}: {code}: {errors}");
    assert!(!errors.contains("panicked") && !errors.contains("killed by"), "ds {words:?}: {errors}");
    code
}

/// Every verb that reads a guest, while it is stopped.
fn at_rest(sandbox: &Sandbox, tree: &Tree) {
    let exported = sandbox.path("exported");
    for words in [
        &["info", "web"][..],
        &["list"],
        &["stats", "web"],
        &["logs", "web"],
        &["start", "web", "--dry-run"],
        &["export", "web", "-o", exported.to_str().unwrap()],
        &["doctor", "-o", sandbox.path("report").to_str().unwrap()],
        &["shell", tree.0.to_str().unwrap(), "/bin/true"],
        &["shell", tree.0.to_str().unwrap(), "-u", "alice", "/bin/true"],
    ] {
        ends(sandbox, words);
        let _ = fs::remove_file(&exported);
        let _ = fs::remove_file(sandbox.path("report"));
    }
}

/// Every verb that reads a guest, while it is running. Root can always get in.
fn in_use(sandbox: &Sandbox) {
    assert_eq!(ends(sandbox, &["run", "web", "--", "/bin/true"]), 0);
    let mut shell = sandbox.ds_on_terminal(&["enter", "web"]);
    // It starts. Its handling of a FIFO in place of /etc/passwd is not tested.
    shell.expect("BusyBox");
    shell.child.kill().unwrap();
    shell.wait();
    let mut console = sandbox.ds_on_terminal(&["console", "web"]);
    console.expect("probe: waiting");
    console.send(b"\x1d\x1d");
    assert_eq!(console.wait(), 0);
    for words in [
        &["run", "web", "-u", "alice", "--", "/bin/true"][..],
        &["info", "web", "--json"],
        &["list", "--json"],
        &["logs", "web"],
        &["stats", "web"],
        &["doctor", "-o", sandbox.path("report").to_str().unwrap()],
    ] {
        ends(sandbox, words);
        let _ = fs::remove_file(sandbox.path("report"));
    }
}

/// One guest, with every file of the table replaced by each kind. `thorough` tries every verb; the others differ in
/// their shutdown request.
fn survives(init: &str, thorough: bool) {
    let sandbox = Sandbox::new();
    let bait = bait(&sandbox);
    let before = (fs::read(&bait).unwrap(), fs::metadata(&bait).unwrap().mode());
    let tree = disguised(&sandbox, init);
    sandbox.create("web", &tree.0, &["stop-timeout=2"]);
    let live = |path: &str| path.starts_with("/run/") || path.starts_with("/dev/");
    for kind in KINDS {
        replace_all(&tree.0, |path| !live(path), kind, &bait);
        let _ = fs::remove_file(tree.path("report.json"));
        assert_eq!(ends(&sandbox, &["start", "web"]), 0, "{kind}");
        wait_for("the report", || tree.report());
        if thorough {
            in_use(&sandbox);
        }
        let inside = PathBuf::from(format!("/proc/{}/root", sandbox.first_process("web").unwrap().pid));
        replace_all(&inside, live, kind, &bait);
        assert_eq!(ends(&sandbox, &["run", "web", "--", "/bin/true"]), 0);
        assert_eq!(ends(&sandbox, &["restart", "web"]), 0, "{kind}");
        let inside = PathBuf::from(format!("/proc/{}/root", sandbox.first_process("web").unwrap().pid));
        replace_all(&inside, live, kind, &bait);
        assert_eq!(ends(&sandbox, &["stop", "web"]), 0, "{kind}");
        assert_eq!(sandbox.state("web"), "stopped");
        if thorough {
            at_rest(&sandbox, &tree);
        }
        let after = (fs::read(&bait).unwrap(), fs::metadata(&bait).unwrap().mode());
        assert_eq!(after, before, "{init}, {kind}: outside");
    }
}

#[test]
fn no_file_of_a_systemd_guest_blocks() {
    survives("systemd", true);
}

#[test]
fn no_file_of_a_runit_guest_blocks() {
    survives("runit", false);
}

#[test]
fn no_file_of_a_debian_runit_guest_blocks() {
    survives("debian-runit", false);
}

#[test]
fn no_file_of_a_sysvinit_guest_blocks() {
    survives("sysvinit", false);
}

#[test]
fn an_init_program_is_nothing_but_a_program() {
    let sandbox = Sandbox::new();
    let bait = bait(&sandbox);
    let tree = sandbox.container("web", &[]);
    for kind in KINDS {
        put(&tree.path("sbin/init"), kind, &bait);
        assert_eq!(ends(&sandbox, &["start", "web"]), 1, "{kind}");
        assert_eq!(ends(&sandbox, &["info", "web"]), 0, "{kind}");
    }
}
