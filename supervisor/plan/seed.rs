//! Files in a container's new /run.
//!
//! Owns their content. They exist for every image, also after an upgrade of the distribution, and end with the
//! container.

use crate::config::value::{SeedItem, Uuid};
use crate::config::{Config, Seeding};
use crate::host::Host;
use crate::mount::op::Operation;
use crate::plan::{privileges, systemd};
use crate::rootfs::files;
use crate::rootfs::guest::{FirstProcess, Guest};

/// Steps that fill /run.
#[must_use]
pub fn operations(config: &Config, host: &Host, guest: &Guest, seeding: &Seeding) -> Vec<Operation> {
    let mut list = vec![
        file("/run/systemd/container", "droidspaces\n"),
        file("/run/host/container-manager", "droidspaces\n"),
        file("/run/host/container-uuid", &format!("{}\n", config.container.uuid)),
        file("/run/host/hostname", &format!("{}\n", config.hostname())),
        Operation::Cover { source: "/run/host/hostname".into(), target: files::HOSTNAME.as_str().into() },
    ];
    let (seed, mode) = (config.container.seed, config.network.mode);
    if guest.first != FirstProcess::Systemd && seed.has(SeedItem::Network) {
        list.extend(systemd::shared(mode));
    }
    if guest.first == FirstProcess::Systemd {
        list.extend(systemd::operations(seed, mode, &seeding.subsystems, config.hardware.access));
        list.extend((!privileges::has_user_namespaces(config, host)).then(same_users));
    }
    list
}

/// Steps that give one boot its own id, random(4). Otherwise every boot of every container has the host's boot id, and
/// journalctl(1) treats all of them as one boot.
#[must_use]
pub fn boot_id(id: &Uuid) -> [Operation; 3] {
    const SHOWN: &str = "/proc/sys/kernel/random/boot_id";
    let digits = id.to_string();
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    let source = "/run/host/boot-id";
    [
        file(source, &format!("{}\n", parts.join("-"))),
        Operation::Cover { source: source.into(), target: SHOWN.into() },
        Operation::ReadOnly { target: SHOWN.into() },
    ]
}

fn file(target: &str, content: &str) -> Operation {
    Operation::File { target: target.into(), content: content.into() }
}

/// Without user namespaces, a service with PrivateUsers=yes fails to start: it is the only sandboxing option that
/// systemd enforces (systemd.exec(5)). With this drop-in, services start without it. Supported by systemd from 244 on.
fn same_users() -> Operation {
    file("/run/systemd/system/service.d/50-droidspaces-users.conf", "[Service]\nPrivateUsers=no\n")
}
