//! Reads the memory of the container's processes: with process_vm_readv(2), or with proc_pid_mem(5) on kernels without
//! `CONFIG_CROSS_MEMORY_ATTACH`.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

/// Copies memory of a process or thread.
///
/// # Errors
/// EFAULT if not all of it is readable.
pub(super) fn read(process: Pid, address: u64, bytes: &mut [u8]) -> Result<(), Errno> {
    let base = usize::try_from(address).map_err(|_| Errno::EFAULT)?;
    let length = bytes.len();
    let remote = [RemoteIoVec { base, len: length }];
    if process_vm_readv(process, &mut [IoSliceMut::new(bytes)], &remote) == Ok(length) {
        return Ok(());
    }
    let file = File::open(format!("/proc/{process}/mem")).map_err(|_| Errno::EFAULT)?;
    file.read_exact_at(bytes, address).map_err(|_| Errno::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_or_refused() {
        let text = *b"12345678";
        let mut bytes = [0; 8];
        read(Pid::this(), text.as_ptr().addr() as u64, &mut bytes).unwrap();
        assert_eq!(bytes, text);
        assert_eq!(read(Pid::this(), 1, &mut bytes), Err(Errno::EFAULT));
    }
}
