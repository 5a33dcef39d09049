//! Real distributions: each boots to its default level with nothing failed, prompts for a login, reboots, powers off
//! and stops cleanly in time.

use crate::sandbox::Sandbox;
use crate::wait_for;
use std::time::{Duration, Instant};

/// Prints the status of a service of runit as soon as it has one: stage 2, at which runit is up, begins to supervise them.
pub const RUNIT_SERVICE: &str =
    "for try in $(seq 100); do sv status /etc/service/getty-console && break; sleep 0.1; done | tail -n 1";

/// Boots a distribution and waits until its init system is up.
fn boot(fixture: &str, settings: &[&str]) -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.distribution("web", fixture, settings);
    assert_eq!(sandbox.ds(&["start", "web", "--wait=90"]).succeeds(), "web is up\n");
    sandbox
}

fn run(sandbox: &Sandbox, script: &str) -> String {
    sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", script]).succeeds()
}

/// Asserts that the console has a login prompt and that a login works.
pub fn log_in(sandbox: &Sandbox) {
    let mut console = sandbox.ds_on_terminal(&["console", "web"]);
    console.send(b"\r");
    console.expect("login: ");
    console.send(b"root\r");
    console.expect("# ");
    console.send(b"echo uid=$(id -u) on $(tty)\r");
    console.expect("uid=0 on /dev/");
    console.send(b"exit\r");
    console.expect("login: ");
    console.send(b"\x1d\x1d");
    console.wait();
}

/// A clean stop: PID 1 ends before the timeout.
fn stop(sandbox: &Sandbox) {
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    assert_eq!(sandbox.state("web"), "stopped");
}

/// `reboot` and `poweroff` inside work.
fn reboot_and_power_off(sandbox: &Sandbox, reboot: &str, power_off: &str) {
    let monitor = sandbox.monitor("web").unwrap().pid;
    let before = sandbox.info("web")["pid"].clone();
    sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", reboot]);
    wait_for("the second boot", || {
        let info = sandbox.info("web");
        (info["state"] == "running" && info["pid"] != before).then_some(())
    });
    assert_eq!(sandbox.monitor("web").unwrap().pid, monitor, "the same monitor");
    assert_eq!(sandbox.ds(&["start", "web", "--wait=90"]).code, 0);
    wait_for("the init system to be up", || (sandbox.info("web")["ready"] == true).then_some(()));
    sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", power_off]);
    sandbox.wait_for_state("web", "stopped");
    assert_eq!(sandbox.info("web")["last_exit"]["reason"], "powered-off");
}

/// Checks for every systemd.
fn systemd(fixture: &str) -> Sandbox {
    let sandbox = boot(fixture, &[]);
    let info = sandbox.info("web");
    assert_eq!(info["init"], "systemd");
    assert!(info["os"].as_str().unwrap().starts_with("Debian"), "{info}");
    let state = run(&sandbox, "systemctl is-system-running --wait; systemctl --failed --no-legend --plain");
    assert_eq!(state, "running\n", "nothing failed");
    assert_eq!(
        run(&sandbox, "systemd-detect-virt --container; cat /run/systemd/container"),
        "container-other\ndroidspaces\n"
    );
    assert_eq!(
        run(&sandbox, "systemctl get-default; systemctl is-active default.target"),
        "graphical.target\nactive\n"
    );
    // Limits in a unit, and a unit with strict sandboxing.
    run(
        &sandbox,
        "systemd-run --wait --quiet -p TasksMax=50 -p PrivateTmp=yes -p ProtectSystem=strict -p PrivateDevices=yes true",
    );
    // su and sudo open sessions with logind. Without an answer of logind, each would wait for 25 seconds.
    let begun = Instant::now();
    assert_eq!(run(&sandbox, "su - user -c 'id -un'; sudo -u user id -un"), "user\nuser\n");
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    let jobs = run(&sandbox, "systemctl list-jobs --no-legend");
    assert_eq!(jobs, "", "nothing waits");
    log_in(&sandbox);
    sandbox
}

#[test]
fn systemd_252_boots_and_stops() {
    let sandbox = systemd("bookworm");
    stop(&sandbox);
}

#[test]
fn systemd_252_reboots_and_powers_off() {
    let sandbox = boot("bookworm", &[]);
    reboot_and_power_off(&sandbox, "systemctl reboot", "systemctl poweroff");
}

#[test]
fn systemd_252_boots_with_control_groups_version_1() {
    let sandbox = boot("bookworm", &["cgroup=v1"]);
    let state = run(&sandbox, "systemctl is-system-running --wait; systemctl --failed --no-legend --plain");
    assert_eq!(state, "running\n");
    assert_eq!(run(&sandbox, "stat -fc %T /sys/fs/cgroup /sys/fs/cgroup/systemd"), "tmpfs\ncgroupfs\n");
    stop(&sandbox);
}

#[test]
fn the_newest_systemd_boots_and_stops() {
    let sandbox = systemd("forky");
    stop(&sandbox);
}

#[test]
fn the_newest_systemd_reboots_and_powers_off() {
    let sandbox = boot("forky", &[]);
    reboot_and_power_off(&sandbox, "reboot", "poweroff");
}

#[test]
fn the_newest_systemd_gets_version_2_despite_the_setting() {
    let mut sandbox = Sandbox::new();
    sandbox.distribution("web", "forky", &["cgroup=v1"]);
    let started = sandbox.ds(&["start", "web", "--wait=90"]);
    assert!(started.errors.contains("cgroup v1"), "there is a warning: {}", started.errors);
    started.succeeds();
    assert_eq!(run(&sandbox, "systemctl is-system-running --wait"), "running\n");
    stop(&sandbox);
}

#[test]
fn systemd_boots_without_the_hosts_network() {
    let sandbox = boot("bookworm", &["network.mode=none"]);
    let state = run(&sandbox, "systemctl is-system-running --wait; systemctl --failed --no-legend --plain");
    assert_eq!(state, "running\n");
    assert_eq!(run(&sandbox, "ping -c1 -q 127.0.0.1 >/dev/null && echo alive"), "alive\n");
    stop(&sandbox);
}

#[test]
fn openrc_boots_and_stops() {
    let sandbox = boot("openrc", &[]);
    assert_eq!(sandbox.info("web")["init"], "openrc");
    assert_eq!(run(&sandbox, "rc-status --crashed; rc-status --runlevel"), "default\n");
    log_in(&sandbox);
    stop(&sandbox);
}

#[test]
fn openrc_reboots_and_powers_off() {
    let sandbox = boot("openrc", &[]);
    reboot_and_power_off(&sandbox, "reboot", "poweroff");
}

#[test]
fn sysvinit_boots_and_stops() {
    let sandbox = boot("sysvinit", &[]);
    assert_eq!(sandbox.info("web")["init"], "sysvinit");
    assert_eq!(run(&sandbox, "/sbin/runlevel"), "N 2\n");
    // It does not load a policy for SELinux. With an enforcing kernel, it would end.
    assert_eq!(run(&sandbox, "tr '\\0' '\\n' </proc/1/environ | grep SELINUX"), "SELINUX_INIT=YES\n");
    log_in(&sandbox);
    stop(&sandbox);
}

#[test]
fn sysvinit_reboots_and_powers_off() {
    let sandbox = boot("sysvinit", &[]);
    reboot_and_power_off(&sandbox, "reboot", "poweroff");
}

#[test]
fn runit_boots_and_stops() {
    let sandbox = boot("runit", &[]);
    assert_eq!(sandbox.info("web")["init"], "runit");
    let status = run(&sandbox, RUNIT_SERVICE);
    assert!(status.starts_with("run: "), "{status}");
    log_in(&sandbox);
    stop(&sandbox);
}

#[test]
fn runit_reboots_and_powers_off() {
    let sandbox = boot("runit", &[]);
    reboot_and_power_off(&sandbox, "reboot", "poweroff");
}

#[test]
fn busybox_boots_and_stops() {
    let sandbox = boot("busybox", &[]);
    assert_eq!(sandbox.info("web")["init"], "busybox");
    log_in(&sandbox);
    stop(&sandbox);
}

#[test]
fn busybox_reboots_and_powers_off() {
    let sandbox = boot("busybox", &[]);
    reboot_and_power_off(&sandbox, "reboot", "poweroff");
}

/// A container of this fixture, after `script` has run in its tree.
fn changed(fixture: &str, script: &str) -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.distribution("web", fixture, &[]);
    let tree = sandbox.path("web");
    sandbox.run(&["sh", "-c", &format!("cd {} && {script}", tree.display())]).succeeds();
    sandbox
}

/// Boots without a login prompt: `--wait` ends when the init system has reached its final state.
fn is_up_without_a_prompt(fixture: &str, script: &str) {
    let sandbox = changed(fixture, script);
    assert_eq!(sandbox.ds(&["start", "web", "--wait=90"]).succeeds(), "web is up\n");
    assert_eq!(sandbox.info("web")["ready"], true);
    let log = sandbox.ds(&["logs", "web"]).succeeds();
    assert!(!log.contains("login:"), "{log}");
    sandbox.ds(&["stop", "web", "--timeout", "10"]).succeeds();
}

#[test]
fn openrc_is_up_in_its_run_level() {
    is_up_without_a_prompt("openrc", "sed -i '/getty/d' etc/inittab");
}

#[test]
fn sysvinit_is_up_in_its_run_level() {
    is_up_without_a_prompt("sysvinit", "sed -i '/getty/d' etc/inittab");
}

#[test]
fn runit_is_up_when_it_supervises() {
    is_up_without_a_prompt("runit", "rm -f etc/service/getty-* etc/runit/runsvdir/*/getty-*");
}

#[test]
fn busybox_is_up_when_its_last_sysinit_has_ended() {
    is_up_without_a_prompt("busybox", "sed -i 's,console::respawn.*,::respawn:/bin/sleep 1000,' etc/inittab");
}

#[test]
fn busybox_without_permanent_processes_is_up_when_its_last_sysinit_has_ended() {
    is_up_without_a_prompt("busybox", "sed -i /respawn/d etc/inittab");
    is_up_without_a_prompt("busybox", "echo ::once:/bin/true >etc/inittab");
    let sandbox =
        changed("busybox", "printf '::sysinit:true\\n::sysinit:sleep 1000\\n::once:true\\n' >etc/inittab");
    sandbox.ds(&["start", "web", "--wait=2"]).fails(1, &["it is running", "within 2 s"]);
}

#[test]
fn waiting_has_a_limit() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    let waited = sandbox.ds(&["start", "web", "--wait=1"]);
    waited.fails(1, &["it is running", "within 1 s", "--wait=SECONDS"]);
    assert_eq!(sandbox.state("web"), "running");
}
