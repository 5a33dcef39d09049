//! The end of containers on kernels without PID namespaces: no namespace ends their processes, so ds must do so, whichever
//! of its own processes has ended, also on kernels without `cgroup.kill`.

use crate::process;
use crate::sandbox::{Sandbox, Setting};
use crate::stock::{Bystanders, stock};
use crate::wait_for;
use nix::sys::signal::Signal;

/// Thirty processes that start others as fast as they can, most of which live for moments.
const BOMB: &str = "for one in $(busybox seq 30); do \
                    busybox awk 'BEGIN { while (1) system(\"true & true & true &\") }' & done; wait";

/// Five processes that make calls which the monitor answers, without a pause. Each leaves a file when a call ends
/// without an answer, with ENOSYS, and stays.
const CALLERS: &str = "my $own = 0; for (1 .. 4) { fork or $own = $_, last } \
                       while (1) { kill 0, 2; last if $! == 38; $! = 0 } \
                       open my $file, q(>), qq(/root/unanswered-$own); sleep 1000";

/// Waits until the sandbox has this many processes of a name.
fn wait_for_processes(sandbox: &Sandbox, name: &str, number: usize) {
    wait_for("the processes", || {
        let found = sandbox.processes().iter().filter(|one| one.name == name).count();
        (found >= number).then_some(())
    });
}

/// Ends a container with a fork bomb in each way, on a kernel without `cgroup.kill` (5.14) and with these hierarchies.
fn a_bomb_ends(groups: &'static str) {
    let sandbox = Sandbox::with(Setting {
        groups,
        denied: Some("newpid,newipc"),
        fault: Some("cgroup.kill:fail".into()),
    });
    let bystanders = Bystanders::new(&sandbox);
    sandbox.container("web", &["limits.pids=300"]);
    for way in ["stop", "monitor", "frozen"] {
        sandbox.ds(&["start", "web"]).succeeds();
        let mut session = sandbox.spawn_ds(&["run", "web", "--", "sh", "-c", BOMB]);
        wait_for_processes(&sandbox, "busybox", 30);
        match way {
            "monitor" => process::kill(sandbox.monitor("web").expect("a monitor").pid),
            "frozen" => {
                sandbox.ds(&["freeze", "web"]).succeeds();
                sandbox.ds(&["stop", "web", "--kill"]).succeeds();
            }
            _ => drop(sandbox.ds(&["stop", "web", "--kill"]).succeeds()),
        }
        session.wait().expect("wait");
        sandbox.assert_no_containers();
        bystanders.check();
    }
    assert!(!sandbox.log().contains("remove cgroup"), "{}", sandbox.log());
}

#[test]
fn without_cgroup_kill_a_fork_bomb_ends_on_version_2() {
    a_bomb_ends("v2");
}

#[test]
fn without_cgroup_kill_a_fork_bomb_ends_on_version_1() {
    a_bomb_ends("v1");
}

/// systemd moves itself into a group by the number 1. This would move the machine's first process, and the groups could
/// never be removed. The monitor must also read the number on kernels without `CONFIG_CROSS_MEMORY_ATTACH`.
#[test]
fn the_machines_first_process_stays_in_its_group_whatever_the_kernel_lacks() {
    let mut sandbox =
        Sandbox::with(Setting { denied: Some("newpid,newipc,process_vm_readv"), ..Setting::default() });
    let bystanders = Bystanders::new(&sandbox);
    sandbox.distribution("web", "bookworm", &[]);
    sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
    bystanders.check();
    sandbox.ds(&["run", "web", "--", "systemctl", "poweroff"]);
    sandbox.wait_for_state("web", "stopped");
    sandbox.assert_no_containers();
    bystanders.check();
}

/// Root inside can move it where nothing prevents that; the groups are removed nevertheless.
#[test]
fn groups_that_the_machines_first_process_was_moved_into_are_removed() {
    let sandbox = stock();
    sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    let groups = sandbox.group_directories();
    assert!(!groups.is_empty());
    // The first group of version 2 is not that of a whole machine in a sandbox, and may accept no process.
    for group in groups.iter().filter(|group| !group.join("cgroup.controllers").exists()) {
        let lists = ["web/payload", "web"].map(|name| group.join(name).join("cgroup.procs"));
        let list = lists.iter().find(|list| list.exists()).expect("a list");
        // cpuset accepts no process without further settings.
        let _ = std::fs::write(list, sandbox.init_pid().to_string());
    }
    let groups_of =
        || std::fs::read_to_string(format!("/proc/{}/cgroup", sandbox.init_pid())).expect("/proc");
    assert!(groups_of().contains("/web"), "{}", groups_of());
    // A client of this machine would be in these groups as well.
    process::kill(sandbox.monitor("web").expect("a monitor").pid);
    sandbox.assert_no_containers();
    assert!(!groups_of().contains("/web"), "{}", groups_of());
}

#[test]
fn nothing_stays_if_monitor_and_supervisor_are_killed_together() {
    let mut sandbox = stock();
    let mut bystanders = Bystanders::new(&sandbox);
    let tree = sandbox.distribution("web", "bookworm", &[]);
    sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
    // A session would end with PID 1.
    let words =
        ["run", "web", "--", "sh", "-c", "cat >/root/callers; systemd-run --quiet perl /root/callers"];
    sandbox.ds_with_input(&words, CALLERS.as_bytes()).succeeds();
    wait_for_processes(&sandbox, "perl", 5);
    let victims = [sandbox.monitor("web").expect("a monitor").pid, sandbox.supervisor().expect("one").pid];
    // Neither can act upon the end of the other.
    victims.iter().for_each(|pid| process::signal(*pid, Signal::SIGSTOP));
    victims.iter().for_each(|pid| process::kill(*pid));
    victims.iter().for_each(|pid| bystanders.forget(*pid));
    // Every call that waited has ended.
    wait_for("the end of the callers' calls", || {
        let files = std::fs::read_dir(tree.path("root")).ok()?.flatten();
        let left = files.filter(|file| file.file_name().to_string_lossy().starts_with("unanswered-"));
        (left.count() == 5).then_some(())
    });
    assert_eq!(sandbox.state("web"), "failed", "with the next supervisor");
    sandbox.assert_no_containers();
    bystanders.check();
}
