//! udev in a container: it replays only the events of safe devices, and sees devices that are plugged in.

use crate::sandbox::Sandbox;
use crate::wait_for;
use crate::world::within;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket,
    sockopt,
};
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

const SAFE: [&str; 4] = ["block", "input", "tty", "usb"];

fn run(sandbox: &Sandbox, script: &str) -> String {
    sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", script]).succeeds()
}

/// The kernel's events, as udevd receives them: netlink(7), NETLINK_KOBJECT_UEVENT.
fn events(sandbox: &Sandbox) -> OwnedFd {
    within(sandbox.init_pid(), || {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let kind = SockProtocol::NetlinkKObjectUEvent;
        let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, kind).expect("socket");
        setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20)).expect("setsockopt");
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 1)).expect("bind");
        socket
    })
}

/// The subsystems of all events that a program has requested so far. Those of the kernel have no `SYNTH_UUID`.
fn requested(events: &OwnedFd) -> BTreeSet<String> {
    let (mut found, mut buffer) = (BTreeSet::new(), vec![0; 16 << 10]);
    while let Ok(length) = recv(events.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
        let text = String::from_utf8_lossy(&buffer[..length]);
        let value = |key: &str| text.split('\0').find_map(|field| field.strip_prefix(key).map(str::to_owned));
        if value("SYNTH_UUID=").is_some() {
            found.extend(value("SUBSYSTEM="));
        }
    }
    found
}

#[test]
fn only_safe_devices_are_triggered() {
    let mut sandbox = Sandbox::new();
    let events = events(&sandbox);
    sandbox.distribution("web", "services", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("udevd", || {
        let script = "systemctl is-active systemd-udevd droidspaces-udev-trigger; true";
        (run(&sandbox, script) == "active\nactive\n").then_some(())
    });
    let safe: BTreeSet<String> = SAFE.map(str::to_owned).into();
    let at_boot = requested(&events);
    assert!(at_boot.is_subset(&safe), "{at_boot:?}");

    // With a writable /sys, the kernel executes the requests.
    run(
        &sandbox,
        "mount -o remount,bind,rw /sys && systemctl restart droidspaces-udev-trigger && udevadm settle",
    );
    let now = requested(&events);
    assert!(now.is_subset(&safe) && now.contains("tty"), "{now:?}");
    // The distribution's own services would replay more events, but are not started.
    let all = run(&sandbox, "udevadm trigger --dry-run --verbose --type=devices");
    assert!(all.contains("/virtual/mem/") || all.contains("/net/"), "{all}");
    let started = "systemctl start systemd-udev-trigger systemd-udev-settle 2>&1; systemctl list-units --all --plain \
                   --no-legend systemd-udev-trigger.service systemd-udev-settle.service | grep -v masked; true";
    assert!(run(&sandbox, started).lines().all(|line| line.contains("masked")), "{}", run(&sandbox, started));
    assert!(requested(&events).is_subset(&safe));
    sandbox.ds(&["stop", "web", "--kill"]).succeeds();
}

#[test]
fn a_device_that_is_plugged_in_is_seen() {
    let mut sandbox = Sandbox::new();
    // With the host's network, udevd cannot broadcast events: that requires CAP_NET_ADMIN.
    sandbox.distribution("web", "services", &["network.mode=none"]);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("udevd", || {
        (run(&sandbox, "systemctl is-active systemd-udevd; true") == "active\n").then_some(())
    });
    let watch =
        "systemd-run --quiet --unit=watch -p StandardOutput=file:/root/seen udevadm monitor --udev -s block";
    run(&sandbox, watch);
    let image = sandbox.path("disk");
    fs::write(&image, vec![0; 1 << 20]).unwrap();
    let seen = || run(&sandbox, "cat /root/seen; true");
    wait_for("the monitor", || seen().contains("UDEV - the event").then_some(()));
    let attach = format!("losetup --find --show {}", image.display());
    let device = sandbox.run(&["sh", "-c", &attach]).succeeds();
    let name = device.trim().trim_start_matches("/dev/").to_owned();
    wait_for("the event", || seen().contains(&format!("/block/{name} ")).then_some(()));
    sandbox.run(&["losetup", "-d", device.trim()]).succeeds();
    sandbox.ds(&["stop", "web", "--kill"]).succeeds();
}
