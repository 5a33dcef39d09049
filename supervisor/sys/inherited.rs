//! Process attributes that children inherit and that nix does not support: resource limits, scheduling, memory policy.
//! prlimit(2), sched_setattr(2), sched_setaffinity(2), ioprio_set(2), set_mempolicy(2), setitimer(2), keyctl(2),
//! prctl(2).

use nix::errno::Errno;
use nix::unistd::Pid;

use super::check;

/// The number of resource limits: `RLIM_NLIMITS`, the same on every supported processor.
pub const LIMITS: usize = 16;
/// `RLIMIT_NOFILE`.
pub const OPEN_FILES: u32 = 7;
/// `IOPRIO_WHO_PROCESS`.
const ONE_PROCESS: libc::c_int = 1;
/// `KEYCTL_GET_KEYRING_ID` and `KEYCTL_JOIN_SESSION_KEYRING`.
const GET_KEYRING: libc::c_long = 0;
const JOIN_SESSION: libc::c_long = 1;
/// `KEY_SPEC_USER_SESSION_KEYRING`.
const OF_USER: libc::c_long = -5;

/// A soft and a hard limit; `u64::MAX` is unlimited. The struct rlimit64 of prlimit(2), the same on every architecture.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit {
    /// The effective limit.
    pub soft: u64,
    /// The maximum of the soft limit.
    pub hard: u64,
}

/// The limit of a process by its number (`RLIMIT_*`), prlimit(2) (2.6.36).
///
/// # Errors
/// EPERM for a process of another user, ESRCH if it does not exist.
pub fn limit_of(pid: Pid, resource: u32) -> Result<Limit, Errno> {
    let mut limit = Limit::default();
    let new = std::ptr::null::<Limit>();
    // SAFETY: the kernel reads no new limit and fills in the old one, which outlives the call.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid.as_raw(), resource, new, &raw mut limit) })?;
    Ok(limit)
}

/// Sets a limit of this process, prlimit(2).
///
/// # Errors
/// EPERM if a hard limit is raised without CAP_SYS_RESOURCE.
pub fn set_limit(resource: u32, limit: Limit) -> Result<(), Errno> {
    let old = std::ptr::null_mut::<Limit>();
    // SAFETY: the new limit outlives the call, and no old one is requested.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, old) }).map(drop)
}

/// `struct sched_attr` in its second version (5.3).
#[repr(C)]
#[derive(Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    clamp_minimum: u32,
    clamp_maximum: u32,
}

/// `SCHED_ATTR_SIZE_VER0`: without the clamps.
const WITHOUT_CLAMPS: u32 = 48;
/// `SCHED_FLAG_KEEP_ALL | SCHED_FLAG_UTIL_CLAMP`: changes only the clamps.
const CLAMPS_ALONE: u64 = 0x18 | 0x60;

/// Sets the default scheduling, which children inherit: SCHED_OTHER, nice 0, sched_setattr(2) (3.14).
///
/// # Errors
/// EPERM without CAP_SYS_NICE.
pub fn schedule_as_usual() -> Result<(), Errno> {
    set_attributes(&Attributes { size: WITHOUT_CLAMPS, ..Attributes::default() })
}

/// Removes the utilisation clamps, sched_setattr(2) (SCHED_FLAG_UTIL_CLAMP, 5.3; removal since 5.11).
///
/// # Errors
/// EOPNOTSUPP on a kernel without clamps, E2BIG or EINVAL on older ones.
pub fn remove_clamps() -> Result<(), Errno> {
    let size = u32::try_from(size_of::<Attributes>()).map_err(|_| Errno::EINVAL)?;
    let (clamp_minimum, clamp_maximum) = (u32::MAX, u32::MAX);
    set_attributes(&Attributes {
        size,
        flags: CLAMPS_ALONE,
        clamp_minimum,
        clamp_maximum,
        ..Attributes::default()
    })
}

fn set_attributes(attributes: &Attributes) -> Result<(), Errno> {
    // SAFETY: the structure outlives the call and begins with the size that the kernel reads.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(attributes), 0) }).map(drop)
}

/// Permits the processors of `mask` (the lowest bit of the first word is processor 0), as far as the cpuset contains
/// them, sched_setaffinity(2).
///
/// # Errors
/// EINVAL if no processor is left.
pub fn set_processors(mask: &[libc::c_ulong]) -> Result<(), Errno> {
    // SAFETY: the mask is valid for its length in bytes, which is passed.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) })
        .map(drop)
}

/// Removes the input and output class: it then follows from the nice value, ioprio_set(2).
///
/// # Errors
/// ENOSYS from a kernel without block devices.
pub fn remove_io_class() -> Result<(), Errno> {
    // SAFETY: plain integers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, ONE_PROCESS, 0, 0) }).map(drop)
}

/// Sets the default memory policy: MPOL_DEFAULT of set_mempolicy(2).
///
/// # Errors
/// ENOSYS from a kernel without NUMA.
pub fn remove_memory_policy() -> Result<(), Errno> {
    let nodes = std::ptr::null::<libc::c_ulong>();
    // SAFETY: the default policy has no nodes to be read.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, 0, nodes, 0_usize) }).map(drop)
}

/// Stops the timers that execve(2) keeps, setitimer(2).
///
/// # Errors
/// No known ones.
pub fn stop_alarms() -> Result<(), Errno> {
    for timer in 0..3 {
        let none = [0 as libc::c_long; 4];
        let old = std::ptr::null_mut::<libc::c_long>();
        // SAFETY: an itimerval is four integers of this size for the kernel, and no old one is requested.
        check(unsafe { libc::syscall(libc::SYS_setitimer, timer, none.as_ptr(), old) })?;
    }
    Ok(())
}

/// Uses the user session keyring, as a process does if neither it nor an ancestor up to init has joined a session
/// keyring. Creates only this keyring, if it does not exist. keyctl(2), user-session-keyring(7).
///
/// # Errors
/// ENOSYS from a kernel without keys.
pub fn use_keyring_of_user() -> Result<(), Errno> {
    let name = format!("_uid_ses.{}\0", nix::unistd::geteuid());
    // SAFETY: plain integers.
    check(unsafe { libc::syscall(libc::SYS_keyctl, GET_KEYRING, OF_USER, 1 as libc::c_long) })?;
    // SAFETY: the name ends with a NUL and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION, name.as_ptr()) }).map(drop)
}

/// Sets the default execution domain, personality(2).
///
/// # Errors
/// No known ones.
pub fn use_usual_personality() -> Result<(), Errno> {
    // SAFETY: plain integers.
    check(libc::c_long::from(unsafe { libc::personality(0) })).map(drop)
}

/// Joins the core scheduling group of PID 1: PR_SCHED_CORE_SHARE_FROM (5.14).
///
/// # Errors
/// EINVAL on a kernel without core scheduling, ENODEV on a processor without SMT.
pub fn share_cores_with_init() -> Result<(), Errno> {
    const CORE: libc::c_int = 62;
    const SHARE_FROM: libc::c_ulong = 3;
    // SAFETY: this command takes plain integers: a process id and 0, which means this one process.
    check(libc::c_long::from(unsafe { libc::prctl(CORE, SHARE_FROM, 1 as libc::c_ulong, 0, 0) })).map(drop)
}

/// prctl(2) with an option that takes integers only.
///
/// # Errors
/// EINVAL if the kernel does not have the option.
pub fn set_option(option: ProcessOption, arguments: [libc::c_ulong; 2]) -> Result<libc::c_long, Errno> {
    let [first, second] = arguments;
    // SAFETY: every option of this type takes plain integers and touches no memory of ours.
    check(libc::c_long::from(unsafe { libc::prctl(option as libc::c_int, first, second, 0, 0) }))
}

/// The options of [`set_option`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum ProcessOption {
    /// PR_SET_TSC: whether the time stamp counter can be read (x86).
    TimeStampCounter = 26,
    /// PR_SET_SECUREBITS.
    SecureBits = 28,
    /// PR_SET_TIMERSLACK, nanoseconds.
    TimerSlack = 29,
    /// PR_MCE_KILL: what happens on a memory error.
    MemoryError = 33,
    /// PR_SET_THP_DISABLE.
    NoHugePages = 41,
    /// PR_SVE_SET_VL and PR_SVE_GET_VL: the vector length (arm64).
    SetVectorLength = 50,
    /// See above.
    GetVectorLength = 51,
    /// PR_SET_SPECULATION_CTRL.
    Speculation = 53,
    /// PR_SET_IO_FLUSHER.
    InputOutputFlusher = 57,
    /// PR_SET_MDWE and PR_GET_MDWE: no memory that is written and executed.
    GetNoWriteExecute = 66,
    /// PR_SET_MEMORY_MERGE.
    MemoryMerge = 67,
}
