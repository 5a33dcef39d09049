//! Networks of ds: links, addresses, the packet filter, published ports. `network.mode = nat`.
//!
//! ```text
//! container  eth0 ── veth ── ds-br0 ── forwarding, packet filter ── the host's interfaces
//! ```
//!
//! A container is created in its network: the monitor creates a complete network namespace, enters it for the clone(2),
//! and leaves it. Everything that the kernel does not remove by itself (bridge, rules, forwarding) follows from the
//! list of members ([`store`]): each change of the list sets it up again, and a process that detects a dead monitor
//! removes its entry. Each change of the host is recorded first, and undone when the last member leaves.
//!
//! Owns the host's side and the interface `eth0` in the container. Changes no rule, interface or setting of others,
//! except forwarding.

mod advertise;
mod answers;
mod attach;
mod check;
mod client;
mod dhcp;
pub mod firewall;
mod gateway;
mod identity;
mod link;
mod listeners;
mod member;
mod names;
mod place;
mod ports;
mod reconcile;
mod segment;
pub mod store;
pub mod subnet;
mod sysctl;
mod uplink;
mod wiring;

pub use self::attach::Attachment;
pub use self::check::check;
pub use self::reconcile::{follow, keep, sweep};
pub use self::uplink::{Events, way_out};
pub use self::wiring::Inside;

use crate::paths::Paths;

/// Whether any container is in a network now.
#[must_use]
pub fn is_used(paths: &Paths) -> bool {
    store::Store::is_used(paths)
}
