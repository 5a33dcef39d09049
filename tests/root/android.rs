//! Integration with phones: late_start and its conditions, the boot-loop guard, wakelocks, storage, the status line.

use crate::frames::{Tap, checksum};
use crate::phone::Phone;
use crate::sandbox::Sandbox;
use crate::wait_for;
use crate::world::{call, serve};
use serde_json::Value;

/// The rule with which Android selects its default network.
const UPLINK: [&str; 8] = ["ip", "rule", "add", "from", "all", "lookup", "1003", "priority"];

fn waits_for(sandbox: &Sandbox, name: &str) -> Value {
    sandbox.info(name)["waits_for"].clone()
}

fn network_comes_up(sandbox: &Sandbox) {
    sandbox.run(&[&UPLINK[..], &["31000"]].concat()).succeeds();
}

#[test]
fn each_container_starts_when_its_condition_is_met() {
    let mut phone = Phone::new();
    phone.sandbox.container("isolated", &["autostart=yes", "network.mode=none"]);
    phone.sandbox.container("online", &["autostart=yes"]);
    phone.sandbox.container("private", &["autostart=yes", "start-after=unlock"]);
    phone.sandbox.container("stopped", &["autostart=yes"]);
    phone.boot();
    let supervisor = || phone.sandbox.supervisor().map(|process| process.pid);
    let before = supervisor();
    phone.boot();
    assert_eq!(supervisor(), before, "once, even if it is called repeatedly");
    phone.sandbox.wait_for_state("isolated", "running");
    assert_eq!(waits_for(&phone.sandbox, "online"), "network");
    assert_eq!(waits_for(&phone.sandbox, "private"), "unlock");
    assert!(phone.sandbox.ds(&["list"]).succeeds().contains("waits for the network"));
    // A command of the user overrides the wait.
    phone.sandbox.ds(&["stop", "stopped"]).succeeds();
    assert_eq!(waits_for(&phone.sandbox, "stopped"), Value::Null);
    // Waiting containers continue to wait after the program was replaced,
    phone.sandbox.ds(&["supervisor", "reload"]).succeeds();
    assert_eq!(waits_for(&phone.sandbox, "online"), "network");
    // and under another supervisor, after this one was killed.
    phone.sandbox.kill_supervisor();
    assert_eq!(waits_for(&phone.sandbox, "online"), "network");
    network_comes_up(&phone.sandbox);
    phone.sandbox.wait_for_state("online", "running");
    assert_eq!(phone.sandbox.state("private"), "stopped");
    phone.unlock();
    phone.sandbox.wait_for_state("private", "running");
    assert_eq!(phone.sandbox.state("stopped"), "stopped");
}

#[test]
fn a_default_route_is_a_network_and_waiting_has_an_end() {
    let sandbox = Sandbox::new();
    sandbox.container("online", &["autostart=yes"]);
    std::fs::create_dir_all(sandbox.data("")).unwrap();
    std::fs::write(sandbox.data("supervisor.ini"), "[supervisor]\nnetwork-wait = 1\n").unwrap();
    sandbox.ds(&["supervise"]).succeeds();
    sandbox.wait_for_state("online", "running");
    assert!(sandbox.log().contains("the network is not up after the timeout"), "{}", sandbox.log());

    let sandbox = Sandbox::new();
    sandbox.container("online", &["autostart=yes"]);
    sandbox.ds(&["supervise"]).succeeds();
    assert_eq!(waits_for(&sandbox, "online"), "network");
    let lines = "ip link add there type veth peer name here && ip link set here up && ip link set there up && \
                 ip address add 10.11.12.1/24 dev here && ip route add default via 10.11.12.2";
    let done = sandbox.run(&["sh", "-c", lines]);
    if done.code != 0 {
        crate::skip(
            "android::a_default_route_is_a_network_and_waiting_has_an_end",
            "no interface can be made",
        );
        return;
    }
    sandbox.wait_for_state("online", "running");
}

#[test]
fn without_waiting_containers_changes_of_the_machine_cause_no_wakeup() {
    let mut phone = Phone::new();
    phone.sandbox.container("online", &["autostart=yes"]);
    phone.boot();
    assert_eq!(waits_for(&phone.sandbox, "online"), "network");
    network_comes_up(&phone.sandbox);
    phone.sandbox.wait_for_state("online", "running");
    let pid = phone.sandbox.supervisor().unwrap().pid;
    let wakes = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    // The last worker is reaped after its client has returned, and the line in the manager's list is updated later.
    let idle = wait_for("the end of pending work", || {
        let before = wakes();
        std::thread::sleep(std::time::Duration::from_secs(3));
        (wakes() == before).then_some(before)
    });
    // No process waits for them any more.
    phone.sandbox.run(&[&UPLINK[..], &["31001"]].concat()).succeeds();
    phone.sandbox.mount(&["-t", "tmpfs", "tmpfs", "/mnt"]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(wakes(), idle);
}

/// Boots the phone, and simulates a power cut just after the start of the container.
fn boot_and_crash(phone: &Phone, next: &str) {
    phone.boot();
    phone.sandbox.wait_for_state("web", "running");
    phone.crash(next);
}

#[test]
fn two_crashes_in_a_row_switch_autostart_off() {
    let phone = Phone::new();
    phone.sandbox.container("web", &["autostart=yes", "start-after=boot"]);
    let other = phone.sandbox.container("other", &["autostart=yes", "start-after=boot", "priority=5"]);
    for boot in ["second", "third"] {
        phone.boot();
        phone.sandbox.wait_for_state("web", "running");
        phone.sandbox.wait_for_state("other", "running");
        phone.crash(boot);
    }
    phone.boot();
    wait_for("the line", || phone.description().contains("boot-loop guard: other, web").then_some(()));
    assert!(["web", "other"].iter().all(|name| phone.sandbox.state(name) != "running"));
    let reason = phone.sandbox.info("web")["autostart_off"].as_str().unwrap().to_owned();
    assert!(reason.contains("crashed twice in a row"), "{reason}");
    let list = phone.sandbox.ds(&["list"]).succeeds();
    assert!(list.contains(" off ") && list.contains("crashed twice in a row"), "{list}");
    assert!(
        phone.sandbox.ds(&["info", "web"]).succeeds().contains("to retry, run 'ds set web autostart=yes'")
    );
    // This persists across boots until the user changes it.
    phone.crash("fourth");
    phone.sandbox.ds(&["set", "web", "autostart=yes"]).succeeds();
    assert_eq!(phone.sandbox.info("web")["autostart_off"], Value::Null);
    let boots = other.boots();
    phone.crash("fifth");
    phone.boot();
    phone.sandbox.wait_for_state("web", "running");
    assert_eq!(other.boots(), boots);
}

#[test]
fn a_stopped_or_survived_start_is_not_a_crash() {
    let phone = Phone::new();
    phone.sandbox.container("web", &["autostart=yes", "start-after=boot"]);
    for boot in ["b", "c", "d"] {
        phone.boot();
        phone.sandbox.wait_for_state("web", "running");
        phone.sandbox.ds(&["stop", "web"]).succeeds();
        phone.crash(boot);
    }
    // The supervisor ends cleanly.
    for boot in ["e", "f", "g"] {
        phone.boot();
        phone.sandbox.wait_for_state("web", "running");
        phone.sandbox.ds(&["supervisor", "stop"]).succeeds();
        phone.crash(boot);
    }
    // The user reboots in Android's menu.
    phone.properties(&["sys.boot.reason.last=reboot,userrequested"]);
    for boot in ["h", "i", "j"] {
        boot_and_crash(&phone, boot);
    }
    // It was survived, which the shorter time shows.
    phone.properties(&["ro.crypto.state=encrypted"]);
    std::fs::write(phone.sandbox.data("supervisor.ini"), "[supervisor]\nguard-time = 1\n").unwrap();
    for boot in ["k", "l", "m"] {
        phone.boot();
        phone.sandbox.wait_for_state("web", "running");
        let record = phone.sandbox.data("containers/web/boot-attempts");
        wait_for("the end of the guard's time", || (!record.exists()).then_some(()));
        phone.crash(boot);
    }
    boot_and_crash(&phone, "n");
    // A real crash removes the control groups; here a supervisor does it.
    phone.boot();
}

#[test]
fn safe_mode_and_a_disabled_module_start_nothing_and_are_reported() {
    for (property, flag, reason) in [
        ("ro.sys.safemode=1", None, "Android is in safe mode"),
        ("persist.sys.safemode=1", None, "Android is in safe mode"),
        ("ro.sys.safemode=0", Some("data/adb/modules/ds/disable"), "the module is disabled"),
    ] {
        let phone = Phone::new();
        phone.sandbox.container("web", &["autostart=yes", "start-after=boot"]);
        phone.properties(&[property]);
        if let Some(flag) = flag {
            phone.write(flag, "");
        }
        phone.boot();
        assert_eq!(phone.sandbox.info("web")["autostart_off"], format!("autostart is off: {reason}"));
        assert!(phone.sandbox.ds(&["supervisor", "status"]).succeeds().contains(reason));
        wait_for("the line", || phone.description().contains(reason).then_some(()));
        assert_eq!(phone.sandbox.state("web"), "stopped");
        // A manual start works.
        phone.sandbox.ds(&["start", "web"]).succeeds();
    }
}

#[test]
fn the_managers_list_shows_running_containers() {
    let phone = Phone::new();
    phone.sandbox.container("web", &[]);
    phone.boot();
    wait_for("the line", || (phone.description() == "[no container is running] Boots Linux.").then_some(()));
    phone.sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the line", || (phone.description() == "[running: web] Boots Linux.").then_some(()));
    // A killed supervisor leaves the line unchanged; the next one updates it.
    phone.sandbox.kill_supervisor();
    phone.sandbox.ds(&["stop", "web"]).succeeds();
    wait_for("the line", || (phone.description() == "[no container is running] Boots Linux.").then_some(()));
    phone.sandbox.ds(&["supervisor", "stop"]).succeeds();
    assert_eq!(phone.description(), "Boots Linux.");
}

#[test]
fn wakelocks_are_held_while_needed_and_always_released() {
    let phone = Phone::new();
    phone.sandbox.container("web", &["android.wakelock=running"]);
    phone.sandbox.ds(&["list"]).succeeds();
    phone.sandbox.ds(&["start", "web"]).succeeds();
    let held = wait_for("a wakelock", || {
        let name = phone.read("power/wake_lock");
        name.ends_with(".web").then_some(name)
    });
    let prefix = held.strip_suffix("web").unwrap().to_owned();
    phone.sandbox.ds(&["stop", "web"]).succeeds();
    wait_for("its release", || (phone.read("power/wake_unlock") == held).then_some(()));
    // The monitor is killed.
    phone.write("power/wake_unlock", "");
    phone.sandbox.ds(&["start", "web"]).succeeds();
    crate::process::kill(phone.sandbox.monitor("web").unwrap().pid);
    wait_for("its release", || (phone.read("power/wake_unlock") == held).then_some(()));
    // Both are killed; the next supervisor finds the remains in the kernel's list. Those of others are kept.
    phone.sandbox.kill_supervisor();
    phone.write("power/wake_unlock", "");
    phone.write("power/wake_lock", &format!("PowerManagerService {prefix}ghost\n"));
    phone.sandbox.ds(&["list"]).succeeds();
    wait_for("its release", || (phone.read("power/wake_unlock") == format!("{prefix}ghost")).then_some(()));
}

#[test]
fn shared_storage_appears_at_the_unlock_also_in_running_containers() {
    let mut phone = Phone::new();
    phone.write("data/media/0/picture", "a picture");
    for name in ["early", "late"] {
        phone.sandbox.container(name, &["android.storage=yes"]);
    }
    phone.boot();
    phone.sandbox.ds(&["start", "early"]).succeeds();
    assert_eq!(phone.inside("early", "mnt/storage/picture"), None);
    phone.unlock();
    wait_for("the storage", || phone.inside("early", "mnt/storage/picture"));
    phone.sandbox.ds(&["start", "late"]).succeeds();
    assert_eq!(phone.inside("late", "mnt/storage/picture").as_deref(), Some("a picture"));
    // Both paths lead to the same directory: a file written inside exists outside.
    let first = phone.sandbox.first_process("late").unwrap();
    std::fs::write(format!("/proc/{}/root/mnt/storage/note", first.pid), "a note").unwrap();
    assert_eq!(phone.read("data/media/0/note"), "a note");
    phone.sandbox.ds(&["stop", "early"]).succeeds();
    assert!(phone.inside("late", "mnt/storage/picture").is_some());
    phone.sandbox.ds(&["restart", "late"]).succeeds();
    assert!(phone.inside("late", "mnt/storage/picture").is_some());
    phone.sandbox.ds(&["stop", "late"]).succeeds();
    // The last container unmounts it on the host: the sandbox checks for mounts at its end.
    wait_for("the end of the mounts", || phone.sandbox.has_no_containers().then_some(()));
}

#[test]
fn a_container_uses_the_phones_time_zone_and_name_servers() {
    let phone = Phone::new();
    phone.properties(&["persist.sys.timezone=Europe/Berlin", "sys.user.0.ce_available=true"]);
    let network = "Active default network: 101\n  NetworkAgentInfo{network{101} lp{{DnsAddresses: [ /192.168.1.1 ]}}}\n";
    phone.write("system/connectivity", network);
    phone.write("data/misc/net/rt_tables", "1003 wlan0\n");
    let tree = phone.sandbox.container("web", &[]);
    tree.write("etc/resolv.conf", "nameserver 127.0.0.1\n");
    phone.sandbox.ds(&["start", "web"]).succeeds();
    assert_eq!(phone.inside("web", "etc/resolv.conf").as_deref(), Some("nameserver 192.168.1.1\n"));
    assert_eq!(phone.inside("web", "etc/iproute2/rt_tables").as_deref(), Some("1003 wlan0\n"));
    assert_eq!(phone.inside("web", "run/host/timezone").as_deref(), Some("Europe/Berlin\n"));
    let report = wait_for("the report", || tree.report());
    assert_eq!(report["environment"]["TZ"], "Europe/Berlin");
    let session = phone.sandbox.ds(&["run", "web", "--", "/bin/probe", "report"]).json();
    assert_eq!(session["environment"]["TZ"], "Europe/Berlin");
    let own = std::fs::read_to_string(tree.path("etc/resolv.conf")).unwrap();
    assert_eq!(own, "nameserver 127.0.0.1\n", "the image is unchanged");
    // The phone changes its network, and Android its routes.
    phone.write("system/connectivity", &network.replace("192.168.1.1", "10.20.30.40"));
    let route = "ip link set lo up && ip route add 192.0.2.0/24 dev lo";
    phone.sandbox.run(&["sh", "-c", route]).succeeds();
    let expected = Some("nameserver 10.20.30.40\n");
    wait_for("its servers", || (phone.inside("web", "etc/resolv.conf").as_deref() == expected).then_some(()));
    // Each of them can be overridden.
    let settings = ["set", "web", "android.timezone=no", "android.dns=9.9.9.9,::1"];
    phone.sandbox.ds(&settings).succeeds();
    phone.sandbox.ds(&["restart", "web"]).succeeds();
    let expected = "nameserver 9.9.9.9\nnameserver ::1\n";
    assert_eq!(phone.inside("web", "etc/resolv.conf").as_deref(), Some(expected));
    assert_eq!(phone.inside("web", "run/host/timezone"), None);
}

/// Frames with a TCP segment over IPv4 whose checksum is right, and wrong.
fn segments(frames: &[Vec<u8>]) -> (usize, usize) {
    let tcp = frames.iter().filter(|frame| frame[12..15] == [8, 0, 0x45] && frame[23] == 6);
    let (right, wrong): (Vec<_>, Vec<_>) = tcp.partition(|frame| {
        let length = u16::from_be_bytes([frame[16], frame[17]]);
        let segment = &frame[34..14 + usize::from(length)];
        let size = u16::try_from(segment.len()).unwrap().to_be_bytes();
        checksum(&[&frame[26..34], &[0, 6], &size, segment].concat()) == 0
    });
    (right.len(), wrong.len())
}

#[test]
fn checksums_are_right_before_a_driver_sees_them_and_netd_forwards() {
    let phone = Phone::new();
    phone.write("system/bin/ndc", "#!/bin/sh\necho \"$@\" >>/system/ndc.log\n");
    std::fs::set_permissions(
        phone.path("system/bin/ndc"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    phone.sandbox.run(&["ip", "link", "set", "lo", "up"]);
    let settings = ["network.mode=nat", "network.host-access=yes"];
    phone.sandbox.container("web", &settings);
    phone.sandbox.ds(&["start", "web"]).succeeds();
    assert_eq!(phone.read("system/ndc.log"), "ipfwd enable droidspaces\n");
    let web = phone.sandbox.first_process("web").unwrap().pid;
    let links = phone.sandbox.run(&["ip", "-o", "link"]).text();
    let link = links.split_whitespace().find(|word| word.starts_with("ds-web-")).unwrap();
    let tap = Tap::new(phone.sandbox.init_pid(), link.split('@').next().unwrap().trim_end_matches(':'));
    let address = phone.sandbox.info("web")["network"]["addresses"][0].as_str().unwrap().to_owned();
    let gateway = format!("{}.1", address.rsplit_once('.').unwrap().0);
    serve(phone.sandbox.init_pid(), &format!("{gateway}:80"), "phone");
    assert!(call(web, &format!("{gateway}:80")).is_some());
    let (right, wrong) = segments(&tap.frames(std::time::Duration::from_millis(100)));
    assert!(right > 2 && wrong == 0, "{right} right, {wrong} wrong");
    phone.sandbox.ds(&["stop", "web"]).succeeds();
    assert_eq!(phone.read("system/ndc.log"), "ipfwd enable droidspaces\nipfwd disable droidspaces\n");
}
