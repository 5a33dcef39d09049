//! The file tree and the namespaces of a container.

use crate::sandbox::Sandbox;
use crate::wait_for;
use serde_json::Value;
use std::fs;

/// The report of a container with these settings.
fn report(sandbox: &Sandbox, settings: &[&str]) -> Value {
    let tree = sandbox.container("web", settings);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report())
}

/// The visible mount at a path, which is the last one.
fn mount<'a>(report: &'a Value, target: &str) -> &'a Value {
    let mounts = report["mounts"].as_array().expect("mounts");
    mounts.iter().rfind(|mount| mount["target"] == target).unwrap_or_else(|| panic!("no mount at {target}"))
}

fn has_option(mount: &Value, option: &str) -> bool {
    mount["options"].as_str().is_some_and(|options| options.split(',').any(|one| one == option))
}

/// The namespaces of a process, by kind.
fn namespace(pid: u32, kind: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace").display().to_string()
}

#[test]
fn every_namespace_but_user_and_network_is_its_own() {
    let sandbox = Sandbox::new();
    let report = report(&sandbox, &[]);
    let supervisor = u32::try_from(sandbox.supervisor().unwrap().pid).unwrap();
    for kind in ["mnt", "pid", "uts", "ipc", "cgroup"] {
        assert_ne!(report["namespaces"][kind], namespace(supervisor, kind), "{kind}");
    }
    for kind in ["user", "net"] {
        assert_eq!(report["namespaces"][kind], namespace(supervisor, kind), "{kind}");
    }
}

#[test]
fn restrictions_of_the_hosts_mount_are_lifted_only_inside() {
    let mut sandbox = Sandbox::new();
    let data = sandbox.path("data");
    fs::create_dir_all(&data).unwrap();
    let place = data.to_str().unwrap();
    sandbox.mount(&["-t", "tmpfs", "-o", "nosuid,nodev,noexec,noatime", "tmpfs", place]);
    // The host's mount is private to the sandbox: the tree is created there.
    let maker = sandbox.container("maker", &[&format!("mounts.bind={place}:/mnt")]);
    sandbox.ds(&["start", "maker"]).succeeds();
    let make = "cd /mnt && for d in bin sbin dev etc proc run sys tmp; do /bin/busybox mkdir -p tree/$d; done && \
                /bin/busybox cp /bin/busybox /bin/probe tree/bin && /bin/busybox ln -s busybox tree/bin/sh && \
                /bin/busybox ln -s ../bin/probe tree/sbin/init && /bin/busybox mknod -m 666 tree/null c 1 3 && \
                /bin/busybox cp /bin/probe tree/bin/setuid && /bin/busybox chmod 4755 tree/bin/setuid && \
                echo mine >tree/etc/secret && /bin/busybox chmod 600 tree/etc/secret";
    sandbox.ds(&["run", "maker", "--", "/bin/sh", "-c", make]).succeeds();
    sandbox.ds(&["stop", "maker"]).succeeds();
    drop(maker);
    sandbox.create("web", &data.join("tree"), &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    let inside = |line: &str| {
        let words = ["run", "web", "--user", "1000:1000", "--", "/bin/sh", "-c", line];
        sandbox.ds(&words).succeeds()
    };
    assert_eq!(inside("/bin/busybox id -u"), "1000\n");
    assert!(inside("/bin/probe write /etc/secret alices").contains("EACCES"));
    assert!(inside("/bin/setuid write /etc/secret roots").contains("written"));
    assert_eq!(inside("echo lost >/null && /bin/busybox cat /null && echo works"), "works\n");
    let mounts = sandbox.run(&["cat", "/proc/self/mounts"]).succeeds();
    let line = mounts.lines().find(|line| line.contains(&format!(" {place} "))).unwrap();
    for option in ["nosuid", "nodev", "noexec", "noatime"] {
        assert!(line.contains(option), "{option} is missing: {line}");
    }
    sandbox.ds(&["stop", "web"]).succeeds();
}

#[test]
fn the_kernels_own_file_systems_are_fresh() {
    let sandbox = Sandbox::new();
    let report = report(&sandbox, &[]);
    for (target, kind, options) in [
        ("/proc", "proc", &["rw", "nosuid", "nodev", "noexec"][..]),
        ("/sys", "sysfs", &["ro", "nosuid", "nodev", "noexec"]),
        ("/dev", "tmpfs", &["rw", "nosuid", "noexec"]),
        ("/dev/pts", "devpts", &["rw", "nosuid", "noexec"]),
        ("/dev/shm", "tmpfs", &["rw", "nosuid", "nodev"]),
        ("/dev/mqueue", "mqueue", &["rw", "nosuid", "nodev", "noexec"]),
        ("/run", "tmpfs", &["rw", "nosuid", "nodev"]),
    ] {
        let mount = mount(&report, target);
        assert_eq!(mount["kind"], kind, "{target}");
        for option in options {
            assert!(has_option(mount, option), "{target}: no {option}: {mount}");
        }
    }
    for mount in report["mounts"].as_array().unwrap() {
        assert_eq!(mount["propagation"], serde_json::json!([]), "propagates: {mount}");
    }
}

#[test]
fn nothing_of_the_hosts_tree_is_left() {
    let sandbox = Sandbox::new();
    let report = report(&sandbox, &[]);
    // All other mounts show the tree.
    for mount in report["mounts"].as_array().unwrap() {
        let (target, root) = (mount["target"].as_str().unwrap(), mount["root"].as_str().unwrap());
        match mount["kind"].as_str().unwrap() {
            "proc" | "sysfs" | "tmpfs" | "devpts" | "mqueue" | "cgroup2" | "cgroup" => {}
            "devtmpfs" => assert_eq!(root, "/null", "{mount}"),
            _ => assert_eq!(target, "/", "{mount}"),
        }
    }
    assert!(mount(&report, "/")["root"].as_str().unwrap().ends_with("/own/web"));
}

#[test]
fn the_host_sees_no_mount_of_a_container() {
    let sandbox = Sandbox::new();
    report(&sandbox, &[]);
    let init = sandbox.supervisor().unwrap().parent;
    let mounts = fs::read_to_string(format!("/proc/{init}/mountinfo")).unwrap();
    assert!(!mounts.contains("/own/web"), "{mounts}");
}

#[test]
fn dangerous_files_are_masked_and_settings_cannot_be_written() {
    let sandbox = Sandbox::new();
    let report = report(&sandbox, &[]);
    let files = &report["files"];
    for path in ["/proc/kcore", "/proc/keys", "/proc/kmsg", "/proc/sched_debug", "/proc/timer_list"] {
        // Some kernels lack it; otherwise it is the null device, or a FIFO for programs that wait for data.
        assert_eq!(files[path]["bytes"], 0, "{path}: {}", files[path]);
        let masked = match path {
            "/proc/kmsg" => files[path]["read"] == "EAGAIN",
            _ => mount_at(&report, path).is_some_and(|mount| mount["root"] == "/null"),
        };
        assert!(masked || files[path]["read"] == "ENOENT", "{path}: {}", files[path]);
    }
    for path in [
        "/proc/sysrq-trigger",
        "/proc/latency_stats",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/sysrq",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/net/ipv4/ip_forward",
        "/sys/kernel/uevent_helper",
        "/sys/kernel/mm/ksm/run",
    ] {
        let answer = files[path]["write"].as_str().unwrap();
        assert!(["EROFS", "ENOENT"].contains(&answer), "{path}: {answer}");
    }
    for path in ["/sys/power/state", "/sys/firmware/acpi"] {
        assert_eq!(files[path]["write"], "ENOENT", "{path}");
    }
    assert_eq!(report["kernel_modules"], "EPERM");
}

fn mount_at<'a>(report: &'a Value, target: &str) -> Option<&'a Value> {
    report["mounts"].as_array()?.iter().find(|mount| mount["target"] == target)
}

#[test]
fn a_privileged_container_has_only_the_requested_privileges() {
    let sandbox = Sandbox::new();
    let report = report(&sandbox, &["security.privileged=nomask,shared"]);
    assert_eq!(report["files"]["/proc/sys/vm/drop_caches"]["write"], "yes");
    let propagation = mount(&report, "/")["propagation"].to_string();
    assert!(propagation.contains("shared:"), "{propagation}");
    assert_eq!(report["kernel_modules"], "EPERM", "a filter that was not disabled");
}

#[test]
fn the_container_interface_of_systemd_exists() {
    let sandbox = Sandbox::new();
    let tree = crate::root_fs::Tree::disguised(&sandbox.path("web"), "usr/lib/systemd/systemd");
    sandbox.create(
        "web",
        &tree.0,
        &["uuid=01234567-89ab-cdef-0123-456789abcdef", "environment.EXTRA=a b", "seed=no"],
    );
    sandbox.ds(&["start", "web"]).succeeds();
    let report = wait_for("the report", || tree.report());
    let environment = &report["environment"];
    assert_eq!(environment["container"], "droidspaces");
    assert_eq!(
        environment["container_uuid"].as_str().unwrap().replace('-', ""),
        "0123456789abcdef0123456789abcdef"
    );
    assert_eq!(environment["NOTIFY_SOCKET"], "/run/host/notify");
    assert_eq!(environment["EXTRA"], "a b");
    assert!(
        environment.get("DS_ROOT").is_none() && environment.get("DS_SUPERVISOR").is_none(),
        "{environment}"
    );
    for (file, text) in [
        ("/run/systemd/container", "droidspaces\n"),
        ("/run/host/container-manager", "droidspaces\n"),
        ("/etc/hostname", "web\n"),
    ] {
        let pid = sandbox.first_process("web").unwrap().pid;
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/root{file}")).unwrap(), text, "{file}");
    }
    assert_eq!(
        fs::read_to_string(tree.path("etc/hostname")).unwrap_or_default(),
        "",
        "without seeding, the tree itself is not changed"
    );
}

#[test]
fn binds_show_the_hosts_directories_and_files() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    let shared = sandbox.path("shared");
    fs::create_dir_all(shared.join("below")).unwrap();
    fs::write(shared.join("file"), "text").unwrap();
    let shared = shared.to_str().unwrap();
    let bind = format!(
        "mounts.bind={shared}:/mnt/rw,{shared}:/mnt/ro:ro,{shared}/file:/etc/one-file:ro,/no/such/place:/mnt/none"
    );
    sandbox.ds(&["set", "web", &bind]).succeeds();
    let started = sandbox.ds(&["start", "web"]);
    assert!(started.errors.contains("/no/such/place"), "a missing source is a warning: {}", started.errors);
    started.succeeds();
    let report = wait_for("the report", || tree.report());
    assert!(has_option(mount(&report, "/mnt/rw"), "rw") && has_option(mount(&report, "/mnt/ro"), "ro"));
    let root = format!("/proc/{}/root", sandbox.first_process("web").unwrap().pid);
    assert_eq!(fs::read_to_string(format!("{root}/etc/one-file")).unwrap(), "text");
    assert!(fs::write(format!("{root}/mnt/ro/new"), "").is_err());
    fs::write(format!("{root}/mnt/rw/new"), "").unwrap();
    assert!(std::path::Path::new(shared).join("new").exists());
    assert!(!std::path::Path::new(&format!("{root}/mnt/none/x")).exists());
}

#[test]
fn a_read_only_bind_includes_its_submounts() {
    let mut sandbox = Sandbox::new();
    let shared = sandbox.path("shared");
    fs::create_dir_all(shared.join("below")).unwrap();
    sandbox.mount(&["-t", "tmpfs", "tmpfs", shared.join("below").to_str().unwrap()]);
    let report = report(&sandbox, &[&format!("mounts.bind={}:/mnt/ro:ro", shared.display())]);
    assert!(has_option(mount(&report, "/mnt/ro/below"), "ro"), "{}", report["mounts"]);
}

#[test]
fn pid_1_starts_with_default_attributes() {
    let sandbox = Sandbox::new();
    let report = report(&sandbox, &[]);
    let descriptors = report["descriptors"].as_object().unwrap();
    assert_eq!(descriptors.keys().collect::<Vec<_>>(), ["0", "1", "2"], "{descriptors:?}");
    assert!(descriptors.values().all(|link| link == "/dev/pts/0"), "{descriptors:?}");
    let status = &report["status"];
    assert_eq!(status["SigBlk"], "0000000000000000");
    // The probe sets SIGPIPE, and the C library reserves 32 and 33.
    let ignored = u64::from_str_radix(status["SigIgn"].as_str().unwrap(), 16).unwrap();
    assert_eq!(ignored & !(1 << 12 | 1 << 31 | 1 << 32), 0, "{ignored:x}");
    assert_eq!(status["Umask"], "0022");
    assert_eq!(status["NoNewPrivs"], "0", "sudo works");
    assert_eq!(status["Seccomp"], "2");
    assert_eq!(status["Uid"], "0\t0\t0\t0");
    assert_eq!(status["Groups"], "");
    assert_eq!(status["CapInh"], "0000000000000000");
    assert_eq!(status["CapAmb"], "0000000000000000");
    assert_eq!(report["session"], 1);
    let bounding = u64::from_str_radix(status["CapBnd"].as_str().unwrap(), 16).unwrap();
    for (number, name) in
        [(16, "SYS_MODULE"), (17, "SYS_RAWIO"), (25, "SYS_TIME"), (34, "SYSLOG"), (2, "DAC_READ_SEARCH")]
    {
        assert_eq!(bounding & 1 << number, 0, "CAP_{name}");
    }
    for (number, name) in [(21, "SYS_ADMIN"), (27, "MKNOD"), (18, "SYS_CHROOT"), (10, "NET_BIND_SERVICE")] {
        assert_ne!(bounding & 1 << number, 0, "CAP_{name}");
    }
}
