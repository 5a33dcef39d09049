//! Commands on a terminal: `ds enter`, `ds run -t`, and the client's own terminal before, during and after.

use crate::process;
use crate::root_fs::Tree;
use crate::sandbox::Sandbox;
use crate::wait_for;
use nix::sys::signal::Signal;
use nix::sys::termios::{InputFlags, LocalFlags, Termios};

fn boot(sandbox: &Sandbox) -> Tree {
    let tree = sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    tree
}

/// Whether a terminal has the settings of a shell: lines, echo, signals.
fn is_cooked(settings: &Termios) -> bool {
    settings.local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
        && settings.input_flags.contains(InputFlags::ICRNL)
}

#[test]
fn a_login_shell_has_a_terminal_of_the_containers_own() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    let mut terminal = sandbox.ds_on_terminal(&["enter", "web"]);
    terminal.expect("# ");
    assert!(!is_cooked(&terminal.settings()), "the client's terminal is raw");
    terminal.send(b"tty; echo $HOME $USER; stty size; busybox stat -c 'mode %a of %u:%g' $(tty)\n");
    for text in ["/dev/pts/", "/root root", "24 80", "mode 620 of 0:5"] {
        terminal.expect(text);
    }
    terminal.send(b"exit 3\n");
    assert_eq!(terminal.wait(), 3, "{}", terminal.shown());
    assert!(is_cooked(&terminal.settings()));
}

#[test]
fn another_user_owns_the_terminal() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    let mut terminal = sandbox.ds_on_terminal(&["enter", "web", "-u", "alice"]);
    terminal.expect("$ ");
    terminal.send(b"id -un; pwd; busybox stat -c %U $(tty); : > /dev/tty && echo writable\n");
    for text in ["alice", "/home/alice", "alice", "writable"] {
        terminal.expect(text);
    }
    terminal.send(b"\x04");
    assert_eq!(terminal.wait(), 0, "Ctrl-D at the prompt");
}

#[test]
fn keys_reach_the_program() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    let is_in_state = |state| {
        let is_it = |one: &process::Process| one.name == "sleep" && one.state == state;
        wait_for("the program", || sandbox.processes().into_iter().find(is_it));
    };
    let mut terminal = sandbox.ds_on_terminal(&["run", "-t", "web", "--", "/bin/sh"]);
    terminal.expect("# ");
    terminal.send(b"sleep 100\n");
    is_in_state('S');
    terminal.send(b"\x03");
    terminal.send(b"echo code $?\n");
    terminal.expect("code 130");
    terminal.send(b"sleep 100\n");
    is_in_state('S');
    terminal.send(b"\x1a");
    terminal.expect("Stopped");
    is_in_state('T');
    terminal.send(b"fg\n");
    is_in_state('S');
    terminal.send(b"\x03");
    terminal.expect("# ");
    terminal.send(b"exit 5\n");
    assert_eq!(terminal.wait(), 5, "{}", terminal.shown());
}

#[test]
fn the_size_follows_the_window() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    let mut terminal = sandbox.ds_on_terminal(&["run", "-t", "web", "--", "/bin/probe", "size"]);
    terminal.expect("size 24 80");
    terminal.resize(50, 132);
    terminal.expect("size 50 132");
    terminal.resize(10, 20);
    terminal.expect("size 10 20");
    terminal.child.kill().unwrap();
    terminal.child.wait().unwrap();
}

#[test]
fn a_megabyte_is_pasted_without_loss() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    let script = "stty raw -echo; echo ready; head -c 1000000 | /bin/probe sum; stty sane; echo over";
    let mut terminal = sandbox.ds_on_terminal(&["run", "-t", "web", "--", "/bin/sh", "-c", script]);
    terminal.expect("ready");
    // Every byte, including the special keys of a terminal.
    let bytes: Vec<u8> =
        (0..1_000_000_u32).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    terminal.send(&bytes);
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    terminal.expect(&format!("1000000 {hash:016x}"));
    terminal.expect("over");
    assert_eq!(terminal.wait(), 0);
    assert!(is_cooked(&terminal.settings()));
}

#[test]
fn a_flood_of_output_arrives_whole() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    let script = "stty raw; busybox seq 200000; echo the end";
    let mut terminal = sandbox.ds_on_terminal(&["run", "-t", "web", "--", "/bin/sh", "-c", script]);
    assert_eq!(terminal.wait(), 0);
    let shown = terminal.shown();
    let numbers = shown.lines().filter_map(|line| line.trim().parse::<u32>().ok());
    assert!(numbers.eq(1..=200_000), "{} bytes, {}", shown.len(), shown.ends_with("the end\n"));
}

#[test]
fn the_terminal_is_restored_after_any_process_is_killed() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    for victim in ["worker", "command", "monitor", "client"] {
        sandbox.ds(&["start", "web"]).succeeds();
        let mut terminal = sandbox.ds_on_terminal(&["run", "-t", "web", "--", "/bin/probe", "hold"]);
        terminal.expect("holding");
        assert!(!is_cooked(&terminal.settings()));
        let command = sandbox.process(&["/bin/probe", "hold"]).unwrap();
        match victim {
            "worker" => process::kill(command.parent),
            "command" => process::kill(command.pid),
            "monitor" => process::kill(sandbox.monitor("web").unwrap().pid),
            _ => terminal.child.kill().unwrap(),
        }
        let code = terminal.wait();
        let expected = match victim {
            "worker" => 125,
            "client" => -1,
            _ => 128 + 9,
        };
        assert_eq!(code, expected, "{victim}: {}", terminal.shown());
        wait_for(&format!("the terminal after the {victim}"), || {
            is_cooked(&terminal.settings()).then_some(())
        });
        wait_for("the end of the command", || {
            sandbox.process(&["/bin/probe", "hold"]).is_none().then_some(())
        });
    }
}

#[test]
fn a_closed_terminal_hangs_up_the_session() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    let terminal = sandbox.ds_on_terminal(&["enter", "web"]);
    let shell = wait_for("the shell", || {
        sandbox.processes().into_iter().find(|one| one.name.ends_with("sh") && one.name != "ssh")
    });
    drop(terminal);
    wait_for("the end of the shell", || process::Process::of(shell.pid).is_none().then_some(()));
    assert_eq!(sandbox.state("web"), "running");
}

#[test]
fn a_supervisor_that_dies_does_not_disturb_a_session() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    let mut terminal = sandbox.ds_on_terminal(&["enter", "web"]);
    terminal.expect("# ");
    sandbox.kill_supervisor();
    terminal.send(b"echo still $((1 + 1)) here\n");
    terminal.expect("still 2 here");
    // The next supervisor serves other clients in the meantime.
    assert_eq!(sandbox.state("web"), "running");
    terminal.send(b"exit\n");
    assert_eq!(terminal.wait(), 0);
    assert!(is_cooked(&terminal.settings()));
}

#[test]
fn a_stopped_client_restores_the_terminal() {
    let sandbox = Sandbox::new();
    boot(&sandbox);
    // An interactive shell with job control.
    let script = format!(
        "set -m; '{}' run -t web -- /bin/probe hold; echo in the shell; read line; fg; echo code $?",
        sandbox.binary().display()
    );
    let mut terminal = sandbox.on_terminal(&["sh", "-c", &script]);
    terminal.expect("holding");
    let enter = i32::try_from(terminal.child.id()).unwrap();
    let client = process::below(enter).into_iter().find(|one| one.name == "ds").unwrap();
    process::signal(client.pid, Signal::SIGTSTP);
    terminal.expect("in the shell");
    assert!(is_cooked(&terminal.settings()));
    terminal.send(b"\n");
    wait_for("a raw terminal", || (!is_cooked(&terminal.settings())).then_some(()));
    terminal.send(b"\x03");
    terminal.expect("code 130");
    terminal.wait();
    assert!(is_cooked(&terminal.settings()));
}
