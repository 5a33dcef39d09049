//! Devices of the host in a container: by name, by kind, and when they are added and removed. No hardware is needed: nodes
//! with the numbers of loop devices, in the sandbox's own /dev, take its place, and the kernel forwards events that the
//! test sends (uevent_net_rcv, since 4.18).

use crate::init_systems::log_in;
use crate::sandbox::{Sandbox, Setting};
use crate::wait_for;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sendto, socket,
};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

const SECRET: &str = "what the disk has";

/// A sandbox with a /dev that no other process uses, and a disk.
struct Machine {
    sandbox: Sandbox,
    disk: String,
    /// Numbers of the disk.
    numbers: (u32, u32),
}

impl Machine {
    fn new(setting: Setting) -> Self {
        let mut sandbox = Sandbox::with(setting);
        let dev = sandbox.path("dev");
        fs::create_dir_all(&dev).unwrap();
        let file = sandbox.root().join("disk");
        let mut content = vec![0; 1 << 20];
        content[..SECRET.len()].copy_from_slice(SECRET.as_bytes());
        fs::write(&file, content).unwrap();
        let disk = sandbox.run(&["losetup", "--find", "--show", file.to_str().unwrap()]).succeeds();
        let disk = disk.trim().to_owned();
        let own = dev.to_str().unwrap();
        sandbox.mount(&["-t", "tmpfs", "-o", "mode=755", "own", own]);
        let nodes = "null zero full random urandom tty fuse loop-control ptmx";
        let copy = format!(
            "cd /dev; cp -a {nodes} {disk} {own}/; mkdir {own}/pts {own}/net {own}/shm; cp -a net/tun {own}/net/"
        );
        sandbox.run(&["sh", "-c", &copy]).succeeds();
        sandbox.mount(&["--bind", "/dev/pts", &format!("{own}/pts")]);
        sandbox.mount(&["--rbind", own, "/dev"]);
        let number = sandbox.run(&["stat", "-c", "%t %T", &disk]).succeeds();
        let mut numbers = number.split_whitespace().map(|part| u32::from_str_radix(part, 16).unwrap());
        let numbers = (numbers.next().unwrap(), numbers.next().unwrap());
        Self { sandbox, disk, numbers }
    }

    /// Runs a script as root in the container `web`; output and errors.
    fn inside(&self, script: &str) -> String {
        let done = self.sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", &format!("( {script} ) 2>&1")]);
        done.text()
    }

    /// The name of the disk below /dev.
    fn disk_name(&self) -> &str {
        self.disk.strip_prefix("/dev/").unwrap()
    }

    fn host(&self, script: &str) {
        self.sandbox.run(&["sh", "-c", script]).succeeds();
    }

    /// Has the kernel send an event about a device in the sandbox's network namespace.
    fn uevent(&self, action: &str, subsystem: &str, name: &str, (major, minor): (u32, u32)) {
        let fields = format!(
            "{action}@/devices/test\0ACTION={action}\0SUBSYSTEM={subsystem}\0MAJOR={major}\0MINOR={minor}\0\
             DEVNAME={name}\0"
        );
        let mut message = Vec::new();
        message.extend(u32::try_from(16 + fields.len()).unwrap().to_ne_bytes());
        // NLMSG_MIN_TYPE, NLM_F_REQUEST.
        message.extend(0x10_u16.to_ne_bytes());
        message.extend(1_u16.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(fields.as_bytes());
        let namespace = fs::File::open(format!("/proc/{}/ns/net", self.sandbox.init_pid())).unwrap();
        let send = move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
            let protocol = SockProtocol::NetlinkKObjectUEvent;
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol).unwrap();
            sendto(socket.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty()).unwrap();
        };
        // A network namespace belongs to one thread.
        std::thread::spawn(send).join().unwrap();
    }

    fn end(self) {
        self.sandbox.ds(&["stop", "--all"]).succeeds();
        self.sandbox.run(&["losetup", "--detach", &self.disk]).succeeds();
        self.sandbox.assert_no_containers();
    }
}

/// Each mechanism that enforces a device policy.
fn settings() -> [Setting; 2] {
    [Setting::default(), Setting { denied: Some("bpf"), ..Setting::default() }]
}

#[test]
fn devices_are_given_by_name_and_pattern_and_nothing_else_is() {
    for setting in settings() {
        let machine = Machine::new(setting);
        let (disk, name) = (machine.disk.clone(), machine.disk_name().to_owned());
        machine.host("mknod /dev/ttyUSB0 c 10 237; mkdir -p /dev/bus/usb; mknod /dev/bus/usb/001 c 10 237");
        let tree =
            machine.sandbox.container("web", &[&format!("hardware.devices={disk}:r,/dev/tty?SB*,usb")]);
        tree.write("etc/group", "root:x:0:\nuucp:x:14:\n");
        let started = machine.sandbox.ds(&["start", "web"]);
        assert!(!started.errors.contains("destroy"), "read-only: {}", started.errors);
        started.succeeds();
        wait_for("the report", || tree.report());
        assert_eq!(machine.inside(&format!("busybox head -c {} {disk}", SECRET.len())), SECRET);
        let written = machine.inside(&format!("echo x >{disk}"));
        assert!(written.contains("not permitted"), "{written}");
        let listed = machine.inside("busybox stat -c '%n %t:%T %a %u:%g' /dev/ttyUSB0 /dev/bus/usb/001");
        assert_eq!(listed, "/dev/ttyUSB0 a:ed 660 0:14\n/dev/bus/usb/001 a:ed 664 0:0\n");
        assert_eq!(machine.inside(": <>/dev/ttyUSB0 && echo opened"), "opened\n");
        let other = machine.inside(&format!(
            "ls /dev/loop-control; busybox mknod /root/d b {} 999; cat /root/d",
            machine.numbers.0
        ));
        assert!(other.contains("No such file") && other.contains("not permitted"), "{other}");
        let info = machine.sandbox.info("web");
        let nodes: Vec<_> =
            info["devices"]["nodes"].as_array().unwrap().iter().map(|node| node.as_str().unwrap()).collect();
        assert_eq!(nodes, ["/dev/bus/usb/001", &format!("/dev/{name}"), "/dev/ttyUSB0"]);
        let (major, minor) = machine.numbers;
        let rule = format!("b {major}:{minor} rm");
        assert!(info["devices"]["rules"].as_array().unwrap().iter().any(|line| *line == *rule), "{info}");
        let shown = machine.sandbox.ds(&["info", "web"]).succeeds();
        assert!(shown.contains("\nhardware    /dev/bus/usb/001 "), "{shown}");
        machine.end();
    }
}

/// When a device is added, its node appears and can be opened. When it is removed, its node and its permission disappear.
#[test]
fn devices_come_and_go_while_a_container_runs() {
    for setting in settings() {
        let machine = Machine::new(setting);
        let tree = machine.sandbox.container("web", &["hardware.devices=/dev/ttyUSB*,/dev/sd?"]);
        machine.sandbox.ds(&["start", "web"]).succeeds();
        wait_for("the report", || tree.report());
        let open = "[ -c /dev/ttyUSB7 ] && : <>/dev/ttyUSB7 && echo opened";
        assert_eq!(machine.inside(open), "");
        let attack = "busybox rm -f /root/n; busybox mknod /root/n c 10 237; : <>/root/n && echo opened";
        assert!(machine.inside(attack).contains("not permitted"));
        // A service with its own control group also gets it.
        machine.inside(
            "mkdir -p /tmp/v1 && busybox mount -t cgroup -o devices none /tmp/v1 && mkdir /tmp/v1/service",
        );

        machine.uevent("add", "tty", "ttyUSB7", (10, 237));
        wait_for("the device", || machine.inside(open).ends_with("opened\n").then_some(()));
        assert_eq!(
            machine.inside("echo $$ >/tmp/v1/service/cgroup.procs; : <>/dev/ttyUSB7 && echo opened"),
            "opened\n"
        );
        assert_eq!(machine.sandbox.info("web")["devices"]["nodes"][0], "/dev/ttyUSB7");
        machine.uevent("add", "block", "sdx", machine.numbers);
        wait_for("the disk", || {
            (machine.inside(&format!("busybox head -c {} /dev/sdx", SECRET.len())) == SECRET).then_some(())
        });
        // Other devices do not appear in this container.
        machine.uevent("add", "tty", "ttyACM0", (10, 237));

        machine.uevent("remove", "tty", "ttyUSB7", (10, 237));
        wait_for("the end of the device", || machine.inside(open).is_empty().then_some(()));
        assert!(machine.inside(attack).contains("not permitted"), "the container's own node can be opened");
        assert!(machine.inside("ls /dev/ttyACM0").contains("No such file"));
        machine.uevent("remove", "block", "sdx", machine.numbers);
        wait_for("the end of the disk", || machine.inside("ls /dev/sdx").contains("No such").then_some(()));
        machine.end();
    }
}

/// If the container has its own file or its own mount at the path of a node, ds does not touch it.
#[test]
fn what_root_inside_puts_into_the_way_is_left_alone() {
    let machine = Machine::new(Setting::default());
    let tree = machine.sandbox.container("web", &["hardware.devices=/dev/ttyUSB*,/dev/deep"]);
    machine.sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    machine.inside("echo mine >/dev/ttyUSB1; mkdir /dev/deep; busybox mount -t tmpfs none /dev/deep; ln -s /root /dev/deeper");
    machine.uevent("add", "tty", "ttyUSB1", (10, 237));
    machine.uevent("add", "tty", "deep/tty", (10, 237));
    machine.uevent("add", "tty", "ttyUSB2", (10, 237));
    wait_for("the last one", || machine.inside("ls /dev/ttyUSB2").starts_with("/dev").then_some(()));
    assert_eq!(machine.inside("cat /dev/ttyUSB1; ls /dev/deep"), "mine\n");
    machine.uevent("remove", "tty", "ttyUSB1", (10, 237));
    machine.uevent("remove", "tty", "ttyUSB2", (10, 237));
    wait_for("its end", || machine.inside("ls /dev/ttyUSB2").contains("No such").then_some(()));
    assert_eq!(machine.inside("cat /dev/ttyUSB1"), "mine\n");
    let log = machine.sandbox.log();
    assert!(log.contains("the container has another file of that name"), "{log}");
    assert!(log.contains("another file system has been mounted"), "{log}");
    machine.end();
}

#[test]
fn graphics_processors_can_be_used_by_ordinary_users() {
    let machine = Machine::new(Setting::default());
    machine.host("mkdir /dev/dri; mknod -m 600 /dev/dri/renderD128 c 10 237; mknod /dev/dri/card0 c 10 237");
    let tree = machine.sandbox.container("web", &["hardware.access=gpu"]);
    tree.write("etc/group", "root:x:0:\nvideo:x:44:\n");
    machine.sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    let script = ": <>/dev/dri/renderD128 && busybox stat -c %a:%g /dev/dri/renderD128; ls /dev/dri";
    let used =
        machine.sandbox.ds(&["run", "--user", "1000", "web", "--", "/bin/sh", "-c", script]).succeeds();
    assert_eq!(used, "666:44\nrenderD128\n");
    machine.end();
}

/// A bind mount of a device does not permit to open it, and the start says what to do.
#[test]
fn a_bound_device_that_the_policy_refuses_is_explained() {
    let machine = Machine::new(Setting::default());
    let disk = machine.disk.clone();
    let bind = format!("mounts.bind={disk}:/disk,/dev/null:/nothing");
    let tree = machine.sandbox.container("web", &[&bind]);
    let started = machine.sandbox.ds(&["start", "web"]);
    assert!(started.errors.contains(&format!("set hardware.devices = {disk} instead")), "{}", started.errors);
    assert!(!started.errors.contains("/dev/null"), "{}", started.errors);
    wait_for("the report", || tree.report());
    assert!(machine.inside("cat /disk").contains("not permitted"));
    machine.sandbox.ds(&["set", "web", &format!("hardware.devices={disk}")]).succeeds();
    let planned = machine.sandbox.ds(&["start", "web", "--dry-run"]).succeeds();
    assert!(planned.contains(&format!("\nfollow {disk}\n")), "{planned}");
    machine.end();
}

/// After the user has acknowledged the risk, the container gets all devices. The host's /dev stays unchanged.
#[test]
fn all_hardware_is_given_when_it_was_acknowledged() {
    let mut machine = Machine::new(Setting::default());
    let parameter = "/sys/module/firmware_class/parameters/path";
    let firmware = machine.sandbox.path("firmware-path");
    let loads_firmware = std::path::Path::new(parameter).exists();
    if loads_firmware {
        fs::write(&firmware, "\n").unwrap();
        machine.sandbox.mount(&["--bind", firmware.to_str().unwrap(), parameter]);
    }
    machine.host("mknod -m 640 /dev/ttyUSB0 c 10 237");
    let tree = machine.sandbox.container("web", &["hardware.access=full"]);
    fs::create_dir_all(tree.path("lib/firmware")).unwrap();
    let refused = machine.sandbox.ds(&["start", "web"]);
    assert_eq!(refused.code, 1);
    assert!(refused.errors.contains("use 'ds start web --yes'"), "{}", refused.errors);
    let started = machine.sandbox.ds(&["start", "web", "--yes"]);
    assert!(started.errors.contains("raw disks included"), "{}", started.errors);
    started.succeeds();
    wait_for("the report", || tree.report());
    assert_eq!(machine.sandbox.ds(&["get", "web", "hardware.acknowledged"]).succeeds(), "yes\n");

    let disk = machine.disk.clone();
    assert_eq!(machine.inside(&format!("busybox head -c {} {disk}", SECRET.len())), SECRET);
    assert_eq!(machine.inside(": <>/dev/ttyUSB0 && busybox stat -c %a /dev/ttyUSB0"), "660\n");
    let mounts = machine.inside("busybox grep ' sysfs ' /proc/mounts");
    let has = |place: &str, access: &str| {
        mounts.lines().any(|line| {
            let mut fields = line.split(' ').skip(1);
            fields.next() == Some(place)
                && fields.nth(1).is_some_and(|options| options.split(',').next() == Some(access))
        })
    };
    assert!(has("/sys", "ro") && has("/sys/class", "rw") && has("/sys/devices", "rw"), "{mounts}");
    machine.inside("busybox rm /dev/ttyUSB0; busybox chmod 0 /dev/loop-control");
    machine.host("[ -c /dev/ttyUSB0 ] && [ $(stat -c %a /dev/loop-control) != 0 ]");
    machine.uevent("add", "tty", "ttyUSB9", (10, 237));
    wait_for("the device", || {
        machine
            .inside("[ -c /dev/ttyUSB9 ] && : <>/dev/ttyUSB9 && echo opened")
            .ends_with("opened\n")
            .then_some(())
    });
    if loads_firmware {
        let expected = tree.path("lib/firmware");
        assert_eq!(fs::read_to_string(&firmware).unwrap(), expected.to_str().unwrap());
        let monitor = machine.sandbox.monitor("web").unwrap();
        crate::process::kill(monitor.pid);
        machine.sandbox.wait_for_state("web", "failed");
        wait_for("the previous path", || (fs::read(&firmware).unwrap() == b"\0").then_some(()));
    }
    machine.end();
}

/// From version 258 on, systemd takes a machine with a writable /sys for a physical one, and starts no login on its
/// console.
#[test]
fn the_newest_systemd_prompts_for_a_login_with_all_hardware() {
    let mut machine = Machine::new(Setting::default());
    machine.sandbox.distribution("web", "forky", &["hardware.access=full", "hardware.acknowledged=yes"]);
    assert_eq!(machine.sandbox.ds(&["start", "web", "--wait=110"]).succeeds(), "web is up\n");
    assert_eq!(
        machine.inside("systemd-detect-virt --container; stat -c %t:%T /dev/loop-control"),
        "container-other\na:ed\n"
    );
    log_in(&machine.sandbox);
    machine.end();
}

/// The option of a Droidspaces command line is the acknowledgement, and the start prints the caution.
#[test]
fn the_option_of_droidspaces_is_its_own_acknowledgement() {
    let machine = Machine::new(Setting::default());
    let tree = crate::root_fs::Tree::with_probe(&machine.sandbox.path("web"));
    let link = machine.sandbox.root().join("droidspaces");
    std::os::unix::fs::symlink(machine.sandbox.binary(), &link).unwrap();
    let rootfs = format!("--rootfs={}", tree.0.display());
    let link = link.to_str().unwrap();
    let started = machine.sandbox.run(&[link, "--name=web", &rootfs, "--hw-access", "start"]);
    assert!(started.errors.contains("raw disks included"), "{}", started.errors);
    started.succeeds();
    assert_eq!(machine.sandbox.info("web")["devices"]["rules"][0], "a *:* rwm");
    machine.end();
}

/// ds mounts the sockets of servers where programs expect them; `ds check` names the servers that do not run.
#[test]
fn servers_of_the_host_are_reached() {
    let mut machine = Machine::new(Setting::default());
    machine.sandbox.mount(&["-t", "tmpfs", "own", "/tmp"]);
    let settings = ["hardware.display=termux-x11", "hardware.gl=virgl", "environment.GALLIUM_DRIVER=zink"];
    let tree = machine.sandbox.container("web", &settings);
    let checked = machine.sandbox.ds(&["check"]).text();
    assert!(
        checked.contains("\nweb: hardware.display = termux-x11: no server on the host; run "),
        "{checked}"
    );
    let outside = format!("/proc/{}/root/tmp", machine.sandbox.init_pid());
    fs::create_dir(format!("{outside}/.X11-unix")).unwrap();
    let _server = std::os::unix::net::UnixListener::bind(format!("{outside}/.X11-unix/X1")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", format!("{outside}/.virgl_test")).unwrap();
    let started = machine.sandbox.ds(&["start", "web"]);
    assert!(!started.errors.contains("termux-x11"), "{}", started.errors);
    assert!(started.errors.contains("hardware.gl = virgl: no server"), "not a link: {}", started.errors);
    wait_for("the report", || tree.report());
    let seen = machine
        .inside("[ -S /tmp/.X11-unix/X0 ] && [ -S /run/host/x11/X0 ] && echo $DISPLAY $GALLIUM_DRIVER");
    assert_eq!(seen, ":0 zink\n");
    assert!(machine.inside("ls -a /run/host/virgl").contains("No such file"));
    machine.end();
}

/// Firecracker's issue 5956: the owner of a new file changed through a link that had replaced it. Root inside puts links
/// to a file of the host in the place of nodes while they appear.
#[test]
fn nodes_get_their_owner_only_in_the_container() {
    let machine = Machine::new(Setting::default());
    let tree = machine.sandbox.container("web", &["hardware.devices=/dev/ttyUSB*"]);
    tree.write("etc/group", "root:x:0:\ndialout:x:20:\n");
    let victim = machine.sandbox.path("victim");
    fs::write(&victim, "mine").unwrap();
    machine.sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    let script = format!(
        "while :; do busybox ln -sf {} /dev/ttyUSB7; busybox rm -f /dev/ttyUSB7; done",
        victim.display()
    );
    let mut attacker = machine.sandbox.spawn_ds(&["run", "web", "--", "/bin/sh", "-c", &script]);
    let before = fs::metadata(&victim).unwrap();
    for _ in 0..300 {
        machine.uevent("add", "tty", "ttyUSB7", (10, 237));
        machine.uevent("remove", "tty", "ttyUSB7", (10, 237));
        std::thread::sleep(std::time::Duration::from_millis(3));
    }
    attacker.kill().unwrap();
    attacker.wait().unwrap();
    // The monitor has processed all events before this one.
    machine.uevent("add", "tty", "ttyUSB8", (10, 237));
    let owner = "busybox stat -c %g /dev/ttyUSB8";
    wait_for("the last device", || (machine.inside(owner) == "20\n").then_some(()));
    let after = fs::metadata(&victim).unwrap();
    assert_eq!((after.gid(), after.mode()), (before.gid(), before.mode()));
    machine.end();
}
