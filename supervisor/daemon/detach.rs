//! Leaves behind what a shell hands down to its children: everything that could end, freeze or limit the supervisor.
//!
//! Owns the list of those things. Most of them may fail without harm, on a desktop or in a test; what matters comes
//! back as a list of warnings. cgroups(7), proc_pid_oom_score_adj(5), prctl(2), setns(2).

use std::fs;
use std::os::fd::AsFd;

use anyhow::{Context, Error, Result};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::stat;

use crate::call;
use crate::mount::info::{self, MountInfo};
use crate::platform;
use crate::sys::process::setns;
use crate::sys::signal;

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
    try_to("reset signals", reset_signals());
    if shared {
        try_to("leave the launcher's control groups", leave_cgroups());
    }
    try_to("join init's mount namespace", join_init());
    try_to(
        "adopt orphans",
        call!(prctl::set_child_subreaper(true), "PR_SET_CHILD_SUBREAPER").map_err(Error::from),
    );
    try_to("hide from debuggers", after_execution());
    try_to("forbid core files", forbid_core_files());
    // Without CAP_SYS_RESOURCE the score stays, and the supervisor is killed like anybody else.
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
    failures
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

/// A shell's `&` and `nohup` leave signals ignored. SIGPIPE stays so: a reader that went away is an error to handle.
fn reset_signals() -> Result<()> {
    call!(signal::reset_all(), "sigaction")?;
    call!(signal::ignore(Signal::SIGPIPE), "sigaction(SIGPIPE)")?;
    Ok(())
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

/// The soft limit alone: what runs in containers may raise it again.
fn forbid_core_files() -> Result<()> {
    let (_, hard) = call!(getrlimit(Resource::RLIMIT_CORE), "getrlimit(CORE)")?;
    call!(setrlimit(Resource::RLIMIT_CORE, 0, hard), "setrlimit(CORE)")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

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
