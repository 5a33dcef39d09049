//! Reads the memory of the container's processes: with process_vm_readv(2), or with proc_pid_mem(5) on kernels without
//! `CONFIG_CROSS_MEMORY_ATTACH`.
//!
//! Owns the time that it may take. The memory may be that of a file on a file system that asks a process of the container
//! for the content, and this process may itself wait for an answer of the monitor.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::rootfs::deadline::within;

/// The time for everything that may ask a file system of the container.
const LIMIT: Duration = Duration::from_secs(1);

/// Copies memory of a process or thread.
///
/// # Errors
/// EFAULT if not all of it is readable in time.
pub(super) fn read<const LENGTH: usize>(process: Pid, address: u64) -> Result<[u8; LENGTH], Errno> {
    let bytes = limited(&|| copy(process, address, LENGTH));
    bytes.ok().and_then(|bytes| bytes.try_into().ok()).ok_or(Errno::EFAULT)
}

/// Runs `work` with the time limit, in another process.
pub(super) fn limited(work: &dyn Fn() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    within(LIMIT, work)
}

/// Copies memory without a time limit.
pub(super) fn copy(process: Pid, address: u64, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let remote = [RemoteIoVec { base: usize::try_from(address)?, len: length }];
    if process_vm_readv(process, &mut [IoSliceMut::new(&mut bytes)], &remote) != Ok(length) {
        File::open(format!("/proc/{process}/mem"))?.read_exact_at(&mut bytes, address)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_or_refused() {
        let text = *b"12345678";
        let address = text.as_ptr().addr() as u64;
        assert_eq!(copy(Pid::this(), address, 8).unwrap(), text);
        copy(Pid::this(), 1, 8).unwrap_err();
        copy(Pid::this(), u64::MAX, 8).unwrap_err();
    }
}
