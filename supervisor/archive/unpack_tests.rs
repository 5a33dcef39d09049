//! Malicious archives, byte by byte, and random ones.

#[path = "unpack_link_tests.rs"]
mod links;
#[path = "round_trip_tests.rs"]
mod round_trip;

use std::fs;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown as lchown_at, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::archive::header::{BLOCK, Fields};
use crate::archive::pax::put;

/// A tree to unpack into, next to a file that must not change.
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

    /// The status of everything outside and next to the tree.
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

/// A header with some bytes replaced, and a valid checksum.
fn patched(mut block: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    block[at..at + bytes.len()].copy_from_slice(bytes);
    block[148..156].copy_from_slice(b"        ");
    let sum: u64 = block[..BLOCK].iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// A header of GNU tar for a sparse file: octal pairs and the real size.
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
            Refused("../outside/secret: the name leads outside the tree"),
        ),
        (
            whole(&[file("a/../../outside/new", "x")]),
            Refused("a/../../outside/new: the name leads outside the tree"),
        ),
        (whole(&[file("/outside/secret", "in")]), Fine(|tree| text(tree, "outside/secret") == "in")),
        (whole(&[file("//./etc//x", "in")]), Fine(|tree| text(tree, "etc/x") == "in")),
        (whole(&[directory("./"), file("./x", "in")]), Fine(|tree| text(tree, "x") == "in")),
        (whole(&[file("", "x")]), Refused(".: the top of the tree must be a directory")),
        (
            whole(&[directory(""), file("x", "in")]),
            Fine(|tree| text(tree, "x") == "in" && fs::metadata(tree).unwrap().mode() & 0o7777 == 0o755),
        ),
        (whole(&[file("a", "1"), hard("", "a")]), Refused(".: the top of the tree must be a directory")),
        (whole(&[hard("a", "")]), Refused("a: the target of the link is the top of the tree")),
        (whole(&[file(".", "x")]), Refused(".: the top of the tree must be a directory")),
        (whole(&[link(".", "x")]), Refused(".: the top of the tree must be a directory")),
        (whole(&[pax(&[("path", b"a\0b")]), file("a", "x")]), Refused("a\\0b: the name contains a NUL byte")),
        (
            whole(&[pax(&[("path", b"../outside/secret")]), file("good", "x")]),
            Refused("../outside/secret: the name leads outside the tree"),
        ),
        (
            whole(&[pax(&[("GNU.sparse.name", b"../x"), ("path", b"good")]), file("good", "x")]),
            Refused("../x: the name leads outside the tree"),
        ),
        (
            whole(&[member(b'L', "././@LongLink", "", b"../../x\0"), file("good", "x")]),
            Refused("../../x: the name leads outside the tree"),
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

/// Invalid numbers and structures.
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
        (vec![b'x'; 2000], Refused("this is not a tar archive: a header has a wrong checksum")),
        (b"short".to_vec(), Refused("the archive ends in the middle of a block")),
        (one.clone(), Refused("the archive is truncated: it has no end marker")),
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
            Refused("a: its size is not a number: it is not octal"),
        ),
        (
            whole(&[pax(&[("size", b"-1")]), one.clone()]),
            Refused("an extended header has an invalid size: it is not a number"),
        ),
        (
            whole(&[pax(&[("size", b"99999999999999999999999")]), one.clone()]),
            Refused("an extended header has an invalid size: number too large to fit in target type"),
        ),
        (
            whole(&[pax(&[("uid", b"4294967295")]), one.clone()]),
            Refused("an extended header has an invalid uid: 4294967295 is not a user or group ID"),
        ),
        (
            whole(&[pax(&[("mtime", b"soon")]), one.clone()]),
            Refused("an extended header has an invalid mtime: it is not a number"),
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
        (whole(&[member(b'?', "a", "", b"")]), Refused("a: members of type '?' are unsupported")),
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
            Refused("d: a non-empty directory exists at this path"),
        ),
        (
            whole(&[old_sparse(&[(4, 2), (0, 2)], 8, b"1234")]),
            Refused("sparse: its data segments overlap or are out of order"),
        ),
        (
            whole(&[old_sparse(&[(0, 2), (1, 2)], 8, b"1234")]),
            Refused("sparse: its data segments overlap or are out of order"),
        ),
        (
            whole(&[old_sparse(&[(0, 4)], 2, b"1234")]),
            Refused("sparse: a data segment ends beyond the end of the file"),
        ),
        (
            whole(&[old_sparse(&[(0, 2)], 8, b"1234")]),
            Refused("sparse: its data segments total 2 bytes, but the archive has 4"),
        ),
        (
            whole(&[old_sparse(&[(0, 2), (6, 2)], 8, b"1234")]),
            Fine(|tree| text(tree, "sparse") == "12\0\0\0\x0034"),
        ),
        (sparse("0,2,6,2", "8"), Fine(|tree| text(tree, "sparse") == "12\0\0\0\x0034")),
        (sparse("18446744073709551615,4", "8"), Refused("sparse: its map of data and holes is malformed")),
        (
            sparse("0,4,", "99999999999999999999"),
            Refused(
                "an extended header has an invalid GNU.sparse.size: number too large to fit in target type",
            ),
        ),
        (sparse("0,4", "9223372036854775808"), Refused("sparse: it is larger than 1048576 bytes")),
        (in_front("2\n0\n2\n6\n2\n", "8"), Fine(|tree| text(tree, "sparse") == "12\0\0\0\x0034")),
        (in_front("1\n0\n9\n", "8"), Refused("sparse: a data segment ends beyond the end of the file")),
        (in_front("99999999\n0\n9\n", "8"), Refused("sparse: its map of data and holes is malformed")),
        (in_front("x\n", "8"), Refused("sparse: its map of data and holes is malformed: it is not a number")),
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
fn malicious_archives_do_no_harm() {
    let rules = Rules { most_bytes: Some(1 << 20), most_entries: 100, strip_prefix: None };
    let cases: Vec<_> = [names(), links::links(), lies()].into_iter().flatten().collect();
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
        (vec![file("rootfs/../a", "1")], "rootfs/../a: the name leads outside the tree"),
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

proptest! {
    #![proptest_config(crate::cases(48))]

    #[test]
    fn mutated_archives_stay_inside(changes in proptest::collection::vec((0_usize..12_000, any::<u8>(), any::<bool>()), 1..30)) {
        let place = Place::new();
        let before = place.outside();
        let mut bytes = whole(&[
            directory("d"), file("d/a", "1234"), link("out", "../outside"), file("out/new", "1"), hard("h", "d/a"),
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
