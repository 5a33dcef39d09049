//! Removes the process attributes inherited from a shell that could end, freeze, slow down or limit the supervisor and,
//! through it, every container.
//!
//! Owns [`ATTRIBUTES`], the table of attributes that fork(2) and execve(2) keep. A test sets each of them to an unusual
//! value in the launching shell and checks the supervisor and a container. An attribute that the kernel or a sandbox
//! does not permit to change may remain; important ones are returned as a list of warnings. Attributes that can never
//! be changed (seccomp filters, no_new_privs) are refused by `launch`. cgroups(7), proc_pid_oom_score_adj(5), prctl(2),
//! setns(2), execve(2).

use std::fs;
use std::os::fd::AsFd;

use anyhow::{Context, Error, Result, bail};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, stat, umask};
use nix::unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid};

use crate::call;
use crate::mount::info::{self, MountInfo};
use crate::platform;
use crate::sys::capability;
use crate::sys::inherited::{self, Limit, ProcessOption};
use crate::sys::process::setns;
use crate::sys::signal;

/// The kernel's default timer slack, in nanoseconds.
const TIMER_SLACK: libc::c_ulong = 50_000;
/// The kernel's default content of a core file, core(5).
const DUMPED: &str = "0x33";
/// A higher limit for open files is one that init has raised for itself: programs that iterate over all possible
/// descriptors would take minutes.
const MAX_OPEN_FILES: u64 = 1 << 19;
/// The soft limit in this case: the kernel's default, which systemd also sets for services.
const USUAL_OPEN_FILES: u64 = 1024;
/// The kernel's limits for the first process, by the number of the resource, unless they depend on the memory size. A
/// lower limit that cannot be raised causes a warning.
const ENOUGH: [u64; inherited::LIMITS] = {
    const NONE: u64 = u64::MAX;
    [NONE, NONE, NONE, 8 << 20, 0, NONE, 0, USUAL_OPEN_FILES, 64 << 10, NONE, NONE, 0, 819_200, 0, 0, NONE]
};
/// Resources without which nothing works, the lowest limit, and their names in a message.
const FATAL: [(u32, u64, &str); 5] = [
    (0, u64::MAX, "processor time"),
    (1, u64::MAX, "the size of files"),
    (2, 1 << 30, "the size of data"),
    (inherited::OPEN_FILES, USUAL_OPEN_FILES, "open files"),
    (9, 1 << 30, "memory"),
];
/// No login: the value of proc_pid_loginuid(5) that pam_loginuid(8) in a container may still replace.
const NO_LOGIN: &str = "4294967295";

/// An inherited attribute, and how to set it to the value that a child of init has.
#[derive(Debug)]
pub struct Attribute {
    /// Its name, in messages and in the test.
    pub name: &'static str,
    /// Whether the supervisor warns if it cannot change it.
    matters: bool,
    reset: fn() -> Result<()>,
}

/// A row of [`ATTRIBUTES`] that should work everywhere.
const fn required(name: &'static str, reset: fn() -> Result<()>) -> Attribute {
    Attribute { name, matters: true, reset }
}

/// A row of [`ATTRIBUTES`] that some kernels lack or some sandboxes deny.
const fn optional(name: &'static str, reset: fn() -> Result<()>) -> Attribute {
    Attribute { name, matters: false, reset }
}

/// All inherited attributes that can be changed. `launch` handles descriptors, the environment, the working directory,
/// the session and the terminal.
pub const ATTRIBUTES: &[Attribute] = &[
    required("users and groups", become_root),
    required("securebits", || option(ProcessOption::SecureBits, [0, 0])),
    required("inheritable and ambient capabilities", || Ok(call!(capability::reduce(0), "capset")?)),
    required("bounding capabilities", compare_bounding_set),
    required("resource limits", take_limits_of_init),
    required("scheduling", || Ok(call!(inherited::schedule_as_usual(), "sched_setattr")?)),
    required("processors", take_processors_of_init),
    optional("processor speed", || Ok(inherited::remove_clamps()?)),
    optional("nice value of the session", || Ok(fs::write("/proc/self/autogroup", "0")?)),
    optional("core scheduling", || Ok(inherited::share_cores_with_init()?)),
    optional("input and output class", || Ok(inherited::remove_io_class()?)),
    required("timer slack", || option(ProcessOption::TimerSlack, [TIMER_SLACK, 0])),
    required("umask", || {
        umask(Mode::from_bits_truncate(0o022));
        Ok(())
    }),
    required("personality", || Ok(call!(inherited::use_usual_personality(), "personality(0)")?)),
    required("parent-death signal", || Ok(call!(prctl::set_pdeathsig(None), "PR_SET_PDEATHSIG")?)),
    required("alarms", || Ok(call!(inherited::stop_alarms(), "setitimer")?)),
    required(SIGNALS, reset_signals),
    optional("memory policy", || Ok(inherited::remove_memory_policy()?)),
    optional("huge pages", || option(ProcessOption::NoHugePages, [0, 0])),
    optional("merging of memory", || option(ProcessOption::MemoryMerge, [0, 0])),
    optional("memory errors", || option(ProcessOption::MemoryError, [0, 0])),
    optional("speculation", allow_speculation),
    optional("time stamp counter", || option(ProcessOption::TimeStampCounter, [1, 0])),
    optional("vector length", forget_vector_length),
    optional("flusher of input and output", || option(ProcessOption::InputOutputFlusher, [0, 0])),
    optional("content of core files", || Ok(fs::write("/proc/self/coredump_filter", DUMPED)?)),
    optional("login", || Ok(fs::write("/proc/self/loginuid", NO_LOGIN)?)),
    optional("session keyring", leave_session_keyring),
    optional("memory shortage", be_killed_last),
];

/// The row that a successor leaves unchanged: signals stay pending until it listens.
const SIGNALS: &str = "signals";

/// Sets every attribute before execve(2), because a limit for the size of files or of memory would break that. An
/// attribute that fails here fails again in [`from_launcher`], which reports it.
pub fn before_execution() {
    for attribute in ATTRIBUTES {
        let _ = (attribute.reset)();
    }
}

/// Makes this process independent of its launcher. `shared` is false for a supervisor with its own `$DS_ROOT`, which
/// leaves the machine's cgroups unchanged.
///
/// # Errors
/// The list of important attributes that could not be set.
pub fn from_launcher(shared: bool) -> Vec<Error> {
    let mut failures = Vec::new();
    let mut try_to = |what: &'static str, result: Result<()>| {
        failures.extend(result.err().map(|error| error.context(what)));
    };
    if shared {
        // First, because the permitted processors depend on the cpuset.
        try_to("leave the launcher's control groups", leave_cgroups());
    }
    for attribute in ATTRIBUTES {
        let done = (attribute.reset)();
        try_to(attribute.name, if attribute.matters { done } else { Ok(()) });
    }
    try_to("join init's mount namespace", join_init());
    try_to(
        "adopt orphans",
        call!(prctl::set_child_subreaper(true), "PR_SET_CHILD_SUBREAPER").map_err(Error::from),
    );
    try_to("hide from debuggers", after_execution());
    failures
}

/// Sets the attributes that the previous program may not have known.
pub fn from_predecessor() {
    for attribute in ATTRIBUTES.iter().filter(|attribute| attribute.name != SIGNALS) {
        // Already reported when the supervisor started.
        let _ = (attribute.reset)();
    }
}

/// Without CAP_SYS_RESOURCE, the supervisor keeps at least the default score.
fn be_killed_last() -> Result<()> {
    const SCORE: &str = "/proc/self/oom_score_adj";
    Ok(fs::write(SCORE, "-1000").or_else(|_| fs::write(SCORE, "0"))?)
}

fn option(option: ProcessOption, arguments: [libc::c_ulong; 2]) -> Result<()> {
    call!(inherited::set_option(option, arguments), "prctl({option:?})")?;
    Ok(())
}

/// `su` and `sg` change some of the ids, and root of an app's shell is a member of Android's groups.
fn become_root() -> Result<()> {
    let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
    call!(setgroups(&[]), "setgroups")?;
    call!(setresgid(group, group, group), "setresgid(0)")?;
    call!(setresuid(user, user, user), "setresuid(0)")?;
    Ok(())
}

/// A capability that is missing in the bounding set can never be regained.
fn compare_bounding_set() -> Result<()> {
    let set = |process: &str| -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{process}/status"))?;
        let value = text.lines().find_map(|line| line.strip_prefix("CapBnd:")).context("no CapBnd")?;
        Ok(u64::from_str_radix(value.trim(), 16)?)
    };
    let missing = set("1")? & !set("self")?;
    if missing != 0 {
        bail!(
            "the supervisor and its containers lack capabilities of init ({missing:x}, see capabilities(7)), because the \
             shell that started it lacks them; run 'ds supervisor stop', then 'ds supervise' from a boot script"
        );
    }
    Ok(())
}

/// Sets init's limits. A soft limit for open files that init raised for itself is reset to the default.
fn take_limits_of_init() -> Result<()> {
    let (init, own) = (Pid::from_raw(1), Pid::from_raw(0));
    let mut done = Ok(());
    for (resource, enough) in (0..).zip(ENOUGH) {
        let limit = call!(inherited::limit_of(init, resource), "prlimit(1, {resource})")?;
        let limit = for_children(resource, limit);
        let set = call!(inherited::set_limit(resource, limit), "prlimit({resource}, {limit:?})");
        if set.is_err() {
            // Without CAP_SYS_RESOURCE, the hard limit cannot be raised; the soft one is set as high as possible.
            let hard = call!(inherited::limit_of(own, resource), "prlimit(0, {resource})")?.hard;
            let reached = Limit { soft: limit.soft.min(hard), hard };
            call!(inherited::set_limit(resource, reached), "prlimit({resource}, {reached:?})")?;
            if reached.soft < limit.soft.min(enough) {
                done = done.and(set);
            }
        }
    }
    Ok(done?)
}

/// A limit of this process with which no supervisor or container could work, and which cannot be raised to that of
/// init.
#[must_use]
pub fn fatal_limit() -> Option<&'static str> {
    FATAL
        .into_iter()
        .find(|(resource, least, _)| is_too_low(*resource, *least).unwrap_or(false))
        .map(|row| row.2)
}

fn is_too_low(resource: u32, least: u64) -> Result<bool, Errno> {
    let own = inherited::limit_of(Pid::from_raw(0), resource)?;
    let wanted = inherited::limit_of(Pid::from_raw(1), resource)?;
    if own.hard >= least.min(wanted.hard) {
        return Ok(false);
    }
    let raised = inherited::set_limit(resource, wanted);
    inherited::set_limit(resource, own)?;
    Ok(raised.is_err())
}

fn for_children(resource: u32, limit: Limit) -> Limit {
    if resource == inherited::OPEN_FILES && limit.soft > MAX_OPEN_FILES {
        return Limit { soft: USUAL_OPEN_FILES, ..limit };
    }
    limit
}

/// The processors that init may use, including those that are offline; else all processors.
fn take_processors_of_init() -> Result<()> {
    let status = fs::read_to_string("/proc/1/status").unwrap_or_default();
    if processors(&status).is_some_and(|mask| inherited::set_processors(&mask).is_ok()) {
        return Ok(());
    }
    let all = [libc::c_ulong::MAX; 8192 / libc::c_ulong::BITS as usize];
    Ok(call!(inherited::set_processors(&all), "sched_setaffinity")?)
}

/// The mask in a /proc/PID/status: groups of digits for 32 processors each, the first processors last.
fn processors(status: &str) -> Option<Vec<libc::c_ulong>> {
    const BYTES: usize = size_of::<libc::c_ulong>();
    let value = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed:"))?.trim();
    let groups = value.rsplit(',').map(|digits| u32::from_str_radix(digits, 16));
    let mut bytes: Vec<u8> =
        groups.collect::<Result<Vec<_>, _>>().ok()?.into_iter().flat_map(u32::to_le_bytes).collect();
    bytes.resize(bytes.len().next_multiple_of(BYTES), 0);
    let words = bytes.chunks_exact(BYTES).filter_map(|chunk| chunk.try_into().ok());
    Some(words.map(libc::c_ulong::from_le_bytes).collect())
}

/// Speculative store bypass and indirect branch speculation are disabled for a process and its children.
fn allow_speculation() -> Result<()> {
    const ENABLE: libc::c_ulong = 2;
    for kind in 0..3 {
        // A processor without the vulnerability, or a kernel with a fixed policy, has no such switch.
        let _ = option(ProcessOption::Speculation, [kind, ENABLE]);
    }
    Ok(())
}

/// Without the flag that keeps it across execve(2), the length is reset to the default in the next program.
fn forget_vector_length() -> Result<()> {
    const LENGTH: libc::c_long = 0xffff;
    let length = inherited::set_option(ProcessOption::GetVectorLength, [0, 0])?;
    option(ProcessOption::SetVectorLength, [libc::c_ulong::try_from(length & LENGTH)?, 0])
}

/// The session keyring is revoked at logout. Init has none, so the user keyring is used instead, except on Android:
/// there, init's session keyring contains the keys of encrypted files, and every process inherits it. A process cannot
/// join another process's keyring, and a new one would lack the keys.
fn leave_session_keyring() -> Result<()> {
    if platform::is_android() { Ok(()) } else { Ok(inherited::use_keyring_of_user()?) }
}

/// A shell's `&` and `nohup` leave signals ignored. SIGPIPE stays ignored, and SIGXFSZ becomes ignored: a closed pipe
/// and a full file are errors to handle.
fn reset_signals() -> Result<()> {
    call!(signal::reset_all(), "sigaction")?;
    for signal in [Signal::SIGPIPE, Signal::SIGXFSZ] {
        call!(signal::ignore(signal), "sigaction({signal})")?;
    }
    Ok(())
}

/// Sets the attributes that execve(2) resets, also for a successor.
///
/// # Errors
/// If prctl(2) fails.
pub fn after_execution() -> Result<()> {
    // Only for ps(1); setting a name cannot fail.
    let _ = prctl::set_name(c"ds");
    Ok(call!(prctl::set_dumpable(false), "PR_SET_DUMPABLE")?)
}

/// Moves to the root of every hierarchy: an app's control group is frozen and killed with the app.
fn leave_cgroups() -> Result<()> {
    let mounts = info::read("self")?;
    for target in hierarchy_roots(&mounts) {
        // Some hierarchies accept no processes in their root.
        let _ = fs::write(target.target.join("cgroup.procs"), std::process::id().to_string());
    }
    Ok(())
}

/// The mounts that show a cgroup hierarchy from its root, version 2 first. Mounts of a subtree, such as a container's,
/// are left out.
fn hierarchy_roots(mounts: &[MountInfo]) -> impl Iterator<Item = &MountInfo> {
    let of_kind = |kind: &'static str| {
        mounts.iter().filter(move |mount| mount.kind == kind && mount.root.as_os_str() == "/")
    };
    of_kind("cgroup2").chain(of_kind("cgroup"))
}

/// On Android, joins init's mount namespace.
///
/// # Errors
/// If setns(2) fails.
pub fn join_init() -> Result<()> {
    if platform::is_android() { join_init_mounts() } else { Ok(()) }
}

/// `su` may run in an app's mount namespace, which differs from init's.
fn join_init_mounts() -> Result<()> {
    const INIT: &str = "/proc/1/ns/mnt";
    let (init, own) =
        (call!(stat(INIT), "stat({INIT})")?, call!(stat("/proc/self/ns/mnt"), "stat(/proc/self/ns/mnt)")?);
    if (init.st_dev, init.st_ino) != (own.st_dev, own.st_ino) {
        let namespace = fs::File::open(INIT).with_context(|| format!("open {INIT}"))?;
        call!(setns(namespace.as_fd(), libc::CLONE_NEWNS), "setns({INIT})")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn processors_are_read_from_the_last_group_on() {
        let bits = |text: &str| {
            let words =
                processors(&format!("Name:\tinit\nCpus_allowed:\t{text}\nCpus_allowed_list:\t0\n")).unwrap();
            words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>()
        };
        assert!(bits("3").starts_with(&[3, 0, 0, 0]));
        assert!(bits("80,00000000,000000ff").starts_with(&[0xff, 0, 0, 0, 0, 0, 0, 0, 0x80]));
        assert_eq!(processors("Cpus_allowed:\tx\n"), None);
        assert_eq!(processors(""), None);
    }

    #[test]
    fn only_a_limit_that_init_raised_for_itself_is_not_handed_on() {
        let raised = Limit { soft: 1 << 30, hard: 1 << 30 };
        assert_eq!(for_children(inherited::OPEN_FILES, raised), Limit { soft: 1024, hard: 1 << 30 });
        assert_eq!(for_children(inherited::OPEN_FILES + 1, raised), raised);
        let usual = Limit { soft: 32768, hard: 32768 };
        assert_eq!(for_children(inherited::OPEN_FILES, usual), usual);
    }

    #[test]
    fn only_roots_of_hierarchies_count_and_version_2_comes_first() {
        let mounts = info::parse(
            b"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
              32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
              41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
              50 23 0:29 /droidspaces/web /mnt/web/sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
        );
        let roots: Vec<_> = hierarchy_roots(&mounts).map(|mount| mount.target.as_path()).collect();
        assert_eq!(roots, [Path::new("/sys/fs/cgroup/unified"), Path::new("/sys/fs/cgroup/cpu")]);
    }
}
