//! The clocks of a container begin at its start, if the kernel has time namespaces.

use crate::sandbox::{Sandbox, Setting};
use crate::{skip, wait_for};
use std::path::Path;

const UPTIME: [&str; 2] = ["/bin/cat", "/proc/uptime"];

fn seconds(text: &str) -> f64 {
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn of_the_host() -> f64 {
    seconds(&std::fs::read_to_string("/proc/uptime").unwrap())
}

#[test]
fn uptime_is_the_containers_own() {
    if !Path::new("/proc/self/ns/time").exists() {
        skip("clocks::uptime_is_the_containers_own", "the kernel has no time namespaces");
        return;
    }
    let sandbox = Sandbox::new();
    let before = of_the_host();
    let tree = sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    let run = [&["run", "web", "--"], &UPTIME[..]].concat();
    let first = seconds(&sandbox.ds(&run).succeeds());
    assert!(first <= of_the_host() - before + 0.1, "{first}");
    let mut terminal = sandbox.ds_on_terminal(&["enter", "web"]);
    terminal.expect("# ");
    terminal.send(b"cat /proc/uptime; echo $((6 * 7))\nexit\n");
    terminal.expect("42");
    assert_eq!(terminal.wait(), 0);
    let shown = terminal.shown();
    let line =
        shown.lines().find(|line| line.split(' ').count() == 2 && line.contains('.')).unwrap().to_owned();
    assert!((first..=of_the_host() - before + 0.1).contains(&seconds(&line)), "{line}");
    // The uptime that the host reports counts from the same time.
    let uptime = sandbox.info("web")["uptime_s"].as_f64().unwrap();
    assert!(uptime <= of_the_host() - before + 1.0, "{uptime}");

    let again = of_the_host();
    sandbox.ds(&["restart", "web"]).succeeds();
    wait_for("the second boot", || (tree.boots() == 2).then_some(()));
    let second = seconds(&sandbox.ds(&run).succeeds());
    assert!(second <= of_the_host() - again + 0.1, "{second}: it begins again with each boot");
    sandbox.ds(&["stop", "web"]).succeeds();

    let begun = of_the_host();
    let path = tree.0.to_str().unwrap();
    let shell = seconds(&sandbox.ds(&[&["shell", path], &UPTIME[..]].concat()).succeeds());
    assert!(shell <= of_the_host() - begun + 0.1, "{shell}");
}

#[test]
fn without_time_namespaces_it_is_the_hosts() {
    let sandbox = Sandbox::with(Setting { denied: Some("newtime"), ..Setting::default() });
    let tree = sandbox.container("web", &[]);
    let before = of_the_host();
    let started = sandbox.ds(&["start", "web"]);
    assert_eq!(started.errors, "", "only 'ds check' reports it");
    started.succeeds();
    wait_for("the report", || tree.report());
    assert!(seconds(&sandbox.ds(&[&["run", "web", "--"], &UPTIME[..]].concat()).succeeds()) + 0.1 >= before);
    let check = sandbox.ds(&["check"]).text();
    let line = check.lines().find(|line| line.starts_with("time namespaces")).unwrap().to_owned();
    assert!(line.contains(" no "), "{line}");
}

#[test]
fn timers_of_systemd_elapse() {
    let mut sandbox = Sandbox::new();
    sandbox.distribution("web", "bookworm", &[]);
    sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
    let timer = "systemd-run --quiet --on-active=1s --timer-property=AccuracySec=10ms touch /run/elapsed && \
                 for i in $(seq 100); do [ -e /run/elapsed ] && echo elapsed && exit; sleep .1; done; exit 1";
    assert_eq!(sandbox.ds(&["run", "web", "--", "sh", "-c", timer]).succeeds(), "elapsed\n");
    sandbox.ds(&["stop", "web"]).succeeds();
}
