use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use tempfile::TempDir;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ me";

fn tree() -> (TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path();
    for name in ["etc/skel/.config", "etc/sudoers.d", "usr/bin", "root", "bin"] {
        fs::create_dir_all(top.join(name)).unwrap();
    }
    let write = |name: &str, text: &str| fs::write(top.join(name), text).unwrap();
    write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nold:x:1000:1000::/home/old:/bin/sh\n");
    write("etc/shadow", "root::19000:0:99999:7:::\nold:!:19000::::::\n");
    write("etc/group", "root:x:0:\nsudo:x:27:\nold:x:1000:\n");
    write("etc/gshadow", "root:*::\nsudo:*::\n");
    write("etc/skel/.profile", "# mine\n");
    symlink(".profile", top.join("etc/skel/.link")).unwrap();
    write("usr/bin/sudo", "");
    let root = Root::open(top).unwrap();
    (directory, root)
}

fn login(password: Option<&str>, keys: &[&str], user: Option<&str>) -> Login {
    Login {
        password: password.map(str::to_owned),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        user: user.map(str::to_owned),
    }
}

fn read(directory: &TempDir, name: &str) -> String {
    fs::read_to_string(directory.path().join(name)).unwrap()
}

#[test]
fn a_user_comes_with_a_home_a_group_and_sudo() {
    let (directory, root) = tree();
    let warnings = apply(&root, &login(Some("secret"), &[KEY], Some("me")), &[("aid_inet", 3003)]).unwrap();
    assert_eq!(warnings, [""; 0]);
    assert!(read(&directory, "etc/passwd").ends_with("\nme:x:1001:1001::/home/me:/bin/sh\n"));
    assert_eq!(
        read(&directory, "etc/group"),
        "root:x:0:\nsudo:x:27:me\nold:x:1000:\nme:x:1001:\naid_inet:x:3003:root,me\n"
    );
    assert_eq!(read(&directory, "etc/gshadow"), "root:*::\nsudo:*::me\nme:!::\naid_inet:!::root,me\n");
    let shadow = read(&directory, "etc/shadow");
    let lines: Vec<&str> = shadow.lines().collect();
    assert!(lines[0].starts_with("root:$6$") && lines[2].starts_with("me:$6$"), "{shadow}");
    let salt = lines[0].split('$').nth(3).unwrap();
    assert_eq!(salt.len(), 16, "crypt(5) reads no more: {salt}");
    assert_eq!(lines[1], "old:!:19000::::::");
    assert_eq!(read(&directory, "etc/sudoers.d/50-droidspaces"), "me ALL=(ALL:ALL) ALL\n");
    let home = directory.path().join("home/me");
    assert_eq!(fs::read_link(home.join(".link")).unwrap(), Path::new(".profile"));
    for (name, mode) in [("", 0o700), (".profile", 0o644), (".config", 0o755), (".ssh", 0o700)] {
        let about = fs::metadata(home.join(name)).unwrap();
        assert_eq!((about.uid(), about.gid(), about.mode() & 0o7777), (1001, 1001, mode), "{name}");
    }
    for (home, owner) in [("home/me", 1001), ("root", 0)] {
        let keys = directory.path().join(home).join(".ssh/authorized_keys");
        let about = fs::metadata(&keys).unwrap();
        assert_eq!((about.uid(), about.gid(), about.mode() & 0o7777), (owner, owner, 0o600));
        assert_eq!(fs::read_to_string(keys).unwrap(), format!("{KEY}\n"));
    }
}

#[test]
fn one_without_a_password_becomes_root_without() {
    let (directory, root) = tree();
    apply(&root, &login(None, &[KEY], Some("old")), &[]).unwrap();
    assert_eq!(read(&directory, "etc/sudoers.d/50-droidspaces"), "old ALL=(ALL:ALL) NOPASSWD: ALL\n");
    let about = fs::metadata(directory.path().join("etc/sudoers.d/50-droidspaces")).unwrap();
    assert_eq!(about.permissions().mode() & 0o7777, 0o440);
    // sshd does not treat `*` as a lock.
    assert_eq!(read(&directory, "etc/shadow"), "root:*:19000:0:99999:7:::\nold:*:19000::::::\n");
    assert!(!read(&directory, "etc/passwd").contains("old:x:1001"), "it was there");
    fs::remove_file(directory.path().join("usr/bin/sudo")).unwrap();
    fs::write(directory.path().join("usr/bin/doas"), "").unwrap();
    apply(&root, &login(Some("x"), &[], Some("old")), &[]).unwrap();
    assert_eq!(read(&directory, "etc/doas.conf"), "permit persist old\n");
    fs::remove_file(directory.path().join("usr/bin/doas")).unwrap();
    let warnings = apply(&root, &login(None, &[], Some("old")), &[]).unwrap();
    assert!(warnings[0].contains("neither sudo nor doas"), "{warnings:?}");
}

#[test]
fn root_is_locked_unless_it_has_a_password() {
    let (directory, root) = tree();
    assert_eq!(lock_root(&root).unwrap(), None);
    assert!(read(&directory, "etc/shadow").starts_with("root:*:"));
    fs::write(directory.path().join("etc/shadow"), "root:$6$x:1::::::\n").unwrap();
    assert!(lock_root(&root).unwrap().is_some());
    assert_eq!(read(&directory, "etc/shadow"), "root:!$6$x:1::::::\n");
    assert_eq!(lock_root(&root).unwrap(), None);
    fs::remove_file(directory.path().join("etc/shadow")).unwrap();
    fs::write(directory.path().join("etc/passwd"), "root::0:0::/root:/bin/sh\n").unwrap();
    lock_root(&root).unwrap();
    assert_eq!(read(&directory, "etc/passwd"), "root:*:0:0::/root:/bin/sh\n");
    fs::remove_file(directory.path().join("etc/passwd")).unwrap();
    assert_eq!(lock_root(&root).unwrap(), None, "no account with a password is left");
    assert!(apply(&root, &login(Some("x"), &[], None), &[]).is_err());
}

#[test]
fn no_link_leads_out_of_the_tree() {
    let (directory, root) = tree();
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), directory.path().join("root/.ssh")).unwrap();
    let error = format!("{:#}", apply(&root, &login(None, &[KEY], None), &[]).unwrap_err());
    assert!(error.contains("/root/.ssh: it is not a directory"), "{error}");
    fs::remove_file(directory.path().join("root/.ssh")).unwrap();
    fs::create_dir(directory.path().join("root/.ssh")).unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "x").unwrap();
    symlink(&victim, directory.path().join("root/.ssh/authorized_keys")).unwrap();
    symlink(outside.path(), directory.path().join("home")).unwrap();
    let made = apply(&root, &login(None, &[KEY], Some("me")), &[]);
    assert!(made.is_err(), "/home leads outside and does not resolve");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "x");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(read(&directory, "root/.ssh/authorized_keys"), format!("{KEY}\n"));
}

#[test]
fn no_password_gets_into_a_message() {
    assert!(!format!("{:?}", login(Some("secret"), &[], None)).contains("secret"));
}
