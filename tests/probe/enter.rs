//! `probe enter PID SECONDS [--terminal] CMD…`: runs a command in a sandbox.
//!
//! The command joins the groups and every namespace of PID and ends with this process; its exit code is this
//! process's (128+N when a signal ended it). After SECONDS it is killed, and 124 is the exit code. setns(2).

use crate::{sandbox, sys};
use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, chdir, execvp, setsid};
use std::env;
use std::ffi::CString;
use std::fs::File;
use std::io::{Write, stderr};
use std::time::{Duration, Instant};

/// Runs the command.
pub fn run(words: &[&str]) -> Result<u8> {
    let [pid, seconds, rest @ ..] = words else { bail!("enter PID SECONDS [--terminal] CMD…") };
    let (terminal, command) = match rest {
        ["--terminal", command @ ..] => (true, command),
        command => (false, command),
    };
    set_pdeathsig(Signal::SIGKILL)?;
    join(Pid::from_raw(pid.parse()?))?;
    // The terminal must become the controlling terminal of the command's session.
    let own_signals = sys::fork()?;
    let Some(child) = own_signals else {
        set_pdeathsig(Signal::SIGKILL)?;
        execute(command, terminal)?;
        return Ok(127);
    };
    watch(child, Duration::from_secs(seconds.parse()?))
}

fn join(pid: Pid) -> Result<()> {
    let namespaces =
        File::open(format!("/proc/{pid}/ns/mnt")).with_context(|| format!("the sandbox {pid} has ended"))?;
    let directory = env::current_dir()?;
    for mut file in sandbox::group_files(pid)? {
        file.write_all(b"0").context("join a group")?;
    }
    for kind in ["cgroup", "uts", "ipc", "net", "pid"] {
        let file = File::open(format!("/proc/{pid}/ns/{kind}"))?;
        setns(file, CloneFlags::empty()).with_context(|| format!("setns({kind})"))?;
    }
    setns(namespaces, CloneFlags::CLONE_NEWNS).context("setns(mnt)")?;
    chdir(&directory).with_context(|| format!("chdir({})", directory.display()))?;
    Ok(())
}

fn execute(command: &[&str], terminal: bool) -> Result<()> {
    if terminal {
        setsid().context("setsid")?;
        sys::take_terminal()?;
    }
    let words: Vec<CString> = command.iter().map(|word| Ok(CString::new(*word)?)).collect::<Result<_>>()?;
    let program = words.first().context("no command")?;
    execvp(program, &words).with_context(|| format!("exec {program:?}"))?;
    Ok(())
}

fn watch(child: Pid, limit: Duration) -> Result<u8> {
    let begun = Instant::now();
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::Exited(_, code) => return Ok(u8::try_from(code)?),
            WaitStatus::Signaled(_, signal, _) => return Ok(128 + signal as u8),
            _ if begun.elapsed() > limit => {
                writeln!(stderr(), "probe: no end after {} s", limit.as_secs())?;
                kill(child, Signal::SIGKILL)?;
                waitpid(child, None)?;
                return Ok(124);
            }
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}
