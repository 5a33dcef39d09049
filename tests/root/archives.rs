//! Exchange of archives with other programs: access control lists, links, keywords, times.

use crate::root_fs::Tree;
use crate::sandbox::Sandbox;
use crate::storage::{archive, assert_same, assert_tidy, directory, text};
use ds::archive::header::{BLOCK, Fields};
use ds::archive::pax::put;
use ds::sys::xattr;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// Runs a program of the machine; returns its output.
#[track_caller]
fn tool(words: &[&str]) -> String {
    crate::images::tool(words)
}

/// The lists of a file, with numbers.
#[track_caller]
fn lists(path: &Path) -> String {
    tool(&["getfacl", "--numeric", "--omit-header", "--absolute-names", text(path)]).trim().to_owned()
}

/// A tree whose files have lists of users that the machine has no names for.
fn listed_tree(path: &Path) -> Tree {
    let tree = Tree::with_probe(path);
    tree.write("srv/secret", "x");
    fs::set_permissions(tree.path("srv/secret"), PermissionsExt::from_mode(0o600)).expect("chmod");
    tool(&["setfacl", "-m", "u:41000:rw,g:41001:r", text(&tree.path("srv/secret"))]);
    tree.write("srv/shared/file", "x");
    tool(&[
        "setfacl",
        "-m",
        "u:41000:rwx,d:u:41000:rwx,d:g:41029:r-x,d:o::-",
        text(&tree.path("srv/shared")),
    ]);
    tree
}

/// A member of an archive with its own records.
pub fn member(kind: u8, name: &str, mode: u32, link: &str, records: &[(&str, &str)]) -> Vec<u8> {
    let block = |kind: u8, name: &str, size: usize| {
        let (name, link, size) = (name.as_bytes(), link.as_bytes(), size as u64);
        Fields { kind, name, link, mode, owner: (0, 0), size, modified: 1_000_000_000, device: (0, 0) }
            .block()
    };
    let mut data = Vec::new();
    records.iter().for_each(|(key, value)| put(&mut data, key.as_bytes(), value.as_bytes()));
    let mut bytes = if data.is_empty() { Vec::new() } else { block(b'x', "x", data.len()).to_vec() };
    data.resize(data.len().next_multiple_of(BLOCK), 0);
    bytes.extend(data);
    bytes.extend(block(kind, name, 0));
    bytes
}

/// An archive of these members after a tree that boots.
pub fn strange_archive(sandbox: &Sandbox, members: &[Vec<u8>]) -> Vec<u8> {
    let tree = Tree::with_probe(&sandbox.path("strange.tree"));
    let mut bytes = fs::read(archive(sandbox, &tree, "strange.tar", &[])).expect("read");
    fs::remove_dir_all(&tree.0).expect("remove");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("members") + 1;
    bytes.truncate(end.next_multiple_of(BLOCK));
    bytes.extend(members.concat());
    bytes.extend([0; 2 * BLOCK]);
    bytes
}

#[test]
fn lists_come_from_gnu_tar_and_bsdtar_and_go_back() {
    let sandbox = Sandbox::new();
    let tree = listed_tree(&sandbox.path("tree"));
    let places = ["srv/secret", "srv/shared", "srv/shared/file"];
    let before = places.map(|place| lists(&tree.path(place)));
    assert!(
        before[0].contains("user:41000:rw-") && before[1].contains("default:group:41029:r-x"),
        "{before:?}"
    );
    for program in ["tar", "bsdtar"] {
        let packed = sandbox.path(&format!("{program}.archive"));
        let mut words = vec![program, "--acls", "--format=pax", "-cf", text(&packed), "-C", text(&tree.0)];
        words.extend(if program == "tar" { &["--numeric-owner", "."][..] } else { &["."] });
        tool(&words);
        let created = sandbox.ds(&["create", program, "--from", text(&packed)]);
        assert_eq!(created.errors, "", "{program}");
        created.succeeds();
        let made = directory(&sandbox, program);
        assert_eq!(places.map(|place| lists(&made.join(place))), before, "{program}");
        assert_same(&tree.0, &made);
    }
    sandbox.ds(&["export", "tar", "-o", text(&sandbox.path("exported"))]).succeeds();
    fs::create_dir(sandbox.path("out")).expect("mkdir");
    // Only the text form, as --acls writes it.
    let exported = sandbox.path("exported");
    let out = sandbox.path("out");
    tool(&["tar", "--acls", "-xpf", text(&exported), "-C", text(&out)]);
    let top = fs::read_dir(&out).expect("out").find_map(|entry| {
        let path = entry.expect("entry").path();
        path.join("srv").exists().then_some(path)
    });
    let top = top.expect("the tree");
    assert_eq!(places.map(|place| lists(&top.join(place))), before);
    sandbox.ds(&["import", text(&exported), "again"]).succeeds();
    assert_same(&tree.0, &directory(&sandbox, "again"));
    assert_tidy(&sandbox);
}

#[test]
fn names_in_lists_are_those_of_the_tree() {
    let sandbox = Sandbox::new();
    // The file that defines the names may come last.
    let lists_of =
        |name: &str, mode, access: &str| member(b'0', name, mode, "", &[("SCHILY.acl.access", access)]);
    let packed = [
        lists_of(
            "./a",
            0o660,
            "user::rw-\nuser:lisa:r--\t#effective:r--\ngroup::---\ngroup:staff:rw-\nmask::rw-\nother::---\n",
        ),
        lists_of(
            "./b",
            0o660,
            "user::rw-,user:gone:rw-:4711,user:mallory:rw-,group::r--,mask::rw-,other::---",
        ),
        lists_of("./c", 0o660, "u::rw,u:lisa:rw,g::-,m::rw,o::-"),
        lists_of("./d", 0o664, "u::rw,u:lisa:rw,g::r,nonsense,m::rw,o::r"),
        member(
            b'5',
            "./e/",
            0o750,
            "",
            &[("SCHILY.acl.default", "user::rwx,user:lisa:r-x:1,group::r-x,mask::r-x,other::---")],
        ),
        member(b'0', "./e/inside", 0o644, "", &[]),
        member(b'2', "./l", 0o777, "a", &[("SCHILY.acl.access", "u::rw,u:lisa:rw,g::-,m::rw,o::-")]),
        // Another file in the meantime.
        lists_of("./f", 0o660, "u::rw,u:lisa:rw,g::-,m::rw,o::-"),
        member(b'2', "./f", 0o777, "/etc/passwd", &[]),
    ];
    let tree = Tree::with_probe(&sandbox.path("tree"));
    tree.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nlisa:x:1234:100::/:/bin/sh\n");
    tree.write("etc/group", "root:x:0:\nstaff:x:50:\n");
    let rest = fs::read(archive(&sandbox, &tree, "tree.tar", &[])).expect("read");
    let created = sandbox.ds_with_input(&["create", "web", "--from", "-"], &[packed.concat(), rest].concat());
    for told in ["left out: mallory", "lists of 1 member cannot be read"] {
        assert!(created.errors.contains(told), "{}", created.errors);
    }
    assert_eq!(created.errors.lines().count(), 2, "{}", created.errors);
    created.succeeds();
    let made = directory(&sandbox, "web");
    let base = "user::rw-\nuser:";
    assert_eq!(
        lists(&made.join("a")),
        format!("{base}1234:r--\ngroup::---\ngroup:50:rw-\nmask::rw-\nother::---")
    );
    assert_eq!(lists(&made.join("b")), format!("{base}4711:rw-\ngroup::r--\nmask::rw-\nother::---"));
    assert_eq!(lists(&made.join("c")), format!("{base}1234:rw-\ngroup::---\nmask::rw-\nother::---"));
    assert_eq!(lists(&made.join("d")), "user::rw-\ngroup::---\nother::r--", "no user gets more permissions");
    assert!(lists(&made.join("e")).contains("default:user:1234:r-x"), "{}", lists(&made.join("e")));
    assert_eq!(lists(&made.join("e/inside")), "user::rw-\ngroup::r--\nother::r--", "it inherits nothing");
    for name in ["e", "e/inside", "c"] {
        assert_eq!(fs::metadata(made.join(name)).expect("stat").mtime(), 1_000_000_000, "{name}");
    }
    assert_eq!(lists(&made.join("etc/passwd")), "user::rw-\ngroup::r--\nother::r--");
}

#[test]
fn without_access_control_lists_the_group_gets_only_its_own_permissions() {
    let mut sandbox = Sandbox::new();
    let tree = listed_tree(&sandbox.path("tree"));
    let containers = sandbox.data("containers");
    fs::create_dir_all(&containers).expect("mkdir");
    // The file system supports no attributes.
    sandbox.mount(&["-t", "ramfs", "-o", "mode=700", "ramfs", text(&containers)]);
    for options in [&["--acls"][..], &["--xattrs", "--xattrs-include=*"]] {
        let packed = sandbox.path("lists.tar");
        let fixed = ["tar", "-cf", text(&packed), "-C", text(&tree.0), "--numeric-owner", "--format=pax"];
        tool(&[&fixed[..], options, &["."]].concat());
        let created = sandbox.ds(&["create", "web", "--from", text(&packed)]);
        let told =
            created.errors.lines().find(|line| line.contains("system.posix_acl_access")).expect("a warning");
        assert!(
            told.contains("and 1 others") && told.contains("the group got only its own permissions"),
            "{told}"
        );
        created.succeeds();
        let modes = sandbox.run(&["stat", "-c", "%a", text(&containers.join("web/rootfs/srv/secret"))]);
        assert_eq!(modes.succeeds(), "600\n");
        let modes = sandbox.run(&["stat", "-c", "%a", text(&containers.join("web/rootfs/srv/shared"))]);
        assert_eq!(modes.succeeds(), "755\n");
        sandbox.ds(&["rm", "web"]).succeeds();
    }
}

#[test]
fn unknown_keywords_of_an_archive_are_reported_once() {
    let sandbox = Sandbox::new();
    let known = [
        ("atime", "1"),
        ("comment", "x"),
        ("LIBARCHIVE.creationtime", "1"),
        ("SCHILY.fflags", "nodump"),
        ("SCHILY.dev", "1"),
        ("RHT.security.selinux", "x"),
        ("GNU.volume.label", "x"),
        ("LIBARCHIVE.xattr.user.base%3d64", "aGVsbG8"),
        // As bsdtar writes it: the name encoded in both.
        ("LIBARCHIVE.xattr.user.%C3%A9", "aGVsbG8"),
        ("SCHILY.xattr.user.%C3%A9", "hello"),
    ];
    let members = [
        member(
            b'0',
            "a",
            0o644,
            "",
            &[("APK-TOOLS.checksum.SHA1", "1"), ("SCHILY.xattr.system.nfs4_acl", "x")],
        ),
        member(b'0', "b", 0o644, "", &[("APK-TOOLS.checksum.SHA1", "2")]),
        member(b'0', "c", 0o644, "", &known),
    ];
    let created =
        sandbox.ds_with_input(&["create", "web", "--from", "-"], &strange_archive(&sandbox, &members));
    let mut lines: Vec<&str> = created.errors.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("APK-TOOLS.checksum.SHA1 of 2 members"), "{lines:?}");
    assert!(lines[1].contains("SCHILY.xattr.system.nfs4_acl of 1 member"), "{lines:?}");
    created.succeeds();
    let file = File::open(directory(&sandbox, "web").join("c")).expect("open");
    assert_eq!(xattr::get(file.as_fd(), c"user.base=64"), Ok(b"hello".to_vec()));
    assert_eq!(xattr::get(file.as_fd(), c"user.\u{e9}"), Ok(b"hello".to_vec()));
    assert!(xattr::get(file.as_fd(), c"user.%C3%A9").is_err(), "it is one attribute");
}

#[test]
fn members_below_links_stay_inside() {
    let sandbox = Sandbox::new();
    let tree = Tree::with_probe(&sandbox.path("tree"));
    fs::create_dir_all(tree.path("usr/sbin")).expect("mkdir");
    fs::remove_file(tree.path("sbin/init")).expect("unlink");
    fs::remove_dir(tree.path("sbin")).expect("rmdir");
    symlink("usr/sbin", tree.path("sbin")).expect("symlink");
    symlink("/bin/probe", tree.path("usr/sbin/init")).expect("symlink");
    symlink(sandbox.path("outside"), tree.path("out")).expect("symlink");
    fs::create_dir(sandbox.path("outside")).expect("mkdir");
    let base = archive(&sandbox, &tree, "base.tar", &[]);
    // Members that are added later, with the names that their authors use.
    let more = Tree(sandbox.path("more"));
    more.write("sbin/extra", "extra");
    more.write("out/file", "inside");
    let appended = Command::new("tar")
        .args(["-rf", text(&base), "-C", text(&more.0), "sbin/extra", "out/file"])
        .status()
        .expect("tar");
    assert!(appended.success());
    sandbox.ds(&["create", "web", "--from", text(&base)]).succeeds();
    let made = directory(&sandbox, "web");
    assert_eq!(fs::read(made.join("usr/sbin/extra")).expect("read"), b"extra");
    assert!(made.join("sbin").is_symlink());
    assert_eq!(fs::read_dir(sandbox.path("outside")).expect("outside").count(), 0);
    let inside = made.join(sandbox.path("outside").strip_prefix("/").expect("absolute")).join("file");
    assert_eq!(fs::read(inside).expect("read"), b"inside");
    crate::storage::assert_boots(&sandbox, "web");
}
