//! Files for systemd in /run that adapt a distribution to a container: units, drop-ins and configuration.
//!
//! Owns their content. systemd reads /run in the same way as /etc, and a file of the administrator in /etc overrides
//! the file of the same name here. Nothing is left behind, and each boot gets the files for its network mode.
//! systemd.unit(5), systemd.network(5), journald.conf(5), logind.conf(5), udev(7).

use crate::config::value::{HardwareAccess, NetworkMode, Seed, SeedItem, Subsystems};
use crate::mount::op::Operation;
use crate::rootfs::files;

/// Exists while the container uses the host's network: units of network managers have a condition on it.
const SHARED_NETWORK: &str = files::NETWORK_IS_SHARED.as_str();

/// Units that configure interfaces and have no option to leave all of them unmanaged, with the sockets that start them.
/// systemd-networkd is one: at its start, it removes unknown routing rules and routes.
const MANAGERS: [&str; 15] = [
    "connman.service",
    "dhcpcd.service",
    "dhcpcd@.service",
    "ifup@.service",
    "iwd.service",
    "networking.service",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-networkd-resolve-hook.socket",
    "systemd-networkd-varlink.socket",
    "systemd-networkd-varlink-metrics.socket",
    "wickedd.service",
    "wicked.service",
    "wpa_supplicant.service",
    "wpa_supplicant@.service",
];

/// Units that wait for an interface to come up, which never happens if the container configures none.
const WAITING: [&str; 4] = [
    "NetworkManager-wait-online.service",
    "connman-wait-online.service",
    "ifupdown-wait-online.service",
    "systemd-networkd-wait-online.service",
];

/// udev rules that rename interfaces or bring them up.
const NETWORK_RULES: [&str; 2] = ["80-ifupdown.rules", "80-net-setup-link.rules"];

/// Units of udev that are skipped if /sys is read-only (systemd.unit(5), `ConditionPathIsReadWrite=`).
const UDEV_UNITS: [&str; 4] = [
    "systemd-udevd.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd-varlink.socket",
];

/// Generators that look for encrypted, verified and unlabelled partitions and for an image of a suspended system, at
/// each boot and each reload of systemd. systemd.generator(7).
const DISK_GENERATORS: [&str; 5] =
    ["cryptsetup", "gpt-auto", "hibernate-resume", "integritysetup", "veritysetup"];

/// The unit that replaces the distribution's coldplug.
const TRIGGER: &str = "droidspaces-udev-trigger.service";

/// Used if a network has no name servers.
const FALLBACK: &str = "1.1.1.1 8.8.8.8 2606:4700:4700::1111";

/// All files for the parts in `seed`. The disks of the host are a container's only with access to all hardware.
pub(super) fn operations(
    seed: Seed,
    mode: NetworkMode,
    subsystems: &Subsystems,
    access: HardwareAccess,
) -> Vec<Operation> {
    let mut list = Vec::new();
    if seed.has(SeedItem::Udev) {
        list.extend(udev(subsystems));
        if access != HardwareAccess::Full {
            let path = |name| format!("/run/systemd/system-generators/systemd-{name}-generator");
            list.extend(DISK_GENERATORS.map(|name| link(&path(name), "/dev/null")));
        }
    }
    if seed.has(SeedItem::Network) {
        list.extend(network(mode));
    }
    if seed.has(SeedItem::Journal) {
        list.extend(journal());
    }
    if seed.has(SeedItem::Login) {
        list.extend(login());
    }
    list
}

fn file(target: &str, content: &str) -> Operation {
    Operation::File { target: target.into(), content: content.into() }
}

/// A drop-in for a unit of the distribution.
fn drop_in(unit: &str, content: &str) -> Operation {
    file(&format!("/run/systemd/system/{unit}.d/50-droidspaces.conf"), content)
}

fn mask(unit: &str) -> Operation {
    link(&format!("/run/systemd/system/{unit}"), "/dev/null")
}

fn link(target: &str, to: &str) -> Operation {
    Operation::Symlink { target: target.into(), to: to.into() }
}

/// Triggering the events of all devices hangs or reboots some phones, whose drivers do not expect it. This unit
/// replaces the distribution's coldplug and triggers only the subsystems that are safe and that contain pluggable
/// devices. udevd runs although /sys is read-only, and sees devices that are plugged in later.
fn udev(subsystems: &Subsystems) -> Vec<Operation> {
    let matches: String = subsystems.iter().map(|name| format!(" --subsystem-match={name}")).collect();
    let unit = format!(
        "[Unit]\nDescription=Coldplug of safe udev devices\nDocumentation=man:udevadm(8)\n\
         DefaultDependencies=no\nWants=systemd-udevd.service\n\
         After=systemd-udevd-kernel.socket systemd-udevd-control.socket\nBefore=sysinit.target\n\
         ConditionPathExists=/run/udev/control\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
         ExecStart=-/usr/bin/env udevadm trigger --type=devices --action=add{matches}\n"
    );
    let mut list: Vec<Operation> =
        ["systemd-udev-trigger.service", "systemd-udev-settle.service"].map(mask).into();
    list.push(file(&format!("/run/systemd/system/{TRIGGER}"), &unit));
    list.push(link(&format!("/run/systemd/system/sysinit.target.wants/{TRIGGER}"), &format!("../{TRIGGER}")));
    list.extend(UDEV_UNITS.map(|unit| drop_in(unit, "[Unit]\nConditionPathIsReadWrite=\n")));
    list
}

/// With the host's network, no process in the container may configure it. NetworkManager runs for the programs that
/// query it, and leaves all interfaces and the name servers unmanaged (NetworkManager.conf(5), managed= and dns=). In a
/// `nat` or `gateway` network, `eth0` is configured before the first process runs. In a network of its own (`none`), interfaces of
/// the phone that the user moves into it get a route metric each.
fn network(mode: NetworkMode) -> Vec<Operation> {
    let mut list = match mode {
        NetworkMode::Host => hands_off(),
        NetworkMode::None => route_metrics(),
        NetworkMode::Nat | NetworkMode::Gateway => ready(),
    };
    list.extend(WAITING.map(mask));
    let fallback = format!("[Resolve]\nFallbackDNS={FALLBACK}\n");
    list.push(file("/run/systemd/resolved.conf.d/10-droidspaces-fallback.conf", &fallback));
    list
}

fn hands_off() -> Vec<Operation> {
    let condition = format!("[Unit]\nConditionPathExists=!{SHARED_NETWORK}\n");
    let mut list = vec![
        // For a unit whose condition the administrator has removed.
        file(
            "/run/systemd/network/05-droidspaces-host.network",
            "[Match]\nName=*\n\n[Link]\nUnmanaged=yes\n",
        ),
        file(
            "/run/systemd/networkd.conf.d/50-droidspaces-host.conf",
            "[Network]\nManageForeignRoutingPolicyRules=no\nManageForeignRoutes=no\n",
        ),
    ];
    list.extend(shared(NetworkMode::Host));
    list.extend(MANAGERS.map(|unit| drop_in(unit, &condition)));
    list.extend(NETWORK_RULES.map(|rules| link(&format!("/run/udev/rules.d/{rules}"), "/dev/null")));
    list
}

/// The file in /run for all init systems while the container uses the host's network.
pub(super) fn shared(mode: NetworkMode) -> Vec<Operation> {
    if mode != NetworkMode::Host {
        return Vec::new();
    }
    vec![
        file(SHARED_NETWORK, "The network of this container is the host's, and the host configures it.\n"),
        file(
            "/run/NetworkManager/conf.d/05-droidspaces-host.conf",
            "[main]\ndns=none\n\n[device-droidspaces-host]\nmatch-device=*\nmanaged=0\n",
        ),
    ]
}

/// `eth0` is configured before the first process runs, so managers must not manage it: they would first remove its
/// addresses.
fn ready() -> Vec<Operation> {
    let mut list = vec![
        file(
            "/run/systemd/network/05-droidspaces-nat.network",
            "[Match]\nName=eth0\n\n[Link]\nUnmanaged=yes\n",
        ),
        file(
            "/run/NetworkManager/conf.d/05-droidspaces-nat.conf",
            "[device-droidspaces-nat]\nmatch-device=interface-name:eth0\nmanaged=0\n",
        ),
    ];
    list.extend(NETWORK_RULES.map(|rules| link(&format!("/run/udev/rules.d/{rules}"), "/dev/null")));
    list
}

fn route_metrics() -> Vec<Operation> {
    [("wifi", "wlan*", 100), ("mobile", "rmnet* pdp* ccmni*", 200), ("wired", "eth* usb*", 300)]
        .map(|(name, pattern, metric)| {
            let path = format!("/run/systemd/network/50-droidspaces-{name}.network");
            let routes = format!("[DHCPv4]\nRouteMetric={metric}\n\n[IPv6AcceptRA]\nRouteMetric={metric}\n");
            let text =
                format!("[Match]\nName={pattern}\n\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n\n{routes}");
            file(&path, &text)
        })
        .into()
}

/// The host owns the kernel log and the audit stream. A phone's storage is small, and no administrator monitors
/// journals on it.
fn journal() -> Vec<Operation> {
    let text = "[Journal]\nReadKMsg=no\nAudit=no\nSystemMaxUse=200M\nRuntimeMaxUse=32M\n";
    vec![
        file("/run/systemd/journald.conf.d/10-droidspaces.conf", text),
        mask("systemd-journald-audit.socket"),
    ]
}

/// The host owns the power key, the lid, and the terminals of the screen.
fn login() -> Vec<Operation> {
    const KEYS: [&str; 7] = [
        "PowerKey",
        "SuspendKey",
        "HibernateKey",
        "RebootKey",
        "LidSwitch",
        "LidSwitchExternalPower",
        "LidSwitchDocked",
    ];
    let keys: String = KEYS.iter().map(|key| format!("Handle{key}=ignore\n")).collect();
    let text = format!("[Login]\nNAutoVTs=0\nReserveVT=0\n{keys}");
    let mut list = vec![file("/run/systemd/logind.conf.d/10-droidspaces.conf", &text)];
    let exists = "[Unit]\nConditionPathExists=/dev/%I\n";
    list.extend(["getty@.service", "serial-getty@.service"].map(|unit| drop_in(unit, exists)));
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(seed: &str, mode: NetworkMode) -> Vec<String> {
        let subsystems = "usb,tty".parse().unwrap();
        operations(seed.parse().unwrap(), mode, &subsystems, HardwareAccess::None)
            .into_iter()
            .map(|operation| match operation {
                Operation::File { target, content } => format!("{target}: {content}"),
                Operation::Symlink { target, to } => format!("{target} -> {to}"),
                other => panic!("{other}"),
            })
            .collect()
    }

    #[test]
    fn nothing_comes_unasked_for() {
        assert!(shown("no", NetworkMode::Host).is_empty());
        assert!(shown("hosts,groups", NetworkMode::Host).is_empty());
    }

    #[test]
    fn no_path_is_made_twice() {
        for mode in [NetworkMode::Host, NetworkMode::None, NetworkMode::Nat, NetworkMode::Gateway] {
            let mut paths: Vec<_> = shown("yes", mode)
                .iter()
                .filter_map(|line| Some(line.split_once([':', ' '])?.0.to_owned()))
                .collect();
            let all = paths.len();
            paths.sort();
            paths.dedup();
            assert_eq!(paths.len(), all);
            assert!(paths.iter().all(|path| path.starts_with("/run/")));
        }
    }

    #[test]
    fn the_trigger_replays_what_is_allowed() {
        let list = shown("udev", NetworkMode::Host);
        let unit = list.iter().find(|line| line.contains("ExecStart")).unwrap();
        assert!(unit.contains("--action=add --subsystem-match=usb --subsystem-match=tty\n"), "{unit}");
        assert!(list.contains(&"/run/systemd/system/systemd-udev-trigger.service -> /dev/null".to_owned()));
    }

    #[test]
    fn disks_are_looked_for_where_they_may_be_used() {
        let masks = |access| {
            let list =
                operations("udev".parse().unwrap(), NetworkMode::Host, &"usb".parse().unwrap(), access);
            let is_generator = |one: &&Operation| one.to_string().contains("/system-generators/systemd-");
            list.iter().filter(is_generator).count()
        };
        assert_eq!(masks(HardwareAccess::None), DISK_GENERATORS.len());
        assert_eq!(masks(HardwareAccess::Full), 0);
    }

    #[test]
    fn managers_keep_off_the_hosts_network_alone() {
        let conditions =
            |mode| shown("network", mode).iter().filter(|line| line.contains(SHARED_NETWORK)).count();
        assert_eq!(conditions(NetworkMode::Host), MANAGERS.len() + 1);
        assert_eq!(conditions(NetworkMode::None), 0);
        assert_eq!(conditions(NetworkMode::Nat), 0);
        assert!(shown("network", NetworkMode::Nat).iter().any(|line| line.contains("Name=eth0")));
        let route_metrics = shown("network", NetworkMode::None);
        assert!(
            route_metrics
                .iter()
                .any(|line| line.contains("Name=rmnet* pdp* ccmni*") && line.contains("RouteMetric=200"))
        );
    }
}
