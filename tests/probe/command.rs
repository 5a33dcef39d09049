//! The probe as a command in a container: shows or does one thing.
//!
//! | words | what |
//! |---|---|
//! | `report` | the report on stdout |
//! | `inherited` | what it has from whoever started it, by the names of the table of `ds` |
//! | `exit N`, `kill N` | ends with this code, or by this signal |
//! | `sum` | length and hash of stdin, until its end |
//! | `generate N SEED` | N pseudo-random bytes on stdout |
//! | `size` | the terminal's rows and columns, now and after every SIGWINCH |
//! | `hold` | says `holding` and waits to be killed |
//! | `deaf-session` | the same, with SIGHUP and SIGTERM ignored |
//! | `reboot`, `poweroff` | reboot(2) |
//! | `write FILE TEXT` | tries to write a file, says what the kernel answers |
//! | `signal-init N` | a signal for PID 1 |
//! | `say SOCKET TEXT` | sends a packet to a socket and shows the answer, or `refused` |

use crate::{inherit, report, sys};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket};
use std::fs::OpenOptions;
use std::io::{Read, Write, stdin, stdout};
use std::os::fd::{AsFd, AsRawFd};
use std::thread::sleep;
use std::time::Duration;

/// FNV-1a: detects a change of any byte.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// Runs one command.
pub fn run(words: &[&str]) -> Result<u8> {
    match words {
        ["report"] => print(&report::collect()?.to_string())?,
        ["inherited"] => print(&serde_json::Value::from(inherit::collect()).to_string())?,
        ["exit", code] => return Ok(code.parse()?),
        ["kill", number] => {
            sys::kill(i32::try_from(std::process::id())?, number.parse()?)?;
            sleep(Duration::from_secs(5));
            bail!("still alive");
        }
        ["sum"] => sum()?,
        ["generate", length, seed] => generate(length.parse()?, seed.parse()?)?,
        ["size"] => sizes()?,
        ["hold"] => hold()?,
        ["deaf-session"] => {
            sys::ignore(libc::SIGHUP);
            sys::ignore(libc::SIGTERM);
            hold()?;
        }
        ["reboot"] => sys::reboot(libc::RB_AUTOBOOT)?,
        ["poweroff"] => sys::reboot(libc::RB_POWER_OFF)?,
        ["write", file, text] => write(file, text)?,
        ["signal-init", number] => sys::kill(1, number.parse()?)?,
        ["say", path, text] => say(path, text)?,
        _ => bail!("{}: no such command", words.join(" ")),
    }
    Ok(0)
}

fn print(line: &str) -> Result<()> {
    writeln!(stdout(), "{line}")?;
    Ok(stdout().flush()?)
}

fn sum() -> Result<()> {
    let (mut length, mut hash) = (0_u64, OFFSET);
    let mut buffer = [0_u8; 64 * 1024];
    loop {
        let count = match stdin().lock().read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("read"),
        };
        length += count as u64;
        hash = buffer[..count].iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
    }
    print(&format!("{length} {hash:016x}"))
}

/// The tests generate the same bytes: xorshift64.
fn generate(length: usize, seed: u64) -> Result<()> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    stdout().write_all(&bytes)?;
    Ok(stdout().flush()?)
}

fn sizes() -> Result<()> {
    sys::block_all_signals();
    let mut signals = sys::signals()?;
    loop {
        let (rows, columns) = sys::window_size(stdin().as_fd())?;
        print(&format!("size {rows} {columns}"))?;
        while sys::next_signal(&mut signals)? != libc::SIGWINCH {}
    }
}

fn hold() -> Result<()> {
    print("holding")?;
    loop {
        sleep(Duration::from_secs(3600));
    }
}

fn write(file: &str, text: &str) -> Result<()> {
    let written =
        OpenOptions::new().write(true).open(file).and_then(|mut opened| opened.write_all(text.as_bytes()));
    let answer = written.map_or_else(
        |error| format!("{:?}", Errno::from_raw(error.raw_os_error().unwrap_or(0))),
        |()| "written".to_owned(),
    );
    print(&answer)
}

/// Whether there is an answer: the other end closes the connection of a peer that it refuses.
fn say(path: &str, text: &str) -> Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let connection = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).context("socket")?;
    connect(connection.as_raw_fd(), &UnixAddr::new(path)?).context("connect")?;
    let mut answer = vec![0; 64 * 1024];
    let sent = send(connection.as_raw_fd(), text.as_bytes(), MsgFlags::MSG_NOSIGNAL);
    match sent.and_then(|_| recv(connection.as_raw_fd(), &mut answer, MsgFlags::empty())) {
        Ok(0) | Err(_) => print("refused"),
        Ok(length) => print(&String::from_utf8_lossy(&answer[..length])),
    }
}
