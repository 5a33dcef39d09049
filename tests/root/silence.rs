//! Peers that stop answering: each process is stopped in turn, and every verb ends, can be interrupted, and names the
//! process that does not answer. Also files that block when they are opened or read.

use crate::done::Done;
use crate::process::{self, Process, client};
use crate::root_fs::Tree;
use crate::sandbox::{STANDBY, Sandbox};
use crate::{skip, wait_for};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::env;
use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// More than every timeout of ds, and less than that of a test command.
const LONGEST: u64 = 150;

fn stop(process: &Process) {
    process::signal(process.pid, Signal::SIGSTOP);
}

/// Runs all of these in parallel; asserts that each ends by itself.
fn all_end(sandbox: &Sandbox, lines: &[&[&str]]) -> Vec<Done> {
    let begun = Instant::now();
    let clients: Vec<(String, Child)> =
        lines.iter().map(|words| (words.join(" "), sandbox.spawn_ds(words))).collect();
    let done: Vec<Done> = clients
        .into_iter()
        .map(|(words, child)| Done::new(words, child.wait_with_output().unwrap()))
        .collect();
    assert!(begun.elapsed().as_secs() < LONGEST, "{done:#?}");
    for one in &done {
        assert!(one.code != 124, "it did not end: {one:?}");
        assert!(one.code == 0 || !one.errors.is_empty(), "a failure without a reason: {one:?}");
    }
    done
}

fn ends_soon(mut child: Child) -> i32 {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        assert!(begun.elapsed().as_secs() < 60, "it cannot be interrupted");
        sleep(Duration::from_millis(10));
    }
}

fn running(sandbox: &Sandbox, settings: &[&str]) -> Tree {
    let tree = sandbox.container("web", settings);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    tree
}

#[test]
fn with_a_stopped_monitor_every_verb_ends_and_a_kill_works() {
    let sandbox = Sandbox::new();
    running(&sandbox, &["restart=always"]);
    let monitor = sandbox.monitor("web").unwrap();
    stop(&monitor);
    let done = all_end(
        &sandbox,
        &[
            &["list"],
            &["info", "web"],
            &["stats", "web"],
            &["get", "web"],
            &["set", "web", "hostname=other"],
            &["logs", "web"],
            &["run", "web", "/bin/probe", "exit", "0"],
            &["console", "web"],
            &["stop", "web", "--timeout", "1"],
            &["restart", "web"],
            &["start", "web"],
            &["start", "web", "--wait=2"],
            &["rm", "web"],
            &["rename", "web", "new"],
            &["copy", "web", "new"],
            &["export", "web", "-o", "/dev/null"],
            &["supervisor", "status"],
        ],
    );
    for verb in ["console", "stop", "restart", "start"] {
        let one = done.iter().find(|one| one.errors.contains(&format!("ds: {verb} web: "))).unwrap();
        assert!(one.errors.contains("its monitor (pid ") && one.errors.contains("--kill"), "{one:?}");
    }
    // It can be interrupted before its timeout.
    let patient = sandbox.spawn_ds(&["stop", "web", "--timeout", "300"]);
    process::signal(client(&patient).pid, Signal::SIGINT);
    assert_ne!(ends_soon(patient), 0);
    assert_eq!(sandbox.ds(&["stop", "web", "--kill"]).succeeds(), "web stopped (killed)\n");
    sandbox.assert_no_containers();
    assert_eq!(sandbox.state("web"), "stopped", "it was requested, so it is not restarted");
    assert_eq!(sandbox.ds(&["start", "web"]).succeeds(), "web started\n");
    stop(&sandbox.monitor("web").unwrap());
    sandbox.ds(&["rm", "--force", "web"]).succeeds();
}

#[test]
fn with_a_stopped_supervisor_every_client_ends() {
    let sandbox = Sandbox::new();
    running(&sandbox, &["stop-timeout=5"]);
    let standby = || sandbox.processes().into_iter().find(|one| one.name == STANDBY);
    wait_for("the standby worker", standby);
    let supervisor = sandbox.supervisor().unwrap();
    stop(&supervisor);
    // The standby worker serves one of them.
    let done = all_end(
        &sandbox,
        &[&["stop", "web"], &["list"], &["run", "web", "/bin/probe", "exit", "0"], &["supervisor", "status"]],
    );
    let silent = done.iter().filter(|one| one.errors.contains("the supervisor (pid ")).count();
    assert!(silent >= 3, "{done:#?}");
    let waiting = sandbox.spawn_ds(&["info", "web"]);
    process::signal(client(&waiting).pid, Signal::SIGTERM);
    assert_eq!(ends_soon(waiting), 128 + 15);
    // No process waits for the result any more.
    process::signal(supervisor.pid, Signal::SIGCONT);
    sandbox.ds(&["list"]).succeeds();
    stop(&sandbox.supervisor().unwrap());
    sandbox.kill_supervisor();
    sandbox.ds(&["list"]).succeeds();
}

#[test]
fn with_a_stopped_worker_its_client_can_be_interrupted_and_others_continue() {
    let sandbox = Sandbox::new();
    let tree = running(&sandbox, &["environment.PROBE=deaf", "stop-timeout=100"]);
    for words in [&["run", "web", "/bin/probe", "hold"][..], &["stop", "web"]] {
        let child = sandbox.spawn_ds(words);
        let client = client(&child);
        let worker = worker_at_work(&sandbox, &tree, words);
        stop(&worker);
        all_end(&sandbox, &[&["list"], &["info", "web"]]);
        process::signal(client.pid, Signal::SIGTERM);
        assert_eq!(ends_soon(child), 128 + 15, "{words:?}");
        wait_for("the end of the worker", || Process::of(worker.pid).is_none().then_some(()));
    }
    sandbox.ds(&["stop", "web", "--kill"]).succeeds();
}

#[test]
fn a_client_whose_worker_stays_stopped_ends_with_an_error() {
    let sandbox = Sandbox::new();
    let tree = running(&sandbox, &["environment.PROBE=deaf", "stop-timeout=100"]);
    let lines = [&["run", "web", "/bin/probe", "hold"][..], &["stop", "web"]];
    let begin = |words: &&[&str]| {
        let child = sandbox.spawn_ds(words);
        let worker = worker_at_work(&sandbox, &tree, words);
        let number = worker.inner_pid().unwrap();
        stop(&worker);
        (child, worker, number)
    };
    let begun: Vec<(Child, Process, i32)> = lines.iter().map(begin).collect();
    for ((mut child, worker, number), words) in begun.into_iter().zip(lines) {
        wait_for("the end of the client", || child.try_wait().unwrap());
        // This waits until no process has the streams.
        let done = Done::new(words.join(" "), child.wait_with_output().unwrap());
        let told = format!("its worker (pid {number}) was stopped");
        assert!(done.code != 0 && done.code != 124 && done.errors.contains(&told), "{done:?}");
        wait_for("the end of the worker", || Process::of(worker.pid).is_none().then_some(()));
    }
    let is_gone = || sandbox.process(&["/bin/probe", "hold"]).is_none().then_some(());
    wait_for("the end of the command", is_gone);
    sandbox.ds(&["stop", "web", "--kill"]).succeeds();
}

/// As one that is stopped: the freezer of version 1 lets it handle no signal.
#[test]
fn a_client_whose_worker_or_job_stays_frozen_ends_with_an_error() {
    let mut waiting = Vec::new();
    for (file, frozen, thawed) in [("cgroup.freeze", "1", "0"), ("freezer.state", "FROZEN", "THAWED")] {
        let sandbox = Sandbox::new();
        let Some(inside) = sandbox.own_groups().into_iter().find(|group| group.join(file).exists()) else {
            skip(
                "silence::a_client_whose_worker_or_job_stays_frozen_ends_with_an_error",
                "a freezer is missing",
            );
            return;
        };
        let tree = running(&sandbox, &["environment.PROBE=deaf", "stop-timeout=100"]);
        let pipe = sandbox.path("pipe");
        mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let create = sandbox.spawn_ds(&["create", "new", "--from", pipe.to_str().unwrap()]);
        let mut writer = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        // The magic number of gzip: its decompression waits for the rest.
        writer.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]).unwrap();
        let job = wait_for("the job", || jobs(&sandbox).into_iter().next());
        wait_for("its decompression", || process::below(job.pid).into_iter().next());
        let stop = sandbox.spawn_ds(&["stop", "web"]);
        let job_worker = job.parent;
        wait_for("the request", || tree.signals().first().copied());
        let is_other = |one: &Process| one.name == "ds:worker" && one.pid != job_worker;
        let worker = wait_for("its worker", || sandbox.processes().into_iter().find(is_other));
        let group = inside.join("frozen");
        fs::create_dir(&group).unwrap();
        let below: Vec<Process> = process::below(job.pid);
        for process in below.iter().chain([&job, &worker]) {
            fs::write(group.join("cgroup.procs"), process.pid.to_string()).unwrap();
        }
        freeze(&group, file, frozen);
        waiting.push((sandbox, [create, stop], [job, worker], group.join(file), thawed, writer));
    }
    for (sandbox, clients, processes, file, thawed, _writer) in waiting {
        for mut client in clients {
            wait_for("the end of the client", || client.try_wait().unwrap());
            // This waits until no process has the streams.
            let done = Done::new(file.display().to_string(), client.wait_with_output().unwrap());
            let told = "was frozen by a control group";
            assert!(done.code != 0 && done.code != 124 && done.errors.contains(told), "{done:?}");
        }
        for process in processes {
            wait_for("its end", || Process::of(process.pid).is_none().then_some(()));
        }
        fs::write(&file, thawed).unwrap();
        wait_for("an empty group", || fs::remove_dir(file.parent().unwrap()).ok());
        sandbox.ds(&["stop", "web", "--kill"]).succeeds();
        assert!(!sandbox.data("containers/new").exists());
    }
}

/// The worker of a command, once it waits for a process of the container: the command that it runs, or PID 1, which has
/// received the request to stop and ignores it.
fn worker_at_work(sandbox: &Sandbox, tree: &Tree, words: &[&str]) -> Process {
    let is_worker = |one: &Process| one.name == "ds:worker" && one.state != 'T';
    if words[0] == "run" {
        let command = wait_for("the command", || sandbox.process(&["/bin/probe", "hold"]));
        return Process::of(command.parent).filter(is_worker).expect("its worker");
    }
    wait_for("the request", || tree.signals().first().copied());
    wait_for("its worker", || sandbox.processes().into_iter().find(is_worker))
}

#[test]
fn a_frozen_supervisor_holds_no_stream_of_a_client() {
    let kinds = [("cgroup.freeze", "1", "0"), ("freezer.state", "FROZEN", "THAWED")];
    for (file, frozen, thawed) in kinds {
        let sandbox = Sandbox::new();
        let Some(inside) = sandbox.own_groups().into_iter().find(|group| group.join(file).exists()) else {
            skip("silence::a_frozen_supervisor_holds_no_stream_of_a_client", "a freezer is missing");
            return;
        };
        sandbox.ds(&["list"]).succeeds();
        sandbox.wait_for_standby();
        let group = inside.join("frozen");
        let move_to = |group: &std::path::Path, process: &Process| {
            let moved = fs::write(group.join("cgroup.procs"), process.pid.to_string());
            assert!(moved.is_ok() || Process::of(process.pid).is_none(), "{process:?}: {moved:?}");
        };
        fs::create_dir(&group).unwrap();
        let ours = sandbox.processes();
        ours.iter().for_each(|process| move_to(&group, process));
        freeze(&group, file, frozen);
        // Waits for the end of its output, which is the end of every process that could write there.
        sandbox.ds(&["list"]).fails(1, &["the supervisor (pid ", "does not answer"]);
        fs::write(group.join(file), thawed).unwrap();
        for process in sandbox.processes() {
            move_to(&inside, &process);
        }
        sandbox.ds(&["list"]).succeeds();
        wait_for("an empty group", || fs::remove_dir(&group).ok());
    }
}

/// Whichever version of control groups has frozen it: it must not keep the streams of its client open.
#[test]
fn a_frozen_worker_ends_with_its_interrupted_client() {
    for (file, frozen, thawed) in [("cgroup.freeze", "1", "0"), ("freezer.state", "FROZEN", "THAWED")] {
        let sandbox = Sandbox::new();
        let Some(inside) = sandbox.own_groups().into_iter().find(|group| group.join(file).exists()) else {
            skip("silence::a_frozen_worker_ends_with_its_interrupted_client", "a freezer is missing");
            return;
        };
        let tree = running(&sandbox, &["environment.PROBE=deaf", "stop-timeout=100"]);
        let words = ["stop", "web"];
        let child = sandbox.spawn_ds(&words);
        let worker = worker_at_work(&sandbox, &tree, &words);
        let group = inside.join("frozen");
        fs::create_dir(&group).unwrap();
        fs::write(group.join("cgroup.procs"), worker.pid.to_string()).unwrap();
        freeze(&group, file, frozen);
        process::signal(client(&child).pid, Signal::SIGTERM);
        assert_eq!(ends_soon(child), 128 + 15, "{file}");
        wait_for("the end of the worker", || Process::of(worker.pid).is_none().then_some(()));
        fs::write(group.join(file), thawed).unwrap();
        wait_for("an empty group", || fs::remove_dir(&group).ok());
        sandbox.ds(&["stop", "web", "--kill"]).succeeds();
    }
}

/// Freezes a group, and waits until all its processes are frozen.
fn freeze(group: &Path, file: &str, frozen: &str) {
    fs::write(group.join(file), frozen).unwrap();
    let state = group.join(if file == "freezer.state" { file } else { "cgroup.events" });
    wait_for("the frozen group", || {
        let text = fs::read_to_string(&state).unwrap();
        text.lines().any(|line| line == "FROZEN" || line == "frozen 1").then_some(())
    });
}

#[test]
fn a_stopped_standby_worker_is_replaced() {
    let sandbox = Sandbox::new();
    sandbox.ds(&["list"]).succeeds();
    sandbox.wait_for_standby();
    let standby = || sandbox.processes().into_iter().find(|one| one.name == STANDBY);
    stop(&wait_for("the standby worker", standby));
    sandbox.ds(&["list"]).succeeds();
}

#[test]
fn with_a_stopped_client_or_first_process_the_container_stops() {
    let sandbox = Sandbox::new();
    let tree = running(&sandbox, &["stop-timeout=100"]);
    let session = sandbox.spawn_ds(&["run", "web", "/bin/probe", "hold"]);
    let client = client(&session);
    wait_for("the session", || sandbox.process(&["/bin/probe", "hold"]));
    stop(&client);
    stop(&sandbox.first_process("web").unwrap());
    all_end(
        &sandbox,
        &[&["list"], &["info", "web"], &["run", "web", "/bin/probe", "exit", "0"], &["logs", "web"]],
    );
    let begun = Instant::now();
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    assert!(begun.elapsed().as_secs() < 90, "it received the request");
    assert_eq!(tree.signals().first(), Some(&libc::SIGTERM));
    process::signal(client.pid, Signal::SIGCONT);
    assert_eq!(ends_soon(session), 128 + 9);
}

#[test]
fn a_silent_client_blocks_no_other() {
    let sandbox = Sandbox::new();
    sandbox.ds(&["list"]).succeeds();
    let program = env::current_exe().unwrap();
    let words =
        [program.as_os_str(), "--exact".as_ref(), "silence::a_client_connects_and_sends_nothing".as_ref()];
    let mut command: Command = sandbox.command(&words);
    command.env("SILENT", sandbox.run_directory("supervisor.sock")).env("CONNECTED", sandbox.root());
    let mut silent: Vec<Child> = (0..5).map(|_| command.spawn().unwrap()).collect();
    wait_for("five connections", || {
        let marks = fs::read_dir(sandbox.root()).unwrap().map(|entry| entry.unwrap().file_name());
        let connected = marks.filter(|name| name.to_string_lossy().starts_with("connected-"));
        (connected.count() == 5).then_some(())
    });
    for _ in 0..3 {
        all_end(&sandbox, &[&["list"], &["supervisor", "status"]])
            .into_iter()
            .for_each(|one| drop(one.succeeds()));
    }
    for one in &mut silent {
        one.kill().unwrap();
        one.wait().unwrap();
    }
}

/// Not a test, but the client of the test above.
#[test]
fn a_client_connects_and_sends_nothing() {
    let Some(path) = env::var_os("SILENT") else { return };
    let own = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::empty(), None).unwrap();
    connect(own.as_raw_fd(), &UnixAddr::new(std::path::Path::new(&path)).unwrap()).unwrap();
    let marks = PathBuf::from(env::var_os("CONNECTED").unwrap());
    fs::write(marks.join(format!("connected-{}", std::process::id())), "").unwrap();
    sleep(Duration::from_secs(600));
}

#[test]
fn the_wait_for_the_writer_of_a_pipe_ends_with_the_client() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("")).unwrap();
    let pipe = sandbox.path("pipe");
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let pipe = pipe.to_str().unwrap();
    for words in [&["create", "new", "--from", pipe][..], &["import", pipe, "new"]] {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let child = sandbox.spawn_ds(words);
            let client = client(&child);
            let ours = || sandbox.processes().into_iter().chain([client.clone()]);
            let is_open = || ours().any(|one| one.has_open(Path::new(pipe)));
            wait_for("the pipe to be opened", || is_open().then_some(()));
            process::signal(client.pid, signal);
            assert_ne!(ends_soon(child), 0, "{words:?}");
            wait_for("the end of the worker", || sandbox.only_supervisor().then_some(()));
        }
    }
    assert!(!sandbox.data("containers/new").exists());
}

#[test]
fn a_client_whose_job_stays_stopped_ends_with_an_error() {
    let sandbox = Sandbox::new();
    sandbox.ds(&["list"]).succeeds();
    fs::create_dir_all(sandbox.path("")).unwrap();
    // The first bytes of an archive, whose decompression waits for the rest.
    let script = "head -c 1000000 /dev/urandom | gzip";
    let whole = Command::new("sh").args(["-c", script]).output().unwrap().stdout;
    let begin = |name: &'static str| {
        let pipe = sandbox.path(name);
        mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let known: Vec<i32> = jobs(&sandbox).iter().map(|one| one.pid).collect();
        let child = sandbox.spawn_ds(&["create", name, "--from", pipe.to_str().unwrap()]);
        let mut writer = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        writer.write_all(&whole[..20_000]).unwrap();
        let fresh = || jobs(&sandbox).into_iter().find(|one| !known.contains(&one.pid));
        (child, writer, wait_for("the job", fresh))
    };
    let (first, _first_writer, job) = begin("first");
    let (second, _second_writer, parent) = begin("second");
    let codec = wait_for("its decompression", || process::below(parent.pid).into_iter().next());
    for (mut child, stopped) in [(first, job), (second, codec)] {
        // A job has its own PID namespace: its process id in the sandbox's namespace is needed.
        let status = fs::read_to_string(format!("/proc/{}/status", stopped.pid)).unwrap();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap();
        let number = numbers.split_whitespace().nth(1).unwrap();
        stop(&stopped);
        wait_for("the end of the client", || child.try_wait().unwrap());
        let done = Done::new(String::new(), child.wait_with_output().unwrap());
        let told =
            format!("a process of the job (pid {number}) was stopped by a signal; nothing has changed");
        assert!(done.code == 1 && done.errors.contains(&told), "{done:?}");
    }
    wait_for("the end of the jobs", || jobs(&sandbox).is_empty().then_some(()));
    sandbox.ds(&["list"]).succeeds();
    assert_eq!(fs::read_dir(sandbox.data("containers")).unwrap().count(), 0, "nothing is left");
}

fn jobs(sandbox: &Sandbox) -> Vec<Process> {
    sandbox.processes().into_iter().filter(|one| one.name == "ds:job").collect()
}

#[test]
fn a_stray_file_or_pipe_is_not_a_container() {
    let sandbox = Sandbox::new();
    running(&sandbox, &[]);
    fs::write(sandbox.data("containers/stray"), "").unwrap();
    mkfifo(&sandbox.data("containers/pipe"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let list = sandbox.ds(&["list"]).succeeds();
    assert!(!list.contains("stray") && !list.contains("pipe"), "{list}");
    sandbox.ds(&["start", "--all"]).succeeds();
    assert_eq!(sandbox.ds(&["stop", "--all"]).succeeds(), "web stopped\n");
    sandbox.ds(&["info", "stray"]).fails(1, &["no such container"]);
}

#[test]
fn a_pipe_in_place_of_the_console_log_stops_nobody() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    fs::create_dir_all(sandbox.data("containers/web/log")).unwrap();
    mkfifo(&sandbox.data("containers/web/log/console.log"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    sandbox.ds(&["start", "web"]).succeeds();
    let write = ["run", "web", "--", "/bin/probe", "write", "/dev/console", "text"];
    sandbox.ds(&write).succeeds();
    all_end(&sandbox, &[&["list"], &["info", "web"], &["logs", "web"]]);
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
}

#[test]
fn silent_connections_keep_no_browser_from_the_page() {
    let sandbox = Sandbox::new();
    let pages = sandbox.path("pages");
    fs::create_dir_all(&pages).unwrap();
    fs::write(pages.join("index.html"), "<title>Page</title>").unwrap();
    let words = ["web", "--pages", pages.to_str().unwrap()];
    let port = |address: String| {
        let rest = address.strip_prefix("http://127.0.0.1:").expect("an address").to_owned();
        rest.split('/').next().expect("a port").to_owned()
    };
    let first = port(sandbox.ds(&words).succeeds());
    let connect = format!("exec {{peer}}<>/dev/tcp/127.0.0.1/{first}");
    let ask = format!("printf 'GET / HTTP/1.1\\r\\nHost: 127.0.0.1:{first}\\r\\n\\r\\n' >&$peer");
    let many = format!("set -e; ip link set lo up; for each in {{1..100}}; do {connect}; done");
    let script = format!("{many}; {ask}; read -t 8 line <&$peer; echo $line");
    let answer = sandbox.run(&["bash", "-c", &script]).succeeds();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    // A stopped server is replaced.
    let server = || sandbox.processes().into_iter().find(|one| one.name == "ds:pages");
    let stopped = wait_for("only the server", || {
        (sandbox.processes().iter().filter(|one| one.name == "ds:pages").count() == 1).then(server)?
    });
    stop(&stopped);
    let second = port(sandbox.ds(&words).succeeds());
    assert_ne!(first, second);
    let stopped = wait_for("the new server", server);
    stop(&stopped);
    sandbox.ds(&["web", "--stop"]).succeeds();
    wait_for("the end of the server", || server().is_none().then_some(()));
}
