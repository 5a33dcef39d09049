//! Programs that need much of a container: each works with the settings that docs/compatibility.md names, and those that
//! need a setting fail without it.
//!
//! Others have tests of their own: container engines in `engines`, services in `services`, options of units in
//! `unit_options`, accounts in `login`, ds in ds in `reach`.

use crate::done::Done;
use crate::sandbox::Sandbox;
use crate::stock::{Bystanders, stock};
use crate::wait_for;

/// The fixture with everything that is run here.
pub const FIXTURE: &str = "engines";

struct Program {
    /// As the page has it.
    name: &'static str,
    /// A setting without which it fails; empty where it needs none.
    needs: &'static str,
    /// Ends with 0 where it works.
    script: &'static str,
}

const fn program(name: &'static str, needs: &'static str, script: &'static str) -> Program {
    Program { name, needs, script }
}

const NESTING: &str = "security.nesting=yes";
const OWN_NETWORK: &str = "network.mode=none";

/// A key for a user's own account, for what connects to the container itself.
const KEY: &str = "mkdir -p ~/.ssh; test -e ~/.ssh/id_ed25519 || ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519; \
     cp ~/.ssh/id_ed25519.pub ~/.ssh/authorized_keys; options='-oStrictHostKeyChecking=no -oLogLevel=ERROR'; ";

const PROGRAMS: &[Program] = &[
    program("su", "", "[ $(su - user -c 'id -un') = user ]"),
    program("sudo", "", "[ $(su user -c 'sudo id -un') = root ]"),
    program("ping", "", "ping -c 1 -W 5 127.0.0.1 && su user -c 'ping -c 1 -W 5 127.0.0.1'"),
    program(
        "journald",
        "",
        "logger -t attempt written; until journalctl -t attempt -o cat | grep written; do sleep 0.1; done",
    ),
    program(
        "systemd timers",
        "",
        "systemd-run --quiet --on-active=0.1 --timer-property=AccuracySec=1ms touch /run/elapsed; \
         until test -e /run/elapsed; do sleep 0.1; done",
    ),
    program(
        "socket activation",
        "",
        "printf '[Socket]\\nListenStream=127.0.0.1:7777\\nAccept=yes\\n' >/run/systemd/system/echo.socket; \
         printf '[Service]\\nExecStart=/bin/echo activated\\nStandardInput=socket\\n' >/run/systemd/system/echo@.service; \
         systemctl daemon-reload; systemctl start echo.socket; \
         [ $(timeout 20 bash -c 'exec 3<>/dev/tcp/127.0.0.1/7777; cat <&3') = activated ]",
    ),
    program(
        "gdb",
        "",
        "sleep 100 & gdb -batch -p $! -ex bt 2>&1 | grep nanosleep; found=$?; kill $!; [ $found = 0 ]; \
         gdb -batch -ex 'break main' -ex run -ex 'print 6 * 7' --args /bin/busybox true | grep '= 42'",
    ),
    program(
        "strace",
        "",
        "[ $(strace -f -e trace=execve sh -c '/bin/true; /bin/true' 2>&1 | grep -c execve) = 3 ]; \
         su user -c 'strace -o /dev/null /bin/true'; \
         sleep 100 & strace -o /run/traced -p $! & until test -s /run/traced; do sleep 0.1; done; kill %1 %2",
    ),
    program(
        "32-bit programs",
        "",
        "case $(uname -m) in x86_64) /lib/ld-linux.so.2 --version | grep GLIBC;; esac",
    ),
    program(
        "sshfs, FUSE",
        "",
        "mkdir -p /mnt/etc; sshfs $options root@127.0.0.1:/etc /mnt/etc; cmp /etc/hostname /mnt/etc/hostname; \
         grep fuse.sshfs /proc/mounts; fusermount3 -u /mnt/etc; \
         su user -c \"set -e; cd; $KEY mkdir -p mine; sshfs $options 127.0.0.1:/etc mine; cmp /etc/hostname mine/hostname; \
         fusermount3 -u mine\"",
    ),
    program(
        "tun and tap",
        OWN_NETWORK,
        "for mode in tun tap; do ip tuntap add dev t0 mode $mode; ip addr add 192.0.2.77/24 dev t0; ip link set t0 up; \
         ip -o addr show t0 | grep 192.0.2.77; ip link del t0; done",
    ),
    program(
        "bubblewrap, Flatpak",
        NESTING,
        "su user -c 'bwrap --unshare-all --die-with-parent --ro-bind / / --proc /proc --dev /dev --tmpfs /tmp id -u' | \
         grep -x 1000",
    ),
];

/// What the page says that each program needs.
pub fn documented() -> Vec<(String, String)> {
    let page = include_str!("../../docs/compatibility.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.map(|row| row.split('|').map(|cell| cell.trim().replace('`', "")).collect());
    cells.map(|cells: Vec<String>| (cells[0].clone(), cells[1].clone())).collect()
}

fn start(settings: &[&str]) -> Sandbox {
    start_on(Sandbox::new(), settings)
}

fn start_on(mut sandbox: Sandbox, settings: &[&str]) -> Sandbox {
    sandbox.run(&["ip", "link", "set", "lo", "up"]).succeeds();
    sandbox.distribution("web", FIXTURE, settings);
    sandbox.ds(&["start", "web", "--wait=110"]).succeeds();
    sandbox
}

fn attempt(sandbox: &Sandbox, program: &Program) -> Result<(), String> {
    let script = format!("export KEY=\"$(cat)\"; eval \"$KEY\"; set -e; {}", program.script);
    let done = sandbox.ds_with_input(&["run", "web", "--", "/bin/bash", "-c", &script], KEY.as_bytes());
    if done.code == 0 { Ok(()) } else { Err(format!("{}: {}{}", program.name, done.text(), done.errors)) }
}

#[test]
fn the_page_names_what_each_program_needs() {
    let documented = documented();
    for program in PROGRAMS {
        let needs = if program.needs.is_empty() { "nothing" } else { program.needs };
        let row = (program.name.to_owned(), needs.to_owned());
        assert!(documented.contains(&row), "docs/compatibility.md has no row {row:?}");
    }
}

#[test]
fn programs_work_in_an_ordinary_container() {
    let sandbox = start(&[]);
    let (needy, ordinary): (Vec<_>, Vec<_>) = PROGRAMS.iter().partition(|program| !program.needs.is_empty());
    let failed: Vec<_> = ordinary.iter().filter_map(|program| attempt(&sandbox, program).err()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    for program in needy {
        assert!(attempt(&sandbox, program).is_err(), "{} works without {}", program.name, program.needs);
    }
    sandbox.ds(&["stop", "web"]).succeeds();
}

#[test]
fn programs_that_need_a_setting_work_with_it() {
    for needs in [NESTING, OWN_NETWORK] {
        let sandbox = start(&[needs]);
        let needy = PROGRAMS.iter().filter(|program| program.needs == needs);
        let failed: Vec<_> = needy.filter_map(|program| attempt(&sandbox, program).err()).collect();
        assert!(failed.is_empty(), "{failed:#?}");
        sandbox.ds(&["stop", "web"]).succeeds();
    }
}

/// A login on the console and one through ssh: logind has a session, and the user a service manager.
#[test]
fn a_login_has_a_session_and_a_service_manager() {
    let sandbox = start(&[]);
    log_in_through_ssh(&sandbox);
    log_in(&sandbox);
}

#[test]
fn a_login_on_a_stock_kernel_has_a_session_and_a_service_manager() {
    let sandbox = stock();
    let bystanders = Bystanders::new(&sandbox);
    let sandbox = start_on(sandbox, &[]);
    log_in_through_ssh(&sandbox);
    bystanders.check();
    log_in(&sandbox);
    bystanders.check();
}

/// Without PID and IPC namespaces, only programs that need namespaces of their own fail.
#[test]
fn programs_work_on_a_stock_kernel() {
    let sandbox = stock();
    let bystanders = Bystanders::new(&sandbox);
    let sandbox = start_on(sandbox, &[NESTING, OWN_NETWORK]);
    let failed: Vec<_> = PROGRAMS.iter().filter_map(|program| attempt(&sandbox, program).err()).collect();
    assert!(failed.len() == 1 && failed[0].starts_with("bubblewrap"), "{failed:#?}");
    bystanders.check();
    sandbox.ds(&["stop", "web"]).succeeds();
    bystanders.check();
}

/// sshd separates privileges: the process of the session belongs to the user.
fn log_in_through_ssh(sandbox: &Sandbox) {
    const SESSION: &str = "id -un; cat /proc/self/loginuid; echo; ps -o user= -p $PPID; \
         loginctl show-session -p Name -p Service -p Remote -p State $XDG_SESSION_ID; \
         grep -o session-.*scope /proc/self/cgroup; systemctl --user is-active default.target; exit 7";
    let words = ["run", "web", "--user", "user", "--", "/bin/bash", "-c"];
    let login = format!("cd; {KEY} ssh $options 127.0.0.1 '{SESSION}'");
    let done = sandbox.ds(&[&words[..], &[&login]].concat());
    assert_eq!(done.code, 7, "{done:?}");
    let text = done.text();
    let has = |line: &&str| text.lines().any(|found| found.trim() == *line);
    let expected = ["user", "1000", "Name=user", "Service=sshd", "Remote=yes", "State=active", "active"];
    let missing: Vec<_> = expected.iter().filter(|line| !has(line)).collect();
    assert!(
        missing.is_empty() && text.matches("user").count() >= 3 && text.contains("session-"),
        "{missing:?}: {text}"
    );
}

fn log_in(sandbox: &Sandbox) {
    let mut console = sandbox.ds_on_terminal(&["console", "web"]);
    console.send(b"\r");
    console.expect("login: ");
    console.send(b"user\r");
    console.expect("$ ");
    console.send(b"systemctl --user is-system-running --wait; echo $XDG_RUNTIME_DIR $((6 * 7))\r");
    console.expect("running");
    console.expect("/run/user/1000 42");
    console.send(b"loginctl show-session -p Class -p Active $XDG_SESSION_ID | cat; echo $((7 * 6))\r");
    console.expect("Class=user");
    console.expect("Active=yes");
    console.expect("42");
    console.send(b"systemd-run --user --quiet --wait touch /tmp/by-user; exit\r");
    wait_for("the user's service", || {
        (sandbox.ds(&["run", "web", "--", "/bin/stat", "-c", "%U", "/tmp/by-user"]).text() == "user\n")
            .then_some(())
    });
    console.send(b"\x1d\x1d");
    console.wait();

    let mut terminal = sandbox.ds_on_terminal(&["enter", "web"]);
    terminal.expect("# ");
    terminal.send(b"su - user\n");
    terminal.expect("$ ");
    terminal.send(b"loginctl --no-legend list-sessions | cat; loginctl show-user -p State user | cat; echo $((6 * 7))\n");
    terminal.expect(" user");
    terminal.expect("State=active");
    terminal.expect("42");
    terminal.send(b"exit\nexit\n");
    assert_eq!(terminal.wait(), 0, "{}", terminal.shown());
    sandbox.ds(&["stop", "web"]).succeeds();
}

/// Maintainer scripts of systemd and udev restart and re-execute what they upgrade. The container and its supervision
/// survive that.
#[test]
fn systemd_and_udev_can_be_upgraded() {
    let sandbox = start(&[]);
    let upgrade = "set -e; export DEBIAN_FRONTEND=noninteractive; rm -f /etc/apt/sources.list.d/*; \
         echo 'deb [trusted=yes] file:/srv/packages ./' >/etc/apt/sources.list; apt-get -qq update; \
         apt-get -qq upgrade >/dev/null; apt-get -qq install --reinstall systemd udev >/dev/null; \
         dpkg-query -W -f '${Package} ${Version} ${Status}\\n' systemd udev libsystemd0";
    let before = sandbox.first_process("web").unwrap().pid;
    let mut words = vec![sandbox.binary().into_os_string()];
    words.extend(["run", "web", "--", "/bin/bash", "-c", upgrade].map(Into::into));
    let output = sandbox.command_within(300, &words).output().unwrap();
    let installed = Done::new("the upgrade".into(), output).succeeds();
    let is_new = |line: &str| line.ends_with("+later install ok installed");
    assert!(installed.lines().count() == 3 && installed.lines().all(is_new), "{installed}");
    assert_eq!(sandbox.first_process("web").unwrap().pid, before);
    assert_eq!(
        sandbox.ds(&["run", "web", "--", "systemctl", "is-active", "systemd-udevd"]).text(),
        "active\n"
    );
    for _ in 0..2 {
        sandbox.ds(&["run", "web", "--", "systemctl", "is-active", "dbus"]).succeeds();
        sandbox.ds(&["restart", "web", "--wait=110"]).succeeds();
    }
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
}
