//! Translates writes of "1" to the list of processes of a control group: cgroups(7).
//!
//! systemd moves itself into a control group by writing the result of getpid(2), for which the kernel would move the
//! machine's init process.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, fstatfs};
use nix::unistd::Pid;

use super::caller::Facts;
use super::memory;
use super::scene::{CONTINUE, Outcome, Scene, duplicate};
use crate::sys::descriptor;
use crate::sys::notification::{Notification, Reply};

/// The lists of cgroup v2 and v1.
const LISTS: [&str; 3] = ["cgroup.procs", "cgroup.threads", "tasks"];

/// Answers a write of two bytes.
pub(super) fn answer(scene: &Scene<'_>, question: &Notification, thread: Pid) -> Outcome {
    let mut bytes = [0; 2];
    let read = memory::read(thread, question.arguments[1], &mut bytes);
    if read.is_ok() && !is_one(bytes) {
        return CONTINUE;
    }
    let number = (question.arguments[0] & 0xffff_ffff) as u32;
    let Some(caller) = Facts::of(thread) else { return CONTINUE };
    match duplicate(scene.pending(question), caller.process, number.cast_signed()) {
        // Unreadable bytes may be that number.
        Ok(file) if is_list(&file) && read.is_err() => Outcome::Reply(Reply::Error(Errno::EFAULT)),
        Ok(file) if is_list(&file) => {
            let written = File::from(file).write_all(scene.place.manager.to_string().as_bytes());
            let failed = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
            Outcome::Reply(written.map_or_else(|error| Reply::Error(failed(error)), |()| Reply::Value(2)))
        }
        _ => CONTINUE,
    }
}

fn is_one(bytes: [u8; 2]) -> bool {
    matches!(bytes, [b'1', b'\n' | b' ' | b'\t' | 0] | [b' ' | b'0', b'1'])
}

fn is_list(file: &OwnedFd) -> bool {
    let kind = fstatfs(file).map(|status| status.filesystem_type());
    let path = std::fs::read_link(descriptor::path(file.as_fd())).unwrap_or_default();
    kind.is_ok_and(|kind| kind == CGROUP_SUPER_MAGIC || kind == CGROUP2_SUPER_MAGIC)
        && path.file_name().is_some_and(|name| LISTS.iter().any(|list| name == *list))
}
