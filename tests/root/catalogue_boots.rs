//! Real distributions from a catalogue: downloaded, seeded and started, and they work without further changes.

use crate::catalogue::{configure, ds};
use crate::given;
use crate::sandbox::Sandbox;
use crate::storage::text;
use crate::web::Server;
use crate::web::catalogue::faithful;
use std::fs;
use std::process::Command;
use std::sync::Arc;

fn run(sandbox: &Sandbox, script: &str) -> String {
    sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", script]).succeeds()
}

/// A container `web` from a server that has this fixture as its image.
fn created(fixture: &str, options: &[&str]) -> Sandbox {
    let sandbox = Sandbox::new();
    let packed = sandbox.path("rootfs.tar.xz");
    fs::create_dir_all(packed.parent().expect("a parent")).expect("mkdir");
    let tree = given("DS_FIXTURES").join(fixture);
    let words =
        ["--numeric-owner", "--xattrs", "-I", "xz -0 -T0", "-cf", text(&packed), "-C", text(&tree), "."];
    assert!(Command::new("tar").args(words).status().expect("tar").success());
    let image = Arc::new(fs::read(&packed).expect("read"));
    fs::remove_file(&packed).expect("remove");
    let server = Server::start(&sandbox, faithful(&image));
    configure(&sandbox, &server.address());
    let line = ["create", "web", "--from", "debian:13", "--arch", "amd64"];
    assert_eq!(ds(&sandbox, &server, &[&line, options].concat()).succeeds(), "web created\n");
    sandbox.ds(&["cache", "prune"]).succeeds();
    sandbox.ds(&["start", "web", "--wait=110"]).succeeds();
    sandbox
}

fn knows_its_name(sandbox: &Sandbox) {
    let name = run(sandbox, "hostname; getent hosts $(hostname)");
    assert_eq!(name.split_whitespace().collect::<Vec<_>>(), ["web", "::1", "web"]);
}

fn systemd(fixture: &str, options: &[&str]) {
    let sandbox = created(fixture, options);
    let state = "systemctl is-system-running --wait; systemctl --failed --no-legend --plain; sudo true 2>&1";
    assert_eq!(run(&sandbox, state), "running\n");
    knows_its_name(&sandbox);
    run(&sandbox, "mkdir -p /var/log/journal; journalctl --flush; logger first; journalctl --sync");
    sandbox.ds(&["restart", "web"]).succeeds();
    sandbox.ds(&["start", "web", "--wait=110"]).succeeds();
    assert_eq!(run(&sandbox, state), "running\n");
    assert_eq!(run(&sandbox, "journalctl --list-boots --no-pager -q | wc -l"), "2\n");
    sandbox.ds(&["stop", "web", "--kill"]).succeeds();
}

#[test]
fn debian_with_systemd_works_unmodified() {
    systemd("bookworm", &["--size", "1G"]);
}

#[test]
fn debian_13_is_at_home() {
    systemd("trixie", &[]);
}

#[test]
fn debian_with_the_newest_systemd_works_unmodified() {
    systemd("forky", &[]);
}

#[test]
fn debian_with_another_init_system_works_unmodified() {
    for fixture in ["openrc", "sysvinit", "runit"] {
        let sandbox = created(fixture, &[]);
        knows_its_name(&sandbox);
        let about = sandbox.info("web");
        assert!(
            about["seeded"].as_array().is_some_and(|files| files.contains(&"/etc/hosts".into())),
            "{about}"
        );
        sandbox.ds(&["stop", "web"]).succeeds();
    }
}
