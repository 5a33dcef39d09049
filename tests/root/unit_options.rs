//! Every sandboxing option of systemd.exec(5) and systemd.resource-control(5) in a separate unit, as packages use them.
//!
//! docs/systemd.md has the effect of each option in a container; these tests compare that table with real systemds in
//! every layout of control groups. One command starts all units of a machine, so that a test takes as long as a boot.

use crate::sandbox::{Sandbox, Setting};
use std::collections::BTreeMap;
use std::fmt::Write;

/// One option.
struct Case {
    /// Assignments in `[Service]`; the tested option is first.
    properties: &'static str,
    /// A shell script that exits with 0 if the option has its effect.
    check: &'static str,
    /// The first version of systemd with it.
    since: u32,
}

const fn case(properties: &'static str, check: &'static str) -> Case {
    Case { properties, check, since: 0 }
}

const fn newer(since: u32, properties: &'static str, check: &'static str) -> Case {
    Case { properties, check, since }
}

/// Files for the scripts, and a tree for the root of a unit.
const SETUP: &str = "mkdir -p /opt/root /opt/ext/usr/lib/extension-release.d /usr/lib/modules /srv/below
    touch /tmp/outside /root/there /srv/there /usr/lib/modules/there /opt/ext/usr/there
    echo ID=_any >/opt/ext/usr/lib/extension-release.d/extension-release.ext
    cp /usr/bin/true /srv/true
    mkdir -p /opt/root/usr /opt/root/proc /opt/root/sys /opt/root/dev /opt/root/run /opt/root/opt/checks /opt/root/tmp
    for link in bin sbin lib lib64; do ln -s usr/$link /opt/root/$link; done
    ip netns add opt 2>/dev/null
    systemd-creds setup >/dev/null 2>&1
    echo secret | systemd-creds encrypt --with-key=host --name=sealed - /opt/sealed 2>/dev/null
";

/// Helpers of the scripts. `differs KIND`: the unit has a namespace of its own. `limit FILE FILE VALUE`: the unit's
/// group has this limit in version 2 or 1, or there is no such controller. `lacks NUMBER`: the machine that the test
/// runs on has no such capability itself.
const PRELUDE: &str = "differs() { [ \"$(readlink /proc/self/ns/$1)\" != \"$(cat /opt/namespaces/$1)\" ]; }
    limit() {
        for line in $(cat /proc/self/cgroup); do
            group=${line##*:}
            for file in /sys/fs/cgroup$group/$1 /sys/fs/cgroup/*$group/$2; do
                if test -e $file; then grep -qx \"$3\" $file; return; fi
            done
        done
    }
    lacks() { [ $((0x$(sed -n 's/^CapBnd:.//p' /proc/self/status) >> $1 & 1)) = 0 ]; }
    device() { (: <$1) 2>/dev/null; }
";

const CASES: &[Case] = &[
    case("PrivateTmp=yes", "! test -e /tmp/outside && touch /tmp/x"),
    case("PrivateDevices=yes", "! test -e /dev/fuse && echo >/dev/null && test -c /dev/urandom"),
    case("PrivateNetwork=yes", "differs net"),
    case("NetworkNamespacePath=/run/netns/opt", "differs net"),
    case("PrivateUsers=yes", "! grep -q 4294967295 /proc/self/uid_map"),
    case("PrivateIPC=yes", "differs ipc"),
    case("PrivateMounts=yes", "differs mnt"),
    newer(258, "PrivatePIDs=yes", "[ $$ = 1 ]"),
    newer(258, "PrivateBPF=yes", "! test -e /sys/fs/bpf/x"),
    case("ProtectHostname=yes", "differs uts"),
    case("ProtectClock=yes", "! date -s @0 2>/dev/null"),
    case("ProtectKernelTunables=yes", "! sh -c 'echo x >/proc/sys/kernel/domainname' 2>/dev/null"),
    case("ProtectKernelModules=yes", "! test -e /usr/lib/modules/there"),
    case("ProtectKernelLogs=yes", "[ $(stat -c %a /proc/kmsg) = 0 ]"),
    case("ProtectControlGroups=yes", "! mkdir /sys/fs/cgroup/x /sys/fs/cgroup/systemd/x 2>/dev/null"),
    case("ProtectProc=invisible User=user", "! test -e /proc/1/stat && test -e /proc/self/stat"),
    case("ProcSubset=pid", "! test -e /proc/meminfo && test -e /proc/self/stat"),
    case("ProtectSystem=yes", "! touch /usr/x 2>/dev/null && touch /etc/x"),
    case("ProtectSystem=full", "! touch /etc/x 2>/dev/null && touch /srv/x"),
    case("ProtectSystem=strict", "! touch /srv/x 2>/dev/null"),
    case("ProtectHome=yes", "! test -e /root/there"),
    case("ProtectHome=read-only", "test -e /root/there && ! touch /root/x 2>/dev/null"),
    case("ProtectHome=tmpfs", "! test -e /root/there"),
    case("ReadOnlyPaths=/srv", "test -e /srv/there && ! touch /srv/x 2>/dev/null"),
    case("ReadWritePaths=/srv/below ReadOnlyPaths=/srv", "touch /srv/below/x && ! touch /srv/x 2>/dev/null"),
    case("InaccessiblePaths=/srv", "! test -e /srv/there"),
    case("NoExecPaths=/srv", "/bin/true && ! /srv/true 2>/dev/null"),
    case("ExecPaths=/srv/true NoExecPaths=/srv", "/srv/true"),
    case("TemporaryFileSystem=/srv", "! test -e /srv/there && touch /srv/x"),
    case("BindPaths=/root:/srv", "test -e /srv/there && touch /srv/bound"),
    case("BindReadOnlyPaths=/root:/srv", "test -e /srv/there && ! touch /srv/x 2>/dev/null"),
    case(
        "RootDirectory=/opt/root BindReadOnlyPaths=/usr BindReadOnlyPaths=/opt/checks",
        "! test -e /etc/passwd && test -e /proc/self/stat",
    ),
    case(
        "MountAPIVFS=no RootDirectory=/opt/root BindReadOnlyPaths=/usr BindReadOnlyPaths=/opt/checks",
        "! test -e /proc/self",
    ),
    case("ExtensionDirectories=/opt/ext", "test -e /usr/there"),
    case("RestrictNamespaces=yes", "! unshare -m true 2>/dev/null"),
    case("RestrictAddressFamilies=AF_UNIX", "! ip link >/dev/null 2>&1"),
    case("RestrictRealtime=yes", "! chrt -f 1 true 2>/dev/null"),
    case("RestrictSUIDSGID=yes", "touch /tmp/suid && ! chmod 4755 /tmp/suid 2>/dev/null"),
    case("RestrictFileSystems=~tmpfs", "! ls /dev/shm >/dev/null 2>&1"),
    case("LockPersonality=yes", "! setarch $(uname -m) -R true 2>/dev/null"),
    case(
        "MemoryDenyWriteExecute=yes",
        "case $(uname -m) in x86_64) n=9;; *) n=222;; esac; \
         perl -e 'exit(syscall($ARGV[0] + 0, 0, 4096, 7, 0x22, -1, 0) == -1 ? 0 : 1)' $n",
    ),
    case(
        "SystemCallFilter=~@sync SystemCallErrorNumber=EPERM",
        "perl -e 'exit(syscall($ARGV[0] + 0) == -1 ? 0 : 1)' $(case $(uname -m) in x86_64) echo 162;; *) echo 81;; esac)",
    ),
    case("SystemCallFilter=@system-service @mount", "true"),
    case("SystemCallArchitectures=native", "true"),
    case("SystemCallLog=@obsolete", "true"),
    case("NoNewPrivileges=yes", "grep -q 'NoNewPrivs:.1' /proc/self/status"),
    case("SecureBits=noroot-locked", "true"),
    case("CapabilityBoundingSet=CAP_CHOWN", "grep -q 'CapBnd:.0000000000000001' /proc/self/status"),
    case(
        "AmbientCapabilities=CAP_NET_BIND_SERVICE User=user",
        "grep -q 'CapEff:.0000000000000400' /proc/self/status",
    ),
    case(
        "AmbientCapabilities=CAP_SYS_TIME User=user",
        "grep -q 'CapEff:.0000000002000000' /proc/self/status",
    ),
    case("DynamicUser=yes", "[ $(id -u) -ge 61184 ]"),
    case("User=user", "[ $(id -un) = user ]"),
    case("SupplementaryGroups=adm User=user", "id -Gn | grep -qw adm"),
    case("PAMName=login User=user", "[ $(id -un) = user ]"),
    case("KeyringMode=private", "true"),
    case("Personality=x86", "case $(uname -m) in i?86|aarch64) ;; *) false;; esac"),
    case("RemoveIPC=yes User=user", "true"),
    case("UMask=0077", "[ $(umask) = 0077 ]"),
    case("StateDirectory=option", "[ $STATE_DIRECTORY = /var/lib/option ] && touch $STATE_DIRECTORY/x"),
    case("RuntimeDirectory=option", "[ $RUNTIME_DIRECTORY = /run/option ] && touch $RUNTIME_DIRECTORY/x"),
    case("CacheDirectory=option DynamicUser=yes", "touch $CACHE_DIRECTORY/x"),
    case("LogsDirectory=option", "touch $LOGS_DIRECTORY/x"),
    case("ConfigurationDirectory=option", "test -d $CONFIGURATION_DIRECTORY"),
    case("LoadCredential=name:/etc/hostname", "test -s $CREDENTIALS_DIRECTORY/name"),
    case("LoadCredentialEncrypted=sealed:/opt/sealed", "[ $(cat $CREDENTIALS_DIRECTORY/sealed) = secret ]"),
    case("SetCredential=name:text", "[ $(cat $CREDENTIALS_DIRECTORY/name) = text ]"),
    case("SetCredentialEncrypted=sealed:@SEALED@", "[ $(cat $CREDENTIALS_DIRECTORY/sealed) = secret ]"),
    case("LogNamespace=option", "true"),
    case("StandardOutput=kmsg", "echo heard"),
    case("DevicePolicy=closed", "! device /dev/net/tun && device /dev/zero"),
    case("DeviceAllow=/dev/net/tun DevicePolicy=closed", "device /dev/net/tun && ! device /dev/fuse"),
    case("IPAddressDeny=any", "! ping -c1 -W1 127.0.0.1 >/dev/null 2>&1"),
    case("IPAccounting=yes", "true"),
    case(
        "SocketBindDeny=any",
        "! perl -MSocket -e 'socket(S, PF_INET, SOCK_STREAM, 0); bind(S, sockaddr_in(4567, INADDR_ANY)) or exit 1'",
    ),
    case("RestrictNetworkInterfaces=~lo", "! ping -c1 -W1 127.0.0.1 >/dev/null 2>&1"),
    case("MemoryMax=64M", "limit memory.max memory.limit_in_bytes 67108864"),
    case("MemoryHigh=64M", "limit memory.high none 67108864"),
    case("CPUQuota=20%", "limit cpu.max cpu.cfs_quota_us '20000.*'"),
    case("CPUWeight=50", "limit cpu.weight cpu.shares '50\\|512'"),
    case("TasksMax=50", "limit pids.max pids.max 50"),
    case("IOWeight=50", "limit io.weight none '.*50'"),
    case("AllowedCPUs=0", "limit cpuset.cpus none 0"),
    case(
        "Delegate=yes",
        "for line in $(cat /proc/self/cgroup); do mkdir /sys/fs/cgroup${line##*:}/x \
         /sys/fs/cgroup/systemd${line##*:}/x 2>/dev/null; done; ls -d /sys/fs/cgroup${line##*:}/x || ls -d \
         /sys/fs/cgroup/systemd/system.slice/*/x",
    ),
    case("LimitNOFILE=512", "[ $(ulimit -n) = 512 ]"),
    case("LimitNPROC=500", "grep -q 'Max processes *500 ' /proc/self/limits"),
    case("LimitMEMLOCK=infinity", "lacks 24 || grep -q 'Max locked memory *unlimited' /proc/self/limits"),
    case("LimitRTPRIO=10", "lacks 24 || grep -q 'Max realtime priority *10 ' /proc/self/limits"),
    case("LimitCORE=infinity", "[ $(ulimit -c) = unlimited ]"),
    case("Nice=-5", "[ $(nice) = -5 ]"),
    case("OOMScoreAdjust=-500", "lacks 24 || [ $(cat /proc/self/oom_score_adj) = -500 ]"),
    case("IOSchedulingClass=idle", "[ $(ionice) = idle ]"),
    case("CPUSchedulingPolicy=batch", "chrt -p $$ | grep -q SCHED_BATCH"),
    case("CPUSchedulingPolicy=rr CPUSchedulingPriority=1", "chrt -p $$ | grep -q SCHED_RR"),
    case("CPUAffinity=0", "[ $(nproc) = 1 ]"),
    case("TimerSlackNSec=1ms", "true"),
];

/// The documented effect of an option: with control groups of version 2, and of version 1.
fn documented() -> BTreeMap<String, [String; 2]> {
    let page = include_str!("../../docs/systemd.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        (cells[0].trim_end_matches('`').to_owned(), [cells[1].to_owned(), cells[2].to_owned()])
    })
    .collect()
}

/// The tested option of a case.
fn name(case: &Case) -> &'static str {
    case.properties.split(' ').next().unwrap_or_default()
}

/// A script that writes and starts all units, and prints the status of each main process.
fn script(cases: &[&Case]) -> String {
    let mut script = SETUP.to_owned();
    script.push_str(
        "mkdir -p /opt/checks /opt/namespaces\nfor kind in net ipc mnt uts; do readlink /proc/1/ns/$kind >/opt/namespaces/$kind; done\n",
    );
    for (index, case) in cases.iter().enumerate() {
        let (properties, check) = (case.properties.replace(' ', "\n"), case.check);
        write!(
            script,
            "cat >/opt/checks/{index} <<'END'\n{PRELUDE}({check}) && exit 0\nexit 1\nEND\n\
             cat >/run/systemd/system/option-{index}.service <<'END'\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
             ExecStart=/bin/sh /opt/checks/{index}\n{properties}\nEND\n",
        )
        .unwrap();
    }
    let units: Vec<String> = (0..cases.len()).map(|index| format!("option-{index}.service")).collect();
    let units = units.join(" ");
    write!(
        script,
        "sed -i \"s|@SEALED@|$(tr -d '\\n' </opt/sealed)|\" /run/systemd/system/option-*.service\n\
         systemctl daemon-reload\nsystemctl start {units} >/dev/null 2>&1\n\
         for unit in {units}; do systemctl show -P ExecMainStatus $unit; done\n",
    )
    .unwrap();
    script
}

/// Boots a machine and tries all options; returns the differences from the documentation.
fn differences(fixture: &str, groups: &'static str, settings: &[&str]) -> Vec<String> {
    differences_on(Setting { groups, ..Setting::default() }, fixture, settings)
}

fn differences_on(setting: Setting, fixture: &str, settings: &[&str]) -> Vec<String> {
    let mut sandbox = Sandbox::with(setting);
    sandbox.run(&["ip", "link", "set", "lo", "up"]).succeeds();
    sandbox.distribution("web", fixture, settings);
    sandbox.ds(&["start", "web", "--wait=110"]).succeeds();
    let run = |words: &[&str], input: &str| {
        let line = [&["run", "web", "--"], words].concat();
        sandbox.ds_with_input(&line, input.as_bytes()).succeeds()
    };
    let version = run(&["systemctl", "--version"], "");
    let version: u32 = version.split([' ', '.']).nth(1).unwrap().parse().unwrap();
    let kind = run(&["stat", "-fc", "%T", "/sys/fs/cgroup"], "");
    let layout = usize::from(kind.trim() != "cgroup2fs");
    let cases: Vec<&Case> = CASES.iter().filter(|case| case.since <= version).collect();
    let answers = run(&["/bin/sh", "-s"], &script(&cases));
    let documented = documented();
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), cases.len(), "{answers:?}");
    let mut found = Vec::new();
    for (index, (case, status)) in cases.iter().zip(&answers).enumerate() {
        let seen = match *status {
            "0" => "yes",
            "1" => "no effect",
            _ => "does not start",
        };
        let expected = documented.get(name(case)).map_or("yes", |cells| &cells[layout]);
        let fits = match expected {
            "depends" => seen != "does not start",
            "varies" => true,
            _ => seen == expected,
        };
        if !fits {
            let unit = format!("option-{index}");
            let log = run(&["journalctl", "--no-pager", "-q", "-o", "cat", "-n", "5", "-u", &unit], "");
            found.push(format!("{}: {seen} ({status}), documented: {expected}\n{log}", case.properties));
        }
    }
    found
}

fn try_everything(fixture: &str, groups: &'static str, settings: &[&str]) {
    let found = differences(fixture, groups, settings);
    assert!(found.is_empty(), "{fixture} {groups} {settings:?}:\n{}", found.join("\n"));
}

#[test]
fn the_documented_options_are_tested() {
    let tried: Vec<&str> = CASES.iter().map(name).collect();
    for (option, cells) in documented() {
        assert!(tried.contains(&option.as_str()), "{option}");
        for cell in cells {
            assert!(
                ["yes", "no effect", "does not start", "depends", "varies"].contains(&cell.as_str()),
                "{cell}"
            );
        }
    }
}

#[test]
fn systemd_252_on_a_machine_with_both_versions() {
    try_everything("bookworm", "all", &[]);
}

#[test]
fn systemd_252_with_version_1() {
    try_everything("bookworm", "v1", &["cgroup=v1"]);
}

#[test]
fn systemd_252_with_version_2() {
    try_everything("bookworm", "v2", &[]);
}

#[test]
fn systemd_252_on_a_machine_that_mounts_no_control_groups() {
    try_everything("bookworm", "none", &[]);
}

#[test]
fn systemd_252_without_user_namespaces() {
    let found = differences("bookworm", "all", &["security.user-namespaces=no"]);
    assert!(
        found.len() == 1 && found[0].starts_with("PrivateUsers=yes: no effect (1)"),
        "{}",
        found.join("\n")
    );
}

#[test]
fn the_newest_systemd_on_a_machine_with_both_versions() {
    try_everything("forky", "all", &[]);
}

#[test]
fn the_newest_systemd_on_a_machine_that_mounts_version_1() {
    try_everything("forky", "v1", &[]);
}

#[test]
fn the_newest_systemd_with_version_2() {
    try_everything("forky", "v2", &[]);
}

#[test]
fn the_newest_systemd_on_a_machine_that_mounts_no_control_groups() {
    try_everything("forky", "none", &[]);
}

/// docs/stock-kernels.md lists the differences. A kernel without these namespaces has no files for them in /proc/PID/ns;
/// there, systemd starts the services, and ignores the options.
#[test]
fn systemd_on_a_stock_kernel() {
    let page = include_str!("../../docs/stock-kernels.md");
    for (fixture, expected) in [
        ("bookworm", ["PrivateIPC=yes"].as_slice()),
        ("forky", &["PrivateIPC=yes", "PrivatePIDs=yes", "ProtectProc=invisible"]),
    ] {
        let setting = Setting { denied: Some("newpid,newipc"), ..Setting::default() };
        let found = differences_on(setting, fixture, &[]);
        let names: Vec<_> = found.iter().filter_map(|line| line.split([' ', ':']).next()).collect();
        assert_eq!(names, expected, "{fixture}: {}", found.join("\n"));
        for name in names {
            assert!(page.contains(name), "{name}");
        }
    }
}
