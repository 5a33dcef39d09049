//! Capability sets of the calling process: capabilities(7), capset(2), prctl(2).

use nix::errno::Errno;

use super::check;

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`: two 32-bit words for each set.
const VERSION: u32 = 0x2008_0522;

/// Removes one capability from the bounding set, PR_CAPBSET_DROP (2.6.25).
///
/// # Errors
/// EINVAL for a capability that this kernel does not have, EPERM without CAP_SETPCAP.
pub fn drop_bounding(capability: u32) -> Result<(), Errno> {
    // SAFETY: PR_CAPBSET_DROP takes plain integers and touches no memory of ours.
    check(libc::c_long::from(unsafe {
        libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0)
    }))
    .map(drop)
}

/// Empties the inheritable set (and with it the ambient one) and removes `dropped` (one bit for each capability) from
/// the permitted and effective sets, capset(2). After that, a program inherits privileges across execve only through
/// the bounding set, and the caller has no other privileges.
///
/// # Errors
/// If capget(2) and capset(2) fails.
pub fn reduce(dropped: u64) -> Result<(), Errno> {
    let mut header = Header { version: VERSION, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: header and data are valid, correctly sized for version 3, and live across both calls.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    for (word, shift) in data.iter_mut().zip([0, 32]) {
        let kept = !u32::try_from((dropped >> shift) & u64::from(u32::MAX)).unwrap_or(0);
        word.inheritable = 0;
        word.permitted &= kept;
        word.effective &= kept;
    }
    // SAFETY: as above; the kernel only reads both.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) }).map(drop)
}
