//! Archives that mean harm, byte by byte; random ones; and trees that go in and come out the same.

use std::fs;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown as lchown_at, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::archive::compare::compare;
use crate::archive::header::{BLOCK, Fields};
use crate::archive::pack::pack;
use crate::archive::pax::put;
use crate::archive::writer::Writer;

/// A tree to unpack into, with something beside it that must not be touched.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(place.path("tree")).unwrap();
        fs::create_dir_all(place.path("outside/directory")).unwrap();
        fs::write(place.path("outside/secret"), "keep").unwrap();
        fs::set_permissions(place.path("outside/secret"), fs::Permissions::from_mode(0o600)).unwrap();
        place
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn unpack(&self, bytes: &[u8], rules: &Rules<'_>) -> Result<Unpacked> {
        let root = Root::open(&self.path("tree")).unwrap();
        unpack(&mut Cursor::new(bytes), &root, rules, &mut |_| {})
    }

    /// Everything about what is outside, and what is beside it.
    fn outside(&self) -> Vec<(PathBuf, u32, u64, i64, u64)> {
        let mut found = Vec::new();
        for directory in ["", "outside", "outside/directory"] {
            for entry in fs::read_dir(self.path(directory)).unwrap() {
                let path = entry.unwrap().path();
                if !path.ends_with("tree") {
                    let seen = fs::symlink_metadata(&path).unwrap();
                    let times = (seen.mtime() << 20) + seen.ctime() + seen.mtime_nsec() + seen.ctime_nsec();
                    found.push((path, seen.mode(), seen.size(), times, seen.nlink()));
                }
            }
        }
        found.sort();
        assert_eq!(fs::read_to_string(self.path("outside/secret")).unwrap(), "keep");
        found
    }
}

fn fields<'a>(kind: u8, name: &'a [u8], link: &'a [u8], size: u64) -> Fields<'a> {
    let (user, group) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    Fields {
        kind,
        name,
        link,
        mode: 0o755,
        owner: (user, group),
        size,
        modified: 1_000_000_000,
        device: (0, 0),
    }
}

fn member(kind: u8, name: &str, link: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = fields(kind, name.as_bytes(), link.as_bytes(), data.len() as u64).block().to_vec();
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn file(name: &str, data: &str) -> Vec<u8> {
    member(b'0', name, "", data.as_bytes())
}

fn link(name: &str, target: &str) -> Vec<u8> {
    member(b'2', name, target, b"")
}

fn hard(name: &str, target: &str) -> Vec<u8> {
    member(b'1', name, target, b"")
}

fn directory(name: &str) -> Vec<u8> {
    member(b'5', name, "", b"")
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in records {
        put(&mut bytes, key.as_bytes(), value);
    }
    member(b'x', "PaxHeaders/x", "", &bytes)
}

/// A header with some bytes put in place, and a right checksum.
fn patched(mut block: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    block[at..at + bytes.len()].copy_from_slice(bytes);
    block[148..156].copy_from_slice(b"        ");
    let sum: u64 = block[..BLOCK].iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// A header of GNU tar for a sparse file; octal pairs, and its real size.
fn old_sparse(pairs: &[(u64, u64)], size: u64, data: &[u8]) -> Vec<u8> {
    let mut bytes = member(b'S', "sparse", "", data);
    let mut at = 386;
    for (offset, length) in pairs {
        let text = format!("{offset:011o}\0{length:011o}\0");
        bytes[at..at + 24].copy_from_slice(text.as_bytes());
        at += 24;
    }
    let bytes = patched(bytes, 257, b"ustar  \0");
    patched(bytes, 483, format!("{size:011o}\0").as_bytes())
}

fn whole(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 2 * BLOCK]].concat()
}

enum Outcome {
    Refused(&'static str),
    Fine(fn(&Path) -> bool),
}
use Outcome::{Fine, Refused};

fn text(path: &Path, name: &str) -> String {
    fs::read_to_string(path.join(name)).unwrap_or_default()
}

/// Names that would lead out of the tree.
fn names() -> Vec<(Vec<u8>, Outcome)> {
    let long = "x".repeat(256);
    let deep = "d/".repeat(300);
    vec![
        (
            whole(&[file("../outside/secret", "x")]),
            Refused("../outside/secret: the name leads out of the tree"),
        ),
        (
            whole(&[file("a/../../outside/new", "x")]),
            Refused("a/../../outside/new: the name leads out of the tree"),
        ),
        (whole(&[file("/outside/secret", "in")]), Fine(|tree| text(tree, "outside/secret") == "in")),
        (whole(&[file("//./etc//x", "in")]), Fine(|tree| text(tree, "etc/x") == "in")),
        (whole(&[directory("./"), file("./x", "in")]), Fine(|tree| text(tree, "x") == "in")),
        (whole(&[file("", "x")]), Refused("a member has no name")),
        (whole(&[file(".", "x")]), Refused(".: the top of the tree must be a directory")),
        (whole(&[link(".", "x")]), Refused(".: the top of the tree must be a directory")),
        (whole(&[pax(&[("path", b"a\0b")]), file("a", "x")]), Refused("a\\0b: the name has a NUL in it")),
        (
            whole(&[pax(&[("path", b"../outside/secret")]), file("good", "x")]),
            Refused("../outside/secret: the name leads out of the tree"),
        ),
        (
            whole(&[pax(&[("GNU.sparse.name", b"../x"), ("path", b"good")]), file("good", "x")]),
            Refused("../x: the name leads out of the tree"),
        ),
        (
            whole(&[member(b'L', "././@LongLink", "", b"../../x\0"), file("good", "x")]),
            Refused("../../x: the name leads out of the tree"),
        ),
        (whole(&[file("line\nfeed\x1b[0m", "x")]), Fine(|tree| text(tree, "line\nfeed\x1b[0m") == "x")),
        (
            whole(&[pax(&[("path", long.as_bytes())]), file("a", "x")]),
            Refused(
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…: a part of the name is longer than 255 bytes",
            ),
        ),
        (
            whole(&[pax(&[("path", deep.as_bytes())]), directory("a")]),
            Refused(
                "d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/…: more than 256 directories deep",
            ),
        ),
    ]
}

/// Links and what is made through them.
#[expect(clippy::too_many_lines, reason = "a table")]
fn links() -> Vec<(Vec<u8>, Outcome)> {
    vec![
        (
            whole(&[link("out", "../outside"), file("out/secret", "x")]),
            Refused("out/secret: out: is a link or no directory"),
        ),
        (
            whole(&[link("out", "../outside"), directory("out"), file("out/secret", "in")]),
            Fine(|tree| text(tree, "out/secret") == "in" && !tree.join("out").is_symlink()),
        ),
        (
            whole(&[directory("d"), file("d/a", "1"), link("d", "../outside"), file("d/secret", "x")]),
            Refused("d: a directory with something in it is in its place"),
        ),
        (
            whole(&[directory("d"), link("d", "../outside"), file("d/secret", "x")]),
            Refused("d/secret: d: is a link or no directory"),
        ),
        (
            whole(&[link("s", "../outside/secret"), file("s", "in")]),
            Fine(|tree| text(tree, "s") == "in" && !tree.join("s").is_symlink()),
        ),
        (
            whole(&[link("s", "../outside/secret"), hard("h", "s"), file("h", "in")]),
            Fine(|tree| text(tree, "h") == "in" && tree.join("s").is_symlink()),
        ),
        (
            whole(&[hard("h", "../outside/secret")]),
            Refused("h: the target of the link: ../outside/secret: the name leads out of the tree"),
        ),
        (
            whole(&[hard("h", "/etc/passwd")]),
            Refused("h: the target of the link: open(etc): No such file or directory (ENOENT)"),
        ),
        (
            whole(&[link("out", "../outside"), hard("h", "out/secret")]),
            Refused("h: the target of the link: out is a link or no directory"),
        ),
        (
            whole(&[hard("h", "missing")]),
            Refused("h: the target of the link, missing, is not in the archive"),
        ),
        (whole(&[directory("d"), hard("h", "d")]), Refused("h: the target of the link, d, is a directory")),
        (whole(&[hard("h", ".")]), Refused("h: the target of the link is the top of the tree")),
        (whole(&[file("a", "1"), hard("a", "a")]), Fine(|tree| text(tree, "a") == "1")),
        (
            whole(&[file("a", "old"), hard("b", "a"), file("b", "new")]),
            Fine(|tree| text(tree, "a") == "old" && text(tree, "b") == "new"),
        ),
        (whole(&[link("s", "")]), Refused("s: a link without a target")),
        (
            whole(&[pax(&[("linkpath", b"a\0b")]), link("s", "x")]),
            Refused("s: the target of the link has a NUL in it"),
        ),
        (
            whole(&[member(b'6', "pipe", "", b""), file("pipe/x", "1")]),
            Refused("pipe/x: pipe: is a link or no directory"),
        ),
        (
            whole(&[member(b'6', "pipe", "", b""), file("pipe", "in")]),
            Fine(|tree| text(tree, "pipe") == "in"),
        ),
        (
            whole(&[member(b'6', "pipe", "", b"")]),
            Fine(|tree| fs::symlink_metadata(tree.join("pipe")).is_ok_and(|seen| seen.file_type().is_fifo())),
        ),
    ]
}

/// Numbers and structures that lie.
#[expect(clippy::too_many_lines, reason = "a table")]
fn lies() -> Vec<(Vec<u8>, Outcome)> {
    let one = file("a", "1");
    let sparse = |map: &'static str, size: &'static str| {
        let records = [("GNU.sparse.map", map.as_bytes()), ("GNU.sparse.size", size.as_bytes())];
        whole(&[pax(&records), file("sparse", "1234")])
    };
    let in_front = |map: &str, size: &str| {
        let mut data = map.as_bytes().to_vec();
        data.resize(BLOCK, 0);
        data.extend(b"1234");
        let records = [
            ("GNU.sparse.major", b"1".as_slice()),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", size.as_bytes()),
        ];
        whole(&[pax(&records), member(b'0', "sparse", "", &data)])
    };
    vec![
        (Vec::new(), Refused("the archive is empty")),
        (vec![b'x'; 2000], Refused("this is no tar archive: a header has a wrong checksum")),
        (b"short".to_vec(), Refused("the archive ends in the middle of a block")),
        (one.clone(), Refused("the archive ends without its end mark; it was cut off")),
        (one[..600].to_vec(), Refused("the archive ends in the middle of a")),
        (
            [one.clone(), vec![b'x'; BLOCK]].concat(),
            Refused("the archive is damaged: a header has a wrong checksum"),
        ),
        (
            [one.clone(), vec![0; BLOCK], one.clone(), vec![0; 2 * BLOCK]].concat(),
            Refused("the archive has an empty block in the middle"),
        ),
        ([one.clone(), vec![0; BLOCK]].concat(), Fine(|tree| text(tree, "a") == "1")),
        (
            [whole(std::slice::from_ref(&one)), b"garbage".to_vec()].concat(),
            Fine(|tree| text(tree, "a") == "1"),
        ),
        (
            whole(&[patched(one.clone(), 124, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")]),
            Refused("a: its size is negative"),
        ),
        (
            whole(&[patched(one.clone(), 124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff")]),
            Refused("a: its size is too large"),
        ),
        (
            whole(&[patched(one.clone(), 124, b"12x45678901\0")]),
            Refused("a: its size is no number: it is not octal"),
        ),
        (
            whole(&[pax(&[("size", b"-1")]), one.clone()]),
            Refused("an extended header has a wrong size: it is no number"),
        ),
        (
            whole(&[pax(&[("size", b"99999999999999999999999")]), one.clone()]),
            Refused("an extended header has a wrong size: number too large to fit in target type"),
        ),
        (
            whole(&[pax(&[("uid", b"4294967295")]), one.clone()]),
            Refused("an extended header has a wrong uid: 4294967295 is no user or group id"),
        ),
        (
            whole(&[pax(&[("mtime", b"soon")]), one.clone()]),
            Refused("an extended header has a wrong mtime: it is no number"),
        ),
        (
            whole(&[member(b'x', "p", "", b"999 path=x\n"), one.clone()]),
            Refused("an extended header has a malformed record"),
        ),
        (
            whole(&[fields(b'x', b"p", b"", 9 << 20).block().to_vec()]),
            Refused("an extended header is larger than 8388608 bytes"),
        ),
        (
            whole(&[fields(b'g', b"p", b"", 1 << 20).block().to_vec()]),
            Refused("an extended header is larger than 65536 bytes"),
        ),
        (
            whole(&[fields(b'L', b"p", b"", 4 << 30).block().to_vec()]),
            Refused("a member has a name of 4294967296 bytes; 4095 is the most"),
        ),
        (whole(&[member(b'?', "a", "", b"")]), Refused("a: members of type '?' are unknown")),
        (
            whole(&[member(b'M', "a", "", b"")]),
            Refused("a: it began in another volume; join the volumes first"),
        ),
        (
            whole(&[patched(member(b'3', "n", "", b""), 329, b"7777777\0")]),
            Refused("n: the device number 2097151:0 is too large"),
        ),
        (
            whole(&[patched(one.clone(), 100, b"7777777\0")]),
            Fine(|tree| fs::metadata(tree.join("a")).unwrap().mode() & 0o177_7777 == 0o10_7777),
        ),
        (
            whole(&[directory("d"), file("d/x", "1"), file("d", "2")]),
            Refused("d: a directory with something in it is in its place"),
        ),
        (
            whole(&[old_sparse(&[(4, 2), (0, 2)], 8, b"1234")]),
            Refused("sparse: its pieces of data overlap or go backwards"),
        ),
        (
            whole(&[old_sparse(&[(0, 2), (1, 2)], 8, b"1234")]),
            Refused("sparse: its pieces of data overlap or go backwards"),
        ),
        (
            whole(&[old_sparse(&[(0, 4)], 2, b"1234")]),
            Refused("sparse: a piece of its data ends behind the file"),
        ),
        (
            whole(&[old_sparse(&[(0, 2)], 8, b"1234")]),
            Refused("sparse: its pieces of data are 2 bytes together and the archive has 4"),
        ),
        (
            whole(&[old_sparse(&[(0, 2), (6, 2)], 8, b"1234")]),
            Fine(|tree| text(tree, "sparse") == "12\0\0\0\x0034"),
        ),
        (sparse("0,2,6,2", "8"), Fine(|tree| text(tree, "sparse") == "12\0\0\0\x0034")),
        (sparse("18446744073709551615,4", "8"), Refused("sparse: its map of data and holes is malformed")),
        (
            sparse("0,4,", "99999999999999999999"),
            Refused("an extended header has a wrong GNU.sparse.size: number too large to fit in target type"),
        ),
        (sparse("0,4", "9223372036854775808"), Refused("sparse: it is larger than 1048576 bytes")),
        (in_front("2\n0\n2\n6\n2\n", "8"), Fine(|tree| text(tree, "sparse") == "12\0\0\0\x0034")),
        (in_front("1\n0\n9\n", "8"), Refused("sparse: a piece of its data ends behind the file")),
        (in_front("99999999\n0\n9\n", "8"), Refused("sparse: its map of data and holes is malformed")),
        (in_front("x\n", "8"), Refused("sparse: its map of data and holes is malformed: it is no number")),
        (
            whole(&[old_sparse(&[(0, 4), (1 << 30, 0)], 1 << 30, b"1234")]),
            Refused("sparse: it is larger than 1048576 bytes"),
        ),
        (
            whole(&[member(b'0', "big", "", &vec![0; 1 << 20]), file("more", "1")]),
            Refused("more: the archive has more than 1048576 bytes"),
        ),
        (
            whole(&[fields(b'0', b"big", b"", 1 << 32).block().to_vec()]),
            Refused("big: the archive has more than 1048576 bytes"),
        ),
        (whole(&vec![directory("d"); 101]), Refused("the archive has more than 100 members")),
    ]
}

#[test]
fn archives_that_mean_harm_do_none() {
    let rules = Rules { most_bytes: Some(1 << 20), most_entries: 100, strip_prefix: None };
    let cases: Vec<_> = [names(), links(), lies()].into_iter().flatten().collect();
    assert!(cases.len() >= 70, "{}", cases.len());
    for (number, (bytes, outcome)) in cases.into_iter().enumerate() {
        let place = Place::new();
        let before = place.outside();
        let done = place.unpack(&bytes, &rules).map_err(|error| format!("{error:#}"));
        match outcome {
            Refused(why) => assert_eq!(done, Err(why.to_owned()), "case {number}"),
            Fine(is_so) => assert!(done.is_ok() && is_so(&place.path("tree")), "case {number}: {done:?}"),
        }
        assert_eq!(place.outside(), before, "case {number}");
    }
}

#[test]
fn a_prefix_is_taken_off_and_nothing_else_is_let_in() {
    let rules = Rules { strip_prefix: Some("rootfs"), ..Rules::default() };
    let members = [directory("rootfs"), file("rootfs/a", "1"), hard("rootfs/b", "rootfs/a")];
    let place = Place::new();
    place.unpack(&whole(&members), &rules).unwrap();
    assert_eq!(text(&place.path("tree"), "b"), "1");
    for (members, why) in [
        (vec![file("other", "1")], "other: it is not in rootfs"),
        (
            vec![file("rootfs/a", "1"), hard("rootfs/b", "a")],
            "rootfs/b: the target of the link: a: it is not in rootfs",
        ),
        (vec![file("rootfs/../a", "1")], "rootfs/../a: the name leads out of the tree"),
    ] {
        assert_eq!(format!("{:#}", place.unpack(&whole(&members), &rules).unwrap_err()), why);
    }
}

#[test]
fn a_directory_gets_its_time_back_when_the_archive_returns_to_it() {
    let place = Place::new();
    let members =
        [directory("a"), file("a/1", ""), file("b", ""), file("a/2", ""), link("a/3", "x"), directory("c")];
    place.unpack(&whole(&members), &Rules::default()).unwrap();
    for name in ["tree/a", "tree/a/2", "tree/c"] {
        let seen = fs::symlink_metadata(place.path(name)).unwrap();
        assert_eq!((seen.mtime(), seen.mode() & 0o7777), (1_000_000_000, 0o755), "{name}");
    }
    let link = fs::symlink_metadata(place.path("tree/a/3")).unwrap();
    assert_eq!(link.mtime(), 1_000_000_000);
}

/// A tree with something of everything that does not need root.
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
        // Only root may.
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

/// Sets every time to one that every format can say.
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
    // What the old format cannot say is left out there.
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
        // Without --xattrs they are not in the archive.
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
        "./dangling: it leads to nowhere and to elsewhere",
        "./hard: it is another name of different files",
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

/// What a random tree is made of: a name, of a few that repeat, and what.
fn random_tree() -> impl Strategy<Value = Vec<(Vec<u8>, u8, Vec<u8>, u16)>> {
    let part =
        prop_oneof![Just(b"a".to_vec()), Just(b"b".to_vec()), proptest::collection::vec(1_u8.., 1..120)];
    let part = part.prop_filter("a name", |name| !name.contains(&b'/') && name != b"." && name != b"..");
    let data = proptest::collection::vec(any::<u8>(), 0..2000);
    proptest::collection::vec((part, 0_u8..5, data, 0_u16..0o10000), 0..14)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

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

    #[test]
    fn mutated_archives_stay_inside(changes in proptest::collection::vec((0_usize..12_000, any::<u8>(), any::<bool>()), 1..30)) {
        let place = Place::new();
        let before = place.outside();
        let mut bytes = whole(&[
            directory("d"), file("d/a", "1234"), link("out", "../outside"), hard("h", "d/a"),
            pax(&[("path", b"d/long"), ("mtime", b"1.5"), ("SCHILY.xattr.user.x", b"1")]), file("x", "5"),
            member(b'L', "././@LongLink", "", b"out/secret\0"), file("y", "6"), old_sparse(&[(0, 2), (6, 2)], 8, b"1234"),
        ]);
        for (at, byte, right) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
            let start = at / BLOCK * BLOCK;
            if right && start + BLOCK <= bytes.len() {
                let block = patched(bytes[start..start + BLOCK].to_vec(), 0, &[]);
                bytes[start..start + BLOCK].copy_from_slice(&block);
            }
        }
        let rules = Rules { most_bytes: Some(1 << 20), most_entries: 100, strip_prefix: None };
        let done = place.unpack(&bytes, &rules);
        prop_assert!(done.is_err() || done.is_ok_and(|done| done.bytes <= 1 << 20));
        prop_assert_eq!(place.outside(), before);
    }

    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 1..3000)) {
        let place = Place::new();
        prop_assert!(place.unpack(&bytes, &Rules::default()).is_err());
    }
}
