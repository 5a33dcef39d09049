//! systemd without cgroup v1 on a phone with a kernel like those that phones are sold with.
//!
//! The disk of the container is that of the suite; what it writes is lost with the machine.

use super::Phone;
use super::stock::{Outside, nothing_is_left};

/// The image, which is the disk behind those of the phone itself.
pub const IMAGE: &str = "forky";

const DISK: &str = "/dev/block/vdd";

/// Asserts that it is up, after it has booted.
fn is_up(phone: &mut Phone, after: &str) {
    phone.slowly("ds start forky --wait=550").succeeds();
    let state = "systemctl is-system-running --wait; systemctl --failed --no-legend --plain";
    let said = phone.slowly(&format!("ds run forky -- /bin/sh -c '{state}'"));
    assert_eq!(said.text(), "running\n", "after {after}: {said:?}");
}

/// Starts it, reboots it from inside, restarts it, and powers it off from inside.
pub fn lives_and_shuts_down(phone: &mut Phone, outside: &Outside) {
    phone.root(&format!("ds create forky --image {DISK}")).succeeds();
    is_up(phone, "the start");
    let before = phone.pid("forky");
    phone.root("ds run forky -- reboot");
    phone.wait_for(&format!("ds list | grep '^forky *running' | grep -qv ' {before} '"));
    is_up(phone, "a reboot inside");
    outside.is_unharmed(phone, "a reboot inside");
    phone.slowly("ds restart forky --wait=550").succeeds();
    is_up(phone, "a restart");
    outside.is_unharmed(phone, "a restart");
    phone.root("ds run forky -- poweroff");
    phone.wait_for("ds list | grep -q '^forky *stopped'");
    nothing_is_left(phone, "forky");
    outside.is_unharmed(phone, "a power-off inside");
}
