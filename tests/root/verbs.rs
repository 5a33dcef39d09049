//! Concurrent verbs: eight clients use one container at once. Each call ends with a correct answer, and the container
//! is complete or does not exist.

use crate::done::Done;
use crate::sandbox::Sandbox;
use crate::wait_for;
use std::process::Child;
use std::time::Instant;

/// The requests of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Start,
    Stop,
    Restart,
    Reboot,
    PowerOff,
    Kill,
    Remove,
    Rename,
    Set,
}

use Wish::{Kill, PowerOff, Reboot, Remove, Rename, Restart, Set, Start, Stop};

const ALL: [Wish; 9] = [Start, Stop, Restart, Reboot, PowerOff, Kill, Remove, Rename, Set];

impl Wish {
    fn words(self) -> &'static [&'static str] {
        match self {
            Start => &["start", "web"],
            Stop => &["stop", "web", "--timeout", "5"],
            Restart => &["restart", "web"],
            Reboot => &["run", "web", "/bin/probe", "reboot"],
            PowerOff => &["run", "web", "/bin/probe", "poweroff"],
            Kill => &["stop", "web", "--kill"],
            Remove => &["rm", "--force", "web"],
            Rename => &["rename", "web", "other"],
            Set => &["set", "web", "hostname=changed"],
        }
    }

    /// Whether a container may be running after this request.
    fn may_boot(self) -> bool {
        matches!(self, Start | Restart)
    }

    /// Whether a container may have ended after this request.
    fn may_end(self) -> bool {
        matches!(self, Stop | PowerOff | Kill | Remove)
    }
}

/// Eight clients at once, four for each of two requests, on a running container.
fn together(sandbox: &Sandbox, tree: &std::path::Path, wishes: [Wish; 2]) {
    sandbox.create("web", tree, &["stop-timeout=5"]);
    sandbox.ds(&["start", "web"]).succeeds();
    let begun = Instant::now();
    let clients: Vec<(Wish, Child)> =
        (0..8).map(|number| wishes[number % 2]).map(|wish| (wish, sandbox.spawn_ds(wish.words()))).collect();
    let done: Vec<(Wish, Done)> = clients
        .into_iter()
        .map(|(wish, client)| (wish, Done::new(wish.words().join(" "), client.wait_with_output().unwrap())))
        .collect();
    let shown = format!("{wishes:?}: {done:#?}");
    assert!(begun.elapsed().as_secs() < 150, "a call did not end by itself: {shown}");
    for (wish, done) in &done {
        let inside = matches!(wish, Reboot | PowerOff);
        // A command inside ends with its container, by SIGKILL.
        assert!([0, 1].contains(&done.code) || inside && [125, 137].contains(&done.code), "{shown}");
        assert!(done.errors.lines().filter(|line| !line.contains("warning")).count() <= 1, "{shown}");
        assert!(done.code != 1 || !done.errors.is_empty(), "a failure without a reason: {shown}");
        for raw in ["ECONN", "ESRCH", "EPIPE", "ENOENT", "internal error"] {
            assert!(!done.errors.contains(raw), "{raw}: {shown}");
        }
    }
    let succeeded =
        |wanted: &dyn Fn(Wish) -> bool| done.iter().any(|(wish, done)| wanted(*wish) && done.code == 0);
    let there: Vec<&str> = ["web", "other"]
        .into_iter()
        .filter(|name| sandbox.data(&format!("containers/{name}")).is_dir())
        .collect();
    let runs = there.iter().any(|name| is_running(sandbox, name));
    if succeeded(&|wish| matches!(wish, Stop | Kill | Remove)) && !succeeded(&Wish::may_boot) {
        assert!(!runs, "it was stopped and is running: {shown}");
    }
    if !wishes.into_iter().any(Wish::may_end) {
        assert!(runs, "it ended without a request: {shown}");
    }
    if !wishes.contains(&Remove) {
        assert_eq!(there.len(), 1, "{shown}");
    }
    // In any case, an existing container starts, stops and can be deleted.
    for name in there {
        sandbox.ds(&["stop", name]).succeeds();
        assert_eq!(sandbox.ds(&["start", name]).succeeds(), format!("{name} started\n"), "{shown}");
        assert_eq!(sandbox.ds(&["stop", name]).succeeds(), format!("{name} stopped\n"), "{shown}");
        sandbox.ds(&["rm", name]).succeeds();
    }
    assert!(!sandbox.log().contains("internal error"), "{shown}");
}

/// Whether it is running, once its state is stable.
fn is_running(sandbox: &Sandbox, name: &str) -> bool {
    wait_for("a stable state", || match sandbox.state(name).as_str() {
        "running" => Some(true),
        "stopped" | "failed" => Some(false),
        _ => None,
    })
}

fn all_pairs(first: &[Wish]) {
    let sandbox = Sandbox::new();
    let tree = crate::root_fs::Tree::with_probe(&sandbox.path("web"));
    for one in first {
        let from = ALL.iter().position(|wish| wish == one).unwrap();
        for other in &ALL[from..] {
            together(&sandbox, &tree.0, [*one, *other]);
        }
    }
}

#[test]
fn verbs_during_a_start_or_a_stop_end_correctly() {
    all_pairs(&[Start, Stop]);
}

#[test]
fn verbs_during_a_restart_or_a_reboot_end_correctly() {
    all_pairs(&[Restart, Reboot]);
}

#[test]
fn other_concurrent_verbs_end_correctly() {
    all_pairs(&[PowerOff, Kill, Remove, Rename, Set]);
}

#[test]
fn a_stop_wins_over_a_restart_in_either_order() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &["environment.PROBE=deaf", "stop-timeout=3"]);
    for first in [&["stop", "web"][..], &["restart", "web"]] {
        sandbox.ds(&["start", "web"]).succeeds();
        let early = sandbox.spawn_ds(first);
        wait_for("the request", || (sandbox.state("web") != "running").then_some(()));
        let (stop, restart) = match first[0] {
            "stop" => {
                let restart = sandbox.ds(&["restart", "web"]);
                (Done::new("stop".into(), early.wait_with_output().unwrap()), restart)
            }
            _ => {
                let stop = sandbox.ds(&["stop", "web"]);
                (stop, Done::new("restart".into(), early.wait_with_output().unwrap()))
            }
        };
        assert_eq!(stop.succeeds(), "web stopped (killed)\n");
        restart.fails(1, &["restart web", "stopped"]);
        assert_eq!(sandbox.state("web"), "stopped");
    }
}

#[test]
fn a_stop_reports_that_it_cancelled_a_restart() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &["environment.PROBE=exit=1", "restart=always"]);
    sandbox.ds(&["start", "web"]).succeeds();
    sandbox.wait_for_state("web", "restarting");
    let said = wait_for("a stop between two boots", || {
        let said = sandbox.ds(&["stop", "web"]).succeeds();
        if said.contains("cancelled") {
            return Some(said);
        }
        sandbox.ds(&["start", "web"]).succeeds();
        sandbox.wait_for_state("web", "restarting");
        None
    });
    assert_eq!(said, "web is not running; its restart was cancelled\n");
    assert_eq!(sandbox.state("web"), "failed");
}

#[test]
fn a_restart_can_wait_until_the_init_system_is_up() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &["environment.PROBE=sleep=300,login"]);
    sandbox.ds(&["start", "web"]).succeeds();
    assert_eq!(sandbox.ds(&["restart", "web", "--wait=30"]).succeeds(), "web is up\n");
    assert_eq!(sandbox.info("web")["ready"], true);
    assert_eq!(sandbox.info("web")["boots"], 2);
}
