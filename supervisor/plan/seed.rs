//! Files that a container finds in its fresh /run: nothing is ever written into its root file system.
//!
//! systemd reads units and network files from /run as it does from /etc, so the safe udev trigger and the network
//! weights are there for every image, also after an upgrade of the distribution, and gone with the container.

use crate::config::Config;
use crate::config::value::{NetworkMode, Uuid};
use crate::host::Host;
use crate::mount::op::Operation;
use crate::plan::privileges;
use crate::rootfs::files;
use crate::rootfs::guest::{FirstProcess, Guest};

/// Steps that fill /run.
#[must_use]
pub fn operations(config: &Config, host: &Host, guest: &Guest) -> Vec<Operation> {
    let mut list = vec![
        file("/run/systemd/container", "droidspaces\n"),
        file("/run/host/container-manager", "droidspaces\n"),
        file("/run/host/container-uuid", &format!("{}\n", config.container.uuid)),
        file("/run/host/hostname", &format!("{}\n", config.hostname())),
        Operation::Cover { source: "/run/host/hostname".into(), target: files::HOSTNAME.as_str().into() },
    ];
    if guest.first == FirstProcess::Systemd {
        list.extend(network(config.network.mode));
        list.push(udev());
        list.extend((!privileges::has_user_namespaces(config, host)).then(same_users));
    }
    list
}

/// Steps that give one boot an id of its own, random(4): without it, the kernel tells every boot of every container the
/// host's, and journalctl(1) takes all of them for one.
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

fn mask(unit: &str) -> Operation {
    Operation::Symlink { target: format!("/run/systemd/system/{unit}"), to: "/dev/null".into() }
}

/// In the host's network nothing inside may configure it: systemd-networkd and NetworkManager leave every interface and
/// the name servers alone (systemd.network(5), Unmanaged=; NetworkManager.conf(5), managed= and dns=). In a network of
/// its own, the phone's interfaces have their weights.
fn network(mode: NetworkMode) -> Vec<Operation> {
    match mode {
        NetworkMode::Host => vec![
            Operation::Directory { target: "/run/systemd/system".into(), mode: 0o755 },
            file(
                "/run/systemd/network/05-droidspaces-host.network",
                "[Match]\nName=*\n\n[Link]\nUnmanaged=yes\n",
            ),
            mask("systemd-networkd-wait-online.service"),
            file(
                "/run/NetworkManager/conf.d/05-droidspaces-host.conf",
                "[main]\ndns=none\n\n[device-droidspaces-host]\nmatch-device=*\nmanaged=0\n",
            ),
        ],
        NetworkMode::None => Vec::new(),
        NetworkMode::Nat => {
            [("wifi", "wlan*", 100), ("mobile", "rmnet* pdp*", 200), ("wired", "eth* usb*", 300)]
                .map(|(name, pattern, metric)| {
                    let path = format!("/run/systemd/network/50-droidspaces-{name}.network");
                    let routes =
                        format!("[DHCPv4]\nRouteMetric={metric}\n\n[IPv6AcceptRA]\nRouteMetric={metric}\n");
                    let text = format!(
                        "[Match]\nName={pattern}\n\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n\n{routes}"
                    );
                    file(&path, &text)
                })
                .into()
        }
    }
}

/// Where no user namespace can be made, a service with PrivateUsers=yes would not start: of all sandboxing options this
/// is the one that systemd insists on (systemd.exec(5)). Services then go on without it. Read by systemd from 244 on.
fn same_users() -> Operation {
    file("/run/systemd/system/service.d/50-droidspaces-users.conf", "[Service]\nPrivateUsers=no\n")
}

/// Replaying the events of every device hangs or reboots some phones, whose drivers do not expect it. Whenever
/// udev's trigger runs, it replays only the classes that are safe and that people plug in.
fn udev() -> Operation {
    let trigger = "[Service]\nExecStart=\nExecStart=-udevadm trigger --type=devices --action=add \
                   --subsystem-match=usb --subsystem-match=block --subsystem-match=input --subsystem-match=tty\n";
    file("/run/systemd/system/systemd-udev-trigger.service.d/50-droidspaces.conf", trigger)
}
