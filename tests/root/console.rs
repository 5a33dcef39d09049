//! /dev/console: attaching with `ds console`, the log of `ds logs`, and that it never blocks PID 1.

use crate::root_fs::Tree;
use crate::sandbox::Sandbox;
use crate::wait_for;
use std::fs;
use std::io::Read;

fn boot(sandbox: &Sandbox, settings: &[&str]) -> Tree {
    let tree = sandbox.container("web", settings);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    tree
}

fn log(sandbox: &Sandbox) -> String {
    sandbox.ds(&["logs", "web"]).succeeds()
}

#[test]
fn console_output_is_kept() {
    let sandbox = Sandbox::new();
    boot(&sandbox, &[]);
    wait_for("the log", || log(&sandbox).contains("probe: waiting").then_some(()));
    assert_eq!(sandbox.ds(&["logs", "web", "-n", "1"]).succeeds().trim_end(), "probe: waiting");
    sandbox.ds(&["stop", "web"]).succeeds();
    assert!(
        log(&sandbox).contains("probe: report: /report.json"),
        "the log exists after the end of the container"
    );
    let file = sandbox.data("containers/web/log/console.log");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(file).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    sandbox.ds(&["logs", "nobody"]).fails(1, &["ds: logs nobody: ", "no such container"]);
}

#[test]
fn a_flood_neither_stops_the_container_nor_fills_the_disk() {
    let sandbox = Sandbox::new();
    boot(&sandbox, &["environment.PROBE=flood=20"]);
    wait_for("the end of the flood", || {
        sandbox.ds(&["logs", "web", "-n", "3"]).succeeds().contains("flood over").then_some(())
    });
    let directory = sandbox.data("containers/web/log");
    let sizes = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    let total: u64 = sizes.sum();
    assert!(total <= 3 << 20, "{total} bytes");
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
}

#[test]
fn output_without_a_reader_does_not_block_the_boot() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &["environment.PROBE=flood=2,exit=0"]);
    sandbox.ds(&["start", "web"]).succeeds();
    sandbox.wait_for_state("web", "stopped");
    assert_eq!(tree.boots(), 1);
    assert!(log(&sandbox).contains("flood over"), "the last output is kept");
}

#[test]
fn logs_can_be_followed() {
    let sandbox = Sandbox::new();
    boot(&sandbox, &["environment.PROBE=sleep=1000,login"]);
    let mut follower = sandbox.spawn_ds(&["logs", "web", "-f"]);
    let mut seen = Vec::new();
    let mut output = follower.stdout.take().unwrap();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains("probe login: ") {
        let count = output.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "it continues until it is interrupted");
        seen.extend(&buffer[..count]);
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn the_console_shows_output_and_accepts_input() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &["init=/bin/console"]);
    tree.write(
        "bin/console",
        "#!/bin/sh\ntrap 'exit 0' TERM\necho welcome\nwhile true; do read line; echo \"heard $line\"; done\n",
    );
    std::fs::set_permissions(tree.path("bin/console"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    sandbox.ds(&["start", "web"]).succeeds();
    let mut first = sandbox.ds_on_terminal(&["console", "web"]);
    first.expect("welcome");
    let mut second = sandbox.ds_on_terminal(&["console", "web"]);
    first.send(b"one\r");
    first.expect("heard one");
    second.expect("heard one");
    second.send(b"two\r");
    first.expect("heard two");
    // Detaching does not stop the container.
    first.send(b"\x1d\x1d");
    assert_eq!(first.wait(), 0, "{}", first.shown());
    second.send(b"three\r");
    second.expect("heard three");
    sandbox.ds(&["stop", "web"]).succeeds();
    second.wait();
    assert!(second.settings().local_flags.contains(nix::sys::termios::LocalFlags::ICANON));
    sandbox.ds(&["console", "web"]).fails(1, &["ds: console web: ", "ds start web"]);
}

#[test]
fn a_viewer_that_does_not_read_blocks_nothing() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &["environment.PROBE=sleep=500,flood=5,login"]);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    // Its pipe is full after 64 KiB and is not read.
    let mut viewer = sandbox.spawn_ds(&["console", "web"]);
    wait_for("the prompt", || (sandbox.info("web")["ready"] == true).then_some(()));
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    viewer.kill().unwrap();
    viewer.wait().unwrap();
}

#[test]
fn a_start_in_the_foreground_attaches_to_the_console() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &["environment.PROBE=sleep=200,exit=0"]);
    let mut terminal = sandbox.ds_on_terminal(&["start", "-f", "web"]);
    terminal.expect("probe: report: /report.json");
    assert_eq!(terminal.wait(), 0, "{}", terminal.shown());
    assert_eq!(sandbox.state("web"), "stopped");
}

#[test]
fn a_terminal_gets_no_queries_from_a_log() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    let log = sandbox.data("containers/web/log");
    fs::create_dir_all(&log).expect("mkdir");
    let written = b"\x1b[18t\x1b[6n\x1b[0;32mOK\x1b[0m \xe2\x80\xaeevil\x1b]52;c;QQ==\x07 end\r\n";
    fs::write(log.join("console.log"), written).expect("write");
    assert_eq!(sandbox.ds(&["logs", "web"]).succeeds().as_bytes(), written, "unchanged");
    let mut terminal = sandbox.ds_on_terminal(&["logs", "web"]);
    assert_eq!(terminal.wait(), 0);
    let shown = terminal.shown();
    assert!(shown.contains("\x1b[0;32mOK\x1b[0m evil end"), "{shown:?}");
    assert!(
        !shown.contains("\x1b[6n") && !shown.contains("\u{202e}") && !shown.contains("\x1b]52"),
        "{shown:?}"
    );
    let mut terminal = sandbox.ds_on_terminal(&["logs", "web", "--raw"]);
    assert_eq!(terminal.wait(), 0);
    assert!(terminal.shown().contains("\x1b[6n"));
}

#[test]
fn following_a_log_leaves_no_colour_on_the_terminal() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    let log = sandbox.data("containers/web/log");
    fs::create_dir_all(&log).expect("mkdir");
    fs::write(log.join("console.log"), "\x1b[1m\x1b[31mred").expect("write");
    let mut terminal = sandbox.ds_on_terminal(&["logs", "-f", "web"]);
    terminal.expect("\x1b[1m\x1b[31mred\x1b[0m");
    let mut file = fs::OpenOptions::new().append(true).open(log.join("console.log")).expect("open");
    std::io::Write::write_all(&mut file, b" still").expect("write");
    terminal.expect("\x1b[1m\x1b[31m still\x1b[0m");
    terminal.send(&[3]);
    assert_ne!(terminal.wait(), 0, "it was interrupted");
    assert!(terminal.shown().trim_end_matches("^C").ends_with("\x1b[0m"), "{:?}", terminal.shown());
}

#[test]
fn names_from_a_container_are_shown_as_text() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    let evil = "PRETTY_NAME=\"a\u{202e}b\u{2066}c\u{9b}6n\u{200b}d\"\n";
    fs::write(tree.path("etc/os-release"), evil).expect("write");
    for words in [&["info", "web"][..], &["info", "web", "--json"]] {
        let shown = sandbox.ds(words).succeeds();
        let hidden =
            |one: char| one != '\n' && (one.is_control() || "\u{202e}\u{2066}\u{200b}".contains(one));
        assert!(!shown.contains(hidden), "{shown:?}");
    }
    sandbox.ds(&["stop", "web"]).succeeds();
    let evil = sandbox.path("a\u{1b}[6n");
    for words in [&["doctor", "-o"][..], &["export", "web", "-o"]] {
        let shown = sandbox.ds(&[words, &[evil.to_str().unwrap()]].concat()).succeeds();
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
        fs::remove_file(&evil).expect("remove");
    }
}
