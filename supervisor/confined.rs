//! A child between an input and an output, confined to what its work needs.
//!
//! Owns the permissions of such a child: to parse untrusted data (decompression) or to use the network (downloads),
//! under a system call filter and a memory limit. It has only an input and an output, and ends with its parent. Does
//! not know what the bytes mean. prctl(2), seccomp(2), getrlimit(2).

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Result;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::Mode;
use nix::unistd::pipe2;
use seccompiler::sock_filter;

use crate::call;
use crate::subprocess::Subprocess;
use crate::sys::{descriptor, seccomp};

/// Size of a pipe in bytes, if the user's limit (pipe(7), `pipe-max-size`) permits it.
const PIPE: i32 = 1 << 20;
/// Address space of a confined process, bytes.
const MEMORY: u64 = 1 << 30;
/// Exit code of a child that failed before its work.
const NOT_BEGUN: u8 = 100;

/// The permissions of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// Read its input, write its output, use memory and end.
    Strict,
    /// The same, and use the network; other system calls fail.
    Network,
    /// All permissions of the parent.
    None,
}

impl Confinement {
    fn filter(self) -> Option<Vec<sock_filter>> {
        const KILL: u32 = 0x8000_0000;
        const ERROR: u32 = 0x0005_0000;
        match self {
            Self::Strict => Some(only(&allowed(), KILL)),
            // Libraries make optional system calls.
            Self::Network => Some(only(&[allowed(), of_the_network()].concat(), ERROR | errno(Errno::EPERM))),
            Self::None => None,
        }
    }
}

fn errno(errno: Errno) -> u32 {
    u32::try_from(errno as i32).unwrap_or_default()
}

/// Forks a child that runs `work` with its input and output and exits with the returned code.
///
/// # Errors
/// EDEADLK if this process has more than one thread; if fork(2) fails.
pub fn start(
    input: &OwnedFd,
    output: &OwnedFd,
    confinement: Confinement,
    work: &mut dyn FnMut(&mut File, &mut File) -> u8,
) -> Result<Subprocess> {
    start_prepared(input, output, confinement, &mut || (), &mut |(), input, output| work(input, output))
}

/// The same, with what `before` makes while it still has all permissions, such as threads.
///
/// # Errors
/// As for [`start`].
pub fn start_prepared<T>(
    input: &OwnedFd,
    output: &OwnedFd,
    confinement: Confinement,
    before: &mut dyn FnMut() -> T,
    work: &mut dyn FnMut(&mut T, &mut File, &mut File) -> u8,
) -> Result<Subprocess> {
    Subprocess::fork(|| match prepare(input.as_fd(), output.as_fd(), confinement, before) {
        // Nothing is dropped, because the filter does not permit close(2).
        Ok(streams) => {
            let (prepared, input, output) = &mut *ManuallyDrop::new(streams);
            work(prepared, input, output)
        }
        Err(_) => NOT_BEGUN,
    })
}

fn prepare<T>(
    input: BorrowedFd<'_>,
    output: BorrowedFd<'_>,
    confinement: Confinement,
    before: &mut dyn FnMut() -> T,
) -> Result<(T, File, File), Errno> {
    // First to numbers above the standard streams, then to their places.
    let above = |descriptor: BorrowedFd<'_>| fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(3));
    let (input, output) = (descriptor::adopt(above(input)?), descriptor::adopt(above(output)?));
    let proc = open("/proc", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    descriptor::make_standard(input.as_fd(), 0)?;
    descriptor::make_standard(output.as_fd(), 1)?;
    descriptor::close_from(2, proc.as_ref().map_or(input.as_fd(), AsFd::as_fd))?;
    // They are closed, and must not be closed again.
    std::mem::forget((input, output, proc));
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    let prepared = before();
    if let Some(program) = confinement.filter() {
        setrlimit(Resource::RLIMIT_AS, MEMORY, MEMORY)?;
        match seccomp::install_for_all_threads(&program) {
            // A kernel without filters: only the limits above apply.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOSYS) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok((prepared, File::from(descriptor::adopt(0)), File::from(descriptor::adopt(1))))
}

/// A pipe with the largest permitted size: reading end, writing end.
///
/// # Errors
/// If pipe2(2) fails.
pub fn large_pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (reading, writing) = call!(pipe2(OFlag::O_CLOEXEC), "pipe2")?;
    let _ = fcntl(&writing, FcntlArg::F_SETPIPE_SZ(PIPE));
    Ok((reading, writing))
}

/// The permitted calls, by the numbers of this build's architecture.
fn allowed() -> Vec<libc::c_long> {
    let mut calls = vec![
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_readv,
        libc::SYS_writev,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_rt_sigreturn,
        libc::SYS_restart_syscall,
    ];
    #[cfg(not(target_arch = "arm"))]
    calls.push(libc::SYS_mmap);
    #[cfg(any(target_arch = "arm", target_arch = "x86"))]
    calls.push(libc::SYS_mmap2);
    calls
}

/// The additional calls for the network.
fn of_the_network() -> Vec<libc::c_long> {
    let calls = vec![
        libc::SYS_socket,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_sendto,
        libc::SYS_recvfrom,
        libc::SYS_sendmsg,
        libc::SYS_recvmsg,
        libc::SYS_shutdown,
        libc::SYS_setsockopt,
        libc::SYS_getsockopt,
        libc::SYS_getsockname,
        libc::SYS_getpeername,
        libc::SYS_ppoll,
        libc::SYS_close,
        libc::SYS_fcntl,
        // FIONBIO, for connect with a timeout.
        libc::SYS_ioctl,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_getrandom,
        libc::SYS_sched_yield,
        libc::SYS_getpid,
        libc::SYS_gettid,
    ];
    #[cfg(any(target_arch = "x86_64", target_arch = "x86", target_arch = "arm"))]
    let calls = [calls, vec![libc::SYS_poll]].concat();
    #[cfg(any(target_arch = "x86", target_arch = "arm"))]
    let calls = [
        calls,
        vec![
            libc::SYS_fcntl64,
            libc::SYS_clock_gettime64,
            libc::SYS_clock_nanosleep_time64,
            libc::SYS_ppoll_time64,
        ],
    ]
    .concat();
    calls
}

/// The architecture in linux/audit.h; `None` if unknown.
const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else if cfg!(target_arch = "arm") {
    Some(0x4000_0028)
} else if cfg!(target_arch = "x86") {
    Some(0x4000_0003)
} else {
    None
};

/// A filter (linux/seccomp.h, linux/bpf_common.h) that permits these calls and has another answer for all others.
fn only(calls: &[libc::c_long], otherwise: u32) -> Vec<sock_filter> {
    const LOAD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const KILL: u32 = 0x8000_0000;
    const ALLOW: u32 = 0x7fff_0000;
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let allow = step(RETURN, 0, 0, ALLOW);
    let Some(architecture) = ARCHITECTURE else { return vec![allow] };
    let mut program = vec![
        step(LOAD, 0, 0, 4),
        step(JUMP_EQUAL, 1, 0, architecture),
        step(RETURN, 0, 0, KILL),
        step(LOAD, 0, 0, 0),
    ];
    for number in calls {
        program.push(step(JUMP_EQUAL, 0, 1, u32::try_from(*number).unwrap_or(u32::MAX)));
        program.push(allow.clone());
    }
    program.push(step(RETURN, 0, 0, otherwise));
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::{Ended, with_one_thread};
    use nix::sys::wait::waitpid;
    use std::io::{Read, Write};

    const SIGSYS: u8 = 31;

    type Work = fn(&mut File, &mut File) -> u8;

    /// Output and exit of a child with the given `input`.
    fn run(input: &[u8], confinement: Confinement, mut work: Work) -> Result<(Vec<u8>, Ended), String> {
        let text = |error: anyhow::Error| format!("{error:#}");
        let (reading, writing) = large_pipe().map_err(text)?;
        let (result, output) = large_pipe().map_err(text)?;
        File::from(writing).write_all(input).map_err(|error| error.to_string())?;
        let mut child = start(&reading, &output, confinement, &mut work).map_err(text)?;
        drop(output);
        let mut bytes = Vec::new();
        File::from(result).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        Ok((bytes, child.wait().map_err(text)?))
    }

    fn expect(input: &'static [u8], confinement: Confinement, work: Work, end: Ended, output: &'static [u8]) {
        let done = with_one_thread(|| {
            let (bytes, ended) = run(input, confinement, work)?;
            if ended == end && bytes == output { Ok(()) } else { Err(format!("{ended:?} {bytes:?}")) }
        });
        assert_eq!(done, Ok(()));
    }

    /// Copies without the fstat(2) of read_to_end.
    fn copy(input: &mut File, output: &mut File) -> u8 {
        let mut buffer = vec![0; 1 << 10];
        loop {
            match input.read(&mut buffer) {
                Ok(0) => return 7,
                Ok(length) if output.write_all(&buffer[..length]).is_ok() => {}
                _ => return 8,
            }
        }
    }

    #[test]
    fn bytes_go_through_and_the_code_comes_back() {
        for confinement in [Confinement::Strict, Confinement::None] {
            expect(b"abc", confinement, copy, Ended::Exited(7), b"abc");
        }
    }

    #[test]
    fn a_confined_child_opens_nothing_and_has_nothing_open() {
        let open: Work = |_, _| u8::from(File::open("/etc/passwd").is_ok());
        expect(b"", Confinement::Strict, open, Ended::Signalled(SIGSYS), b"");
        let list: Work = |_, _| {
            let entries = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
            // Input, output and the directory listing.
            u8::try_from(entries).unwrap_or(0)
        };
        expect(b"", Confinement::None, list, Ended::Exited(3), b"");
    }

    #[test]
    fn a_dropped_child_is_killed() {
        let done = with_one_thread(|| {
            let (reading, _writing) = large_pipe().map_err(|error| error.to_string())?;
            let (_result, output) = large_pipe().map_err(|error| error.to_string())?;
            let child = start(&reading, &output, Confinement::Strict, &mut copy);
            drop(child.map_err(|error| error.to_string())?);
            match waitpid(None, None) {
                Err(Errno::ECHILD) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        assert_eq!(done, Ok(()));
    }
}
