//! Trees that are packed and unpacked again are unchanged: those of ds, GNU tar's, and random ones.

use std::os::unix::net::UnixListener;

use super::*;
use crate::archive::compare::compare;
use crate::archive::pack::pack;
use crate::archive::writer::Writer;

/// A tree with every kind of entry that does not need root.
fn oddities(top: &Path) {
    let long = "n".repeat(200);
    fs::create_dir_all(top.join(&long).join(&long)).unwrap();
    fs::write(top.join(&long).join(&long).join(&long), "deep").unwrap();
    symlink(format!("{long}/{long}"), top.join("long link")).unwrap();
    fs::write(top.join("file"), vec![7; 3000]).unwrap();
    fs::hard_link(top.join("file"), top.join("hard")).unwrap();
    fs::write(top.join("empty"), "").unwrap();
    fs::write(top.join(std::ffi::OsStr::from_bytes(b"not \xff UTF-8\n")), "x").unwrap();
    symlink("nowhere", top.join("dangling")).unwrap();
    nix::unistd::mkfifo(&top.join("pipe"), Mode::from_bits_truncate(0o640)).unwrap();
    let sparse = File::create(top.join("sparse")).unwrap();
    sparse.write_all_at(b"begin", 0).unwrap();
    sparse.write_all_at(&[1; 70_000], 5 << 20).unwrap();
    sparse.set_len(9 << 20).unwrap();
    File::create(top.join("hole")).unwrap().set_len(1 << 20).unwrap();
    for (name, mode) in [("file", 0o4711), ("empty", 0o000), (long.as_str(), 0o3777)] {
        fs::set_permissions(top.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    if nix::unistd::geteuid().is_root() {
        // These need root.
        let device = makedev(7, 300);
        mknodat(
            nix::fcntl::AT_FDCWD,
            &top.join("device"),
            SFlag::S_IFBLK,
            Mode::from_bits_truncate(0o600),
            device,
        )
        .unwrap();
        let lchown = |name: &str, user, group| lchown_at(top.join(name), Some(user), Some(group));
        lchown("file", 3_000_000_000, 4_000_000_000).unwrap();
        lchown("dangling", 12, 2_097_152).unwrap();
        fs::set_permissions(top.join("file"), fs::Permissions::from_mode(0o6755)).unwrap();
        let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        let file = File::open(top.join("hard")).unwrap();
        crate::sys::xattr::set(file.as_fd(), c"security.capability", capability).unwrap();
    }
}

/// Sets every time to a value that every format can represent.
fn whole_seconds(path: &Path) {
    let time = nix::sys::time::TimeSpec::new(1_234_567_890, 0);
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).unwrap().for_each(|entry| whole_seconds(&entry.unwrap().path()));
    }
    let flag = nix::sys::stat::UtimensatFlags::NoFollowSymlink;
    nix::sys::stat::utimensat(nix::fcntl::AT_FDCWD, path, &time, &time, flag).unwrap();
}

fn differences(left: &Path, right: &Path) -> Vec<String> {
    let (left, right) = (Root::open(left).unwrap(), Root::open(right).unwrap());
    compare(&left, &right, &mut |_| {}).unwrap().iter().map(ToString::to_string).collect()
}

fn packed(top: &Path, prefix: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    pack(&Root::open(top).unwrap(), prefix, &mut bytes, &mut |_| {}).unwrap();
    Writer::new(&mut bytes).end().unwrap();
    bytes
}

#[test]
fn a_tree_comes_out_as_it_went_in() {
    let (source, place) = (tempfile::tempdir().unwrap(), Place::new());
    oddities(source.path());
    let bytes = packed(source.path(), "rootfs");
    assert_eq!(bytes, packed(source.path(), "rootfs"), "it is always the same");
    assert!(bytes.len() < 1 << 20, "holes are left out: {}", bytes.len());
    place.unpack(&bytes, &Rules { strip_prefix: Some("rootfs"), ..Rules::default() }).unwrap();
    assert_eq!(differences(source.path(), &place.path("tree")), [""; 0]);
    let holes = fs::metadata(place.path("tree/sparse")).unwrap();
    assert!(holes.blocks() * 512 < 1 << 20, "holes stay holes");
}

fn tar(arguments: &[&str]) {
    let done = std::process::Command::new("tar").args(arguments).env("LC_ALL", "C").output().unwrap();
    assert!(done.status.success(), "tar {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn what_gnu_tar_writes_is_read() {
    let source = tempfile::tempdir().unwrap();
    oddities(source.path());
    whole_seconds(source.path());
    // The old format cannot represent these.
    let plain = tempfile::tempdir().unwrap();
    fs::create_dir_all(plain.path().join("a".repeat(90)).join("b".repeat(90))).unwrap();
    fs::write(plain.path().join("a".repeat(90)).join("b".repeat(90)).join("c"), "x").unwrap();
    whole_seconds(plain.path());
    let old = tempfile::tempdir().unwrap();
    fs::write(old.path().join("file"), "x").unwrap();
    whole_seconds(old.path());
    for (format, options, source) in [
        ("gnu", vec!["--sparse"], &source),
        ("gnu", vec![], &source),
        ("pax", vec!["--xattrs", "--xattrs-include=*", "--sparse", "--sparse-version=0.0"], &source),
        ("pax", vec!["--xattrs", "--xattrs-include=*", "--sparse", "--sparse-version=0.1"], &source),
        ("pax", vec!["--xattrs", "--xattrs-include=*", "--sparse", "--sparse-version=1.0"], &source),
        ("pax", vec!["--xattrs", "--xattrs-include=*"], &source),
        ("ustar", vec![], &plain),
        ("v7", vec![], &old),
    ] {
        let place = Place::new();
        let (archive, top) = (place.path("archive.tar"), source.path().to_str().unwrap());
        let format_option = format!("--format={format}");
        let fixed = ["-C", top, "-cf", archive.to_str().unwrap(), &format_option, "--numeric-owner"];
        tar(&[&fixed[..], &options[..], &["."]].concat());
        place.unpack(&fs::read(&archive).unwrap(), &Rules::default()).unwrap();
        let mut different = differences(source.path(), &place.path("tree"));
        // Without --xattrs, the archive lacks them.
        different.retain(|line| {
            format == "pax" || !line.ends_with("the attribute security.capability is different")
        });
        assert_eq!(different, [""; 0], "{format} {options:?}");
    }
}

#[test]
fn what_is_packed_is_read_by_gnu_tar() {
    let (source, place) = (tempfile::tempdir().unwrap(), Place::new());
    oddities(source.path());
    fs::write(place.path("archive.tar"), packed(source.path(), ".")).unwrap();
    let (archive, tree) = (place.path("archive.tar"), place.path("tree"));
    let options = ["--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "-p"];
    tar(&[&["-C", tree.to_str().unwrap(), "-xf", archive.to_str().unwrap()][..], &options].concat());
    assert_eq!(differences(source.path(), &tree), [""; 0]);
}

#[test]
fn differences_are_found() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for tree in [&one, &other] {
        oddities(tree.path());
        whole_seconds(tree.path());
    }
    assert_eq!(differences(one.path(), other.path()), [""; 0]);
    let changed = other.path();
    File::options().write(true).open(changed.join("sparse")).unwrap().write_all_at(b"!", 6 << 20).unwrap();
    fs::remove_file(changed.join("dangling")).unwrap();
    symlink("elsewhere", changed.join("dangling")).unwrap();
    fs::remove_file(changed.join("hard")).unwrap();
    fs::copy(changed.join("file"), changed.join("hard")).unwrap();
    fs::set_permissions(changed.join("pipe"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(changed.join("hole")).unwrap();
    fs::create_dir(changed.join("more")).unwrap();
    fs::write(changed.join("empty"), "1").unwrap();
    let found = differences(one.path(), changed).join("\n");
    for line in [
        "./sparse: the contents differ at byte 6291456",
        "./dangling: the link targets are nowhere and elsewhere",
        "./hard: its hard links are different files",
        "./pipe: the mode is 640 and 600",
        "./hole: it is only in the first tree",
        "./more: it is only in the second tree",
        "./empty: the size is 0 and 1",
        "./empty: the time is 1234567890 and ",
    ] {
        assert!(found.contains(line), "{line} is not in\n{found}");
    }
}

#[test]
fn a_socket_is_left_out_and_told() {
    let (source, place) = (tempfile::tempdir().unwrap(), Place::new());
    let _socket = UnixListener::bind(source.path().join("socket")).unwrap();
    let mut bytes = Vec::new();
    let done = pack(&Root::open(source.path()).unwrap(), ".", &mut bytes, &mut |_| {}).unwrap();
    assert_eq!(done.skipped, ["./socket: a socket"]);
    Writer::new(&mut bytes).end().unwrap();
    place.unpack(&bytes, &Rules::default()).unwrap();
    assert_eq!(differences(source.path(), &place.path("tree")), [""; 0]);
}

/// The elements of a random tree: one of a few names, and a kind.
fn random_tree() -> impl Strategy<Value = Vec<(Vec<u8>, u8, Vec<u8>, u16)>> {
    let part =
        prop_oneof![Just(b"a".to_vec()), Just(b"b".to_vec()), proptest::collection::vec(1_u8.., 1..120)];
    let part = part.prop_filter("a name", |name| !name.contains(&b'/') && name != b"." && name != b"..");
    let data = proptest::collection::vec(any::<u8>(), 0..2000);
    proptest::collection::vec((part, 0_u8..5, data, 0_u16..0o10000), 0..14)
}

proptest! {
    #![proptest_config(crate::cases(48))]

    #[test]
    fn random_trees_come_out_as_they_went_in(entries in random_tree()) {
        let (source, place) = (tempfile::tempdir().unwrap(), Place::new());
        let mut here = source.path().to_owned();
        for (name, kind, data, mode) in &entries {
            let path = here.join(std::ffi::OsStr::from_bytes(name));
            if fs::symlink_metadata(&path).is_ok() {
                continue;
            }
            match kind {
                0 | 1 => fs::write(&path, data).unwrap(),
                2 => {
                    fs::create_dir(&path).unwrap();
                    here.clone_from(&path);
                }
                3 => symlink(std::ffi::OsStr::from_bytes(&[name.as_slice(), b"/.."].concat()), &path).unwrap(),
                _ => {
                    let Some(first) = fs::read_dir(&here).unwrap().flatten().find(|entry| entry.path().is_file()) else { continue };
                    fs::hard_link(first.path(), &path).unwrap();
                }
            }
            if !path.is_symlink() {
                let owner = if path.is_dir() { 0o700 } else { 0o400 };
                let mode = fs::Permissions::from_mode(u32::from(*mode) | owner);
                fs::set_permissions(&path, mode).unwrap();
            }
        }
        place.unpack(&packed(source.path(), "."), &Rules::default()).unwrap();
        prop_assert_eq!(differences(source.path(), &place.path("tree")), [""; 0]);
    }
}
