//! Copies one tree into another, as an archive in a pipe: the copy contains exactly what an archive contains.
//!
//! A child packs into a pipe and this process unpacks it, so that both work in parallel. fork(2), pipe(2).

use std::fs::File;
use std::io::{Read, Write};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::pipe2;

use crate::archive::compare::compare;
use crate::archive::pack::pack;
use crate::archive::unpack::{Rules, unpack};
use crate::archive::writer::Writer;
use crate::call;
use crate::rootfs::root::Root;
use crate::storage::job::Reporter;
use crate::sys::process::{Fork, exit_immediately, fork, set_parent_death_signal};

/// Size of the pipe in bytes; if the kernel refuses it, the default is used.
const PIPE: i32 = 1 << 20;
/// Maximum number of differences in a message.
const NAMED: usize = 3;

/// Copies the tree `from` into the empty tree `to`; `progress` receives the number of written bytes.
///
/// # Errors
/// If a file cannot be read or written, with its name.
pub fn transfer(from: &Root, to: &Root, reporter: &mut Reporter) -> Result<()> {
    let (reading, writing) = call!(pipe2(OFlag::O_CLOEXEC), "pipe2")?;
    let (complaint, complaining) = call!(pipe2(OFlag::O_CLOEXEC), "pipe2")?;
    let _ = fcntl(&writing, FcntlArg::F_SETPIPE_SZ(PIPE));
    let child = match call!(fork(), "fork")? {
        Fork::Parent(pid) => pid,
        Fork::Child => {
            drop((reading, complaint));
            let _ = set_parent_death_signal(Signal::SIGKILL);
            let mut pipe = File::from(writing);
            let packed = pack(from, ".", &mut pipe, &mut |_| {});
            let packed = packed.and_then(|packed| Writer::new(&mut pipe).end().map(|()| packed));
            let said = match packed {
                Ok(packed) => packed.skipped.join("\n"),
                Err(error) => format!("\0{error:#}"),
            };
            let _ = File::from(complaining).write_all(said.as_bytes());
            exit_immediately(0)
        }
    };
    drop((writing, complaining));
    let mut stream = File::from(reading);
    let unpacked = unpack(&mut stream, to, &Rules::default(), &mut |done| reporter.progress(done));
    // The packing process gets EPIPE.
    drop(stream);
    let mut said = String::new();
    let heard = File::from(complaint).read_to_string(&mut said);
    while waitpid(child, None) == Err(Errno::EINTR) {}
    heard.context("read the messages of the packing process")?;
    let unpacked = match (unpacked, said.strip_prefix('\0')) {
        // If one side fails, the other one fails too: report the first error.
        (Err(error), Some(reason)) if reason.contains("EPIPE") || reason.contains("Broken pipe") => {
            return Err(error);
        }
        (_, Some(reason)) => bail!("{reason}"),
        (unpacked, None) => unpacked?,
    };
    for line in said.lines().chain(unpacked.warnings.iter().map(String::as_str)) {
        reporter.warn(line)?;
    }
    reporter.finish(unpacked.bytes)
}

/// Verifies a copy.
///
/// # Errors
/// The differences.
pub fn verify(from: &Root, to: &Root, reporter: &mut Reporter) -> Result<()> {
    let differences = compare(from, to, &mut |done| reporter.progress(done))?;
    if differences.is_empty() {
        return Ok(());
    }
    let more = differences.len().saturating_sub(NAMED);
    let named: Vec<String> = differences.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    bail!("the copy differs: {}{more}; nothing was changed", named.join(", "))
}
