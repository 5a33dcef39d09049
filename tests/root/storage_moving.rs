//! Copies, exports and imports, and the progress of jobs.

use crate::sandbox::Sandbox;
use crate::storage::{archive, assert_boots, assert_same, assert_tidy, directory, full_tree, root_of, text};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

#[test]
fn a_copy_is_a_container_of_its_own() {
    let sandbox = Sandbox::new();
    let tree = full_tree(&sandbox.path("tree"));
    let packed = archive(&sandbox, &tree, "tree.tar", &[]);
    sandbox.ds(&["create", "dir", "--from", text(&packed), "--set", "autostart=yes"]).succeeds();
    sandbox.ds(&["create", "img", "--from", text(&packed), "--size", "96M"]).succeeds();
    let ini = sandbox.data("containers/dir/container.ini");
    let commented = fs::read_to_string(&ini).expect("read") + "# a note\n";
    fs::write(&ini, commented).expect("write");
    let copied = sandbox.ds(&["copy", "dir", "dir2"]);
    assert!(copied.errors.contains("autostart is off for dir2"), "{}", copied.errors);
    copied.succeeds();
    assert_eq!(sandbox.ds(&["copy", "img", "img2"]).succeeds(), "img copied to img2\n");
    assert_tidy(&sandbox);
    assert_same(&tree.0, &directory(&sandbox, "dir2"));
    let text_of = |name: &str| {
        fs::read_to_string(sandbox.data(&format!("containers/{name}/container.ini"))).expect("read")
    };
    assert!(text_of("dir2").contains("# a note\n") && text_of("dir2").starts_with("# 'ds get NAME'"));
    assert!(text_of("dir2").contains("autostart = no"));
    for (one, other) in [("dir", "dir2"), ("img", "img2")] {
        let uuids = [one, other].map(|name| sandbox.ds(&["get", name, "uuid"]).succeeds());
        assert_ne!(uuids[0], uuids[1]);
    }
    let images = ["img", "img2"].map(|name| root_of(&sandbox, name).1);
    assert_eq!(fs::read(&images[0]).expect("read"), fs::read(&images[1]).expect("read"));
    assert!(fs::metadata(&images[1]).expect("stat").blocks() * 512 < 48 << 20, "sparse");
    assert_boots(&sandbox, "img2");
    assert_boots(&sandbox, "dir2");
    sandbox.ds(&["copy", "img", "dir"]).fails(1, &["a container dir already exists"]);
    sandbox.ds(&["copy", "img", "img"]).fails(1, &["another name"]);
    sandbox.ds(&["rm", "dir2"]).succeeds();
    assert_boots(&sandbox, "dir");
}

#[test]
fn a_container_travels_in_one_file() {
    let sandbox = Sandbox::new();
    let tree = full_tree(&sandbox.path("tree"));
    let packed = archive(&sandbox, &tree, "tree.tar", &[]);
    let settings = ["--set", "autostart=yes", "--set", "mounts.bind=/srv:/srv", "--set", "priority=3"];
    let create = |name: &str, more: &[&str]| {
        sandbox.ds(&[&["create", name, "--from", text(&packed)], &settings[..], more].concat()).succeeds();
    };
    create("dir", &[]);
    create("img", &["--size", "96M"]);
    let file = sandbox.path("out.tar.zst");
    sandbox.ds(&["export", "dir", "-o", text(&file)]).succeeds();
    assert_eq!(fs::metadata(&file).expect("stat").mode() & 0o7777, 0o600);
    sandbox.ds(&["export", "dir", "-o", text(&file)]).fails(1, &["already exists; use --force"]);
    sandbox.ds(&["export", "dir", "-o", text(&file), "--force"]).succeeds();
    for (file, why) in
        [("/proc/no/such", "write /proc/no/such: /proc/no: "), ("/proc/such", "write /proc/such: ")]
    {
        let line = sandbox.ds(&["export", "dir", "-o", file]).fails(1, &["ds: export dir: ", why]);
        assert!(line.to_lowercase().contains("no such file"), "{line}");
    }
    let imported = sandbox.ds(&["import", text(&file), "dir2"]);
    for word in ["autostart is disabled", "mounts.bind was left out", "/srv:/srv"] {
        assert!(imported.errors.contains(word), "{word}: {}", imported.errors);
    }
    assert_eq!(imported.succeeds(), "dir2 imported\n");
    assert_same(&tree.0, &directory(&sandbox, "dir2"));
    assert_eq!(sandbox.ds(&["get", "dir2", "priority"]).succeeds(), "3\n");
    assert_eq!(sandbox.ds(&["get", "dir2", "autostart"]).succeeds(), "no\n");
    assert_ne!(
        sandbox.ds(&["get", "dir2", "uuid"]).succeeds(),
        sandbox.ds(&["get", "dir", "uuid"]).succeeds()
    );
    // Through pipes, as between two devices.
    let exported = sandbox.ds(&["export", "img", "-o", "-"]);
    assert_eq!(exported.code, 0, "{exported:?}");
    let imported = sandbox.ds_with_input(&["import", "-", "img2"], &exported.output);
    imported.succeeds();
    let (key, image) = root_of(&sandbox, "img2");
    assert_eq!((key.as_str(), fs::metadata(&image).expect("stat").len()), ("image", 96 << 20));
    assert_tidy(&sandbox);
    assert_boots(&sandbox, "img2");
    assert_boots(&sandbox, "dir2");
    // Any tar program can read it.
    let listed = Command::new("tar").args(["--zstd", "-tf", text(&file)]).output().expect("tar");
    let listed = String::from_utf8(listed.stdout).expect("UTF-8");
    assert!(
        listed.starts_with("droidspaces/manifest.json\ndroidspaces/container.ini\nrootfs/\n"),
        "{listed}"
    );
    assert!(listed.ends_with("droidspaces/complete\n"), "{listed}");
}

#[test]
fn an_incomplete_or_foreign_file_is_refused() {
    let sandbox = Sandbox::new();
    let tree = full_tree(&sandbox.path("tree"));
    let packed = archive(&sandbox, &tree, "tree.tar.gz", &["-z"]);
    sandbox.ds(&["create", "web", "--from", text(&packed), "--size", "96M"]).succeeds();
    let file = sandbox.path("web.tar.zst");
    sandbox.ds(&["export", "web", "-o", text(&file)]).succeeds();
    let whole = fs::read(&file).expect("read");
    let refuse = |bytes: &[u8], words: &[&str]| {
        fs::write(sandbox.path("bad"), bytes).expect("write");
        sandbox.ds(&["import", text(&sandbox.path("bad")), "new"]).fails(1, words);
        assert_tidy(&sandbox);
        assert_eq!(sandbox.ds(&["list", "--names"]).succeeds(), "web\n");
    };
    for keep in [0, 10, 1000, whole.len() / 2, whole.len() - 1] {
        refuse(&whole[..keep], &["ds: import new: "]);
    }
    let mut damaged = whole.clone();
    let middle = whole.len() / 2;
    damaged[middle] ^= 0x55;
    refuse(&damaged, &["ds: import new: "]);
    refuse(
        &fs::read(&packed).expect("read"),
        &["'ds export' did not write it", "ds create NAME --from FILE"],
    );
    refuse(&[&b"hsqs"[..], &[0; 4096]].concat(), &["an image of a squashfs file system", "ds help create"]);
    refuse(&[&b"PK\x03\x04"[..], &[0; 4096]].concat(), &["a zip archive, not a tar archive"]);
    for words in [&["--from", text(&file)][..], &["--from", text(&file), "--size", "96M"]] {
        let line = [&["create", "new"], words].concat();
        sandbox.ds(&line).fails(1, &["it was written by 'ds export'; use it with 'ds import'"]);
        assert_tidy(&sandbox);
    }
    // Complete streams with missing or changed content.
    let plain = |script: &str| {
        let line = format!("zstd -dcq < {} | {script} | zstd -cq", text(&file));
        Command::new("/bin/bash").args(["-o", "pipefail", "-c", &line]).output().expect("bash").stdout
    };
    refuse(&plain("{ head -c -2048; head -c 1024 /dev/zero; }"), &["truncated"]);
    refuse(&plain("sed 's/hello/HELLO/'"), &["damaged", "checksum"]);
    let mut terminal = sandbox.ds_on_terminal(&["export", "web", "-o", "-"]);
    terminal.expect("standard output is a terminal");
    assert_eq!(terminal.wait(), 1);
}

#[test]
fn events_are_json_and_progress_is_drawn_on_a_terminal_only() {
    let sandbox = Sandbox::new();
    let tree = full_tree(&sandbox.path("tree"));
    let packed = archive(&sandbox, &tree, "tree.tar", &[]);
    let file = sandbox.path("out.tar.zst");
    let lines: [(&[&str], &str); 6] = [
        (&["create", "web", "--from", text(&packed), "--size", "96M"], "created"),
        (&["resize", "web", "112M"], "resized"),
        (&["copy", "web", "copy"], "copied"),
        (&["convert", "web", "dir"], "converted"),
        (&["export", "web", "-o", text(&file)], "exported"),
        (&["import", text(&file), "again"], "imported"),
    ];
    for (words, last) in lines {
        let done = sandbox.ds(&[words, &["--json"]].concat());
        assert_eq!(done.errors, "", "{words:?}");
        let text = done.succeeds();
        let events: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let (end, rest) = events.split_last().expect("events");
        assert_eq!(end["event"], last, "{text}");
        assert!(!rest.is_empty(), "{words:?}");
        for event in rest {
            assert_eq!(event["event"], "progress", "{text}");
            assert!(event["step"].is_string() && event["done"].is_u64(), "{event}");
            assert!(event["total"].is_u64() || event["total"].is_null(), "{event}");
        }
    }
    let quiet = sandbox.ds(&["copy", "web", "quiet"]);
    assert_eq!((quiet.errors.as_str(), quiet.text().as_str()), ("", "web copied to quiet\n"));
    let mut terminal = sandbox.ds_on_terminal(&["copy", "web", "drawn"]);
    terminal.expect("\rcopy");
    terminal.expect("web copied to drawn");
    assert_eq!(terminal.wait(), 0);
}
