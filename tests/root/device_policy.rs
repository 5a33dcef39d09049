//! The device policy: attacks by root inside, from every kind of process, with each mechanism that enforces the policy.

use crate::sandbox::{Sandbox, Setting};
use crate::wait_for;
use std::fs;

/// A disk of the machine with data.
struct Disk {
    device: String,
    file: std::path::PathBuf,
}

const SECRET: &str = "data that only the host may read";

impl Disk {
    fn attach(sandbox: &Sandbox) -> Self {
        let file = sandbox.root().join("disk");
        let mut content = vec![0; 1 << 20];
        content[..SECRET.len()].copy_from_slice(SECRET.as_bytes());
        fs::write(&file, content).unwrap();
        let path = file.to_str().unwrap().to_owned();
        let device = sandbox.run(&["losetup", "--find", "--show", &path]).succeeds().trim().to_owned();
        Self { device, file }
    }

    /// Major and minor number.
    fn numbers(&self) -> String {
        use std::os::unix::fs::MetadataExt;
        let number = fs::metadata(&self.device).unwrap().rdev();
        format!("{} {}", libc::major(number), libc::minor(number))
    }

    fn detach(self, sandbox: &Sandbox) {
        sandbox.run(&["losetup", "--detach", &self.device]).succeeds();
        let content = fs::read(self.file).unwrap();
        assert!(content.starts_with(SECRET.as_bytes()), "nothing has written to the disk");
    }
}

/// Tries to open devices that are not in the table, through new nodes; prints a line for each success.
fn attack(disk: &Disk) -> String {
    let numbers = disk.numbers();
    format!(
        "mkdir -p /root/a; cd /root/a; try() {{ node=$1; shift; busybox rm -f $node; \
         busybox mknod $node $* 2>/dev/null; \
         busybox dd if=$node of=/dev/null bs=512 count=1 2>error && echo READ $node $*; \
         [ -e $node ] && ! busybox grep -q 'not permitted' error && echo READ $node: $(cat error); \
         [ -e $node ] && (echo ATTACK >>$node) 2>error && echo WRITTEN $node; \
         [ -e $node ] && ! busybox grep -q 'not permitted' error && echo WRITTEN $node: $(cat error); }}; \
         try disk b {numbers}; try sda b 8 0; try mem c 1 1; try kmem c 1 2; try port c 1 4; try kmsg c 1 11; \
         try console c 5 1; try vt c 4 1; try serial c 4 64; try loops c 10 237; try kvm c 10 232; \
         try mapper c 10 236; try hwrng c 10 183; try dri c 226 128; try input c 13 64; \
         echo attacked"
    )
}

/// mount(2) opens a disk as well.
fn refuses_to_mount(sandbox: &Sandbox, disk: &Disk) {
    let mount = format!(
        "mkdir -p /root/b; busybox mknod /root/disk b {}; busybox mount -t ext4 /root/disk /root/b 2>&1; \
         busybox rm -f /root/disk",
        disk.numbers()
    );
    let said = sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", &mount]).succeeds();
    assert!(said.contains("permission denied") || said.contains("No such file"), "{said}");
}

/// Accesses that must work with any policy: the devices of the table, through their nodes.
const USES: &str = "for device in null zero full random urandom tty fuse net/tun; do \
     ( : <>/dev/$device ) 2>/root/error || echo /dev/$device: $(cat /root/error); done; \
     busybox head -c 4 /dev/zero >/dev/null && echo used";

/// The devices of the table, through new nodes.
const MAKES: &str = "cd /root; busybox rm -f own; busybox mknod own c 1 3 && echo x >own && busybox mknod fifo p && \
     busybox mknod white c 0 0 && busybox mknod -m 0 block b 8 0 && busybox rm fifo white block && echo made";

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// The attacks from PID 1, `ds run`, `ds enter` and `ds shell`, and the accesses that must work.
fn survives(setting: Setting, enforced_by: &str) {
    let is_enforced = enforced_by != "filter";
    let sandbox = Sandbox::with(setting);
    let disk = Disk::attach(&sandbox);
    let attack = attack(&disk);
    let tree = sandbox.container("web", &["init=/bin/first"]);
    let first = format!("#!/bin/sh\n( {attack}\n{USES} ) >/attacked 2>&1 </dev/null\nexec /bin/probe\n");
    tree.write("bin/first", &first);
    sandbox.run(&["chmod", "755", tree.path("bin/first").to_str().unwrap()]).succeeds();
    let started = sandbox.ds(&["start", "web"]);
    assert_eq!(started.errors.contains("mknod is refused"), !is_enforced, "{}", started.errors);
    started.succeeds();
    wait_for("the report", || tree.report());
    // PID 1 has no controlling terminal yet, so /dev/tty cannot be opened.
    let said = fs::read_to_string(tree.path("attacked")).unwrap();
    assert_eq!(
        said.lines().filter(|line| !line.contains("/dev/tty")).collect::<Vec<_>>(),
        ["attacked", "used"]
    );

    assert_eq!(sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", &attack]).succeeds(), "attacked\n");
    refuses_to_mount(&sandbox, &disk);
    let mut terminal = sandbox.ds_on_terminal(&["enter", "web"]);
    terminal.expect("# ");
    terminal.send(format!("{attack}; {USES}; echo $((6 * 7)) $(tty)\nexit\n").as_bytes());
    terminal.expect("42 /dev/pts/");
    assert_eq!(terminal.wait(), 0, "{}", terminal.shown());
    let shown = terminal.shown();
    assert!(shown.contains("\nattacked\r\nused\r\n42"), "{shown}");
    let path = tree.0.to_str().unwrap().to_owned();
    let shell = sandbox.ds(&["shell", &path, "/bin/sh", "-c", &attack]);
    assert_eq!(text(&shell.output), "attacked\n", "{}", shell.errors);
    assert_eq!(shell.errors.contains("mknod is refused"), !is_enforced, "{}", shell.errors);
    for words in [&["run", "web", "--"][..], &["shell", &path]] {
        let made = sandbox.ds(&[words, &["/bin/sh", "-c", MAKES]].concat());
        let expected = if is_enforced { "made\n" } else { "" };
        assert_eq!(text(&made.output), expected, "{words:?}: {}", made.errors);
    }

    let devices = &sandbox.info("web")["devices"];
    assert_eq!(devices["enforced_by"], enforced_by);
    let rules: Vec<_> =
        devices["rules"].as_array().unwrap().iter().filter_map(|rule| rule.as_str()).collect();
    assert!(rules.contains(&"c 1:3 rwm") && rules.contains(&"b *:* m") && !rules.contains(&"b *:* rwm"));
    let shown = sandbox.ds(&["info", "web"]).succeeds();
    assert!(shown.contains("\ndevices     c *:* m, b *:* m, c 1:3 rwm"), "{shown}");

    sandbox.ds(&["restart", "web"]).succeeds();
    wait_for("the second boot", || (tree.boots() == 2).then_some(()));
    assert_eq!(sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", &attack]).succeeds(), "attacked\n", "again");
    sandbox.ds(&["stop", "web"]).succeeds();
    disk.detach(&sandbox);
    sandbox.assert_no_containers();
}

#[test]
fn no_disk_of_the_host_can_be_opened_where_a_program_decides() {
    survives(Setting::default(), "program");
}

#[test]
fn no_disk_of_the_host_can_be_opened_where_version_1_decides() {
    survives(Setting { denied: Some("bpf"), ..Setting::default() }, "controller");
}

#[test]
fn without_control_over_devices_no_node_can_be_made() {
    survives(Setting { fault: Some("devices:fail".into()), ..Setting::default() }, "filter");
}

/// Root inside sees the root of its namespace and the groups below; the policy is above.
#[test]
fn root_inside_cannot_widen_the_policy() {
    for denied in [None, Some("bpf")] {
        let sandbox = Sandbox::with(Setting { denied, ..Setting::default() });
        let disk = Disk::attach(&sandbox);
        sandbox.container("web", &[]);
        sandbox.ds(&["start", "web"]).succeeds();
        let script = format!(
            "mkdir -p /tmp/v1 /tmp/v2; busybox mount -t cgroup -o devices none /tmp/v1; \
             busybox mount -t cgroup2 none /tmp/v2; for v in v1 v2; do \
             for group in /tmp/$v /tmp/$v/..; do (echo $$ >$group/cgroup.procs) 2>/dev/null; \
             (echo a >$group/devices.allow) 2>/dev/null; done; done; mkdir /tmp/v1/sub /tmp/v2/sub; \
             for v in v1 v2; do (echo $$ >/tmp/$v/sub/cgroup.procs); \
             (echo a >/tmp/$v/sub/devices.allow) 2>/dev/null; done; {}",
            attack(&disk)
        );
        let path = sandbox.path("web");
        for words in [&["run", "web", "--"][..], &["shell", path.to_str().unwrap()]] {
            let tried = sandbox.ds(&[words, &["/bin/sh", "-c", &script]].concat());
            assert_eq!(text(&tried.output), "attacked\n", "{denied:?}: {}", tried.errors);
        }
        disk.detach(&sandbox);
    }
}

/// `security.privileged = unfiltered-dev` disables the policy.
#[test]
fn without_a_policy_every_device_can_be_opened() {
    let sandbox = Sandbox::new();
    let disk = Disk::attach(&sandbox);
    sandbox.container("web", &["security.privileged=unfiltered-dev"]);
    sandbox.ds(&["start", "web"]).succeeds();
    let (numbers, length) = (disk.numbers(), SECRET.len());
    let script = format!("busybox mknod /root/d b {numbers} && busybox head -c {length} /root/d");
    assert_eq!(sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", &script]).succeeds(), SECRET);
    assert_eq!(sandbox.info("web")["devices"]["enforced_by"], "nothing");
    assert_eq!(sandbox.info("web")["devices"]["rules"][0], "a *:* rwm");
    disk.detach(&sandbox);
}

/// A killed worker of `ds shell` leaves its groups, and the supervisor removes them.
#[test]
fn the_groups_of_a_killed_shell_are_removed() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    let path = tree.0.to_str().unwrap().to_owned();
    let shell = sandbox.spawn_ds(&["shell", &path, "/bin/probe", "hold"]);
    let held = wait_for("the command", || sandbox.process(&["/bin/probe", "hold"]));
    assert_eq!(sandbox.group_directories().iter().filter(|top| shells(top) > 0).count(), 1);
    let first = crate::process::Process::of(held.parent).unwrap();
    crate::process::kill(first.parent);
    shell.wait_with_output().unwrap();
    wait_for("the end of the group", || {
        sandbox.group_directories().iter().all(|top| shells(top) == 0).then_some(())
    });
}

fn shells(top: &std::path::Path) -> usize {
    let entries = fs::read_dir(top).into_iter().flatten().filter_map(Result::ok);
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".shell-")).count()
}
