//! Operations on a guest's files with a timeout: they run in a child that is killed afterwards.
//!
//! Owns that child. A file system that was mounted in the container may ask a process of the guest for each answer
//! (FUSE, autofs, NFS). No flag of open(2) limits that wait; only SIGKILL ends it. The child shares only a pipe with
//! its parent.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use crate::call;
use crate::poll::wait_until;
use crate::subprocess::Subprocess;

/// First byte of the answer.
const DONE: u8 = 0;
const FAILED: u8 = 1;
/// The timeout for the end of a killed child.
const END: Duration = Duration::from_secs(1);

/// Runs `work` in a child and returns its result.
///
/// # Errors
/// The text of its error, or that it did not end within `limit`.
pub fn within(limit: Duration, work: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    let mut work = Some(work);
    run(limit, &mut || work.take().map_or_else(|| Ok(Vec::new()), |work| work()))
}

/// The same for work of any type, so that the program contains this function once.
fn run(limit: Duration, work: &mut dyn FnMut() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    let (ours, theirs) = call!(pipe2(OFlag::O_CLOEXEC), "pipe")?;
    let mut child = Subprocess::fork(move || {
        let answer = match work() {
            Ok(bytes) => [&[DONE][..], &bytes].concat(),
            Err(error) => [&[FAILED][..], format!("{error:#}").as_bytes()].concat(),
        };
        u8::from(std::fs::File::from(theirs).write_all(&answer).is_err())
    })?;
    let mut pipe = std::fs::File::from(ours);
    let mut answer = Vec::new();
    let ended = receive(&mut pipe, &mut answer, Instant::now() + limit);
    if !matches!(ended, Ok(true)) {
        child.kill();
        // A child that does not end is left to init, because waiting for it could block forever.
        if !matches!(receive(&mut pipe, &mut Vec::new(), Instant::now() + END), Ok(true)) {
            child.abandon();
            bail!("a file system of the container does not answer");
        }
    }
    child.wait()?;
    if !ended? {
        bail!("a file system of the container does not answer within {} s", limit.as_secs());
    }
    match answer.split_first() {
        Some((&DONE, bytes)) => Ok(bytes.to_vec()),
        Some((_, text)) => bail!("{}", String::from_utf8_lossy(text)),
        None => bail!("the process that accesses the container's files died"),
    }
}

/// Reads to the end; `false` after the timeout.
fn receive(pipe: &mut std::fs::File, into: &mut Vec<u8>, until: Instant) -> Result<bool> {
    let mut piece = [0; 16 * 1024];
    while call!(wait_until(pipe.as_fd(), until), "poll")? {
        match pipe.read(&mut piece).context("read")? {
            0 => return Ok(true),
            length => into.extend_from_slice(&piece[..length]),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::with_one_thread;

    #[test]
    fn an_answer_comes_whole_and_what_never_ends_is_killed() {
        let checked = with_one_thread(|| {
            let text = |error: anyhow::Error| format!("{error:#}");
            let long = vec![7; 300_000];
            let given = within(Duration::from_secs(30), || Ok(long.clone())).map_err(text)?;
            if given != long {
                return Err("not what was sent".into());
            }
            let failed = within(Duration::from_secs(30), || bail!("no")).map_err(text);
            let endless = within(Duration::from_millis(50), || {
                std::thread::sleep(Duration::from_secs(600));
                Ok(Vec::new())
            });
            match (failed, endless.map_err(text)) {
                (Err(no), Err(late)) if no == "no" && late.contains("does not answer") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        assert_eq!(checked, Ok(()));
    }
}
