//! Logins to a new container: passwords, keys and users of the command line, with real logins.

use crate::process;
use crate::root_fs::Tree;
use crate::sandbox::Sandbox;
use crate::storage::{archive, assert_tidy, directory, text};
use crate::wait_for;
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBxUjyZOrROPwrMMuNhq5nuWzSTn5YOuNvBGSfOmmF7N me@home";
const SECRET: &str = "correct horse 42";

fn run(sandbox: &Sandbox, user: &str, script: &str) -> String {
    sandbox.ds(&["run", "-u", user, "web", "--", "/bin/sh", "-c", script]).text()
}

/// Creates a container that uses a distribution's tree in place.
fn distribution(sandbox: &mut Sandbox, fixture: &str) -> String {
    let _ = sandbox.distribution("own", fixture, &[]);
    sandbox.ds(&["rm", "own"]).succeeds();
    text(&sandbox.path("own")).to_owned()
}

#[test]
fn a_password_is_valid_for_root_and_the_user_only() {
    let mut sandbox = Sandbox::new();
    let tree = distribution(&mut sandbox, "bookworm");
    let words =
        ["create", "web", "--rootfs", &tree, "--password-file", "-", "--user", "me", "--ssh-key", KEY];
    let created = sandbox.ds_with_input(&words, format!("{SECRET}\n").as_bytes());
    assert_eq!(created.errors, "");
    created.succeeds();
    assert_tidy(&sandbox);
    sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
    let become_root = |password: &str| format!("echo '{password}' | su root -c 'id -un' 2>/dev/null");
    assert_eq!(run(&sandbox, "user", &become_root(SECRET)), "root\n");
    assert_eq!(run(&sandbox, "user", &become_root("guess")), "");
    assert_eq!(run(&sandbox, "user", &format!("echo '{SECRET}' | su me -c 'id -un' 2>/dev/null")), "me\n");
    assert_eq!(run(&sandbox, "me", &format!("echo '{SECRET}' | sudo -S -p '' id -un")), "root\n");
    assert_eq!(run(&sandbox, "me", "echo guess | sudo -S -p '' id -un 2>/dev/null"), "");
    assert_eq!(
        run(&sandbox, "me", "cd; pwd; ls -A .bashrc; echo $SHELL; id -Gn"),
        "/home/me\n.bashrc\n/bin/bash\nme sudo\n"
    );
    // The console also has a login prompt.
    let mut console = sandbox.ds_on_terminal(&["console", "web"]);
    console.send(b"\r");
    console.expect("login: ");
    console.send(b"me\r");
    console.expect("Password: ");
    console.send(format!("{SECRET}\r").as_bytes());
    console.expect("$ ");
    console.send(b"\x1d\x1d");
    console.wait();
    assert!(!sandbox.log().contains(SECRET));
}

#[test]
fn ssh_keys_permit_logins_and_a_user_without_a_password_becomes_root() {
    let mut sandbox = Sandbox::new();
    sandbox.run(&["ip", "link", "set", "lo", "up"]).succeeds();
    let tree = distribution(&mut sandbox, "services");
    let key = sandbox.path("key");
    sandbox.run(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", text(&key)]).succeeds();
    let public = format!("{}.pub", text(&key));
    sandbox
        .ds(&["create", "x", "--rootfs", &tree, "--ssh-key", text(&key)])
        .fails(1, &["private key", ".pub"]);
    sandbox
        .ds(&["create", "web", "--rootfs", &tree, "--ssh-key", &public, "--ssh-key", KEY, "--user", "me"])
        .succeeds();
    sandbox.ds(&["start", "web"]).succeeds();
    let ssh = |user: &str, command: &str| {
        let options = [
            "-oBatchMode=yes",
            "-oStrictHostKeyChecking=no",
            "-oUserKnownHostsFile=/dev/null",
            "-oLogLevel=ERROR",
        ];
        let who = format!("{user}@127.0.0.1");
        sandbox.run(&[&["ssh", "-F", "none", "-i", text(&key)][..], &options, &[&who, command]].concat())
    };
    wait_for("sshd", || (ssh("root", "id -un").text() == "root\n").then_some(()));
    assert_eq!(ssh("me", "sudo -n id -un").succeeds(), "root\n");
    assert_ne!(ssh("user", "true").code, 0, "no other user");
}

#[test]
fn root_of_an_archive_is_locked_by_default() {
    let sandbox = Sandbox::new();
    let tree = Tree::with_probe(&sandbox.path("tree"));
    tree.write("etc/shadow", "root:$6$known$hash:19000:0:99999:7:::\n");
    tree.write("etc/os-release", "ID=test\n");
    let packed = archive(&sandbox, &tree, "tree.tar", &[]);
    let create = |name: &str, more: &[&str]| {
        let created = sandbox.ds(&[&["create", name, "--from", text(&packed)], more].concat());
        let errors = created.errors.clone();
        created.succeeds();
        let shadow = directory(&sandbox, name).join("etc/shadow");
        (errors, fs::read_to_string(shadow).expect("shadow"))
    };
    let (errors, shadow) = create("locked", &[]);
    assert!(
        errors.contains("the password of root in it is locked") && errors.lines().count() == 1,
        "{errors}"
    );
    assert!(shadow.starts_with("root:!$6$known$hash:"), "{shadow}");
    let (errors, shadow) = create("open", &["--password", SECRET]);
    assert!(
        errors.is_empty() && shadow.starts_with("root:$6$") && !shadow.contains("known"),
        "{errors}{shadow}"
    );
    let (_, shadow) = create("keyed", &["--ssh-key", KEY]);
    assert!(shadow.starts_with("root:*$6$known"), "{shadow}");
    let keys = directory(&sandbox, "keyed").join("root/.ssh/authorized_keys");
    assert_eq!(fs::metadata(&keys).expect("stat").mode() & 0o7777, 0o600);
    assert_eq!(fs::read_to_string(keys).expect("read"), format!("{KEY}\n"));
    // In an image of the container's own, and in one that is used in place.
    sandbox.ds(&["create", "img", "--from", text(&packed), "--size", "64M", "--user", "me"]).succeeds();
    sandbox.ds(&["start", "img"]).succeeds();
    let passwd = sandbox.ds(&["run", "img", "--", "/bin/cat", "/etc/passwd"]).succeeds();
    assert!(passwd.contains("\nme:x:1001:1001::/home/me:/bin/sh\n"), "{passwd}");
    sandbox.ds(&["stop", "img", "--kill"]).succeeds();
    let own = sandbox.path("own.img");
    fs::copy(sandbox.data("containers/img/rootfs.img"), &own).expect("copy");
    sandbox.ds(&["create", "place", "--image", text(&own), "--password", SECRET]).succeeds();
    sandbox.ds(&["convert", "place", "dir"]).succeeds();
    let shadow = fs::read_to_string(directory(&sandbox, "place").join("etc/shadow")).expect("shadow");
    assert!(shadow.starts_with("root:$6$") && !shadow.contains("known"), "{shadow}");
    // An import keeps the accounts, unless options change them.
    let file = sandbox.path("out.tar.zst");
    sandbox.ds(&["export", "open", "-o", text(&file)]).succeeds();
    sandbox.ds(&["import", text(&file), "same"]).succeeds();
    sandbox.ds(&["import", text(&file), "other", "--password", "other"]).succeeds();
    let shadow =
        |name: &str| fs::read_to_string(directory(&sandbox, name).join("etc/shadow")).expect("shadow");
    assert_eq!(shadow("same"), shadow("open"));
    assert_ne!(shadow("other"), shadow("open"));
    assert_tidy(&sandbox);
    assert!(!sandbox.log().contains(SECRET));
}

#[test]
fn invalid_options_are_one_line_and_leave_nothing() {
    let sandbox = Sandbox::new();
    let tree = Tree::with_probe(&sandbox.path("tree"));
    let place = text(&tree.0).to_owned();
    let missing = text(&sandbox.path("missing")).to_owned();
    let bad = text(&sandbox.path("bad")).to_owned();
    fs::write(&bad, "# nothing\nhello\n").expect("write");
    for (code, words, expected) in [
        (
            2,
            &["--password", "a", "--password-file", "b"][..],
            "--password and --password-file exclude each other",
        ),
        (2, &["--user", "root"], "root exists in every system"),
        (2, &["--user", "a:b"], "is not the name of a user"),
        (2, &["--password", ""], "--password needs a value"),
        (1, &["--password-file", &missing], "ENOENT"),
        (1, &["--ssh-key", &missing], "neither a public key nor a file with keys"),
        (1, &["--ssh-key", &bad], "'hello' is not a public key"),
    ] {
        let done = sandbox.ds(&[&["create", "web", "--rootfs", &place][..], words].concat());
        let line = done.fails(code, &[expected]);
        assert!(!line.contains("'a'"), "{line}");
    }
    fs::remove_file(tree.path("etc/passwd")).expect("unlink");
    let done = sandbox.ds(&["create", "web", "--rootfs", &place, "--user", "me"]);
    done.fails(1, &["no account 'root' in /etc/passwd"]);
    assert_eq!(sandbox.ds(&["list", "--names"]).succeeds(), "");
    assert_tidy(&sandbox);
}

#[test]
fn a_silent_writer_of_a_password_keeps_no_worker() {
    let sandbox = Sandbox::new();
    let tree = Tree::with_probe(&sandbox.path("tree"));
    let words = ["create", "web", "--rootfs", tree.0.to_str().unwrap(), "--password-file", "-"];
    let binary = sandbox.binary();
    let all = [&[binary.to_str().unwrap()][..], &words].concat();
    let mut child = sandbox.command_within(60, &all).stdin(Stdio::piped()).spawn().expect("ds");
    let worker = || sandbox.processes().into_iter().any(|one| one.name == "ds:worker");
    wait_for("the worker", || worker().then_some(()));
    process::signal(process::client(&child).pid, Signal::SIGTERM);
    // The writer is still there.
    let writer = child.stdin.take();
    child.wait().expect("wait");
    wait_for("the end of the worker", || (!worker()).then_some(()));
    drop(writer);
}
