//! The table of changes to files of a distribution, one row each.
//!
//! Owns the changes. A row is a pure function from the current to the new content of a file. It keeps every line that
//! it does not own, and it is idempotent.

use super::{Facts, accounts, console, hosts, managers};
use crate::config::value::SeedItem;
use crate::rootfs::files::{self, GuestFile};
use crate::rootfs::root::Root;

/// The new content of a file; `None` if it is unchanged. The current content is absent if the file does not exist.
type Make = fn(&Facts, Option<&str>) -> Option<String>;

/// One change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    /// The part of seeding.
    pub part: SeedItem,
    /// The file.
    pub file: GuestFile,
    /// Permission bits of a new file.
    pub mode: u32,
    /// The function.
    pub make: Make,
}

const fn row(part: SeedItem, file: GuestFile, mode: u32, make: Make) -> Item {
    Item { part, file, mode, make }
}

/// All changes.
const ITEMS: &[Item] = &[
    row(SeedItem::Hosts, files::HOSTNAME, 0o644, hosts::hostname),
    row(SeedItem::Hosts, files::HOSTS, 0o644, hosts::hosts),
    row(SeedItem::Hosts, files::RESOLV_CONF, 0o644, hosts::resolv_conf),
    row(SeedItem::Udev, files::OPENRC_UDEV_TRIGGER, 0o755, trigger),
    row(SeedItem::Udev, files::SYSVINIT_UDEV, 0o755, trigger),
    row(SeedItem::Udev, files::SYSVINIT_EUDEV, 0o755, trigger),
    row(SeedItem::Udev, files::RUNIT_UDEV, 0o644, trigger),
    row(SeedItem::Login, files::INITTAB, 0o644, console::inittab),
    row(SeedItem::Network, files::INIT_NETWORKING, 0o755, managers::init_script),
    row(SeedItem::Network, files::INIT_NETWORK, 0o755, managers::init_script),
    row(SeedItem::Network, files::INIT_NET_LO, 0o755, managers::init_script),
    row(SeedItem::Network, files::INIT_DHCPCD, 0o755, managers::init_script),
    row(SeedItem::Network, files::INIT_CONNMAN, 0o755, managers::init_script),
    row(SeedItem::Network, files::INIT_IWD, 0o755, managers::init_script),
    row(SeedItem::Network, files::INIT_WPA_SUPPLICANT, 0o755, managers::init_script),
    row(SeedItem::Network, files::RUNIT_DHCPCD, 0o755, managers::run_script),
    row(SeedItem::Network, files::RUNIT_CONNMAN, 0o755, managers::run_script),
    row(SeedItem::Network, files::RUNIT_IWD, 0o755, managers::run_script),
    row(SeedItem::Network, files::RUNIT_WPA_SUPPLICANT, 0o755, managers::run_script),
    row(SeedItem::Groups, files::GROUP, 0o644, accounts::group),
    row(SeedItem::Groups, files::GSHADOW, 0o640, accounts::gshadow),
    row(SeedItem::Groups, files::PASSWD, 0o644, accounts::passwd),
    row(SeedItem::Groups, files::ADDUSER_CONF, 0o644, accounts::adduser),
    row(SeedItem::Groups, files::USERADD, 0o644, accounts::useradd),
    row(SeedItem::Groups, files::LOGIN_DEFS, 0o644, accounts::login_defs),
];

/// The rows that apply to a tree. systemd's network managers have files in /run instead, and only Android's kernel has
/// network groups.
pub(super) fn items_for(root: &Root, facts: &Facts) -> Vec<&'static Item> {
    let has_systemd =
        [files::SYSTEMD, files::SYSTEMD_OLD].iter().any(|file| root.resolve(file.path()).is_ok());
    let applies = |part| match part {
        SeedItem::Network => !has_systemd,
        SeedItem::Groups => facts.android,
        _ => true,
    };
    ITEMS.iter().filter(|item| facts.seed.has(item.part) && applies(item.part)).collect()
}

/// Items that are created if they do not exist.
#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    /// A symbolic link with this target.
    Link(&'static str),
    /// A program. Its directory is created if missing.
    Program(&'static str),
}

/// An item that is created if it does not exist.
#[derive(Debug, Clone, Copy)]
pub(super) struct New {
    /// The part of seeding that it belongs to.
    pub part: SeedItem,
    /// Its path.
    pub file: GuestFile,
    /// Its kind.
    pub what: What,
    /// It is created if this path exists in the tree,
    pub needs: &'static str,
    /// and this one does not.
    pub without: Option<GuestFile>,
}

const fn new(file: GuestFile, what: What, needs: &'static str, without: Option<GuestFile>) -> New {
    New { part: SeedItem::Login, file, what, needs, without }
}

/// All items: services with a login prompt on the console.
pub(super) const NEW: &[New] = &[
    new(files::RUNIT_AGETTY, What::Link("/etc/sv/agetty-console"), "/etc/sv/agetty-console/run", None),
    // Debian has a service for each terminal and none for the console.
    new(
        files::RUNIT_GETTY_RUN,
        What::Program("#!/bin/sh -eu\nexec chpst -P getty --noclear 38400 console linux\n"),
        "/etc/sv/getty-tty1/run",
        Some(files::RUNIT_GETTY),
    ),
    new(
        files::RUNIT_GETTY_SUPERVISE,
        What::Link("/run/runit/supervise/getty-console"),
        "/etc/sv/getty-console/run",
        Some(files::RUNIT_GETTY),
    ),
    new(files::RUNIT_GETTY, What::Link("/etc/sv/getty-console"), "/etc/sv/getty-console/run", None),
    new(files::OPENRC_AGETTY, What::Link("agetty"), "/etc/init.d/agetty", Some(files::INITTAB)),
    new(
        files::OPENRC_AGETTY_WANTED,
        What::Link("/etc/init.d/agetty.console"),
        "/etc/init.d/agetty",
        Some(files::INITTAB),
    ),
];

/// Limits every `udevadm trigger` in a script to safe subsystems.
fn trigger(facts: &Facts, script: Option<&str>) -> Option<String> {
    const CALL: &str = "udevadm trigger";
    const LIMIT: &str = " --subsystem-match=";
    let script = script?;
    let matches: String = facts.subsystems.iter().map(|name| format!("{LIMIT}{name}")).collect();
    let mut parts = script.split(CALL);
    let mut text = parts.next()?.to_owned();
    for part in parts {
        text.push_str(CALL);
        // A call with a limit was written by the administrator, or by ds.
        let line = part.lines().next().unwrap_or_default();
        if !line.contains(LIMIT.trim_start()) {
            text.push_str(&matches);
        }
        text.push_str(part);
    }
    (text != script).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts() -> Facts {
        Facts {
            hostname: "web.example.org".into(),
            android: true,
            subsystems: "usb,tty".parse().unwrap(),
            seed: "yes".parse().unwrap(),
        }
    }

    #[test]
    fn every_coldplug_of_a_script_is_limited() {
        let script = "start() {\n\tudevadm trigger --type=subsystems --action=add\n\tudevadm trigger --type=devices\n\
                      \tudevadm trigger --subsystem-match=net\n\tudevadm settle\n}\n";
        let limited = trigger(&facts(), Some(script)).unwrap();
        assert_eq!(
            limited,
            "start() {\n\tudevadm trigger --subsystem-match=usb --subsystem-match=tty --type=subsystems --action=add\n\
             \tudevadm trigger --subsystem-match=usb --subsystem-match=tty --type=devices\n\
             \tudevadm trigger --subsystem-match=net\n\tudevadm settle\n}\n"
        );
        assert_eq!(trigger(&facts(), Some(&limited)), None);
        assert_eq!(trigger(&facts(), None), None);
    }

    proptest! {
        #[test]
        fn every_row_leaves_its_own_result_alone(
            text in "(((127.0.0.1|::1|1:2345:respawn:/sbin/getty|tty1|console|initdefault|root:x:0|aid_inet:x:3003:|_apt:x:42:65534::/:/x|#?EXTRA_GROUPS=|udevadm trigger|LXC_NAME|web|[a-z: .#=]{0,8})[ :]?){0,4}\n){0,6}"
        ) {
            for item in ITEMS {
                let made = (item.make)(&facts(), Some(&text));
                if let Some(made) = made {
                    prop_assert_eq!((item.make)(&facts(), Some(&made)), None, "{:?}: {:?}", item.file, made);
                }
            }
        }
    }
}
