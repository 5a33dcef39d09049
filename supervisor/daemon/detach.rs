//! Leaves behind what a shell hands down to its children: everything that could end, freeze, slow or limit the
//! supervisor, and through it every container.
//!
//! Owns [`ATTRIBUTES`], the table of what fork(2) and execve(2) keep; a test sets each of them to something odd in the
//! launching shell and looks for it in the supervisor and in a container. What kernel or sandbox do not let a process
//! change may stay; what matters comes back as a list of warnings. What cannot be undone at all (seccomp filters,
//! no_new_privs) is refused by `launch`. cgroups(7), proc_pid_oom_score_adj(5), prctl(2), setns(2), execve(2).

use std::fs;
use std::os::fd::AsFd;

use anyhow::{Context, Error, Result, bail};
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

/// The time by which the kernel may delay a timer unless told otherwise, nanoseconds.
const TIMER_SLACK: libc::c_ulong = 50_000;
/// What a core file has in it unless told otherwise, core(5).
const DUMPED: &str = "0x33";
/// A limit for open files above this is one that an init raised for itself: programs that walk over all numbers that
/// they might have open would take minutes.
const MOST_OPEN_FILES: u64 = 1 << 19;
/// The soft limit in its place: the kernel's default, and what systemd gives to services.
const USUAL_OPEN_FILES: u64 = 1024;
/// What the kernel gives to the first process, by the number of the resource (as far as that does not depend on the memory
/// of the machine): less is worth a warning where it cannot be raised.
const ENOUGH: [u64; inherited::LIMITS] = {
    const NONE: u64 = u64::MAX;
    [NONE, NONE, NONE, 8 << 20, 0, NONE, 0, USUAL_OPEN_FILES, 64 << 10, NONE, NONE, 0, 819_200, 0, 0, NONE]
};
/// No login: the value of proc_pid_loginuid(5) that pam_loginuid(8) of a container may still replace.
const NO_LOGIN: &str = "4294967295";

/// Something that children get from their parent, and how it becomes what it is for a child of init.
#[derive(Debug)]
pub struct Attribute {
    /// What it is called, in messages and in the test.
    pub name: &'static str,
    /// Whether a supervisor that cannot change it says so.
    matters: bool,
    reset: fn() -> Result<()>,
}

/// A row of [`ATTRIBUTES`] that ought to work everywhere.
const fn required(name: &'static str, reset: fn() -> Result<()>) -> Attribute {
    Attribute { name, matters: true, reset }
}

/// A row of [`ATTRIBUTES`] that some kernels do not have, or some sandboxes deny.
const fn optional(name: &'static str, reset: fn() -> Result<()>) -> Attribute {
    Attribute { name, matters: false, reset }
}

/// Everything that is inherited and can be changed. Descriptors, the environment, the working directory, the session
/// and the terminal are `launch`'s.
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

/// The row that a program which takes over leaves alone: what is signalled meanwhile waits until it listens.
const SIGNALS: &str = "signals";

/// Sets every attribute, before execve(2): a limit for the size of files or of memory would spoil that. What fails here
/// fails again in [`from_launcher`], which tells.
pub fn before_execution() {
    for attribute in ATTRIBUTES {
        let _ = (attribute.reset)();
    }
}

/// Makes this process independent of whoever launched it; `shared` is false for a supervisor with its own
/// `$DS_ROOT`, which leaves the machine's cgroups alone.
///
/// # Errors
/// The list of what did not work and matters.
pub fn from_launcher(shared: bool) -> Vec<Error> {
    let mut failures = Vec::new();
    let mut try_to = |what: &'static str, result: Result<()>| {
        failures.extend(result.err().map(|error| error.context(what)));
    };
    if shared {
        // First: the processors that a process may use follow from its cpuset.
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

/// Sets what the program before this one may not have known of.
pub fn from_predecessor() {
    for attribute in ATTRIBUTES.iter().filter(|attribute| attribute.name != SIGNALS) {
        // It was told when the supervisor began.
        let _ = (attribute.reset)();
    }
}

/// Without CAP_SYS_RESOURCE the supervisor is killed like anybody else, but not sooner.
fn be_killed_last() -> Result<()> {
    const SCORE: &str = "/proc/self/oom_score_adj";
    Ok(fs::write(SCORE, "-1000").or_else(|_| fs::write(SCORE, "0"))?)
}

fn option(option: ProcessOption, arguments: [libc::c_ulong; 2]) -> Result<()> {
    call!(inherited::set_option(option, arguments), "prctl({option:?})")?;
    Ok(())
}

/// `su` and `sg` change some of the ids, and root of an app's shell is in groups of Android's.
fn become_root() -> Result<()> {
    let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
    call!(setgroups(&[]), "setgroups")?;
    call!(setresgid(group, group, group), "setresgid(0)")?;
    call!(setresuid(user, user, user), "setresuid(0)")?;
    Ok(())
}

/// What is missing in the bounding set never comes back.
fn compare_bounding_set() -> Result<()> {
    let set = |process: &str| -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{process}/status"))?;
        let value = text.lines().find_map(|line| line.strip_prefix("CapBnd:")).context("no CapBnd")?;
        Ok(u64::from_str_radix(value.trim(), 16)?)
    };
    let missing = set("1")? & !set("self")?;
    if missing != 0 {
        bail!(
            "the shell that started the supervisor lacks capabilities of init ({missing:x} of capabilities(7)), and \
             with it every container; run 'ds supervisor stop', then 'ds supervise' from a boot script"
        );
    }
    Ok(())
}

/// The limits of init; a soft limit for open files that it raised for itself alone is the usual one again.
fn take_limits_of_init() -> Result<()> {
    let (init, own) = (Pid::from_raw(1), Pid::from_raw(0));
    let mut done = Ok(());
    for (resource, enough) in (0..).zip(ENOUGH) {
        let limit = call!(inherited::limit_of(init, resource), "prlimit(1, {resource})")?;
        let limit = for_children(resource, limit);
        let set = call!(inherited::set_limit(resource, limit), "prlimit({resource}, {limit:?})");
        if set.is_err() {
            // Without CAP_SYS_RESOURCE a hard limit stays; as far as it reaches, the soft one follows.
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

fn for_children(resource: u32, limit: Limit) -> Limit {
    if resource == inherited::OPEN_FILES && limit.soft > MOST_OPEN_FILES {
        return Limit { soft: USUAL_OPEN_FILES, ..limit };
    }
    limit
}

/// The processors that init may use, those included that are switched off for the moment; else all that there are.
fn take_processors_of_init() -> Result<()> {
    let status = fs::read_to_string("/proc/1/status").unwrap_or_default();
    if processors(&status).is_some_and(|mask| inherited::set_processors(&mask).is_ok()) {
        return Ok(());
    }
    let all = [libc::c_ulong::MAX; 8192 / libc::c_ulong::BITS as usize];
    Ok(call!(inherited::set_processors(&all), "sched_setaffinity")?)
}

/// The mask in a /proc/PID/status: 32 processors in each group of digits, the first ones last.
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

/// Speculation past stores and over indirect branches is switched off for a process and its children.
fn allow_speculation() -> Result<()> {
    const ENABLE: libc::c_ulong = 2;
    for kind in 0..3 {
        // A processor that has no such weakness, or one whose kernel decides, has no such switch.
        let _ = option(ProcessOption::Speculation, [kind, ENABLE]);
    }
    Ok(())
}

/// Without the flag that keeps it over execve(2) the length is the system's again in the next program.
fn forget_vector_length() -> Result<()> {
    const LENGTH: libc::c_long = 0xffff;
    let length = inherited::set_option(ProcessOption::GetVectorLength, [0, 0])?;
    option(ProcessOption::SetVectorLength, [libc::c_ulong::try_from(length & LENGTH)?, 0])
}

/// A login's keyring is revoked with the login. Init has none, and so the user's counts, except on Android: there the keys
/// of encrypted files are in init's, which every process has from it. No process can be given another's, and a new one
/// would have no key.
fn leave_session_keyring() -> Result<()> {
    if platform::is_android() { Ok(()) } else { Ok(inherited::use_keyring_of_user()?) }
}

/// A shell's `&` and `nohup` leave signals ignored. SIGPIPE stays so, and SIGXFSZ becomes so: a reader that went
/// away and a file that may not grow are errors to handle.
fn reset_signals() -> Result<()> {
    call!(signal::reset_all(), "sigaction")?;
    for signal in [Signal::SIGPIPE, Signal::SIGXFSZ] {
        call!(signal::ignore(signal), "sigaction({signal})")?;
    }
    Ok(())
}

/// What execve(2) undoes, and has to be done again by a program that takes over from another.
///
/// # Errors
/// What prctl(2) answers.
pub fn after_execution() -> Result<()> {
    // Only for the look of it in ps; a name cannot be refused.
    let _ = prctl::set_name(c"ds");
    Ok(call!(prctl::set_dumpable(false), "PR_SET_DUMPABLE")?)
}

/// Moves to the root of every hierarchy: an app's group is frozen and killed with the app.
fn leave_cgroups() -> Result<()> {
    let mounts = info::read("self")?;
    for target in hierarchy_roots(&mounts) {
        // Not every hierarchy takes processes at its root.
        let _ = fs::write(target.target.join("cgroup.procs"), std::process::id().to_string());
    }
    Ok(())
}

/// The mounts that show a cgroup hierarchy from its root, version 2 first; those of a part of one, such as a
/// container's, are no place to go to.
fn hierarchy_roots(mounts: &[MountInfo]) -> impl Iterator<Item = &MountInfo> {
    let of_kind = |kind: &'static str| {
        mounts.iter().filter(move |mount| mount.kind == kind && mount.root.as_os_str() == "/")
    };
    of_kind("cgroup2").chain(of_kind("cgroup"))
}

/// Joins init's mount namespace where this is Android.
///
/// # Errors
/// What setns(2) answers.
pub fn join_init() -> Result<()> {
    if platform::is_android() { join_init_mounts() } else { Ok(()) }
}

/// `su` may run in an app's mount namespace, where mounts are missing or added.
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
