//! One supervisor: its start, its attributes, its end.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::machine::{Done, Machine, wait_for};

#[test]
fn the_first_command_starts_it_and_a_second_supervisor_is_refused() {
    let Some(machine) =
        Machine::new("supervisor::the_first_command_starts_it_and_a_second_supervisor_is_refused")
    else {
        return;
    };
    let status = machine.ds(&["supervisor", "status"]);
    assert_eq!((status.code, status.stdout.as_str()), (Some(1), "the supervisor is not running\n"));
    assert_eq!(machine.ds(&["list", "--names"]).succeeds(), "");
    let pid = machine.supervisor().unwrap();
    let refusal = format!("ds: supervise: already running (pid {pid})");
    machine.ds(&["supervise"]).fails(1, &refusal);
    machine.ds(&["supervise", "--foreground"]).fails(1, &refusal);
    assert_eq!(machine.json(&["supervisor", "status", "--json"])["pid"], pid.as_raw());
    machine.ds(&["supervisor", "stop"]).succeeds();
    assert!(machine.supervisor().is_none(), "it has ended when the command returns");
    assert!(!machine.paths.supervisor_socket().exists());
    machine.ds(&["supervisor", "stop"]).succeeds();
    machine.ds(&["supervise"]).succeeds();
    assert!(machine.supervisor().is_some_and(|next| next != pid));
}

#[test]
fn in_the_foreground_it_logs_to_stderr_and_ends_on_a_signal() {
    let Some(machine) = Machine::new("supervisor::in_the_foreground_it_logs_to_stderr_and_ends_on_a_signal")
    else {
        return;
    };
    let child = machine.spawn(&["supervise", "--foreground"]);
    wait_for("the supervisor", || machine.paths.supervisor_socket().exists().then_some(()));
    machine.ds(&["list"]).succeeds();
    let pid = machine.supervisor().unwrap();
    assert_eq!(pid.as_raw().unsigned_abs(), child.id(), "it is the process that was started");
    kill(pid, Signal::SIGINT).unwrap();
    let done = Done::of(child.wait_with_output().unwrap());
    assert_eq!(done.code, Some(0));
    assert!(done.stderr.contains("ds: info: supervisor ends"), "{}", done.stderr);
}

#[test]
fn a_relative_root_is_the_same_from_every_directory() {
    let Some(machine) = Machine::new("supervisor::a_relative_root_is_the_same_from_every_directory") else {
        return;
    };
    let list = |root: &str| {
        let mut command = machine.ds_command(&["list", "--names"]);
        let root = command.env("DS_ROOT", root).current_dir(machine.path(""));
        Done::of(root.output().unwrap()).succeeds()
    };
    list(".");
    let pid = machine.supervisor().unwrap();
    machine.ds(&["list"]).succeeds();
    assert_eq!(machine.supervisor(), Some(pid), "both have the same supervisor");
}

#[test]
fn twenty_clients_at_once_share_one() {
    let Some(machine) = Machine::new("supervisor::twenty_clients_at_once_share_one") else { return };
    for _ in 0..3 {
        let clients: Vec<_> = (0..20).map(|_| machine.spawn(&["list", "--json"])).collect();
        for client in clients {
            let done = Done::of(client.wait_with_output().unwrap());
            assert_eq!(done.succeeds(), "{\"containers\":[]}\n");
        }
        assert_eq!(machine.log().matches(" started (pid ").count(), 1);
    }
}

#[test]
fn it_inherits_nothing_from_the_shell_that_started_it() {
    let Some(machine) = Machine::new("supervisor::it_inherits_nothing_from_the_shell_that_started_it") else {
        return;
    };
    let script = "umask 0; trap '' TERM HUP; exec 7>leak; cd /tmp; FOO=bar \"$0\" list";
    let mut shell = machine.command("/bin/sh");
    shell.current_dir(machine.path("")).args(["-c", script]).arg(crate::machine::binary());
    Done::of(shell.output().unwrap()).succeeds();
    let pid = machine.supervisor().unwrap();
    let of = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let link = |file: &str| fs::read_link(format!("/proc/{pid}/{file}")).unwrap().display().to_string();
    assert_eq!(link("cwd"), "/");
    let data = machine.paths.data.display().to_string();
    assert!(link("exe").starts_with(&data) && link("exe").ends_with(" (deleted)"), "{}", link("exe"));
    for number in 0..3 {
        assert_eq!(link(&format!("fd/{number}")), "/dev/null");
    }
    let status = of("status");
    assert!(status.contains("\nUmask:\t0022\n"), "{status}");
    let names: Vec<_> =
        of("environ").split('\0').map(|pair| pair.split('=').next().unwrap().to_owned()).collect();
    assert_eq!(names, ["PATH", "DS_SUPERVISOR", "DS_BINARY", "DS_ROOT", ""]);
    let stat = of("stat");
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    assert_eq!(fields[4], "0", "no controlling terminal");
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap();
        assert!(!target.ends_with("leak"), "{}", target.display());
    }
    // Its program cannot be written, not even by root: CVE-2019-5736.
    let program = fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/exe"));
    assert!(program.and_then(|mut program| program.write_all(b"x")).is_err());
    assert!(!machine.log().contains("warning"), "{}", machine.log());
    // The signals that its launcher ignored work again.
    kill(pid, Signal::SIGTERM).unwrap();
    wait_for("the end of the supervisor", || machine.supervisor().is_none().then_some(()));
}

#[test]
fn its_files_are_for_root_only_with_any_umask() {
    let Some(machine) = Machine::new("supervisor::its_files_are_for_root_only_with_any_umask") else {
        return;
    };
    let script = "umask 0; \"$0\" supervise --no-autostart && \"$0\" create web --rootfs tree --set autostart=yes \
                  --set start-after=network && \"$0\" start web; \"$0\" supervisor stop; \"$0\" supervise && \"$0\" list";
    machine.tree("tree");
    let mut shell = machine.command("/bin/sh");
    shell.current_dir(machine.path("")).args(["-c", script]).arg(crate::machine::binary());
    // The tree has no init, so the start fails.
    assert_eq!(Done::of(shell.output().unwrap()).code, Some(0));
    wait_for("the list of waiting containers", || machine.paths.waiting().exists().then_some(()));
    let mut left = vec![machine.paths.data.clone(), machine.paths.run.clone()];
    let mut count = 0;
    while let Some(path) = left.pop() {
        // Temporary files are renamed meanwhile.
        let Ok(about) = fs::symlink_metadata(&path) else { continue };
        assert_eq!(about.permissions().mode() & 0o077, 0, "{}: {about:?}", path.display());
        count += 1;
        if about.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(count > 10, "only {count} files were found");
}

#[test]
fn idle_it_does_not_wake_up() {
    let Some(machine) = Machine::new("supervisor::idle_it_does_not_wake_up") else { return };
    machine.ds(&["list"]).succeeds();
    let pid = machine.supervisor().unwrap();
    let wakes = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    // The last worker is reaped after its client has returned, at any time on a busy machine. A supervisor that wakes up
    // again and again has no quiet time.
    wait_for("two seconds without a wakeup", || {
        let before = wakes();
        sleep(Duration::from_secs(2));
        (wakes() == before).then_some(())
    });
}

#[test]
fn an_error_in_its_configuration_is_reported_and_does_not_stop_it() {
    let Some(machine) =
        Machine::new("supervisor::an_error_in_its_configuration_is_reported_and_does_not_stop_it")
    else {
        return;
    };
    fs::create_dir_all(&machine.paths.data).unwrap();
    fs::write(machine.paths.supervisor_ini(), "[supervisor]\nlog-size = much\n").unwrap();
    machine.ds(&["list"]).succeeds();
    assert!(machine.log().contains("supervisor.ini:2:12"), "{}", machine.log());
    let reload = machine.ds(&["supervisor", "reload"]);
    assert_eq!(reload.code, Some(1));
    let mut lines = reload.stderr.lines();
    assert!(lines.next().unwrap().starts_with("ds: supervisor: "), "{}", reload.stderr);
    assert!(lines.any(|line| line.trim() == "^"), "a caret: {}", reload.stderr);
    fs::write(machine.paths.supervisor_ini(), "[supervisor]\nlog-level = error\n").unwrap();
    machine.ds(&["supervisor", "reload"]).succeeds();
    machine.ds(&["supervisor", "stop"]).succeeds();
    assert!(!machine.log().contains("supervisor ends"), "only errors are logged now");
}

#[test]
fn a_read_only_data_directory_is_reported_by_the_client() {
    let Some(machine) = Machine::new("supervisor::a_read_only_data_directory_is_reported_by_the_client")
    else {
        return;
    };
    fs::write(&machine.paths.data, "not a directory").unwrap();
    let done = machine.ds(&["list"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.starts_with("ds: list: cannot start the supervisor: create "), "{}", done.stderr);
    assert_eq!(done.stderr.lines().count(), 1);
}

#[test]
fn containers_start_by_themselves_once_after_each_boot_and_in_order() {
    let Some(machine) =
        Machine::new("supervisor::containers_start_by_themselves_once_after_each_boot_and_in_order")
    else {
        return;
    };
    machine.ds(&["supervise", "--no-autostart"]).succeeds();
    for (name, priority) in [("a", 20), ("b", -5), ("c", 20), ("d", 7)] {
        machine.container(name, &["autostart=yes", "start-after=boot", &format!("priority={priority}")]);
    }
    machine.container("manual", &[]);
    machine.ds(&["supervisor", "stop"]).succeeds();
    machine.ds(&["list"]).succeeds();
    machine.ds(&["supervisor", "stop"]).succeeds();
    assert!(!machine.log().contains("start "), "once after each boot: {}", machine.log());
    // The machine boots.
    fs::write(machine.paths.autostarted(), "another boot").unwrap();
    machine.ds(&["supervise"]).succeeds();
    // The tree has no init, so every start fails, which does not delay the next one.
    let order = wait_for("four starts", || {
        let log = machine.log();
        let starts = log
            .lines()
            .filter_map(|line| line.split(" error: start ").nth(1))
            .map(|rest| rest[..1].to_owned());
        let starts: Vec<String> = starts.collect();
        (starts.len() == 4).then_some(starts)
    });
    assert_eq!(order[..2], ["b", "d"]);
    assert!(!machine.log().contains("manual"));
    // Another container, to check that the supervisor still works.
    let mut list = machine.ds_command(&["list", "--names"]);
    assert_eq!(Done::of(list.stdin(Stdio::null()).output().unwrap()).succeeds(), "a\nb\nc\nd\nmanual\n");
}
