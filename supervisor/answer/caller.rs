//! Parses what /proc reports about a process: proc_pid_status(5). Its name may contain any byte.

use std::fs::{self, File};
use std::io::Read;

use nix::unistd::Pid;

use super::memory;
use crate::proc_stat;

/// CAP_KILL and CAP_SYS_BOOT, capabilities(7).
pub(super) const KILL: u32 = 5;
pub(super) const BOOT: u32 = 22;

/// Facts of a thread and its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    /// The process that the thread belongs to.
    pub(super) process: Pid,
    /// The real, effective and saved user id.
    pub(super) users: [u32; 3],
    /// The effective capabilities, in the thread's own user namespace.
    capabilities: u64,
}

impl Facts {
    /// The facts of a thread; `None` if it has ended.
    pub(super) fn of(thread: Pid) -> Option<Self> {
        Self::parse(&read(&format!("/proc/{thread}/status"))?)
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let pid = |name: &str| field(name)?.parse().ok().map(Pid::from_raw);
        let mut users = field("Uid:")?.split_whitespace().map(|user| user.parse().ok());
        Some(Self {
            process: pid("Tgid:")?,
            users: [users.next()??, users.next()??, users.next()??],
            capabilities: u64::from_str_radix(field("CapEff:")?, 16).ok()?,
        })
    }

    /// Whether a thread has a capability in the machine's user namespace, and not only in one of its own.
    pub(super) fn is_capable(&self, thread: Pid, capability: u32) -> bool {
        let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/user")).ok();
        self.capabilities & 1 << capability != 0 && namespace("self") == namespace(&thread.to_string())
    }
}

/// The parent of a thread's process. proc_pid_stat(5) takes the kernel less time than proc_pid_status(5).
pub(super) fn parent(thread: Pid) -> Option<Pid> {
    proc_stat::field(&read(&format!("/proc/{thread}/stat"))?, 4)?.parse().ok().map(Pid::from_raw)
}

/// The text of a file in /proc with one record, which one read(2) returns completely if it fits.
pub(super) fn read(path: &str) -> Option<String> {
    let (mut bytes, mut length) = (vec![0; 4096], 0);
    let mut file = File::open(path).ok()?;
    loop {
        length += file.read(&mut bytes[length..]).ok()?;
        if length < bytes.len() {
            return Some(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
        bytes.resize(length * 2, 0);
    }
}

/// Whether a process has a handler for a signal, blocks it or waits for it: proc_pid_status(5).
pub(super) fn hears(process: Pid, signal: libc::c_int) -> bool {
    let text = read(&format!("/proc/{process}/status")).unwrap_or_default();
    let mask = |name: &str| {
        let mask = text.lines().find_map(|line| line.strip_prefix(name));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
    };
    let is_heard = |set: u64| set & 1 << (signal - 1) != 0;
    (1..=64).contains(&signal)
        && (is_heard(mask("SigCgt:") | mask("SigBlk:")) || awaited(process).is_some_and(is_heard))
}

/// The signals that a process waits for in rt_sigtimedwait(2): they do not count as blocked while it waits. BusyBox
/// init receives its requests there. proc_pid_syscall(5).
fn awaited(process: Pid) -> Option<u64> {
    let text = read(&format!("/proc/{process}/syscall"))?;
    let mut fields = text.split_whitespace();
    if fields.next()?.parse() != Ok(libc::SYS_rt_sigtimedwait) {
        return None;
    }
    let address = u64::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok()?;
    memory::read(process, address).ok().map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn facts_are_those_of_the_process() {
        let own = Facts::of(Pid::this()).unwrap();
        assert_eq!((own.process, parent(Pid::this())), (Pid::this(), Some(Pid::parent())));
        assert_eq!(own.users[0], nix::unistd::getuid().as_raw());
        assert_eq!(Facts::of(Pid::from_raw(i32::MAX)), None);
    }

    proptest! {
        #[test]
        fn any_text_does_not_panic(text in "(Tgid:\t[0-9]{0,12}\n|PPid:.*\n|Uid:\t[0-9]*\t[0-9]*\n|CapEff:\t[0-9a-f]{0,20}\n){0,6}") {
            let _ = Facts::parse(&text);
        }
    }
}
