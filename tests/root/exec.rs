//! `ds run`: commands in a running container, their exit codes, users, streams, and attributes that they must not
//! inherit.

use crate::sandbox::Sandbox;
use crate::{root_fs::Tree, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::process::Stdio;

/// A container that is up.
fn boot(sandbox: &Sandbox) -> Tree {
    let tree = sandbox.container("web", &["environment.LANG=C.UTF-8"]);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    tree
}

/// The report of the probe as a command.
fn report(sandbox: &Sandbox, options: &[&str]) -> Value {
    let words = [&["run", "web"], options, &["--", "/bin/probe", "report"]].concat();
    sandbox.ds(&words).json()
}

#[test]
fn exit_codes_are_the_commands_own() {
    let sandbox = Sandbox::new();
    let tree = boot(&sandbox);
    tree.write("bin/text", "not a program");
    for (command, code) in [
        (&["/bin/true"][..], 0),
        (&["/bin/probe", "exit", "1"], 1),
        (&["/bin/probe", "exit", "200"], 200),
        (&["/bin/probe", "kill", "9"], 128 + 9),
        (&["/bin/probe", "kill", "15"], 128 + 15),
        (&["true"], 0),
    ] {
        let done = sandbox.ds(&[&["run", "web", "--"], command].concat());
        assert_eq!((done.code, done.errors.as_str()), (code, ""), "{command:?}");
    }
    sandbox.ds(&["run", "web", "--", "no-such-command"]).fails(127, &["ds: run web: ", "no-such-command"]);
    sandbox.ds(&["run", "web", "--", "/no/such/command"]).fails(127, &["/no/such/command"]);
    sandbox.ds(&["run", "web", "--", "/bin/text"]).fails(126, &["ds: run web: ", "/bin/text"]);
    sandbox.ds(&["run", "web", "--", "/etc"]).fails(126, &["/etc"]);
    sandbox.ds(&["run", "nobody", "--", "true"]).fails(125, &["ds: run nobody: ", "no such container"]);
    sandbox.ds(&["run", "web", "-w", "/no/where", "--", "true"]).fails(125, &["/no/where"]);
    sandbox.ds(&["stop", "web"]).succeeds();
    sandbox.ds(&["run", "web", "--", "true"]).fails(125, &["ds: run web: ", "ds start web"]);
}

#[test]
fn a_command_gets_arguments_that_are_not_utf8_unchanged() {
    let sandbox = Sandbox::new();
    let tree = boot(&sandbox);
    let script = r#""$0" "$@" /bin/sh -c 'printf %s "$1"' sh "$(printf 'caf\351 \303\251\377')""#;
    let given = |words: &[&str]| {
        let binary = sandbox.binary();
        let words = [&["/bin/sh", "-c", script, binary.to_str().unwrap()], words].concat();
        let output = sandbox.command(&words).output().unwrap();
        (output.stdout, String::from_utf8(output.stderr).unwrap())
    };
    let expected = || (b"caf\xe9 \xc3\xa9\xff".to_vec(), String::new());
    assert_eq!(given(&["run", "web", "--"]), expected());
    sandbox.ds(&["stop", "web"]).succeeds();
    assert_eq!(given(&["shell", tree.path("").to_str().unwrap()]), expected());
}

#[test]
fn a_command_is_in_the_container() {
    let sandbox = Sandbox::new();
    let tree = boot(&sandbox);
    let first = tree.report().unwrap();
    let report = report(&sandbox, &[]);
    let (own, its) = (&report["namespaces"], &first["namespaces"]);
    for kind in ["mnt", "pid", "uts", "ipc", "cgroup", "net", "user"] {
        assert_eq!(own[kind], its[kind], "{kind}");
    }
    assert_eq!(report["hostname"], "web");
    assert_eq!(report["ppid"], 0, "its parent is outside");
    assert_eq!(report["status"]["CapBnd"], first["status"]["CapBnd"]);
    assert_eq!(report["status"]["CapInh"], "0000000000000000");
    assert_eq!(report["status"]["CapAmb"], "0000000000000000");
    assert_eq!(report["status"]["Seccomp"], "2");
    assert_eq!(report["kernel_modules"], "EPERM");
    assert_eq!(report["mounts"], first["mounts"]);
    assert_eq!(report["oom_score"], first["oom_score"]);
}

#[test]
fn a_command_has_exactly_three_descriptors() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    for options in [&[][..], &["-t"], &["-u", "alice"]] {
        let report = report(&sandbox, options);
        let numbers: Vec<_> = report["descriptors"].as_object().unwrap().keys().collect();
        assert_eq!(numbers, ["0", "1", "2"], "{options:?}: {}", report["descriptors"]);
    }
}

#[test]
fn a_command_starts_with_default_attributes() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    // Including SIGPIPE: the shell is not a Rust program, which would ignore it.
    let status = sandbox.ds(&["run", "web", "--", "/bin/cat", "/proc/self/status"]).succeeds();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    assert_eq!(field("SigBlk:"), 0);
    assert_eq!(field("SigIgn:") & !(1 << 31 | 1 << 32), 0, "{status}");
    assert!(status.contains("Umask:\t0022"), "{status}");
    assert!(status.contains("NoNewPrivs:\t0"), "{status}");
}

/// CVE-2025-27612: what a shell has in its inheritable and ambient sets reaches neither PID 1 nor a command.
#[test]
fn no_capability_is_inherited() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    let binary = sandbox.binary();
    let binary = binary.to_str().unwrap();
    let ds = |words: &[&str]| {
        let shell = ["setpriv", "--inh-caps=+net_raw,+sys_time", "--ambient-caps=+net_raw,+sys_time", binary];
        sandbox.run(&[&shell[..], words].concat()).succeeds()
    };
    // The shell also launches the supervisor.
    ds(&["start", "web"]);
    let script = "cat /proc/1/status /proc/self/status";
    for (user, is_powerless) in [("root", false), ("alice", true)] {
        let text = ds(&["run", "web", "-u", user, "--", "/bin/sh", "-c", script]);
        let sets = |name: &str| -> Vec<u64> {
            let found = text.lines().filter_map(|line| line.strip_prefix(name));
            found.map(|set| u64::from_str_radix(set.trim(), 16).unwrap()).collect()
        };
        assert_eq!((sets("CapInh:"), sets("CapAmb:")), (vec![0, 0], vec![0, 0]), "{user}: {text}");
        assert_eq!(sets("CapEff:")[1] == 0, is_powerless, "{user}: {text}");
        assert!(sets("CapBnd:").iter().all(|set| set & 1 << 25 == 0), "{user}: {text}");
    }
}

#[test]
fn users_are_names_or_numbers_and_nothing_else() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    let id = |user: &str| sandbox.ds(&["run", "web", "-u", user, "--", "/bin/id"]).succeeds();
    assert_eq!(id("root"), "uid=0(root) gid=0(root) groups=0(root)\n");
    assert_eq!(id("alice"), "uid=1000(alice) gid=100(users) groups=10(wheel),29(audio),100(users)\n");
    assert_eq!(id("1000"), id("alice"));
    assert_eq!(id("4242"), "uid=4242 gid=65534 groups=65534\n", "a user without an entry is in no group");
    for user in
        ["bob", "-1", "4294967295", "4294967296", "0x0", " root", "root ", "1000 ", "alice:root:x", ""]
    {
        let done = sandbox.ds(&["run", "web", "-u", user, "--", "/bin/id"]);
        assert_ne!(done.code, 0, "{user:?}: {done:?}");
        assert_eq!(done.text(), "", "{user:?}");
    }
    let report = report(&sandbox, &["-u", "alice"]);
    assert_eq!(report["status"]["CapEff"], "0000000000000000");
    assert_eq!(report["environment"]["HOME"], "/home/alice");
    assert_eq!(report["environment"]["USER"], "alice");
}

#[test]
fn a_command_has_the_environment_of_its_container() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    let report = report(&sandbox, &["-w", "/etc", "-e", "COLOUR=blue", "-e", "LANG=de_DE", "-e", "EMPTY="]);
    assert_eq!(report["cwd"], "/etc");
    let environment = &report["environment"];
    for (name, value) in [
        ("COLOUR", "blue"),
        ("LANG", "de_DE"),
        ("EMPTY", ""),
        ("container", "droidspaces"),
        ("HOME", "/root"),
    ] {
        assert_eq!(environment[name], value, "{name}: {environment}");
    }
    for name in ["DS_ROOT", "DS_SUPERVISOR", "NOTIFY_SOCKET", "PWD_HOST"] {
        assert!(environment.get(name).is_none(), "{name}: {environment}");
    }
    let here = sandbox.ds(&["run", "web", "--", "/bin/pwd"]).succeeds();
    assert_eq!(here, "/\n", "without --workdir");
}

#[test]
fn ten_megabytes_go_in_and_out_unchanged() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    let done = sandbox.ds(&["run", "web", "--", "/bin/probe", "generate", "10000000", "7"]);
    assert_eq!(done.code, 0);
    let bytes = generate(10_000_000, 7);
    assert!(done.output == bytes, "{} bytes came out", done.output.len());
    let sum = sandbox.ds_with_input(&["run", "web", "--", "/bin/probe", "sum"], &bytes).succeeds();
    assert_eq!(sum.trim(), format!("{} {:016x}", bytes.len(), hash(&bytes)));
    let there_and_back = sandbox.ds_with_input(&["run", "web", "--", "/bin/cat"], &bytes);
    assert!(there_and_back.output == bytes, "{} bytes came back", there_and_back.output.len());
}

/// The same bytes as `probe generate`.
fn generate(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn stdout_and_stderr_are_separate() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    let done = sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((done.code, done.text().as_str(), done.errors.as_str()), (0, "out\n", "err\n"));
    // No input is the end of input.
    assert_eq!(sandbox.ds(&["run", "web", "--", "/bin/cat"]).succeeds(), "");
    // A reader that stops reading ends the command, as on the host.
    let line = format!(
        "{{ '{}' run web -- /bin/probe generate 10000000 1; echo $? >&2; }} | head -c 1 >/dev/null",
        sandbox.binary().display()
    );
    let done = sandbox.run(&["sh", "-c", &line]);
    assert!(done.errors.ends_with("99\n") || done.errors.ends_with("141\n"), "{done:?}");
}

#[test]
fn signals_reach_the_command() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
        let code = 128 + signal as i32;
        let spawned = sandbox.spawn_ds(&["run", "web", "--", "/bin/probe", "hold"]);
        wait_for("the command", || sandbox.process(&["/bin/probe", "hold"]));
        let client = crate::process::client(&spawned);
        crate::process::signal(client.pid, signal);
        let output = spawned.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{signal}: {output:?}");
        wait_for("its end", || sandbox.process(&["/bin/probe", "hold"]).is_none().then_some(()));
    }
}

#[test]
fn a_killed_client_ends_its_command() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    for words in [&["/bin/probe", "hold"], &["/bin/probe", "deaf-session"]] {
        let mut client = sandbox.spawn_ds(&["run", "web", "--", words[0], words[1]]);
        wait_for("the command", || sandbox.process(words));
        client.kill().unwrap();
        client.wait().unwrap();
        wait_for("its end", || sandbox.process(words).is_none().then_some(()));
    }
    assert_eq!(sandbox.state("web"), "running");
}

#[test]
fn a_killed_worker_ends_its_command() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    let client = sandbox.spawn_ds(&["run", "web", "--", "/bin/probe", "hold"]);
    let command = wait_for("the command", || sandbox.process(&["/bin/probe", "hold"]));
    crate::process::kill(command.parent);
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr).matches('\n').count(), 1, "{output:?}");
    wait_for("its end", || sandbox.process(&["/bin/probe", "hold"]).is_none().then_some(()));
}

#[test]
fn commands_continue_after_the_supervisor_was_killed() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    let client = sandbox.spawn_ds(&["run", "web", "--", "/bin/sh", "-c", "echo begins; sleep 3; exit 7"]);
    wait_for("the command", || sandbox.processes().into_iter().find(|one| one.name == "sleep"));
    sandbox.kill_supervisor();
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
}

#[test]
fn processes_that_a_command_leaves_continue() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    let script = "/bin/probe hold >/dev/null 2>&1 </dev/null & echo started";
    assert_eq!(sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", script]).succeeds(), "started\n");
    assert!(sandbox.process(&["/bin/probe", "hold"]).is_some(), "a started daemon continues to run");
    sandbox.ds(&["stop", "web"]).succeeds();
    wait_for("its end", || sandbox.process(&["/bin/probe", "hold"]).is_none().then_some(()));
}

#[test]
fn many_commands_at_once() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    let clients: Vec<_> = (0..20)
        .map(|number| sandbox.spawn_ds(&["run", "web", "--", "/bin/probe", "exit", &number.to_string()]))
        .collect();
    for (number, client) in clients.into_iter().enumerate() {
        let output = client.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(i32::try_from(number).unwrap()), "{output:?}");
    }
}

#[test]
fn a_reboot_ends_sessions_and_the_container_comes_back() {
    let sandbox = Sandbox::new();
    let tree = boot(&sandbox);
    let session = sandbox.spawn_ds(&["run", "web", "--", "/bin/probe", "hold"]);
    wait_for("the session", || sandbox.process(&["/bin/probe", "hold"]));
    sandbox.ds(&["run", "web", "--", "/bin/probe", "reboot"]);
    wait_for("the second boot", || (tree.boots() == 2).then_some(()));
    assert_eq!(session.wait_with_output().unwrap().status.code(), Some(128 + 9));
    sandbox.wait_for_state("web", "running");
    sandbox.ds(&["run", "web", "--", "/bin/true"]).succeeds();
    sandbox.ds(&["run", "web", "--", "/bin/probe", "poweroff"]);
    sandbox.wait_for_state("web", "stopped");
}

#[test]
fn a_shell_needs_no_init_system() {
    let sandbox = Sandbox::new();
    let tree = Tree::with_probe(&sandbox.path("tree"));
    std::fs::remove_file(tree.path("sbin/init")).unwrap();
    let path = tree.0.to_str().unwrap();
    assert_eq!(
        sandbox.ds(&["shell", path, "/bin/sh", "-c", "echo $container; exit 5"]).ends_with(5),
        "droidspaces\n"
    );
    let report = sandbox.ds(&["shell", path, "/bin/probe", "report"]).json();
    assert_eq!(report["descriptors"].as_object().unwrap().len(), 3);
    let supervisor = sandbox.supervisor().unwrap().pid;
    for kind in ["mnt", "pid", "uts", "ipc"] {
        let own = std::fs::read_link(format!("/proc/{supervisor}/ns/{kind}")).unwrap();
        assert_ne!(report["namespaces"][kind], own.to_str().unwrap(), "{kind}");
    }
    let answer = sandbox.ds(&["shell", "/no/such/tree", "true"]);
    answer.fails(125, &["ds: shell", "/no/such/tree"]);
    let mut client = sandbox.spawn_ds(&["shell", path, "/bin/probe", "hold"]);
    wait_for("the shell", || sandbox.process(&["/bin/probe", "hold"]));
    client.kill().unwrap();
    client.wait().unwrap();
    sandbox.assert_no_containers();
}

#[test]
fn a_client_without_open_streams_is_served() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    let mut command = sandbox.command(&[
        "sh",
        "-c",
        &format!(
            "exec 0<&- 1>&- 2>&-; '{}' run web -- /bin/true; echo $? > '{}'",
            sandbox.binary().display(),
            sandbox.path("code").display()
        ),
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    let code = std::fs::read_to_string(sandbox.path("code")).unwrap();
    assert!(["0\n", "125\n"].contains(&code.as_str()), "{code}");
    assert_eq!(sandbox.state("web"), "running");
}
