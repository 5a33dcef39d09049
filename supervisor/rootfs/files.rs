//! The files of a guest that are read, written or looked for by a name of ours. All of them are in this table.
//!
//! Whoever owns the guest decides what lies at these paths: nothing, a FIFO, a device, a directory, a link, an endless
//! file. [`super::root::Root::read`] takes nothing but a [`GuestFile`], and only this module makes one, so that the test
//! which replaces each of them by each of those cannot miss a new one.

use std::path::Path;

/// A path inside a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestFile(&'static str);

impl GuestFile {
    /// Where it is, absolute, inside the guest.
    #[must_use]
    pub fn path(self) -> &'static Path {
        Path::new(self.0)
    }

    /// The same as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

macro_rules! table {
    ($($(#[$what:meta])* $name:ident = $path:literal;)*) => {
        $($(#[$what])* pub const $name: GuestFile = GuestFile($path);)*
        /// Each of them.
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
    /// What the distribution calls itself, os-release(5).
    OS_RELEASE = "/etc/os-release";
    /// The same as the distribution ships it.
    OS_RELEASE_SHIPPED = "/usr/lib/os-release";
    /// OpenRC, where Alpine and Debian have it.
    OPENRC = "/sbin/openrc";
    /// OpenRC in a merged /usr.
    OPENRC_MERGED = "/usr/sbin/openrc";
    /// OpenRC where there is no sbin.
    OPENRC_BIN = "/usr/bin/openrc";
    /// The host name, hostname(5); a file of ours covers it.
    HOSTNAME = "/etc/hostname";
    /// Name servers, resolv.conf(5); on a phone, a file of ours covers it.
    RESOLV_CONF = "/etc/resolv.conf";
    /// systemd-resolved is enabled: its name on the bus.
    RESOLVED_ENABLED = "/etc/systemd/system/dbus-org.freedesktop.resolve1.service";
    /// The same: what starts it.
    RESOLVED_WANTED = "/etc/systemd/system/sysinit.target.wants/systemd-resolved.service";
    /// Servers for systemd-resolved: a file of ours in the container's fresh /run.
    RESOLVED_SERVERS = "/run/systemd/resolved.conf.d/50-droidspaces.conf";
    /// Where sysvinit takes requests: init(8).
    INITCTL = "/run/initctl";
    /// Where it took them before 2.89.
    INITCTL_OLD = "/dev/initctl";
    /// runit's flags as Debian builds it: runit(8).
    RUNIT_STOPIT = "/run/runit.stopit";
    /// The second one.
    RUNIT_REBOOT = "/run/runit.reboot";
    /// runit's flags elsewhere, often links into /run.
    RUNIT_STOPIT_OLD = "/etc/runit/stopit";
    /// The second one.
    RUNIT_REBOOT_OLD = "/etc/runit/reboot";
    /// The run level, utmp(5).
    UTMP = "/run/utmp";
    /// OpenRC's run level.
    SOFTLEVEL = "/run/openrc/softlevel";
    /// There while OpenRC changes it.
    OPENRC_STARTING = "/run/openrc/rc.starting";
    /// What init does: inittab(5).
    INITTAB = "/etc/inittab";
    /// Names and their addresses, hosts(5).
    HOSTS = "/etc/hosts";
    /// Groups' passwords, gshadow(5).
    GSHADOW = "/etc/gshadow";
    /// What ds lets a user do with sudo, sudoers(5).
    SUDOERS = "/etc/sudoers.d/50-droidspaces";
    /// The same with doas, doas.conf(5).
    DOAS_CONF = "/etc/doas.conf";
    /// The same where there is a directory for it.
    DOAS_OURS = "/etc/doas.d/50-droidspaces.conf";
    /// Defaults of useradd(8).
    USERADD = "/etc/default/useradd";
    /// Defaults of login(1) where there is no PAM, login.defs(5).
    LOGIN_DEFS = "/etc/login.defs";
    /// Void's login prompt on the console, enabled.
    RUNIT_AGETTY = "/etc/runit/runsvdir/default/agetty-console";
    /// The same of Debian's runit.
    RUNIT_GETTY = "/etc/runit/runsvdir/default/getty-console";
    /// Its program, where ds has made it.
    RUNIT_GETTY_RUN = "/etc/sv/getty-console/run";
    /// Where runsv(8) keeps its state.
    RUNIT_GETTY_SUPERVISE = "/etc/sv/getty-console/supervise";
    /// The same of OpenRC where no inittab starts one.
    OPENRC_AGETTY = "/etc/init.d/agetty.console";
    /// The same, enabled.
    OPENRC_AGETTY_WANTED = "/etc/runlevels/default/agetty.console";
    /// Defaults of adduser(8).
    ADDUSER_CONF = "/etc/adduser.conf";
    /// OpenRC's coldplug.
    OPENRC_UDEV_TRIGGER = "/etc/init.d/udev-trigger";
    /// udev's script where sysvinit runs it.
    SYSVINIT_UDEV = "/etc/init.d/udev";
    /// The same of eudev.
    SYSVINIT_EUDEV = "/etc/init.d/eudev";
    /// Void's coldplug.
    RUNIT_UDEV = "/etc/runit/core-services/02-udev.sh";
    /// NixOS.
    NIX_STORE = "/nix/store";
    /// Guix.
    GUIX_STORE = "/gnu/store";
    /// The identity of the system, machine-id(5).
    MACHINE_ID = "/etc/machine-id";
    /// The same for D-Bus before there was that one.
    MACHINE_ID_OF_DBUS = "/var/lib/dbus/machine-id";
}
