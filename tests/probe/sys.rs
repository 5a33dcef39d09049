//! The few system calls that have no safe wrapper: fork(2), prctl(2), ioctl(2), sigwait(3), seccomp(2).
//!
//! Owns every `unsafe` of this program.

#![allow(
    unsafe_code,
    reason = "system calls without a safe wrapper live here and nowhere else in this program"
)]

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::unistd::{ForkResult, Pid};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};

/// A copy of this process; `None` in the copy. This program never has a second thread.
pub fn fork() -> Result<Option<Pid>> {
    // SAFETY: single-threaded, so the child may continue like any program.
    match unsafe { nix::unistd::fork() }.context("fork")? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Ends this process without running any destructor.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(code) }
}

/// Makes the terminal on descriptor 0 the controlling terminal of this session: TIOCSCTTY.
pub fn take_terminal() -> Result<()> {
    // SAFETY: plain integers.
    Errno::result(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) }).context("ioctl(TIOCSCTTY)")?;
    Ok(())
}

/// Rows and columns of a terminal: TIOCGWINSZ.
pub fn window_size(terminal: BorrowedFd<'_>) -> Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel fills the structure, which lives across the call.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })
        .context("ioctl(TIOCGWINSZ)")?;
    Ok((size.ws_row, size.ws_col))
}

/// Blocks every signal, so that [`next_signal`] gets them all.
pub fn block_all_signals() {
    // SAFETY: an all-zero set is valid and then filled.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

/// Lets every signal through again.
pub fn unblock_all_signals() {
    // SAFETY: an all-zero set is valid and then emptied.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// A descriptor from which blocked signals are read: signalfd(2).
pub fn signals() -> Result<File> {
    // SAFETY: an all-zero set is valid and then filled; the number is that of a new descriptor without another owner.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        let number =
            Errno::result(libc::signalfd(-1, &raw const all, libc::SFD_CLOEXEC)).context("signalfd")?;
        Ok(File::from_raw_fd(number))
    }
}

/// Waits for any blocked signal.
pub fn next_signal(signals: &mut File) -> Result<i32> {
    let mut record = [0_u8; size_of::<libc::signalfd_siginfo>()];
    signals.read_exact(&mut record).context("read a signal")?;
    // The number comes first.
    let number = record.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    Ok(i32::try_from(number)?)
}

/// Ignores a signal, by number.
pub fn ignore(number: i32) {
    // SAFETY: SIG_IGN is a valid disposition of every signal that can be caught.
    unsafe { libc::signal(number, libc::SIG_IGN) };
}

/// Sends a signal by number; real-time signals included.
pub fn kill(pid: i32, number: i32) -> Result<()> {
    // SAFETY: plain integers.
    Errno::result(unsafe { libc::kill(pid, number) }).context("kill")?;
    Ok(())
}

/// The first real-time signal that the C library leaves to programs.
pub fn realtime_minimum() -> i32 {
    libc::SIGRTMIN()
}

/// reboot(2) with a command word.
pub fn reboot(command: i32) -> Result<()> {
    // SAFETY: plain integer.
    Errno::result(unsafe { libc::reboot(command) }).context("reboot")?;
    Ok(())
}

/// Whether a capability is in the bounding set: PR_CAPBSET_READ; `None` beyond the kernel's last one.
pub fn bounding(capability: u32) -> Option<bool> {
    // SAFETY: plain integers.
    match unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(capability), 0, 0, 0) } {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// The signal that this process gets when its parent ends: PR_GET_PDEATHSIG.
pub fn parent_death_signal() -> i32 {
    let mut number = 0;
    // SAFETY: the kernel writes one integer.
    unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut number, 0, 0, 0) };
    number
}

/// Installs a system call filter for this process and all it will start: seccomp(2), SECCOMP_SET_MODE_FILTER.
pub fn install_filter(program: &[libc::sock_filter]) -> Result<()> {
    let length = u16::try_from(program.len()).context("a filter of this length")?;
    let handed = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions from a slice that has as many.
    let done =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const handed) };
    Errno::result(done).context("seccomp")?;
    Ok(())
}

/// Tries to load an empty kernel module; returns the error of the kernel or a filter.
pub fn init_module() -> Errno {
    // SAFETY: there is no image and no parameters, so nothing can be loaded.
    match Errno::result(unsafe { libc::syscall(libc::SYS_init_module, 0, 0, c"".as_ptr()) }) {
        Ok(_) => Errno::UnknownErrno,
        Err(errno) => errno,
    }
}

/// A real fault, which ends even a PID 1 that ignores every signal: SIGSEGV.
pub fn fault() {
    // SAFETY: none; the fault is intended. A volatile access is not optimised away.
    unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(0) };
}

/// prctl(2) with integers; its result, negative for an error.
pub fn option(option: libc::c_int, arguments: [libc::c_ulong; 2]) -> libc::c_int {
    // SAFETY: the options that are used here take plain integers.
    unsafe { libc::prctl(option, arguments[0], arguments[1], 0, 0) }
}

/// A system call with integers; its result, negative for an error.
pub fn call(number: libc::c_long, arguments: [libc::c_long; 3]) -> libc::c_long {
    // SAFETY: the calls that are used here take plain integers, or a null pointer.
    unsafe { libc::syscall(number, arguments[0], arguments[1], arguments[2]) }
}

/// Sets and returns the personality, personality(2).
pub fn personality(persona: libc::c_ulong) -> libc::c_int {
    // SAFETY: plain integers.
    unsafe { libc::personality(persona) }
}

/// Sets the soft limit of a resource, and the hard one if it can be raised again.
pub fn set_limit(resource: u32, limit: u64) {
    // CAP_SYS_RESOURCE.
    let hard = if is_effective(24) { limit } else { hard_limit(resource) };
    let limits = [limit.min(hard), hard];
    // SAFETY: the limits outlive the call.
    unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, limits.as_ptr(), 0_usize) };
}

fn hard_limit(resource: u32) -> u64 {
    let mut limits = [0_u64; 2];
    // SAFETY: the kernel fills the limits in, which outlive the call.
    unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, 0_usize, limits.as_mut_ptr()) };
    limits[1]
}

fn is_effective(capability: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set >> capability & 1 == 1)
}

/// Soft and hard limits of all resources.
pub fn limits() -> String {
    let limit = |resource: u32| {
        let mut limits = [0_u64; 2];
        // SAFETY: the kernel fills the limits in, which outlive the call.
        unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, 0_usize, limits.as_mut_ptr()) };
        let shown =
            limits.map(|limit| if limit == u64::MAX { "unlimited".into() } else { limit.to_string() });
        shown.join(":")
    };
    (0..16).map(limit).collect::<Vec<_>>().join(" ")
}

/// Policy and nice value of this process.
pub fn set_scheduling(policy: i32, nice: i32) {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the structure outlives the call; the raw call, since musl has no such function.
    unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const parameter) };
    // SAFETY: plain integers.
    unsafe { libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, nice) };
    // SAFETY: a sched_attr of 56 bytes: size, policy, the flags to keep all but the clamp, and the clamp.
    unsafe {
        let attributes: [u32; 14] = [56, 0, 0x18 | 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100];
        libc::syscall(libc::SYS_sched_setattr, 0, attributes.as_ptr(), 0);
    }
}

/// Policy and nice value, and the clamps.
pub fn scheduling() -> (String, String) {
    let mut attributes = [0_u32; 14];
    // SAFETY: the kernel fills in a sched_attr of the size that is passed.
    unsafe { libc::syscall(libc::SYS_sched_getattr, 0, attributes.as_mut_ptr(), 56, 0) };
    (
        format!("{} {}", attributes[1], attributes[4].cast_signed()),
        format!("{} {}", attributes[12], attributes[13]),
    )
}

/// Confines this process to processor 0.
pub fn run_on_first_processor() {
    let mask: [libc::c_ulong; 1] = [1];
    // SAFETY: the mask outlives the call and has the length that is passed.
    unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&mask), mask.as_ptr()) };
}

/// An alarm that execve(2) keeps, in an hour.
pub fn set_alarm() {
    // SAFETY: plain integers.
    unsafe { libc::alarm(3600) };
}

/// Whether there is an alarm.
pub fn alarm() -> bool {
    let mut value = [0 as libc::c_long; 4];
    // SAFETY: the kernel fills in four integers.
    unsafe { libc::syscall(libc::SYS_getitimer, 0, value.as_mut_ptr()) };
    value[2..] != [0, 0]
}

/// Ignores and blocks some signals, a real-time signal among them.
pub fn ignore_anything() {
    for number in [libc::SIGHUP, libc::SIGUSR1, realtime_minimum() + 3] {
        ignore(number);
    }
    // SAFETY: the set is initialised before it is used.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGUSR2);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// Puts a capability into the inheritable and ambient sets.
pub fn inherit_capability(capability: u32) -> Result<()> {
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut data = [0_u32; 6];
    // SAFETY: header and data have the layout of version 3 and outlive the calls.
    unsafe {
        Errno::result(libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()))
            .context("capget")?;
        data[2] |= 1 << capability;
        Errno::result(libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr())).context("capset")?;
    }
    option(libc::PR_CAP_AMBIENT, [2, capability.into()]);
    Ok(())
}

/// The mode of get_mempolicy(2), negative without NUMA.
pub fn memory_policy() -> i32 {
    let mut mode = -1;
    // SAFETY: the kernel fills in the mode; no nodes and no address are requested.
    let done =
        unsafe { libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, 0_usize, 0_usize, 0_usize, 0_usize) };
    if done < 0 { -1 } else { mode }
}

/// The core scheduling group of this task, 0 for none: PR_SCHED_CORE_GET.
pub fn core_cookie() -> String {
    let mut cookie = 0_u64;
    // SAFETY: the kernel fills the number in, which outlives the call.
    let done = unsafe {
        libc::prctl(62, 0 as libc::c_ulong, 0 as libc::c_ulong, 0 as libc::c_ulong, &raw mut cookie)
    };
    if done < 0 { "unknown".into() } else { u8::from(cookie != 0).to_string() }
}

/// Whether the time stamp counter can be read: PR_GET_TSC.
pub fn time_stamp_counter() -> i32 {
    let mut mode = -1;
    // SAFETY: the kernel fills the number in, which outlives the call.
    unsafe { libc::prctl(25, &raw mut mode) };
    mode
}
