//! OpenRC, sysvinit, runit and BusyBox on a phone with a kernel like those that phones are sold with.
//!
//! Their shutdowns signal all processes that they see, which includes those of the phone. This test is the longest of its
//! suite; the name of the module makes it the phone's first, so that the others run beside it.

use super::stock::{Outside, nothing_is_left};
use super::{Phone, life};
use crate::platform::PHONE_STOCK;

/// An init system: its image, and a command with its output when all services run.
struct Init {
    name: &'static str,
    check: &'static str,
    expected: &'static str,
}

/// Prints the state of a service of runit as soon as it has one: stage 2, at which runit is up, begins to supervise them.
const RUNIT_SERVICE: &str = "for try in $(seq 100); do sv status /etc/service/getty-console && break; sleep 0.1; done | \
     tail -n 1 | cut -c1-4";

const INITS: [Init; 4] = [
    Init { name: "openrc", check: "rc-status --crashed; rc-status --runlevel", expected: "default\n" },
    Init { name: "sysvinit", check: "/sbin/runlevel", expected: "N 2\n" },
    Init { name: "runit", check: RUNIT_SERVICE, expected: "run:\n" },
    Init { name: "busybox", check: "echo up", expected: "up\n" },
];

/// Those that are rebooted from inside, and powered off from inside at the end. The others are stopped, which runs the
/// same scripts and takes minutes less.
const ENDED_INSIDE: [&str; 2] = ["openrc", "busybox"];

#[test]
fn traditional_init_systems_live_on_the_kernel_that_a_phone_was_sold_with() {
    let mut phone = Phone::with(PHONE_STOCK, "busybox", &INITS.map(|init| init.name));
    life::flash(&mut phone);
    let outside = Outside::begin(&mut phone);
    for (init, disk) in INITS.iter().zip('d'..) {
        let name = init.name;
        // killall5 waits ten seconds for the end of the phone's processes.
        let create = format!("ds create {name} --image /dev/block/vd{disk} --set stop-timeout=60");
        phone.root(&create).succeeds();
        let started = phone.slowly(&format!("ds start {name} --wait=300"));
        assert!(started.errors.contains("CONFIG_PID_NS"), "{started:?}");
        started.succeeds();
        everything_runs(&mut phone, init);
        logs_in(&mut phone, name);
        outside.is_unharmed(&mut phone, &format!("sessions and a login of {name}"));
        if ENDED_INSIDE.contains(&name) {
            reboots_inside(&mut phone, name);
            everything_runs(&mut phone, init);
            outside.is_unharmed(&mut phone, &format!("a reboot inside {name}"));
        }
        ends(&mut phone, name);
        outside.is_unharmed(&mut phone, &format!("a shutdown of {name}"));
    }
    phone.root("ds stop neighbour").succeeds();
    assert!(!phone.run(&format!("cat {}", life::LOG)).text().contains("panicked"));
}

/// Sessions find all services, also as a login shell.
fn everything_runs(phone: &mut Phone, Init { name, check, expected }: &Init) {
    let said = phone.slowly(&format!("ds run {name} -- /bin/sh -c '{check}'"));
    assert_eq!(said.text(), *expected, "{name}: {said:?}");
    let login = phone.slowly(&format!("echo 'id -un; kill -0 1 && echo there; exit 7' | ds enter {name}"));
    // Its terminal echoes the input.
    assert!(login.code == 7 && login.text().contains("root\r\nthere\r\n"), "{name}: {login:?}");
}

/// The console prompts for a login, which opens a shell.
fn logs_in(phone: &mut Phone, name: &str) {
    let script = format!(
        "mkfifo /dev/typed-{name}
         ds console {name} </dev/typed-{name} >/dev/seen-{name} & console=$!
         exec 3>/dev/typed-{name}
         until_seen() {{ until grep -q \"$1\" /dev/seen-{name}; do sleep 0.2; done; }}
         printf '\\r' >&3; until_seen 'login: '
         printf 'root\\r' >&3; until_seen '# '
         printf 'echo uid=$(id -u) on $(tty)\\r' >&3; until_seen 'uid=0 on /dev/'
         printf 'exit\\r' >&3
         kill $console"
    );
    phone.slowly(&script).succeeds();
}

fn reboots_inside(phone: &mut Phone, name: &str) {
    let before = phone.pid(name);
    let said = phone.slowly(&format!("ds run {name} -- reboot"));
    assert!(!said.errors.contains("does not answer"), "{said:?}");
    phone.wait_for(&format!("ds list | grep '^{name} *running' | grep -qv ' {before} '"));
    phone.root(&format!("ds info {name} --json | grep -q '\"reason\": *\"rebooted\"'")).succeeds();
    phone.slowly(&format!("ds start {name} --wait=300")).succeeds();
}

fn ends(phone: &mut Phone, name: &str) {
    let (end, reason) = match ENDED_INSIDE.contains(&name) {
        true => (format!("ds run {name} -- poweroff"), "powered-off"),
        false => (format!("ds stop {name}"), "stopped"),
    };
    phone.slowly(&end);
    phone.wait_for(&format!("ds list | grep -q '^{name} *stopped'"));
    let info = phone.root(&format!("ds info {name} --json")).succeeds();
    assert!(info.contains(&format!("\"{reason}\"")), "{name}: {info}");
    assert!(info.contains("\"signal\":null"), "{name}: killed: {info}");
    nothing_is_left(phone, name);
}
