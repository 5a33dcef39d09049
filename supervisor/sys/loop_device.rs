//! Loop devices: loop(4), the ioctls of linux/loop.h.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::{check, request};

const LOOP_SET_FD: u32 = 0x4C00;
const LOOP_CLR_FD: u32 = 0x4C01;
const LOOP_SET_STATUS64: u32 = 0x4C04;
const LOOP_GET_STATUS64: u32 = 0x4C05;
const LOOP_SET_DIRECT_IO: u32 = 0x4C08;
const LOOP_CONFIGURE: u32 = 0x4C0A;
const LOOP_CTL_GET_FREE: u32 = 0x4C82;
/// `LO_FLAGS_READ_ONLY`.
pub const READ_ONLY: u32 = 1;
/// `LO_FLAGS_AUTOCLEAR`: the device releases its file with its last user.
pub const AUTOCLEAR: u32 = 4;

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    device: u64,
    inode: u64,
    real_device: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encryption: u32,
    key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    encryption_name: [u8; 64],
    key: [u8; 32],
    init: [u64; 2],
}

impl Info {
    fn new(flags: u32, name: &[u8], part: Part) -> Self {
        let mut file_name = [0; 64];
        for (place, byte) in file_name.iter_mut().take(63).zip(name) {
            *place = *byte;
        }
        Self {
            device: 0,
            inode: 0,
            real_device: 0,
            offset: part.offset,
            size_limit: part.length,
            number: 0,
            encryption: 0,
            key_size: 0,
            flags,
            file_name,
            encryption_name: [0; 64],
            key: [0; 32],
            init: [0; 2],
        }
    }
}

/// The part of its file that a device shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Part {
    /// Its offset in bytes; a multiple of 512.
    pub offset: u64,
    /// Its size in bytes; 0 for the rest of the file.
    pub length: u64,
}

/// `struct loop_config`, 5.8.
#[repr(C)]
struct Configuration {
    file: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// The file of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backing {
    /// `st_dev` of the file.
    pub device: u64,
    /// `st_ino` of the file.
    pub inode: u64,
    /// [`READ_ONLY`], [`AUTOCLEAR`] and others.
    pub flags: u32,
}

/// The number of a free device, LOOP_CTL_GET_FREE (3.1); creates one if none is free. Another process may take it
/// first.
///
/// # Errors
/// ENOSPC, ENOMEM and others if no more can be created.
pub fn free_number(control: BorrowedFd<'_>) -> Result<u32, Errno> {
    let number = call(control, LOOP_CTL_GET_FREE, 0)?;
    u32::try_from(number).map_err(|_| Errno::EINVAL)
}

/// Attaches a file and sets all options in one call, LOOP_CONFIGURE (5.8). losetup(8) shows `name`.
///
/// # Errors
/// EBUSY if the device is in use, EINVAL or ENOTTY before 5.8.
pub fn configure(
    device: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    part: Part,
    flags: u32,
    name: &[u8],
) -> Result<(), Errno> {
    let file = file.as_raw_fd().unsigned_abs();
    let configuration =
        Configuration { file, block_size: 0, info: Info::new(flags, name, part), reserved: [0; 8] };
    // SAFETY: the structure lives across the call, which only reads it.
    check(libc::c_long::from(unsafe {
        libc::ioctl(device.as_raw_fd(), request(LOOP_CONFIGURE), &raw const configuration)
    }))
    .map(drop)
}

/// Attaches a file with LOOP_SET_FD; read-only if the device or the file was opened read-only.
///
/// # Errors
/// EBUSY if the device is in use.
pub fn set_file(device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> Result<(), Errno> {
    call(device, LOOP_SET_FD, libc::c_ulong::from(file.as_raw_fd().unsigned_abs())).map(drop)
}

/// Sets part, flags and name, LOOP_SET_STATUS64.
///
/// # Errors
/// EAGAIN while the kernel still drops old pages of the device (4.14 and others); a retry succeeds.
pub fn set_status(device: BorrowedFd<'_>, part: Part, flags: u32, name: &[u8]) -> Result<(), Errno> {
    let info = Info::new(flags, name, part);
    // SAFETY: the structure lives across the call, which only reads it.
    check(libc::c_long::from(unsafe {
        libc::ioctl(device.as_raw_fd(), request(LOOP_SET_STATUS64), &raw const info)
    }))
    .map(drop)
}

/// The file of a device, LOOP_GET_STATUS64.
///
/// # Errors
/// ENXIO if it is free.
pub fn backing(device: BorrowedFd<'_>) -> Result<Backing, Errno> {
    let mut info = Info::new(0, &[], Part::default());
    // SAFETY: the structure lives across the call, which fills it in.
    check(libc::c_long::from(unsafe {
        libc::ioctl(device.as_raw_fd(), request(LOOP_GET_STATUS64), &raw mut info)
    }))?;
    Ok(Backing { device: info.device, inode: info.inode, flags: info.flags })
}

/// Switches to direct I/O, LOOP_SET_DIRECT_IO (4.10).
///
/// # Errors
/// EINVAL if the underlying file system does not support it, or not with these block sizes.
pub fn set_direct_io(device: BorrowedFd<'_>) -> Result<(), Errno> {
    call(device, LOOP_SET_DIRECT_IO, 1).map(drop)
}

/// Releases the file, LOOP_CLR_FD; if the device is in use, with its last user.
///
/// # Errors
/// ENXIO if the device is free.
pub fn clear(device: BorrowedFd<'_>) -> Result<(), Errno> {
    call(device, LOOP_CLR_FD, 0).map(drop)
}

fn call(device: BorrowedFd<'_>, number: u32, argument: libc::c_ulong) -> Result<libc::c_long, Errno> {
    // SAFETY: these requests take a plain integer.
    check(libc::c_long::from(unsafe { libc::ioctl(device.as_raw_fd(), request(number), argument) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_large_as_the_kernel_has_them() {
        assert_eq!(size_of::<Info>(), 232);
        assert_eq!(size_of::<Configuration>(), 304);
    }
}
