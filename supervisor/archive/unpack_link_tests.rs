//! Links of an archive, and members that are created through them: they are resolved in the tree and never lead out of
//! it.

use super::*;

/// Links and what is made through them.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn links() -> Vec<(Vec<u8>, Outcome)> {
    vec![
        (
            whole(&[link("out", "../outside"), file("out/secret", "x")]),
            Fine(|tree| text(tree, "outside/secret") == "x" && tree.join("out").is_symlink()),
        ),
        (
            whole(&[link("out", "/outside/./directory/"), file("out/secret", "x")]),
            Fine(|tree| text(tree, "outside/directory/secret") == "x"),
        ),
        (
            whole(&[
                directory("usr/sbin"),
                link("sbin", "usr/sbin"),
                file("sbin/extra", "x"),
                file("usr/sbin/b", "y"),
            ]),
            Fine(|tree| {
                text(tree, "usr/sbin/extra") == "x"
                    && text(tree, "sbin/b") == "y"
                    && tree.join("sbin").is_symlink()
            }),
        ),
        (
            whole(&[link("sbin", "usr/sbin"), directory("sbin/sub"), file("sbin/sub/extra", "x")]),
            Fine(|tree| text(tree, "usr/sbin/sub/extra") == "x"),
        ),
        (
            whole(&[link("a", "b/../../../c"), link("b", "nowhere"), file("a/x", "in")]),
            Fine(|tree| text(tree, "c/x") == "in"),
        ),
        (
            whole(&[directory("d"), link("d/up", "../../../.."), file("d/up/x", "in")]),
            Fine(|tree| text(tree, "x") == "in"),
        ),
        (
            whole(&[link("a", "b"), link("b", "a"), file("a/x", "in")]),
            Refused("a/x: a: too many symbolic links in the path"),
        ),
        (whole(&[file("f", "1"), link("l", "f"), file("l/x", "in")]), Refused("l/x: f: is not a directory")),
        (
            whole(&[
                directory("usr/bin"),
                link("bin", "usr/bin"),
                file("usr/bin/a", "1"),
                hard("bin/b", "bin/a"),
            ]),
            Fine(|tree| fs::metadata(tree.join("usr/bin/b")).is_ok_and(|seen| seen.nlink() == 2)),
        ),
        (
            whole(&[
                directory("usr/bin"),
                link("bin", "usr/bin"),
                file("usr/bin/a", "1"),
                hard("bin/a", "usr/bin/a"),
            ]),
            Fine(|tree| text(tree, "usr/bin/a") == "1"),
        ),
        (
            whole(&[
                directory("usr/bin"),
                link("bin", "usr/bin"),
                file("bin/a", "1"),
                link("bin", "/outside"),
                file("bin/a", "2"),
            ]),
            Fine(|tree| text(tree, "usr/bin/a") == "1" && text(tree, "outside/a") == "2"),
        ),
        (
            whole(&[link("out", "../outside"), directory("out"), file("out/secret", "in")]),
            Fine(|tree| text(tree, "out/secret") == "in" && !tree.join("out").is_symlink()),
        ),
        (
            whole(&[directory("d"), file("d/a", "1"), link("d", "../outside"), file("d/secret", "x")]),
            Refused("d: a non-empty directory exists at this path"),
        ),
        (
            whole(&[directory("d"), link("d", "../outside"), file("d/secret", "x")]),
            Fine(|tree| text(tree, "outside/secret") == "x"),
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
            Refused("h: the target of the link: ../outside/secret: the name leads outside the tree"),
        ),
        (
            whole(&[hard("h", "/etc/passwd")]),
            Refused("h: the target of the link: open(etc): No such file or directory (ENOENT)"),
        ),
        (
            whole(&[link("out", "../outside"), hard("h", "out/secret")]),
            Refused("h: the target of the link: open(outside): No such file or directory (ENOENT)"),
        ),
        (
            whole(&[hard("h", "missing")]),
            Refused("h: the target of the link, missing, is not in the archive"),
        ),
        (whole(&[directory("d"), hard("h", "d")]), Refused("h: the target of the link, d, is a directory")),
        (whole(&[hard("h", ".")]), Refused("h: the target of the link is the top of the tree")),
        (whole(&[hard("a", "a")]), Refused("a: the target of the link, a, is not in the archive")),
        (whole(&[file("a", "1"), hard("a", "a")]), Fine(|tree| text(tree, "a") == "1")),
        (
            whole(&[file("a", "old"), hard("b", "a"), file("b", "new")]),
            Fine(|tree| text(tree, "a") == "old" && text(tree, "b") == "new"),
        ),
        (whole(&[link("s", "")]), Refused("s: the link has no target")),
        (
            whole(&[pax(&[("linkpath", b"a\0b")]), link("s", "x")]),
            Refused("s: the target of the link contains a NUL byte"),
        ),
        (
            whole(&[member(b'6', "pipe", "", b""), file("pipe/x", "1")]),
            Refused("pipe/x: pipe: is not a directory"),
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
