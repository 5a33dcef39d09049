//! Programs that run in the kernel: bpf(2), for the device policy of a control group.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::{check, descriptor};

/// `BPF_PROG_LOAD`, `BPF_PROG_ATTACH` and `BPF_PROG_DETACH` of linux/bpf.h.
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
/// `BPF_PROG_TYPE_CGROUP_DEVICE`.
const CGROUP_DEVICE_PROGRAM: u32 = 15;
/// `BPF_CGROUP_DEVICE`.
const CGROUP_DEVICE: u32 = 6;
/// `BPF_F_ALLOW_MULTI`: programs of descendant groups also run, and all must permit the access.
const ALLOW_MULTI: u32 = 2;

/// One instruction, `struct bpf_insn`; all our machines are little-endian.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Class, source and operation.
    pub code: u8,
    /// Destination in the lower half, source in the upper.
    pub registers: u8,
    /// The offset of a jump or a memory access.
    pub offset: i16,
    /// Constant operand.
    pub immediate: i32,
}

/// `union bpf_attr` for `BPF_PROG_LOAD`, up to the name (4.15).
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// `union bpf_attr` for `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
struct Attach {
    group: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Loads a program that decides about access to devices (4.15); closed on exec.
///
/// # Errors
/// EINVAL if the kernel has no such type or refuses the program, ENOSYS without bpf(2), EPERM without CAP_SYS_ADMIN, or
/// before 5.11 above RLIMIT_MEMLOCK.
pub fn load_device_program(instructions: &[Instruction]) -> Result<OwnedFd, Errno> {
    let mut name = [0; 16];
    name[..10].copy_from_slice(b"ds_devices");
    let attributes = Load {
        kind: CGROUP_DEVICE_PROGRAM,
        count: u32::try_from(instructions.len()).map_err(|_| Errno::E2BIG)?,
        instructions: address(instructions.as_ptr().cast()),
        license: address(c"Apache-2.0".as_ptr().cast()),
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name,
    };
    // SAFETY: the structure has the kernel's layout and its true size is passed; instructions and license live across
    // the call, which only reads them.
    let number = check(unsafe {
        libc::syscall(libc::SYS_bpf, PROG_LOAD, std::ptr::from_ref(&attributes), size_of::<Load>())
    })?;
    Ok(descriptor::adopt(RawFd::try_from(number).map_err(|_| Errno::EBADF)?))
}

/// Attaches a device program to a version 2 group and everything below it (4.15). If several are attached, all must
/// permit the access.
///
/// # Errors
/// If bpf(2) fails.
pub fn attach_device_program(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    on_group(PROG_ATTACH, group, program)
}

/// Detaches a program that [`attach_device_program`] has attached to a group.
///
/// # Errors
/// If bpf(2) fails; ENOENT if the program is not attached.
pub fn detach_device_program(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    on_group(PROG_DETACH, group, program)
}

fn on_group(command: libc::c_int, group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    let attributes = Attach {
        group: group.as_raw_fd().unsigned_abs(),
        program: program.as_raw_fd().unsigned_abs(),
        kind: CGROUP_DEVICE,
        flags: if command == PROG_ATTACH { ALLOW_MULTI } else { 0 },
    };
    // SAFETY: the structure has the kernel's layout and its true size is passed; the call only reads it.
    check(unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(&attributes), size_of::<Attach>())
    })
    .map(drop)
}

fn address(pointer: *const libc::c_void) -> u64 {
    pointer.addr() as u64
}
