//! Loop devices: loop(4), the ioctls of linux/loop.h.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::check;

const LOOP_SET_FD: u32 = 0x4C00;
const LOOP_CLR_FD: u32 = 0x4C01;
const LOOP_SET_STATUS64: u32 = 0x4C04;
const LOOP_GET_STATUS64: u32 = 0x4C05;
const LOOP_SET_DIRECT_IO: u32 = 0x4C08;
const LOOP_CONFIGURE: u32 = 0x4C0A;
const LOOP_CTL_GET_FREE: u32 = 0x4C82;
/// `LO_FLAGS_READ_ONLY`.
pub const READ_ONLY: u32 = 1;
/// `LO_FLAGS_AUTOCLEAR`: the device lets go of its file with its last user.
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

/// Which part of its file a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Part {
    /// Where it begins, bytes; a multiple of 512.
    pub offset: u64,
    /// Bytes; 0 for all that follow.
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

/// What a loop device is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backing {
    /// `st_dev` of the file.
    pub device: u64,
    /// `st_ino` of the file.
    pub inode: u64,
    /// [`READ_ONLY`], [`AUTOCLEAR`] and others.
    pub flags: u32,
}

/// The number of a device that is free, LOOP_CTL_GET_FREE (3.1); one is made when none is. Somebody else may take it
/// before it is used.
///
/// # Errors
/// ENOSPC, ENOMEM and the like when there can be no more.
pub fn free_number(control: BorrowedFd<'_>) -> Result<u32, Errno> {
    let number = call(control, LOOP_CTL_GET_FREE, 0)?;
    u32::try_from(number).map_err(|_| Errno::EINVAL)
}

/// Attaches a file with everything set in one step, LOOP_CONFIGURE (5.8). `name` is what losetup(8) shows.
///
/// # Errors
/// EBUSY when the device is taken, EINVAL or ENOTTY before 5.8.
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

/// Attaches a file in the old way, LOOP_SET_FD; read-only when the device or the file was opened so.
///
/// # Errors
/// EBUSY when the device is taken.
pub fn set_file(device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> Result<(), Errno> {
    call(device, LOOP_SET_FD, libc::c_ulong::from(file.as_raw_fd().unsigned_abs())).map(drop)
}

/// Sets part, flags and name, LOOP_SET_STATUS64.
///
/// # Errors
/// EAGAIN while the kernel still drops old pages of the device (4.14 and others): to be tried again.
pub fn set_status(device: BorrowedFd<'_>, part: Part, flags: u32, name: &[u8]) -> Result<(), Errno> {
    let info = Info::new(flags, name, part);
    // SAFETY: the structure lives across the call, which only reads it.
    check(libc::c_long::from(unsafe {
        libc::ioctl(device.as_raw_fd(), request(LOOP_SET_STATUS64), &raw const info)
    }))
    .map(drop)
}

/// What a device is attached to, LOOP_GET_STATUS64.
///
/// # Errors
/// ENXIO when it is free.
pub fn backing(device: BorrowedFd<'_>) -> Result<Backing, Errno> {
    let mut info = Info::new(0, &[], Part::default());
    // SAFETY: the structure lives across the call, which fills it in.
    check(libc::c_long::from(unsafe {
        libc::ioctl(device.as_raw_fd(), request(LOOP_GET_STATUS64), &raw mut info)
    }))?;
    Ok(Backing { device: info.device, inode: info.inode, flags: info.flags })
}

/// Reads and writes the file past the page cache, LOOP_SET_DIRECT_IO (4.10).
///
/// # Errors
/// EINVAL where the file system below cannot, or not with these block sizes.
pub fn set_direct_io(device: BorrowedFd<'_>) -> Result<(), Errno> {
    call(device, LOOP_SET_DIRECT_IO, 1).map(drop)
}

/// Lets go of the file, LOOP_CLR_FD; with users left, when the last of them is gone.
///
/// # Errors
/// ENXIO when the device is free.
pub fn clear(device: BorrowedFd<'_>) -> Result<(), Errno> {
    call(device, LOOP_CLR_FD, 0).map(drop)
}

fn call(device: BorrowedFd<'_>, number: u32, argument: libc::c_ulong) -> Result<libc::c_long, Errno> {
    // SAFETY: these requests take a plain integer.
    check(libc::c_long::from(unsafe { libc::ioctl(device.as_raw_fd(), request(number), argument) }))
}

/// musl and glibc differ in the type of a request.
fn request(number: u32) -> libc::Ioctl {
    number as libc::Ioctl
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
