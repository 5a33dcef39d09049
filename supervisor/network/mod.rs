//! Networks of our own: links, addresses, the packet filter, published ports. `network.mode = nat`.
//!
//! ```text
//! container  eth0 ── veth ── ds-br0 ── forwarding, packet filter ── the host's interfaces
//! ```
//!
//! A container is born into its network: the monitor makes a network namespace with everything in it, enters it for the
//! clone(2), and leaves. What the kernel does not take back by itself (bridge, rules, forwarding) follows from the list
//! of members ([`store`]): whoever changes the list sets all of it anew, and who finds that a monitor died takes its
//! entry away. Everything that is changed on the host is recorded first, and undone when the last member leaves.
//!
//! Owns the host's side and the interface `eth0` inside. Touches no rule, interface or setting of others, except for
//! forwarding.

mod attach;
mod dhcp;
pub mod firewall;
mod identity;
mod link;
mod listeners;
mod names;
mod netlink;
mod ports;
mod settle;
pub mod store;
pub mod subnet;
mod sysctl;
mod uplink;
mod wiring;

pub use self::attach::Attachment;
pub use self::settle::{follow, keep, sweep};
pub use self::uplink::{Events, way_out};
pub use self::wiring::Inside;

use crate::paths::Paths;

/// Whether there is anything of networks on this machine now.
#[must_use]
pub fn is_used(paths: &Paths) -> bool {
    store::Store::is_used(paths)
}
