//! The replacement of the supervisor while containers and sessions run; an invalid successor changes nothing.

use crate::done::Done;
use crate::sandbox::Sandbox;
use crate::wait_for;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;

/// An executable file of the test.
fn program(sandbox: &Sandbox, name: &str, content: &[u8]) -> PathBuf {
    let path = sandbox.path(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
    // Written to a temporary file and renamed, as an installer does, because the previous one may be running.
    let new = path.with_extension("new");
    fs::write(path.with_extension("content"), content).expect("write");
    // Another test may fork while this process has a file open for writing, and its child keeps it open: such a file
    // cannot be executed (ETXTBSY). This one is only ever written by cp.
    sandbox.run(&[Path::new("cp"), &path.with_extension("content"), &new]).succeeds();
    fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).expect("chmod");
    fs::rename(&new, &path).expect("rename");
    path
}

/// The number of replacements of the program.
fn handovers(sandbox: &Sandbox) -> usize {
    sandbox.log().matches(" takes over").count()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn containers_and_sessions_survive_a_replacement_of_the_program() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &["restart=on-failure"]);
    let binary = fs::read(sandbox.binary()).unwrap();
    let installed = program(&sandbox, "installed/ds", &binary);
    sandbox.run(&[text(&installed), "supervise"]).succeeds();
    sandbox.ds(&["start", "web"]).succeeds();
    let mut session = sandbox.spawn_ds(&["run", "web", "--", "/bin/probe", "hold"]);
    wait_for("the session", || sandbox.process(&["/bin/probe", "hold"]));
    let pids = || {
        let [supervisor, monitor] =
            [sandbox.supervisor(), sandbox.monitor("web")].map(|one| one.unwrap().pid);
        let session = sandbox.process(&["/bin/probe", "hold"]).unwrap().pid;
        (supervisor, monitor, session, sandbox.info("web")["pid"].clone())
    };
    let before = pids();
    // The installed file has been replaced: the supervisor executes the new one.
    program(&sandbox, "installed/ds", &binary);
    sandbox.ds(&["supervisor", "reload"]).succeeds();
    assert_eq!(handovers(&sandbox), 1, "{}", sandbox.log());
    assert_eq!(pids(), before);
    // And any other program that is given.
    let other = program(&sandbox, "other/ds", &binary);
    sandbox.ds(&["supervisor", "reload", "--binary", text(&other)]).succeeds();
    assert_eq!(handovers(&sandbox), 2);
    // It still watches the monitor: if that is killed, it is cleaned up after and restarted.
    session.kill().unwrap();
    session.wait().unwrap();
    crate::process::kill(sandbox.monitor("web").unwrap().pid);
    wait_for("the second boot", || (tree.boots() == 2).then_some(()));
    sandbox.wait_for_state("web", "running");
    sandbox.ds(&["stop", "web"]).succeeds();
}

#[test]
fn decisions_and_pending_work_are_transferred() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &["restart=always", "environment.PROBE=exit=1"]);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("a longer wait", || {
        sandbox.info("web")["restart_in_s"].as_u64().filter(|seconds| *seconds >= 2 && tree.boots() >= 3)
    });
    sandbox.ds(&["supervisor", "reload"]).succeeds();
    let boots = tree.boots();
    assert_eq!(sandbox.state("web"), "restarting");
    wait_for("the restart", || (tree.boots() > boots).then_some(()));
    sandbox.ds(&["stop", "web"]).succeeds();
}

#[test]
fn an_invalid_successor_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    let supervisor = || sandbox.supervisor().map(|process| process.pid);
    let before = supervisor();
    let binary = fs::read(sandbox.binary()).unwrap();
    let mut foreign = binary.clone();
    foreign[18] ^= 0xff;
    for (name, content) in [
        ("text", b"hello\n".to_vec()),
        ("script", b"#!/bin/sh\necho '{\"version\":\"9\"}'\n".to_vec()),
        ("cut", binary[..4096].to_vec()),
        ("foreign", foreign),
        ("empty", Vec::new()),
        ("other", fs::read(crate::given("DS_PROBE")).unwrap()),
    ] {
        let path = program(&sandbox, &format!("broken/{name}"), &content);
        let line =
            sandbox.ds(&["supervisor", "reload", "--binary", text(&path)]).fails(1, &["ds: supervisor: "]);
        eprintln!("{line}");
        assert!(line.contains(name), "{line}");
    }
    let missing = sandbox.path("broken/missing");
    sandbox.ds(&["supervisor", "reload", "--binary", text(&missing)]).fails(1, &["missing", "No such file"]);
    assert_eq!(supervisor(), before);
    assert_eq!(handovers(&sandbox), 0);
    assert_eq!(sandbox.state("web"), "running");
    sandbox.ds(&["supervisor", "reload"]).succeeds();
    assert_eq!(handovers(&sandbox), 1);
}

#[test]
fn no_command_is_lost_during_replacements() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    for round in 0..3 {
        let list = |_| sandbox.spawn_ds(&["list", "--names"]);
        let run = |_| sandbox.spawn_ds(&["run", "web", "--", "/bin/probe", "exit", "7"]);
        let before: Vec<Child> = (0..5).map(list).chain((0..5).map(run)).collect();
        let reload = sandbox.spawn_ds(&["supervisor", "reload"]);
        let after: Vec<Child> = (0..5).map(list).chain((0..5).map(run)).collect();
        for (number, child) in before.into_iter().chain(after).enumerate() {
            let done =
                Done::new(format!("command {number} of round {round}"), child.wait_with_output().unwrap());
            assert_eq!(done.errors, "");
            let is_list = number % 10 < 5;
            assert_eq!(done.ends_with(if is_list { 0 } else { 7 }), if is_list { "web\n" } else { "" });
        }
        Done::new("reload".into(), reload.wait_with_output().unwrap()).succeeds();
        assert_eq!(handovers(&sandbox), round + 1);
    }
}
