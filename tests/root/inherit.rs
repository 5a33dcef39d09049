//! Process attributes of the shell that starts the supervisor are not inherited by the supervisor, by a monitor,
//! by PID 1 or by a command of a container.

use crate::process::Process;
use crate::sandbox::Sandbox;
use crate::{given, wait_for};
use ds::daemon::detach::ATTRIBUTES;
use nix::sys::signal::Signal;
use serde_json::{Map, Value};
use std::fs;

/// Attributes that the odd shell may not be able to change: some kernels lack them, and a machine may have one
/// processor.
const NOT_EVERYWHERE: [&str; 14] = [
    // Cannot be restored and causes a warning.
    "bounding capabilities",
    "processors",
    "processor speed",
    "nice value of the session",
    "core scheduling",
    "memory policy",
    "huge pages",
    "merging of memory",
    "memory errors",
    "speculation",
    "flusher of input and output",
    "login",
    // Reading it with the odd value ends the process.
    "time stamp counter",
    "vector length",
];

/// Attributes that a container sets itself.
const OF_THE_CONTAINER: [&str; 2] = ["bounding capabilities", "session keyring"];

/// The expected attributes in a container that do not depend on the machine.
const USUAL: [(&str, &str); 17] = [
    ("users and groups", "0 0 0 0|0 0 0 0|"),
    ("securebits", "0"),
    ("inheritable and ambient capabilities", "0000000000000000|0000000000000000"),
    ("scheduling", "0 0"),
    ("processor speed", "0 1024"),
    ("nice value of the session", "0"),
    ("core scheduling", "0"),
    ("input and output class", "0"),
    ("timer slack", "50000"),
    ("umask", "0022"),
    ("personality", "0"),
    // Set by its monitor or worker.
    ("parent-death signal", "9"),
    ("alarms", "false"),
    // The probe itself ignores SIGPIPE, as Rust programs do.
    ("signals", "0000000000000000|0000000000001000"),
    ("content of core files", "00000033"),
    ("login", "4294967295"),
    ("memory shortage", "0"),
];

#[test]
fn no_attribute_of_the_launching_shell_is_inherited() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    let probe = given("DS_PROBE");
    let plain = inherited(&sandbox.run(&[probe.as_os_str(), "inherited".as_ref()]).succeeds());
    let mut odd: Vec<std::ffi::OsString> = vec![probe.clone().into(), "odd".into(), "--".into()];
    let told = sandbox.run(&[odd.clone(), vec![probe.into(), "inherited".into()]].concat());
    let told = inherited(&told.succeeds());
    for name in ATTRIBUTES.iter().map(|attribute| attribute.name) {
        assert!(told.contains_key(name), "the probe does not report the {name}");
        let odd = told[name] != plain[name];
        assert!(odd || NOT_EVERYWHERE.contains(&name), "the {name} was not odd: {}", told[name]);
    }
    odd.extend([sandbox.binary().into(), "start".into(), "web".into()]);
    sandbox.run(&odd).succeeds();
    let report = wait_for("the report", || tree.report());
    let first = report["inherited"].as_object().expect("the attributes of PID 1").clone();
    let command = inherited(&sandbox.ds(&["run", "web", "--", "/bin/probe", "inherited"]).succeeds());
    for (who, has) in [("PID 1", first), ("a command", command)] {
        for name in ATTRIBUTES.iter().map(|attribute| attribute.name) {
            if !OF_THE_CONTAINER.contains(&name) {
                check(&sandbox, who, name, &has, &plain, &told);
            }
        }
    }
    for process in [sandbox.supervisor(), sandbox.monitor("web")] {
        check_from_outside(&sandbox, &process.expect("a process"));
    }
    assert!(!sandbox.log().contains("warning"), "{}", sandbox.log());
}

/// Asserts that an attribute has its default value on this machine.
fn check(
    sandbox: &Sandbox,
    who: &str,
    name: &str,
    has: &Map<String, Value>,
    plain: &Map<String, Value>,
    odd: &Map<String, Value>,
) {
    let usual = USUAL.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let expected = match name {
        "resource limits" => limits(sandbox.init_pid()),
        "processors" => field(sandbox.init_pid(), "Cpus_allowed"),
        // On a kernel without it, the value is always the same.
        _ if odd[name] == plain[name] => plain[name].as_str().expect("text").to_owned(),
        _ => usual.unwrap_or_else(|| plain[name].as_str().expect("text").to_owned()),
    };
    // A command is in the groups that the container has for its user: root's own.
    let groups = if who == "PID 1" || name != "users and groups" { "" } else { "0" };
    assert_eq!(has[name], format!("{expected}{groups}"), "the {name} of {who}");
}

fn check_from_outside(sandbox: &Sandbox, process: &Process) {
    let (pid, name) = (process.pid, &process.name);
    let of = |file: &str| {
        fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default().trim_end().to_owned()
    };
    assert_eq!(limits(pid), limits(sandbox.init_pid()), "limits of {name}");
    assert_eq!(field(pid, "Cpus_allowed"), field(sandbox.init_pid(), "Cpus_allowed"), "processors of {name}");
    for (key, value) in [
        ("Uid", "0 0 0 0"),
        ("Gid", "0 0 0 0"),
        ("Groups", ""),
        ("Umask", "0022"),
        ("CapInh", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
    ] {
        assert_eq!(field(pid, key), value, "{key} of {name}");
    }
    let ignored = u64::from_str_radix(&field(pid, "SigIgn"), 16).expect("a mask");
    let on_purpose = [Signal::SIGPIPE, Signal::SIGXFSZ].map(|signal| 1 << (signal as i32 - 1));
    assert_eq!(ignored & !on_purpose.iter().sum::<u64>(), 0, "ignored signals of {name}");
    for (file, value) in
        [("timerslack_ns", "50000"), ("personality", "00000000"), ("coredump_filter", "00000033")]
    {
        assert_eq!(of(file), value, "{file} of {name}");
    }
    // Without CAP_SYS_RESOURCE it cannot be lower.
    assert!(["-1000", "0"].contains(&of("oom_score_adj").as_str()), "oom_score_adj of {name}");
    let stat = of("stat");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("a name").1.split(' ').collect();
    assert_eq!((fields[16], fields[38]), ("0", "0"), "nice value and policy of {name}");
}

fn inherited(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).expect("a document")
}

fn field(pid: i32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.expect("a field").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The names by the number of the resource, as in the probe's output; /proc/PID/limits has another order.
fn limits(pid: i32) -> String {
    const ORDER: [&str; 16] = [
        "Max cpu time",
        "Max file size",
        "Max data size",
        "Max stack size",
        "Max core file size",
        "Max resident set",
        "Max processes",
        "Max open files",
        "Max locked memory",
        "Max address space",
        "Max file locks",
        "Max pending signals",
        "Max msgqueue size",
        "Max nice priority",
        "Max realtime priority",
        "Max realtime timeout",
    ];
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
    let limit = |name: &&str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a limit");
        line.split_whitespace().take(2).collect::<Vec<_>>().join(":")
    };
    ORDER.iter().map(limit).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_shell_with_no_new_privs_is_refused_and_one_with_fewer_capabilities_causes_a_warning() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    let ds = sandbox.binary();
    let ds = ds.to_str().expect("UTF-8");
    let refused = sandbox.run(&["setpriv", "--no-new-privs", ds, "start", "web"]);
    refused.fails(1, &["ds: start: ", "no_new_privs"]);
    assert!(sandbox.supervisor().is_none());
    sandbox.run(&["setpriv", "--bounding-set", "-syslog", ds, "list"]).succeeds();
    wait_for("the warning", || sandbox.log().contains("lack capabilities of init").then_some(()));
    // A client of a running supervisor may have any attributes.
    sandbox.run(&["sh", "-c", &format!("ulimit -n 20; exec {ds} list")]).succeeds();
    sandbox.run(&["setpriv", "--no-new-privs", ds, "start", "web"]).succeeds();
}

#[test]
fn a_shell_with_limits_that_cannot_be_raised_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    let ds = sandbox.binary();
    let ds = ds.to_str().expect("UTF-8");
    let limits = [("-n 20", "open files"), ("-f 1000", "the size of files"), ("-t 100", "processor time")];
    for (limit, name) in
        limits.into_iter().chain([("-v 900000", "memory"), ("-d 900000", "the size of data")])
    {
        let line = format!("ulimit {limit}; exec {ds} start web");
        let refused = sandbox.run(&["setpriv", "--bounding-set", "-sys_resource", "sh", "-c", &line]);
        refused.fails(1, &["ds: start: this shell limits ", name, "CAP_SYS_RESOURCE"]);
        assert!(sandbox.supervisor().is_none());
    }
    // Every process may raise its soft limits up to the hard ones.
    let line = format!("ulimit -S -n 20; exec {ds} start web");
    sandbox.run(&["setpriv", "--bounding-set", "-sys_resource", "sh", "-c", &line]).succeeds();
}
