//! Translates writes of "1" to the list of processes of a control group: cgroups(7).
//!
//! systemd moves itself into a control group by writing the result of getpid(2), for which the kernel would move the
//! machine's init process.

use std::fs::{File, read_link};
use std::io::Write;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, fstatfs};
use nix::unistd::Pid;

use super::caller::Facts;
use super::context::{CONTINUE, Context, Outcome, duplicate, low};
use super::memory::{copy, limited};
use crate::sys::notification::{Notification, Reply};

/// The lists of cgroup v2 and v1.
const LISTS: [&str; 3] = ["cgroup.procs", "cgroup.threads", "tasks"];

/// Answers a write of two bytes. Most are to other files, whose file system is not asked.
pub(super) fn answer(context: &Context<'_>, question: &Notification, thread: Pid) -> Outcome {
    let number = low(question.arguments[0]).cast_signed();
    if !is_named_as_a_list(&format!("/proc/{thread}/fd/{number}")) {
        return CONTINUE;
    }
    let Some(caller) = Facts::of(thread) else { return CONTINUE };
    let pending = context.pending(question);
    let Ok(file) = duplicate(pending, caller.process, number) else { return CONTINUE };
    let bytes =
        limited(&|| if is_list(&file) { copy(thread, question.arguments[1], 2) } else { Ok(Vec::new()) });
    match bytes {
        Ok(bytes) if !is_one(&bytes) => CONTINUE,
        Ok(_) if pending.is_waiting() => {
            let written = File::from(file).write_all(context.place.manager.to_string().as_bytes());
            let failed = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
            Outcome::Reply(written.map_or_else(|error| Reply::Error(failed(error)), |()| Reply::Value(2)))
        }
        // Unreadable bytes may be that number.
        _ => Outcome::Reply(Reply::Error(Errno::EFAULT)),
    }
}

fn is_one(bytes: &[u8]) -> bool {
    matches!(bytes, [b'1', b'\n' | b' ' | b'\t' | 0] | [b' ' | b'0', b'1'])
}

/// Whether a link in /proc refers to a file with the name of a list. Does not ask the file system.
fn is_named_as_a_list(link: &str) -> bool {
    let path = read_link(link).unwrap_or_default();
    path.file_name().is_some_and(|name| LISTS.iter().any(|list| name == *list))
}

fn is_list(file: &OwnedFd) -> bool {
    let kind = fstatfs(file).map(|status| status.filesystem_type());
    kind.is_ok_and(|kind| kind == CGROUP_SUPER_MAGIC || kind == CGROUP2_SUPER_MAGIC)
}
