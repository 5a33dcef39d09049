//! Replaces the supervisor's program in the same process.
//!
//! Owns the document with the state that the old program leaves for the new one in an anonymous file, next to the
//! inherited descriptors, and the check of a successor before anything is given up. The document may be written by an
//! older program and read by a newer one: unknown fields are ignored, and missing ones have their defaults. execve(2),
//! memfd_create(2), open(2) O_TMPFILE, sigprocmask(2), elf(5).

use std::convert::Infallible;
use std::env;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::SigSet;
use nix::unistd::execve;
use serde::{Deserialize, Serialize};

use super::conditions::Pending;
use super::environment::{SUCCESSOR, environment};
use super::guard::Guard;
use super::policy::Policy;
use super::seal;
use crate::call;
use crate::config::value::Name;
use crate::paths::Paths;
use crate::sys::descriptor;
use crate::sys::descriptor::executable_memfd;
use crate::tool::{Invocation, Tool};

/// The header fields of an ELF file that identify the machine: class and byte order, then the machine.
const ELF_HEADER: usize = 20;

/// The state of the old program; descriptors are represented by their numbers.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The socket for clients.
    pub listener: RawFd,
    /// The lock of the supervisor.
    pub lock: RawFd,
    /// The start of the first program, in milliseconds on the clock of [`now`](crate::clock::now).
    pub since_ms: u64,
    /// The worker that requested the replacement.
    pub asker: i32,
    /// The children that have not been reaped.
    pub workers: Vec<Worker>,
    /// Workers that must be notified when the start that they cancelled has ended.
    pub cancelling: Vec<(Name, i32)>,
    /// The state of the policy.
    pub policy: Policy,
    /// Containers that wait for a condition.
    pub pending: Pending,
    /// The starts that the machine has yet to survive.
    pub guard: Guard,
}

/// A child.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Worker {
    /// Its process id.
    pub pid: i32,
    /// The connection to it.
    #[serde(rename = "line")]
    pub connection: Option<RawFd>,
    /// The container that it starts, if that is its task.
    pub starts: Option<Name>,
    /// The container whose remains it removes, if that is its task.
    pub sweeps: Option<Name>,
}

/// A verified successor.
#[derive(Debug)]
pub struct Successor {
    /// A copy that no other process can modify.
    pub program: OwnedFd,
    /// Its version.
    pub version: String,
}

/// The output of `ds version --json`.
#[derive(Deserialize)]
struct Version {
    version: String,
}

/// Copies a program and verifies that it can take over: it is made for this machine, and it runs.
///
/// # Errors
/// Why it cannot, in one line.
pub fn examine(path: &Path, paths: &Paths) -> Result<Successor> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let own = machine(&mut File::open("/proc/self/exe").context("open /proc/self/exe")?)?;
    ensure!(
        machine(&mut file).with_context(|| path.display().to_string())? == own,
        "{} is not a program for this machine; the supervisor is unchanged",
        path.display()
    );
    let mut version = None;
    let program = seal::copy_that_runs(path, paths, &mut |copy| {
        version = Some(ask_version(copy)?);
        Ok(())
    });
    let program = program.with_context(|| format!("{}; the supervisor is unchanged", path.display()))?;
    Ok(Successor { program, version: version.unwrap_or_default() })
}

/// Reads the header fields of an ELF file that identify the machine.
fn machine(file: &mut File) -> Result<[u8; 4]> {
    let mut header = [0; ELF_HEADER];
    file.rewind().and_then(|()| file.read_exact(&mut header)).context("it is not an executable")?;
    ensure!(header.starts_with(b"\x7fELF"), "it is not an executable");
    Ok([header[4], header[5], header[18], header[19]])
}

fn ask_version(copy: BorrowedFd<'_>) -> Result<String> {
    let arguments = [OsStr::new("version"), OsStr::new("--json")];
    let inherited = [copy];
    let mut invocation = Invocation { inherited: &inherited, ..Invocation::new(&arguments) };
    let outcome = Tool::at(descriptor::path(copy).into()).run(&mut invocation)?;
    ensure!(outcome.is_success(), "it does not run: {}", outcome.last_words());
    let answer: Version =
        serde_json::from_str(outcome.last_words()).context("it does not report its version")?;
    Ok(answer.version)
}

impl State {
    /// Reads the state that the old program left in a descriptor.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(document: OwnedFd) -> Result<Self> {
        let file = File::from(document);
        let length = file.metadata().context("the state")?.len();
        let mut bytes = vec![0; usize::try_from(length).context("the state")?];
        file.read_exact_at(&mut bytes, 0).context("read the state")?;
        serde_json::from_slice(&bytes).context("the state of the previous program")
    }

    /// Executes the successor, which inherits this state and the descriptors in `kept`. Returns only on failure;
    /// nothing has then changed.
    ///
    /// # Errors
    /// If execve(2) or open(2) fails.
    pub fn hand_over(&self, program: &OwnedFd, kept: &[BorrowedFd<'_>], paths: &Paths) -> Result<Infallible> {
        let mut document = anonymous_file(&paths.run)?;
        document.write_all(&serde_json::to_vec(self)?).context("write the state")?;
        let arguments: Vec<CString> = env::args().map(CString::new).collect::<Result<_, _>>()?;
        let marker = format!("{}{}", SUCCESSOR, document.as_raw_fd());
        let environment = environment(&marker)?;
        let path = CString::new(descriptor::path(program.as_fd()))?;
        let kept: Vec<BorrowedFd<'_>> = kept.iter().copied().chain([document.as_fd()]).collect();
        // Signals stay pending from here on until the new program listens.
        call!(SigSet::all().thread_block(), "sigprocmask")?;
        let done = mark(&kept, FdFlag::empty())
            .and_then(|()| Ok(call!(execve(&path, &arguments, &environment), "execve(the new program)")?));
        mark(&kept, FdFlag::FD_CLOEXEC)?;
        call!(SigSet::all().thread_unblock(), "sigprocmask")?;
        match done {
            Ok(never) => match never {},
            Err(error) => bail!("{error:#}; the supervisor is unchanged"),
        }
    }
}

/// An unnamed file: in memory, or in this directory on kernels without memfd_create(2).
fn anonymous_file(directory: &Path) -> Result<File> {
    match executable_memfd(c"ds-state") {
        Ok(file) => Ok(file.into()),
        Err(_) => File::options()
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_TMPFILE | libc::O_EXCL)
            .open(directory)
            .with_context(|| format!("open({}, O_TMPFILE)", directory.display())),
    }
}

/// Sets whether descriptors close at execve(2).
pub(super) fn mark(descriptors: &[BorrowedFd<'_>], flag: FdFlag) -> Result<()> {
    for descriptor in descriptors {
        call!(fcntl(descriptor, FcntlArg::F_SETFD(flag)), "fcntl(F_SETFD)")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_or_newer_program_left_can_be_read() {
        let state: State = serde_json::from_str(r#"{"listener":7,"added later":{"a":1}}"#).unwrap();
        assert_eq!((state.listener, state.lock, state.workers.len()), (7, 0, 0));
        let text =
            r#"{"workers":[{"pid":5,"starts":"web","new":true}],"policy":{"new":1},"pending":{"x":2}}"#;
        let state: State = serde_json::from_str(text).unwrap();
        assert_eq!(state.workers[0].starts.as_ref().map(Name::as_str), Some("web"));
        let again: State = serde_json::from_slice(&serde_json::to_vec(&state).unwrap()).unwrap();
        assert_eq!(again.workers[0].pid, 5);
    }

    #[test]
    fn a_file_for_another_machine_is_no_successor() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ds");
        std::fs::write(&path, "#!/bin/sh\necho '{\"version\":\"9\"}'\n").unwrap();
        assert!(
            format!("{:#}", examine(&path, &Paths::below(directory.path())).unwrap_err())
                .contains("not an executable")
        );
        let mut other = std::fs::read("/proc/self/exe").unwrap()[..ELF_HEADER].to_vec();
        other[18] ^= 0xff;
        std::fs::write(&path, other).unwrap();
        let refusal = format!("{:#}", examine(&path, &Paths::below(directory.path())).unwrap_err());
        assert!(refusal.contains("not a program for this machine"), "{refusal}");
    }
}
