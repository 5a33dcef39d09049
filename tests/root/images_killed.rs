//! Containers from images leave nothing behind when a process dies.

use crate::done::Done;
use crate::images::{assert_unmounted, container, loop_devices, read, text, tool};
use crate::process;
use crate::sandbox::{Sandbox, Setting};
use crate::{skip, wait_for};
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::Duration;

#[test]
fn the_image_of_a_killed_monitor_is_free_again() {
    let sandbox = Sandbox::new();
    let path = container(&sandbox, "web", &["fsck=auto"]);
    for _ in 0..3 {
        sandbox.ds(&["start", "web"]).succeeds();
        process::kill(sandbox.monitor("web").expect("a monitor").pid);
        // Immediately: the kernel may still be unmounting.
        sandbox.wait_for_state("web", "failed");
    }
    sandbox.ds(&["start", "web"]).succeeds();
    sandbox.ds(&["stop", "web"]).succeeds();
    assert_unmounted(&path);
    tool(&["e2fsck", "-f", "-n", text(&path)]);
}

#[test]
fn a_process_that_ends_a_moment_later_does_not_refuse_the_image() {
    let sandbox = Sandbox::new();
    let path = container(&sandbox, "web", &["fsck=never"]);
    let lock = Flock::lock(File::open(&path).unwrap(), FlockArg::LockExclusive).expect("lock");
    sandbox.ds(&["start", "web"]).fails(1, &["another container or command uses the image"]);
    let start = sandbox.spawn_ds(&["start", "web"]);
    thread::sleep(Duration::from_millis(300));
    drop(lock);
    Done::new("start web".into(), start.wait_with_output().unwrap()).succeeds();
    sandbox.ds(&["stop", "web"]).succeeds();
}

#[test]
fn a_container_that_kills_everything_inside_leaves_the_image_mounted_for_the_next_boot() {
    let sandbox = Sandbox::new();
    let path = container(&sandbox, "web", &["fsck=never"]);
    sandbox.ds(&["start", "web"]).succeeds();
    let remount = "mount -o remount,ro / && echo read-only; true";
    sandbox.ds(&["run", "web", "--", "/bin/busybox", "sh", "-c", remount]).succeeds();
    sandbox.ds(&["restart", "web"]).succeeds();
    sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", "echo x >/still-writable"]).succeeds();
    sandbox.ds(&["stop", "web", "--kill"]).succeeds();
    assert_eq!(loop_devices(&sandbox), [""; 0]);
    assert_eq!(read(&path, "/still-writable"), "x\n");
}

/// The stages of a start with an image.
const STAGES: [&str; 4] = ["checking", "checked", "attaching", "attached"];

#[test]
fn a_start_that_fails_or_dies_at_any_stage_of_an_image_leaves_nothing() {
    if !cfg!(debug_assertions) {
        skip(
            "images_killed::a_start_that_fails_or_dies_at_any_stage_of_an_image_leaves_nothing",
            "this build has no fault injection",
        );
        return;
    }
    for stage in STAGES.into_iter().chain(["loop-free"]) {
        for action in ["fail", "kill"] {
            let fault = Some(format!("{stage}:{action}"));
            let mut sandbox = Sandbox::with(Setting { fault, ..Setting::default() });
            let path = container(&sandbox, "web", &[]);
            let done = sandbox.ds(&["start", "web"]);
            done.fails(
                1,
                if stage == "loop-free" && action == "fail" { &["no loop device is free"] } else { &[] },
            );
            wait_for(&format!("a clean machine after {stage}"), || sandbox.has_no_containers().then_some(()));
            assert_recovers(&mut sandbox, &path);
        }
    }
}

#[test]
fn a_client_that_goes_away_at_any_stage_of_an_image_leaves_nothing() {
    if !cfg!(debug_assertions) {
        skip(
            "images_killed::a_client_that_goes_away_at_any_stage_of_an_image_leaves_nothing",
            "this build has no fault injection",
        );
        return;
    }
    for stage in STAGES {
        let fault = Some(format!("{stage}:pause"));
        let mut sandbox = Sandbox::with(Setting { fault, ..Setting::default() });
        let path = container(&sandbox, "web", &[]);
        let mut client = sandbox.spawn_ds(&["start", "web"]);
        let is_paused = || sandbox.processes().into_iter().find(|process| process.name == "paused");
        let paused = wait_for("the stage", is_paused);
        client.kill().expect("kill the client");
        client.wait().expect("wait");
        process::kill_if_named(paused.pid, "paused");
        wait_for(&format!("a clean machine after {stage}"), || sandbox.has_no_containers().then_some(()));
        assert_recovers(&mut sandbox, &path);
    }
}

fn assert_recovers(sandbox: &mut Sandbox, path: &Path) {
    if sandbox.supervisor().is_some() {
        sandbox.kill_supervisor();
    }
    sandbox.wait_for_workers();
    sandbox.forget_fault();
    sandbox.ds(&["start", "web"]).succeeds();
    sandbox.ds(&["stop", "web"]).succeeds();
    assert_unmounted(path);
}
