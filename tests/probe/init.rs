//! The probe as PID 1: writes the report, then performs the steps in the environment variable `PROBE` in order.
//!
//! | step | what |
//! |---|---|
//! | `exit=N`, `crash`, `reboot`, `poweroff`, `halt` | the end, each in its own way |
//! | `first:STEP` | the step, but only in the first boot of this tree |
//! | `deaf` | from now on no signal but SIGKILL has any effect |
//! | `zombies=N`, `orphans=N` | children that have ended; daemons that ignore SIGTERM |
//! | `flood=N` | N MiB to the console |
//! | `login` | a login prompt on the console |
//! | `ready` | READY=1, sd_notify(3) |
//! | `sleep=N` | N milliseconds |
//!
//! Signals have no handlers for `PROBE_DELAY` milliseconds. Then it reaps children and waits. It records every signal
//! in `/signals`. At SIGTERM and the shutdown requests of `ds`, it exits with 0 or powers off.

use crate::{report, sys};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::env;
use std::fs::{self, OpenOptions};
use std::io::{Write, stdout};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// The path of the report in the tree.
const REPORT: &str = "/report.json";

/// The main function of PID 1.
pub fn run() -> Result<u8> {
    // Before anything is changed.
    let document = report::collect()?;
    if let Ok(delay) = env::var("PROBE_DELAY") {
        sleep(Duration::from_millis(delay.parse()?));
    }
    sys::block_all_signals();
    let first = !Path::new("/booted").exists();
    publish(&document.to_string());
    let mut deaf = false;
    let steps = env::var("PROBE").unwrap_or_default();
    for step in steps.split(',').map(str::trim).filter(|step| !step.is_empty()) {
        let step = match step.strip_prefix("first:") {
            Some(_) if !first => continue,
            Some(step) => step,
            None => step,
        };
        let (word, value) = step.split_once('=').unwrap_or((step, "0"));
        let number: u32 = value.parse().with_context(|| format!("PROBE: {step}"))?;
        match word {
            "exit" => return Ok(u8::try_from(number)?),
            "deaf" => deaf = true,
            _ => perform(word, number)?,
        }
    }
    wait(deaf)
}

/// In a read-only tree, the report is only on the console.
fn publish(document: &str) {
    let write = || -> std::io::Result<()> {
        fs::write("/report.json.new", document)?;
        fs::rename("/report.json.new", REPORT)?;
        writeln!(OpenOptions::new().create(true).append(true).open("/booted")?, "booted")
    };
    let written = write().map_or_else(|error| error.to_string(), |()| REPORT.to_owned());
    say(&format!("probe: report: {written}"));
}

/// The console may be closed or belong to another process.
fn say(line: &str) {
    let mut console = stdout();
    let _ = writeln!(console, "{line}");
    let _ = console.flush();
}

fn perform(word: &str, number: u32) -> Result<()> {
    match word {
        "crash" => crash(),
        "reboot" => sys::reboot(libc::RB_AUTOBOOT)?,
        "poweroff" => sys::reboot(libc::RB_POWER_OFF)?,
        "halt" => sys::reboot(libc::RB_HALT_SYSTEM)?,
        "zombies" => (0..number).try_for_each(|_| child(|| sys::exit_now(0)))?,
        "orphans" => (0..number).try_for_each(|_| child(orphan))?,
        "flood" => flood(number)?,
        "login" => {
            let _ = write!(stdout(), "\nprobe login: ");
            let _ = stdout().flush();
        }
        "ready" => notify("READY=1")?,
        "sleep" => sleep(Duration::from_millis(number.into())),
        _ => bail!("PROBE: {word}: no such step"),
    }
    Ok(())
}

/// PID 1 has no default action for a signal from inside, so a real fault is needed.
fn crash() {
    sys::unblock_all_signals();
    sys::fault();
}

fn child(life: impl FnOnce()) -> Result<()> {
    if sys::fork()?.is_none() {
        life();
        sys::exit_now(0);
    }
    Ok(())
}

/// A typical daemon: its own session, and SIGTERM ignored.
fn orphan() {
    let _ = nix::unistd::setsid();
    if matches!(sys::fork(), Ok(Some(_))) {
        sys::exit_now(0);
    }
    sys::ignore(libc::SIGTERM);
    sys::ignore(libc::SIGHUP);
    loop {
        sleep(Duration::from_secs(3600));
    }
}

fn flood(mebibytes: u32) -> Result<()> {
    let line = format!("{}\n", "0123456789abcdef".repeat(4).get(1..).unwrap_or_default());
    for _ in 0..mebibytes {
        stdout()
            .write_all(line.repeat(1024 * 1024 / line.len()).as_bytes())
            .context("write to the console")?;
    }
    say("probe: flood over");
    Ok(())
}

fn notify(message: &str) -> Result<()> {
    let path = env::var("NOTIFY_SOCKET").context("NOTIFY_SOCKET")?;
    UnixDatagram::unbound()?.send_to(message.as_bytes(), &path).with_context(|| format!("send to {path}"))?;
    Ok(())
}

fn wait(deaf: bool) -> Result<u8> {
    let mut signals = sys::signals()?;
    say("probe: waiting");
    loop {
        let number = sys::next_signal(&mut signals)?;
        if number == libc::SIGCHLD {
            reap();
            continue;
        }
        let log = OpenOptions::new().create(true).append(true).open("/signals");
        let _ = log.and_then(|mut log| writeln!(log, "{number}"));
        if deaf {
            continue;
        }
        let power_off = sys::realtime_minimum() + 3;
        match number {
            libc::SIGTERM => return Ok(0),
            libc::SIGUSR2 | libc::SIGPWR | libc::SIGCONT => sys::reboot(libc::RB_POWER_OFF)?,
            _ if number == power_off => sys::reboot(libc::RB_POWER_OFF)?,
            _ => {}
        }
    }
}

fn reap() {
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
            _ => {}
        }
    }
}
