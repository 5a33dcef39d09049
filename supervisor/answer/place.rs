//! Which processes are the container's: those in its control groups, as the host's side of /proc says.
//!
//! Owns that decision. Root of the container can move its processes only among groups that it sees, all of which are
//! below the container's own. But where cgroup v2 is mounted without `nsdelegate`, and in version 1, it can also move
//! processes of the machine there; these have the host name of the machine. cgroups(7), proc_pid_cgroup(5).

use std::fs;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{Mode, fstatat, stat};
use nix::unistd::Pid;

use crate::call;

/// The container's own processes, and the one that is PID 1 to them.
#[derive(Debug)]
pub(super) struct Place {
    /// PID 1.
    pub(super) manager: Pid,
    /// Its threads: /proc/PID/task, which never refers to a later process with the same number.
    threads: OwnedFd,
    /// The beginning of the line in /proc/PID/cgroup that a process of the container has.
    group: String,
    /// The UTS namespace of the machine, if the container has another one.
    outside: Option<u64>,
}

/// The UTS namespace of a process, uts_namespaces(7).
fn host_name(process: &str) -> Option<u64> {
    stat(format!("/proc/{process}/ns/uts").as_str()).ok().map(|status| status.st_ino)
}

impl Place {
    /// The place around PID 1, by its group with these last names.
    pub(super) fn of(manager: Pid, names: [&str; 2]) -> Result<Self> {
        let path = format!("/proc/{manager}/cgroup");
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let group = own_group(&text, names).context(
            "no control group tells its processes apart, which containers without PID namespaces need; see 'ds check'",
        )?;
        let path = format!("/proc/{manager}/task");
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let threads = call!(open(path.as_str(), flags, Mode::empty()), "open({path})")?;
        let outside = host_name("self").filter(|own| host_name(&manager.to_string()) != Some(*own));
        Ok(Self { manager, threads, group, outside })
    }

    /// Whether a process or thread is the container's.
    pub(super) fn holds(&self, process: Pid) -> bool {
        process.as_raw() > 0
            && fs::read_to_string(format!("/proc/{process}/cgroup"))
                .is_ok_and(|text| text.lines().any(|line| is_below(line, &self.group)))
            && self.outside.is_none_or(|outside| host_name(&process.to_string()) != Some(outside))
    }

    /// Whether a thread is PID 1's.
    pub(super) fn is_managers(&self, thread: Pid) -> bool {
        thread == self.manager
            || fstatat(&self.threads, thread.to_string().as_str(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }
}

/// The beginning of the line for the container's group: of version 2 if it has one there, else of any of version 1.
fn own_group(text: &str, names: [&str; 2]) -> Option<String> {
    let own = format!("/{}/{}", names[0], names[1]);
    let group = |line: &str| {
        // A name of a hierarchy may contain anything but a colon.
        let path = line.splitn(3, ':').nth(2)?;
        let ends = path.match_indices(&own).map(|(at, _)| at + own.len());
        let end = ends.into_iter().find(|end| matches!(path.as_bytes().get(*end), None | Some(b'/')))?;
        Some(line[..line.len() - path.len() + end].to_owned())
    };
    text.lines().filter(|line| line.starts_with("0::")).chain(text.lines()).find_map(group)
}

fn is_below(line: &str, group: &str) -> bool {
    line.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 2] = ["droidspaces", "web"];

    #[test]
    fn the_group_is_that_of_version_2_or_any_of_version_1() {
        for (text, expected) in [
            (
                "4:memory:/droidspaces/web\n0::/droidspaces/web/payload/init.scope\n",
                Some("0::/droidspaces/web"),
            ),
            ("4:memory:/droidspaces/web/payload\n0::/\n", Some("4:memory:/droidspaces/web")),
            ("1:name=a:/x/droidspaces/web/payload\n", Some("1:name=a:/x/droidspaces/web")),
            ("0::/droidspaces/web2/payload\n", None),
            ("0::/\n", None),
            ("", None),
        ] {
            assert_eq!(own_group(text, NAMES).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn only_what_is_below_is_inside() {
        let group = own_group("0::/droidspaces/web/payload\n", NAMES).unwrap();
        for (line, inside) in [
            ("0::/droidspaces/web/payload/system.slice/a.service", true),
            ("0::/droidspaces/web", true),
            ("0::/droidspaces/web2/payload", false),
            ("0::/droidspaces", false),
            ("0::/x/droidspaces/web/payload", false),
            ("1:memory:/droidspaces/web/payload", false),
            ("0::/", false),
        ] {
            assert_eq!(is_below(line, &group), inside, "{line}");
        }
    }
}
