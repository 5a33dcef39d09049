//! Hardware that appears and disappears with its driver: real nodes of a kernel's devtmpfs, its own events, and its own
//! permissions, for drivers that need no hardware, for a graphics processor of QEMU, and for a simulated USB device.

use crate::disk::Disk;
use crate::given;
use crate::machine::{Machine, Setup};
use std::fs;

const PREPARE: &str = "mount -t ext4 /dev/vdb /var/lib/droidspaces\n";

/// A driver, the node that it makes, and whether everybody in the container may use it.
const DRIVERS: &[(&str, &str, bool)] = &[
    ("vgem", "dri/renderD*", true),
    ("virtio_gpu", "dri/renderD*", true),
    ("snd_dummy", "snd/controlC0", false),
    ("evdev", "input/event0", false),
    ("uinput", "uinput", false),
    ("null_blk", "nullb0", false),
];

/// The path of the only node of this name on the host, below /dev.
fn node(machine: &mut Machine, pattern: &str) -> String {
    let wait = format!(
        "cd /dev; for i in $(seq 300); do set -- {pattern}; [ -e \"$1\" ] && break; sleep 0.1; done; echo \"$*\""
    );
    machine.run(&wait).succeeds().trim().to_owned()
}

/// Waits until a test of the shell succeeds in the container.
fn wait_inside(machine: &mut Machine, test: &str) {
    let wait = format!(
        "ds run box -- sh -c 'for i in $(seq 300); do {test} && exit; sleep 0.1; done; ls -lR /dev; exit 1'"
    );
    let done = machine.run(&wait);
    assert_eq!(done.code, 0, "{test}: {}", done.text());
}

/// Loads a driver, uses its node in the container, and unloads the driver again.
fn comes_and_goes(machine: &mut Machine, (driver, pattern, for_everybody): (&str, &str, bool)) {
    let before = machine.run(&format!("cd /dev; echo {pattern}")).text();
    assert_eq!(before.trim(), pattern, "before {driver}");
    machine.run(&format!("modprobe {driver}")).succeeds();
    let name = node(machine, pattern);
    wait_inside(machine, &format!("[ -e /dev/{name} ]"));
    // The same device, which the device policy permits.
    let number = "stat -c %t:%T";
    let outside = machine.run(&format!("{number} /dev/{name}")).succeeds();
    assert_eq!(machine.run(&format!("ds run box -- {number} /dev/{name}")).succeeds(), outside, "{driver}");
    let open = format!("sh -c ': </dev/{name} && echo opened'");
    assert_eq!(machine.run(&format!("ds run box -- {open}")).text(), "opened\n", "{driver}");
    let by_user = machine.run(&format!("ds run -u user box -- {open}"));
    assert_eq!(by_user.text() == "opened\n", for_everybody, "{driver}: {by_user:?}");
    machine.run(&format!("modprobe -r {driver}")).succeeds();
    wait_inside(machine, &format!("[ ! -e /dev/{name} ]"));
    let kind = if pattern.starts_with("nullb") { 'b' } else { 'c' };
    let (major, minor) = outside.trim().split_once(':').unwrap();
    let attack = format!("rm -f /node; mknod /node {kind} $((0x{major})) $((0x{minor})) && head -c 1 /node");
    let attack = machine.run(&format!("ds run box -- sh -c '{attack}'"));
    let text = format!("{attack:?}");
    assert!(text.contains("not permitted"), "{driver}: {text}");
}

/// A USB device with a serial port, which its driver plugs into a simulated host controller.
fn a_usb_device_is_plugged_in(machine: &mut Machine) {
    const BUS: &str = "/dev/bus/usb/001";
    machine.run("modprobe dummy_hcd && modprobe cdc_acm").succeeds();
    wait_inside(machine, &format!("[ -e {BUS}/001 ]"));
    comes_and_goes(machine, ("g_serial", "ttyACM*", false));
    machine.run("modprobe g_serial").succeeds();
    wait_inside(machine, &format!("[ -e /dev/ttyACM0 ] && [ $(ls {BUS} | wc -l) = 2 ]"));
    // ttyGS0 is the device's end of the cable. Without `-echo`, each end returns what it receives.
    let said = machine.run(
        "exec 3<>/dev/ttyGS0; stty -echo <&3; head -n 1 <&3 >/run/line & exec 3>&-
         ds run box -- sh -c 'exec 3<>/dev/ttyACM0; stty -echo <&3; echo hello >&3'; wait; cat /run/line",
    );
    assert_eq!(said.text(), "hello\n", "{said:?}");
    machine.run("modprobe -r g_serial").succeeds();
    wait_inside(machine, &format!("[ ! -e /dev/ttyACM0 ] && [ $(ls {BUS} | wc -l) = 1 ]"));
}

#[test]
fn devices_come_and_go_with_their_drivers() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir_all(&tree).unwrap();
    fs::hard_link(given("DS_VM").join("images/busybox"), tree.join("busybox")).unwrap();
    let disk = Disk::ext4(&folder.path().join("disk"), 256 << 20, &tree);
    let setup = Setup::new().disk(&disk, 4096).device("virtio-gpu-pci").prepare(PREPARE);
    let mut machine = Machine::boot(&setup);
    // The kernel has loaded the driver of the graphics processor if it has found modprobe.
    machine.run("modprobe -r virtio_gpu").succeeds();
    let devices = "/dev/nullb*,snd,input,uinput,usb,/dev/ttyACM*";
    let settings = format!("--set hardware.access=gpu --set hardware.devices={devices}");
    let image = "/var/lib/droidspaces/busybox";
    machine.run(&format!("ds create box --image {image} {settings} && ds start box --wait")).succeeds();
    for driver in DRIVERS {
        comes_and_goes(&mut machine, *driver);
    }
    a_usb_device_is_plugged_in(&mut machine);
    // Devices that exist at the start.
    machine.run("ds stop box && modprobe vgem && ds start box").succeeds();
    assert!(machine.run("ls /dev/dri").succeeds().contains("card0"), "which controls a screen");
    let found = machine
        .run("ds run -u user box -- sh -c 'cd /dev/dri; for node in *; do : <>$node && echo $node; done'");
    assert_eq!(found.text(), "renderD128\n", "{found:?}");
    machine.run("ds stop box").succeeds();
    machine.power_off();
}
