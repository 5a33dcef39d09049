//! Malicious root file systems, and failing file systems: an error in one line, nothing written outside.
//!
//! One test for each attack that succeeded against other container programs, with its advisory if there is one.

use crate::root_fs::Tree;
use crate::sandbox::{Sandbox, files_below};
use crate::wait_for;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A directory of the host that a hostile tree points to, and its content.
fn bait(sandbox: &Sandbox) -> PathBuf {
    let bait = sandbox.path("host");
    for name in ["dev", "etc", "sbin", "proc", "sys", "run"] {
        fs::create_dir_all(bait.join(name)).unwrap();
    }
    fs::write(bait.join("etc/hostname"), "host\n").unwrap();
    fs::write(bait.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nmallory:x:0:0::/:/bin/sh\n").unwrap();
    bait
}

/// Every file below a directory with its content, for a comparison before and after.
fn snapshot(directory: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let mut found: Vec<_> = files_below(directory, &|_| true)
        .into_iter()
        .map(|path| {
            let about = fs::symlink_metadata(&path).unwrap();
            let content = if about.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            (path, about.mode(), content)
        })
        .collect();
    found.sort();
    found
}

#[test]
fn directories_that_lead_out_are_refused() {
    // CVE-2025-54867, CVE-2026-41579, CVE-2026-47766: /proc, /sys and /dev that are links.
    let sandbox = Sandbox::new();
    let bait = bait(&sandbox);
    let before = snapshot(&bait);
    for place in ["dev", "proc", "sys", "run"] {
        let name = format!("has-{place}");
        let tree = sandbox.container(&name, &[]);
        tree.replace_by_link(place, bait.join(place).to_str().unwrap());
        sandbox
            .ds(&["start", &name])
            .fails(1, &[&format!("ds: start {name}: "), &format!("/{place}"), "link"]);
        assert_eq!(tree.boots(), 0);
    }
    assert_eq!(snapshot(&bait), before);
}

#[test]
fn links_inside_etc_stay_inside() {
    // CVE-2025-24965, CVE-2024-45310: files that are written or bound through a link.
    let sandbox = Sandbox::new();
    let bait = bait(&sandbox);
    let before = snapshot(&bait);
    for (name, link, to) in [
        ("etc", "etc", bait.join("etc")),
        ("hostname", "etc/hostname", bait.join("etc/hostname")),
        (
            "relative",
            "etc/hostname",
            PathBuf::from("../../../../../../../../../../../..")
                .join(bait.join("etc/hostname").strip_prefix("/").unwrap()),
        ),
    ] {
        let tree = sandbox.container(name, &["mounts.bind=/usr:/etc/below"]);
        tree.replace_by_link(link, to.to_str().unwrap());
        let started = sandbox.ds(&["start", name]);
        // Either it stays inside, or it is refused.
        assert!([0, 1].contains(&started.code), "{started:?}");
        assert!(started.errors.lines().count() <= 2, "{started:?}");
        assert_eq!(snapshot(&bait), before, "{name}");
    }
}

#[test]
fn a_link_to_init_is_resolved_inside() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    // The host has such a program.
    let outside = sandbox.path("host-init");
    fs::copy(tree.path("bin/probe"), &outside).unwrap();
    tree.replace_by_link("sbin/init", outside.to_str().unwrap());
    sandbox.ds(&["start", "web"]).fails(1, &["ds: start web: ", "no /sbin/init"]);
    tree.replace_by_link("sbin/init", "../../../../../../../../bin/probe");
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
}

#[test]
fn an_init_that_cannot_be_executed_is_reported_before_anything_is_changed() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    let init = tree.path("sbin/init");
    let refuse = |words: &[&str]| {
        sandbox.ds(&["start", "web"]).fails(1, &[&["ds: start web: ", "/sbin/init"], words].concat());
        sandbox.assert_no_containers();
    };
    fs::remove_file(&init).unwrap();
    refuse(&["no /sbin/init", "'init'"]);
    fs::create_dir(&init).unwrap();
    refuse(&["not an executable file"]);
    fs::remove_dir(&init).unwrap();
    fs::write(&init, "x").unwrap();
    refuse(&["not an executable file"]);
    fs::remove_file(&init).unwrap();
    mkfifo(&init, Mode::from_bits_truncate(0o777)).unwrap();
    refuse(&["not an executable file"]);
    fs::remove_file(&init).unwrap();
    symlink("init", &init).unwrap();
    refuse(&[]);
    fs::remove_file(&init).unwrap();
    // A valid program for another processor.
    let mut wrong = fs::read(tree.path("bin/probe")).unwrap();
    wrong[18] = 0xf3;
    fs::write(&init, wrong).unwrap();
    fs::set_permissions(&init, PermissionsExt::from_mode(0o755)).unwrap();
    refuse(&["/sbin/init: ", "another processor"]);
    fs::write(&init, "#!/no/such/interpreter\n").unwrap();
    refuse(&["its interpreter /no/such/interpreter or the loader"]);
    fs::write(&init, "#!/bin/sh\r\nexec /bin/probe\r\n").unwrap();
    refuse(&["Windows line endings (CRLF)", "dos2unix"]);
    fs::write(&init, "exec /bin/probe\n").unwrap();
    refuse(&["nor a script with '#!'"]);
    assert_eq!(tree.boots(), 0);
}

#[test]
fn a_missing_or_empty_tree_is_one_line() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    fs::remove_dir_all(&tree.0).unwrap();
    sandbox.ds(&["start", "web"]).fails(1, &["ds: start web: ", tree.0.to_str().unwrap(), "No such file"]);
    fs::create_dir(&tree.0).unwrap();
    sandbox.ds(&["start", "web"]).fails(1, &["no /sbin/init"]);
    assert_eq!(fs::read_dir(&tree.0).unwrap().count(), 0, "nothing was created in it");
    fs::remove_dir(&tree.0).unwrap();
    fs::write(&tree.0, "a file").unwrap();
    sandbox.ds(&["start", "web"]).fails(1, &[tree.0.to_str().unwrap(), "Not a directory"]);
    for place in ["proc", "sys", "dev", "run"] {
        let name = format!("no-{place}");
        let tree = sandbox.container(&name, &[]);
        fs::remove_dir(tree.path(place)).unwrap();
        let started = sandbox.ds(&["start", &name]);
        assert!([0, 1].contains(&started.code) && started.errors.lines().count() <= 1, "{started:?}");
        fs::remove_dir_all(tree.path(place)).ok();
        fs::write(tree.path(place), "a file").unwrap();
        sandbox.ds(&["stop", &name]).succeeds();
        sandbox.ds(&["start", &name]).fails(1, &[&format!("ds: start {name}: "), &format!("/{place}")]);
    }
}

#[test]
fn a_device_that_is_a_link_masks_nothing_of_the_hosts() {
    // CVE-2025-31133, CVE-2025-62161: /dev/null of the image as the source of masks.
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    symlink("/proc/sys/kernel/core_pattern", tree.path("dev/null")).unwrap();
    symlink("/proc/sysrq-trigger", tree.path("dev/console")).unwrap();
    sandbox.ds(&["start", "web"]).succeeds();
    let report = wait_for("the report", || tree.report());
    assert_eq!(report["files"]["/proc/keys"]["bytes"], 0);
    assert_eq!(report["files"]["/proc/sys/kernel/core_pattern"]["write"], "EROFS");
    assert_eq!(report["terminal"]["console"], "136:0", "CVE-2025-52565: the console is our own terminal");
}

#[test]
fn users_are_looked_up_safely_in_hostile_files() {
    let sandbox = Sandbox::new();
    let bait = bait(&sandbox);
    let tree = sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    // Root needs none of these files.
    let run = |user: &str| {
        sandbox.ds(&["run", "web", "-u", user, "--", "/bin/busybox", "grep", "Uid", "/proc/self/status"])
    };
    let passwd = tree.path("etc/passwd");
    let original = fs::read(&passwd).unwrap();

    fs::remove_file(&passwd).unwrap();
    symlink(bait.join("etc/passwd"), &passwd).unwrap();
    run("mallory").fails(125, &["ds: run web: ", "mallory"]);

    fs::remove_file(&passwd).unwrap();
    mkfifo(&passwd, Mode::from_bits_truncate(0o666)).unwrap();
    run("alice").fails(125, &["ds: run web: "]);
    assert_eq!(run("0").succeeds(), "Uid:\t0\t0\t0\t0\n", "root can repair it");
    sandbox.ds(&["run", "web", "--", "/bin/true"]).succeeds();

    fs::remove_file(&passwd).unwrap();
    symlink("/dev/zero", &passwd).unwrap();
    run("alice").fails(125, &["ds: run web: "]);

    fs::remove_file(&passwd).unwrap();
    let huge = [original.as_slice(), &b"#".repeat(200 << 20), b"\nlate:x:5000:5000::/:/bin/sh\n"].concat();
    fs::write(&passwd, huge).unwrap();
    let done = run("late");
    assert!([0, 125].contains(&done.code) && done.errors.lines().count() <= 1, "{done:?}");
    fs::remove_file(&passwd).unwrap();

    // CVE-2026-30892, CVE-2024-40635: invalid numbers, and fields that are missing or too large.
    fs::write(
        &passwd,
        "evil:x:4294967296:0::/:/bin/sh\nshort:x\nnegative:x:-1:0::/:/bin/sh\nempty:x::0::/:/bin/sh\n",
    )
    .unwrap();
    for user in ["evil", "short", "negative", "empty"] {
        run(user).fails(125, &["ds: run web: ", user]);
    }
}

#[test]
fn the_working_directory_cannot_lead_out() {
    // CVE-2024-21626: a working directory that is a descriptor of the runtime's.
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    for number in 3..30 {
        for process in ["self", "1"] {
            let directory = format!("/proc/{process}/fd/{number}");
            symlink(&directory, tree.path(&format!("tmp/{process}{number}"))).unwrap();
            for directory in
                [directory, format!("/tmp/{process}{number}"), format!("/tmp/{process}{number}/../..")]
            {
                let words =
                    ["run", "web", "-w", &directory, "--", "/bin/sh", "-c", "ls -d booted /booted; pwd"];
                let done = sandbox.ds(&words);
                // It is refused, or it is the container's own root, which a program may have open.
                let inside = done.text() == "/booted\nbooted\n/\n";
                assert!(done.code == 125 || inside, "{directory}: {done:?}");
            }
        }
    }
}

#[test]
fn the_log_and_os_release_are_not_followed_out() {
    let sandbox = Sandbox::new();
    let bait = bait(&sandbox);
    fs::write(bait.join("etc/os-release"), "PRETTY_NAME=\"the host\"\n").unwrap();
    let tree = sandbox.container("web", &[]);
    symlink(bait.join("etc/os-release"), tree.path("etc/os-release")).unwrap();
    assert_ne!(sandbox.info("web")["os"], "the host");
    fs::remove_file(tree.path("etc/os-release")).unwrap();
    mkfifo(&tree.path("etc/os-release"), Mode::from_bits_truncate(0o666)).unwrap();
    sandbox.info("web");
    fs::remove_file(tree.path("etc/os-release")).unwrap();
    fs::write(tree.path("etc/os-release"), "PRETTY_NAME=\"a\x1b[31m\u{202e}\u{7}b\"\n").unwrap();
    let shown = sandbox.ds(&["info", "web"]).succeeds();
    assert!(!shown.contains('\x1b') && !shown.contains('\u{7}'), "{shown:?}");
    // A link in place of the console's log.
    let victim = sandbox.path("victim");
    fs::write(&victim, "precious").unwrap();
    fs::create_dir_all(sandbox.data("containers/web/log")).unwrap();
    symlink(&victim, sandbox.data("containers/web/log/console.log")).unwrap();
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn the_hosts_own_root_is_no_container() {
    let sandbox = Sandbox::new();
    for root in ["/", "/.", "/proc/self/root"] {
        sandbox.ds(&["create", "web", "--rootfs", root]).fails(1, &["ds: create web: ", "host's own root"]);
    }
    sandbox.create("web", Path::new("/"), &[]);
    let done = sandbox.ds(&["start", "web"]);
    assert!(done.code == 1 && done.errors.contains("host's own root"), "{done:?}");
}

#[test]
fn an_error_in_a_configuration_is_shown_with_its_position() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    let file = sandbox.data("containers/web/container.ini");
    for text in [
        "[container]\nrootfs = relative\n",
        "[container\n",
        "rubbish",
        "\0\0\0",
        "[container]\nhostname=a\nnothing=b\n",
    ] {
        fs::write(&file, text).unwrap();
        let done = sandbox.ds(&["start", "web"]);
        assert_eq!(done.code, 1, "{text:?}: {done:?}");
        assert!(
            done.errors.starts_with("ds: start web: ") && done.errors.contains("container.ini:"),
            "{done:?}"
        );
        sandbox.ds(&["list"]).succeeds();
    }
    fs::write(&file, "x".repeat(10 << 20)).unwrap();
    let done = sandbox.ds(&["start", "web"]);
    assert!(done.code == 1 && done.errors.len() < 2000, "{}", done.errors.len());
}

#[test]
fn a_full_disk_is_reported_and_nothing_is_lost() {
    let mut sandbox = Sandbox::new();
    let data = sandbox.data("");
    fs::create_dir_all(&data).unwrap();
    sandbox.mount(&["-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", data.to_str().unwrap()]);
    // Mounts of the sandbox are not visible from here.
    let tree = Tree::with_probe(&sandbox.path("web"));
    sandbox.ds(&["create", "web", "--rootfs", tree.0.to_str().unwrap()]).succeeds();
    sandbox.run(&["sh", "-c", &format!("head -c 1000000 /dev/zero > {}/filler; true", data.display())]);
    sandbox
        .ds(&[
            "set",
            "web",
            "hostname=renamed",
            "environment.LONG=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ])
        .fails(1, &["ds: set web: ", "No space left"]);
    sandbox
        .ds(&["create", "db", "--rootfs", tree.0.to_str().unwrap()])
        .fails(1, &["ds: create db: ", "No space left"]);
    assert_eq!(sandbox.ds(&["list", "--names"]).succeeds(), "web\n");
    // A container still starts: only its log is incomplete.
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    sandbox.ds(&["stop", "web"]).succeeds();
    sandbox.run(&["rm", &format!("{}/filler", data.display())]).succeeds();
    sandbox.ds(&["set", "web", "hostname=renamed"]).succeeds();
    assert_eq!(sandbox.ds(&["get", "web", "hostname"]).succeeds(), "renamed\n");
}

#[test]
fn a_read_only_data_directory_is_reported() {
    let mut sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    let data = sandbox.data("");
    let data = data.to_str().unwrap();
    sandbox.mount(&["--bind", data, data]);
    sandbox.mount(&["-o", "remount,bind,ro", data]);
    sandbox.ds(&["set", "web", "hostname=other"]).fails(1, &["ds: set web: ", "Read-only file system"]);
    sandbox.ds(&["create", "db", "--rootfs", tree.0.to_str().unwrap()]).fails(1, &["Read-only file system"]);
    sandbox.ds(&["rm", "web"]).fails(1, &["ds: rm web: ", "Read-only file system"]);
    sandbox.ds(&["start", "web"]).succeeds();
    assert_eq!(sandbox.state("web"), "running");
}

#[test]
fn a_read_only_tree_boots() {
    let mut sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    fs::write(tree.path("etc/hostname"), "").unwrap();
    let path = tree.0.to_str().unwrap().to_owned();
    sandbox.mount(&["--bind", &path, &path]);
    sandbox.mount(&["-o", "remount,bind,ro", &path]);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the console", || sandbox.ds(&["logs", "web"]).succeeds().contains("Read-only").then_some(()));
}

/// Removes a directory, in which another process may create a file meanwhile.
fn remove_while_in_use(directory: &Path) {
    wait_for("its removal", || (fs::remove_dir_all(directory).is_ok() || !directory.exists()).then_some(()));
}

#[test]
fn a_container_directory_that_vanishes_does_not_hurt_the_running_container() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &["environment.PROBE=sleep=700,flood=1"]);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    remove_while_in_use(&sandbox.data("containers/web"));
    // It keeps the settings of its start.
    sandbox.ds(&["run", "web", "--", "/bin/true"]).succeeds();
    assert!(sandbox.first_process("web").is_some());
    sandbox.ds(&["stop", "web"]).succeeds();
    sandbox.wait_for_end("web");
}

#[test]
fn a_tree_that_is_deleted_under_a_running_container_does_not_keep_it_from_stopping() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    remove_while_in_use(&tree.0);
    sandbox.ds(&["run", "web", "--", "/bin/true"]).fails(125, &["ds: run web: ", "No such file"]);
    sandbox.ds(&["stop", "web"]).succeeds();
    sandbox.ds(&["start", "web"]).fails(1, &["No such file"]);
}

#[test]
fn only_root_gets_access() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    // The user must be able to reach the program.
    let place = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let binary = place.path().join("ds");
    fs::copy(sandbox.binary(), &binary).unwrap();
    let binary = binary.to_str().unwrap();
    for running in [false, true] {
        for words in [&["list"][..], &["start", "web"], &["supervise"], &["supervisor", "stop"]] {
            let line =
                [&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", binary], words].concat();
            sandbox.run(&line).fails(1, &[&format!("ds: {}", words[0]), "must be root"]);
        }
        sandbox
            .run(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", binary, "help"])
            .succeeds();
        if !running {
            sandbox.ds(&["list"]).succeeds();
        }
    }
    assert_eq!(sandbox.state("web"), "stopped");
}
