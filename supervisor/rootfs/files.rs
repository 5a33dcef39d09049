//! The table of all files of a guest that ds reads, writes or looks for.
//!
//! The guest controls these paths: a file may be missing, a FIFO, a device, a directory, a link, or endless.
//! [`super::root::Root::read`] accepts only a [`GuestFile`], which only this module creates. A test replaces each file
//! in the table by each of these kinds, so it covers new files automatically.

use std::path::Path;

/// A path inside a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestFile(&'static str);

impl GuestFile {
    /// The absolute path in the guest.
    #[must_use]
    pub fn path(self) -> &'static Path {
        Path::new(self.0)
    }

    /// The path as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

macro_rules! table {
    ($($(#[$what:meta])* $name:ident = $path:literal;)*) => {
        $($(#[$what])* pub const $name: GuestFile = GuestFile($path);)*
        /// All files of the table.
        pub const ALL: &[GuestFile] = &[$($name),*];
    };
}

table! {
    /// Users, passwd(5).
    PASSWD = "/etc/passwd";
    /// Groups, group(5).
    GROUP = "/etc/group";
    /// Passwords, shadow(5).
    SHADOW = "/etc/shadow";
    /// The name of the distribution, os-release(5).
    OS_RELEASE = "/etc/os-release";
    /// The copy of the distribution.
    OS_RELEASE_SHIPPED = "/usr/lib/os-release";
    /// OpenRC on Alpine and Debian.
    OPENRC = "/sbin/openrc";
    /// OpenRC with a merged /usr.
    OPENRC_MERGED = "/usr/sbin/openrc";
    /// OpenRC without a separate sbin.
    OPENRC_BIN = "/usr/bin/openrc";
    /// The host name, hostname(5); a file of ds is mounted over it.
    HOSTNAME = "/etc/hostname";
    /// Name servers, resolv.conf(5); on a phone, a file of ds is mounted over it.
    RESOLV_CONF = "/etc/resolv.conf";
    /// Exists if systemd-resolved is enabled: its D-Bus name.
    RESOLVED_ENABLED = "/etc/systemd/system/dbus-org.freedesktop.resolve1.service";
    /// Exists if systemd-resolved is enabled: its unit link.
    RESOLVED_WANTED = "/etc/systemd/system/sysinit.target.wants/systemd-resolved.service";
    /// Servers for systemd-resolved: a file of ds in the container's new /run.
    RESOLVED_SERVERS = "/run/systemd/resolved.conf.d/50-droidspaces.conf";
    /// The FIFO for requests to sysvinit: init(8).
    INITCTL = "/run/initctl";
    /// The same before 2.89.
    INITCTL_OLD = "/dev/initctl";
    /// runit's flag file on Debian: runit(8).
    RUNIT_STOPIT = "/run/runit.stopit";
    /// The second flag file.
    RUNIT_REBOOT = "/run/runit.reboot";
    /// runit's flag file elsewhere, often a link into /run.
    RUNIT_STOPIT_OLD = "/etc/runit/stopit";
    /// The second flag file.
    RUNIT_REBOOT_OLD = "/etc/runit/reboot";
    /// The run level, utmp(5).
    UTMP = "/run/utmp";
    /// OpenRC's run level.
    SOFTLEVEL = "/run/openrc/softlevel";
    /// Exists while OpenRC changes the run level.
    OPENRC_STARTING = "/run/openrc/rc.starting";
    /// The configuration of init: inittab(5).
    INITTAB = "/etc/inittab";
    /// Names and their addresses, hosts(5).
    HOSTS = "/etc/hosts";
    /// Passwords of groups, gshadow(5).
    GSHADOW = "/etc/gshadow";
    /// The permission to use sudo, sudoers(5).
    SUDOERS = "/etc/sudoers.d/50-droidspaces";
    /// The permission to use doas, doas.conf(5).
    DOAS_CONF = "/etc/doas.conf";
    /// The same in a directory.
    DOAS_OURS = "/etc/doas.d/50-droidspaces.conf";
    /// Defaults of useradd(8).
    USERADD = "/etc/default/useradd";
    /// Defaults of login(1) without PAM, login.defs(5).
    LOGIN_DEFS = "/etc/login.defs";
    /// Void's login prompt on the console, enabled.
    RUNIT_AGETTY = "/etc/runit/runsvdir/default/agetty-console";
    /// The same for Debian's runit.
    RUNIT_GETTY = "/etc/runit/runsvdir/default/getty-console";
    /// Its program, if ds created it.
    RUNIT_GETTY_RUN = "/etc/sv/getty-console/run";
    /// The state directory of runsv(8).
    RUNIT_GETTY_SUPERVISE = "/etc/sv/getty-console/supervise";
    /// The same for OpenRC if no inittab starts one.
    OPENRC_AGETTY = "/etc/init.d/agetty.console";
    /// The same, enabled.
    OPENRC_AGETTY_WANTED = "/etc/runlevels/default/agetty.console";
    /// Defaults of adduser(8).
    ADDUSER_CONF = "/etc/adduser.conf";
    /// OpenRC's coldplug.
    OPENRC_UDEV_TRIGGER = "/etc/init.d/udev-trigger";
    /// udev's script for sysvinit.
    SYSVINIT_UDEV = "/etc/init.d/udev";
    /// The same for eudev.
    SYSVINIT_EUDEV = "/etc/init.d/eudev";
    /// Void's coldplug.
    RUNIT_UDEV = "/etc/runit/core-services/02-udev.sh";
    /// A file of ds in the container's new /run, which exists while it uses the host's network.
    NETWORK_IS_SHARED = "/run/host/network-is-shared";
    /// ifupdown of sysvinit and OpenRC.
    INIT_NETWORKING = "/etc/init.d/networking";
    /// netifd of OpenWrt.
    INIT_NETWORK = "/etc/init.d/network";
    /// netifrc of Gentoo: the scripts of all interfaces are links to this one.
    INIT_NET_LO = "/etc/init.d/net.lo";
    /// dhcpcd of sysvinit and OpenRC.
    INIT_DHCPCD = "/etc/init.d/dhcpcd";
    /// connman of sysvinit and OpenRC.
    INIT_CONNMAN = "/etc/init.d/connman";
    /// iwd of sysvinit and OpenRC.
    INIT_IWD = "/etc/init.d/iwd";
    /// wpa_supplicant of OpenRC.
    INIT_WPA_SUPPLICANT = "/etc/init.d/wpa_supplicant";
    /// dhcpcd of runit.
    RUNIT_DHCPCD = "/etc/sv/dhcpcd/run";
    /// connman of runit.
    RUNIT_CONNMAN = "/etc/sv/connmand/run";
    /// iwd of runit.
    RUNIT_IWD = "/etc/sv/iwd/run";
    /// wpa_supplicant of runit.
    RUNIT_WPA_SUPPLICANT = "/etc/sv/wpa_supplicant/run";
    /// systemd.
    SYSTEMD = "/usr/lib/systemd/systemd";
    /// systemd without a merged /usr.
    SYSTEMD_OLD = "/lib/systemd/systemd";
    /// NixOS.
    NIX_STORE = "/nix/store";
    /// Guix.
    GUIX_STORE = "/gnu/store";
    /// The machine id, machine-id(5).
    MACHINE_ID = "/etc/machine-id";
    /// The machine id of older D-Bus versions.
    MACHINE_ID_OF_DBUS = "/var/lib/dbus/machine-id";
}
