//! Containers that are frozen, limited or filled with groups, by the host and by root inside: every verb still ends.

use crate::root_fs::Tree;
use crate::sandbox::Sandbox;
use crate::{process, skip, wait_for};
use nix::fcntl::{OFlag, open, openat};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, mkdirat};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A generous timeout.
const SOON: Duration = Duration::from_secs(90);

fn boot(sandbox: &Sandbox, settings: &[&str]) -> Tree {
    let tree = sandbox.container("web", settings);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    tree
}

/// The container's directory in the hierarchy whose groups have this file.
fn group_with(sandbox: &Sandbox, file: &str) -> Option<PathBuf> {
    sandbox.group_directories().into_iter().map(|top| top.join("web")).find(|group| group.join(file).exists())
}

/// The freezers of this machine: the file, the value that freezes, and the value that thaws.
fn freezers(sandbox: &Sandbox) -> Vec<(PathBuf, &'static str, &'static str)> {
    let kinds = [("cgroup.freeze", "1", "0"), ("freezer.state", "FROZEN", "THAWED")];
    let found = kinds
        .into_iter()
        .filter_map(|(file, frozen, thawed)| Some((group_with(sandbox, file)?.join(file), frozen, thawed)));
    found.collect()
}

/// Runs a verb with a timeout; returns its result.
#[track_caller]
fn ends(sandbox: &Sandbox, words: &[&str]) -> crate::done::Done {
    let begun = Instant::now();
    let done = sandbox.ds(words);
    assert!(begun.elapsed() < SOON, "ds {} took {:?}", words.join(" "), begun.elapsed());
    done
}

/// Creates a group below that of PID 1 of the container, and moves PID 1 there.
fn moved_down(sandbox: &Sandbox, group: &Path, names: &[&str]) -> PathBuf {
    let mut below = group.to_owned();
    for name in names {
        below.push(name);
        fs::create_dir(&below).unwrap();
    }
    let first = sandbox.first_process("web").unwrap().pid;
    fs::write(below.join("cgroup.procs"), first.to_string()).unwrap();
    below
}

#[test]
fn a_frozen_container_is_shown_as_frozen_and_stops_whichever_version_froze_it() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    let all = freezers(&sandbox);
    if all.is_empty() {
        skip(
            "frozen::a_frozen_container_is_shown_as_frozen_and_stops_whichever_version_froze_it",
            "there is no freezer",
        );
        return;
    }
    sandbox.ds(&["stop", "web"]).succeeds();
    for (file, frozen, thawed) in all {
        for stop in [&["stop", "web"][..], &["stop", "web", "--kill"], &["restart", "web"]] {
            sandbox.ds(&["start", "web"]).succeeds();
            fs::write(&file, frozen).unwrap();
            sandbox.wait_for_state("web", "frozen");
            let list = sandbox.ds(&["list"]).succeeds();
            assert!(list.contains("frozen"), "{list}");
            for verb in [&["run", "web", "--", "/bin/true"][..], &["enter", "web"]] {
                let code = if verb[0] == "run" { 125 } else { 1 };
                ends(&sandbox, verb).fails(code, &["frozen", "ds thaw web"]);
            }
            fs::write(&file, thawed).unwrap();
            sandbox.wait_for_state("web", "running");
            fs::write(&file, frozen).unwrap();
            sandbox.wait_for_state("web", "frozen");
            ends(&sandbox, stop).succeeds();
            let state = sandbox.state("web");
            assert_eq!(state, if stop[0] == "restart" { "running" } else { "stopped" }, "{}", file.display());
        }
        sandbox.ds(&["stop", "web"]).succeeds();
    }
}

#[test]
fn freeze_and_thaw_suspend_and_resume_every_process() {
    let sandbox = Sandbox::new();
    boot(&sandbox, &[]);
    if freezers(&sandbox).is_empty() {
        skip("frozen::freeze_and_thaw_suspend_and_resume_every_process", "there is no freezer");
        return;
    }
    assert_eq!(sandbox.ds(&["freeze", "web"]).succeeds(), "web is frozen\n");
    assert_eq!(sandbox.state("web"), "frozen");
    assert_eq!(sandbox.ds(&["freeze", "web"]).succeeds(), "web is already frozen\n");
    assert_eq!(sandbox.ds(&["thaw", "web"]).succeeds(), "web is thawed\n");
    assert_eq!(sandbox.state("web"), "running");
    assert_eq!(sandbox.ds(&["thaw", "web"]).succeeds(), "web is not frozen\n");
    sandbox.ds(&["run", "web", "--", "/bin/true"]).succeeds();
    // Independent of the version that froze it.
    for (file, frozen, _) in freezers(&sandbox) {
        fs::write(&file, frozen).unwrap();
        sandbox.wait_for_state("web", "frozen");
        assert_eq!(sandbox.ds(&["thaw", "web"]).succeeds(), "web is thawed\n");
    }
    sandbox.ds(&["stop", "web"]).succeeds();
    sandbox.ds(&["freeze", "web"]).fails(1, &["freeze web", "not running", "ds start web"]);
    sandbox.ds(&["thaw", "none"]).fails(1, &["thaw none", "no such container"]);
    sandbox.ds(&["freeze"]).ends_with(2);
}

#[test]
fn frozen_groups_at_any_depth_do_not_prevent_a_stop() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &["restart=no"]);
    for stop in [&["stop", "web"][..], &["stop", "web", "--kill"], &["rm", "web", "--force"]] {
        sandbox.ds(&["start", "web"]).succeeds();
        for (file, frozen, _) in freezers(&sandbox) {
            let group = file.parent().unwrap();
            let payload = group.join("payload");
            let top = if payload.exists() { &payload } else { group };
            let below = moved_down(&sandbox, top, &["a", "b", "c"]);
            let name = file.file_name().unwrap();
            for level in [&below, &below.parent().unwrap().to_owned()] {
                fs::write(level.join(name), frozen).unwrap();
            }
        }
        ends(&sandbox, stop).succeeds();
        sandbox.wait_for_end("web");
    }
    sandbox.assert_no_containers();
}

#[test]
fn a_frozen_container_whose_monitor_was_killed_is_swept_and_starts_again() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &["restart=no"]);
    sandbox.ds(&["start", "web"]).succeeds();
    for (file, frozen, _) in freezers(&sandbox) {
        let group = file.parent().unwrap();
        let payload = group.join("payload");
        let below = moved_down(&sandbox, if payload.exists() { &payload } else { group }, &["a", "b"]);
        fs::write(below.join(file.file_name().unwrap()), frozen).unwrap();
    }
    process::kill(sandbox.monitor("web").unwrap().pid);
    ends(&sandbox, &["start", "web"]).succeeds();
    assert_eq!(sandbox.state("web"), "running");
    ends(&sandbox, &["stop", "web"]).succeeds();
    sandbox.assert_no_containers();
}

/// Creates nested groups whose path is longer than the kernel's limit, with a process in the deepest one.
fn deep_groups(sandbox: &Sandbox, top: &Path) {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let mut here = open(top, flags, Mode::empty()).unwrap();
    for depth in 0..30 {
        for name in [format!("{depth:0200}"), "beside".to_owned()] {
            mkdirat(&here, name.as_str(), Mode::from_bits_truncate(0o755)).unwrap();
        }
        here = openat(&here, format!("{depth:0200}").as_str(), flags, Mode::empty()).unwrap();
    }
    let first = sandbox.first_process("web").unwrap().pid;
    let procs = openat(&here, "cgroup.procs", OFlag::O_WRONLY, Mode::empty()).unwrap();
    fs::File::from(procs).write_all(first.to_string().as_bytes()).unwrap();
    // At the deepest level, too.
    for (file, frozen) in [("cgroup.freeze", "1"), ("freezer.state", "FROZEN")] {
        if let Ok(file) = openat(&here, file, OFlag::O_WRONLY, Mode::empty()) {
            fs::File::from(file).write_all(frozen.as_bytes()).unwrap();
        }
    }
}

#[test]
fn groups_beyond_the_longest_path_are_removed() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &["restart=no"]);
    for stop in [&["restart", "web"][..], &["stop", "web", "--kill"]] {
        ends(&sandbox, &["start", "web"]).succeeds();
        for (file, ..) in freezers(&sandbox) {
            let group = file.parent().unwrap();
            let payload = group.join("payload");
            deep_groups(&sandbox, if payload.exists() { &payload } else { group });
        }
        ends(&sandbox, stop).succeeds();
        assert_eq!(sandbox.state("web"), if stop[0] == "restart" { "running" } else { "stopped" });
    }
    sandbox.assert_no_containers();
    ends(&sandbox, &["start", "web"]).succeeds();
    for (file, ..) in freezers(&sandbox) {
        let group = file.parent().unwrap();
        let payload = group.join("payload");
        deep_groups(&sandbox, if payload.exists() { &payload } else { group });
    }
    process::kill(sandbox.monitor("web").unwrap().pid);
    ends(&sandbox, &["start", "web"]).succeeds();
}

#[test]
fn root_inside_cannot_keep_sessions_out_by_the_sessions_group() {
    let sandbox = Sandbox::new();
    boot(&sandbox, &[]);
    let Some(group) = group_with(&sandbox, "cgroup.events") else {
        skip("frozen::root_inside_cannot_keep_sessions_out_by_the_sessions_group", "no cgroup v2");
        return;
    };
    let payload = group.join("payload");
    let session = payload.join("ds-session");
    let run = || ends(&sandbox, &["run", "web", "--", "/bin/sh", "-c", "echo here"]).succeeds();
    for file in ["cgroup.max.descendants", "cgroup.max.depth"] {
        fs::write(payload.join(file), "0").unwrap();
        assert_eq!(run(), "here\n", "{file}");
        wait_for("an empty group", || fs::remove_dir(&session).ok());
    }
    run();
    let files = [("cgroup.freeze", "1"), ("cgroup.kill", "1"), ("cgroup.type", "threaded")];
    for (file, value) in files {
        if !session.join(file).exists() {
            continue;
        }
        fs::write(session.join(file), value).unwrap();
        assert_eq!(run(), "here\n", "{file}");
    }
    // Everything at once, with the container's own group killed as well.
    fs::write(session.join("cgroup.freeze"), "1").unwrap();
    ends(&sandbox, &["stop", "web"]).succeeds();
    ends(&sandbox, &["start", "web"]).succeeds();
    assert_eq!(run(), "here\n");
}

#[test]
fn a_frozen_session_ends_with_its_client() {
    let sandbox = Sandbox::new();
    boot(&sandbox, &[]);
    let rounds = freezers(&sandbox).into_iter().map(|freezer| (freezer, Signal::SIGTERM));
    // After the death of its client, a command has a few seconds to end.
    let killed = freezers(&sandbox).into_iter().next_back().map(|freezer| (freezer, Signal::SIGKILL));
    for ((file, frozen, thawed), signal) in rounds.chain(killed) {
        let name = file.display();
        let script = "/bin/probe hold | /bin/probe hold";
        let mut spawned = sandbox.spawn_ds(&["run", "web", "--", "/bin/sh", "-c", script]);
        let holding = || {
            let processes = sandbox.processes();
            processes.iter().filter(|process| process.command == ["/bin/probe", "hold"]).count()
        };
        wait_for("the commands", || (holding() == 2).then_some(()));
        fs::write(&file, frozen).unwrap();
        sandbox.wait_for_state("web", "frozen");
        let outputs = (spawned.stdout.take().unwrap(), spawned.stderr.take().unwrap());
        let reader = std::thread::spawn(|| [read_all(outputs.0), read_all(outputs.1)]);
        process::signal(process::client(&spawned).pid, signal);
        let ended = spawned.wait().unwrap();
        // No frozen process keeps the streams open.
        wait_for("the end of the output", || reader.is_finished().then_some(()));
        if signal == Signal::SIGTERM {
            assert_eq!(ended.code(), Some(128 + libc::SIGTERM), "{name}");
            let told = reader.join().unwrap()[1].clone();
            assert!(told.contains("frozen"), "{name}: {told}");
        }
        wait_for("the end of the session", || (holding() == 0).then_some(()));
        fs::write(&file, thawed).unwrap();
        sandbox.wait_for_state("web", "running");
    }
}

fn read_all(mut stream: impl std::io::Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
