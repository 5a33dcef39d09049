//! Whether the guest is up: from its readiness notification, its login prompt, or else from files in its /run and from
//! its processes.
//!
//! Owns the state of readiness and the signs of each init system. It checks only on request and never periodically; a
//! client that waits repeats the request. The container controls the result, so it is used for nothing else. utmp(5),
//! openrc(8), runit(8), BusyBox init.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use nix::unistd::Pid;

use super::notify::Notify;
use super::part::{Part, Ready};
use crate::clock::now;
use crate::config::value::Name;
use crate::poll::PollSet;
use crate::proc_stat;
use crate::rootfs::deadline::within;
use crate::rootfs::files::{self, GuestFile};
use crate::rootfs::guest::{FirstProcess, Guest};
use crate::rootfs::root::Root;

/// The timeout for reading files of the container.
const TIMEOUT: Duration = Duration::from_secs(2);
/// After this number of failures, a guest is not checked again: each check can take [`TIMEOUT`].
const MAX_FAILURES: u8 = 3;
/// The pause after a check, in times of its duration: on a slow machine, the checks of a client that waits must not
/// delay the boot.
const PAUSE: u32 = 9;
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Maximum size of a file that is read, in bytes.
const LARGEST: u64 = 64 * 1024;
/// Length of a record of utmp, and the offsets of its fields: utmp(5), the same on every processor with a 32-bit time
/// in it.
const RECORD: usize = 384;
/// Run levels of OpenRC in which it is not up.
const EARLY: [&str; 5] = ["", "sysinit", "boot", "shutdown", "reboot"];

/// The sign that a guest is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// A notification, or the login prompt.
    None,
    /// OpenRC has reached its run level.
    OpenRc,
    /// sysvinit has reached a run level, and its script has ended.
    RunLevel,
    /// runit's second stage supervises services.
    Supervisor,
    /// BusyBox has started its permanent processes, or has none and its last `sysinit` has ended.
    Respawned,
}

impl Sign {
    pub(super) fn of(guest: &Guest) -> Self {
        match guest.first {
            FirstProcess::Systemd | FirstProcess::S6 | FirstProcess::Procd => Self::None,
            _ if guest.openrc => Self::OpenRc,
            FirstProcess::Sysvinit => Self::RunLevel,
            FirstProcess::Runit => Self::Supervisor,
            FirstProcess::Busybox => Self::Respawned,
            FirstProcess::OpenrcInit | FirstProcess::Other => Self::None,
        }
    }

    /// Whether the guest shows the sign now. `root` is that of the running guest.
    fn shows(self, root: &Root, init: Pid) -> Result<bool> {
        let text = |file: GuestFile| {
            root.read(file, LARGEST).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(match self {
            Self::None => false,
            Self::OpenRc => {
                let changing = root.resolve(files::OPENRC_STARTING.path()).is_ok();
                !changing && !EARLY.contains(&text(files::SOFTLEVEL)?.trim())
            }
            Self::RunLevel => level_reached(&root.read(files::UTMP, LARGEST)?),
            Self::Supervisor => children(init).iter().any(|name| name == "runsvdir"),
            Self::Respawned => {
                let table = text(files::INITTAB).unwrap_or_else(|_| DEFAULT_INITTAB.into());
                let kept = kept(&table);
                if kept.is_empty() {
                    table_is_done(&table, init)
                } else {
                    children(init).iter().any(|name| kept.contains(name))
                }
            }
        })
    }
}

/// Whether the guest is up.
#[derive(Debug)]
pub(super) struct Readiness {
    ready: bool,
    /// The sign that the guest is up, if it does not send a notification.
    sign: Sign,
    /// The number of failed checks of the sign in this boot.
    failures: u8,
    /// The earliest time of the next check.
    next: Duration,
    /// The socket for its notification, if it sends one.
    notify: Option<Notify>,
    /// Subscribers have not been notified yet.
    changed: bool,
}

impl Readiness {
    pub(super) fn new(sign: Sign, notify: Option<Notify>) -> Self {
        Self { ready: false, sign, failures: 0, next: Duration::ZERO, notify, changed: false }
    }

    /// A boot begins or has ended.
    pub(super) fn reset(&mut self) {
        (self.ready, self.failures, self.next) = (false, 0, Duration::ZERO);
    }

    /// The next boot has another init system.
    pub(super) fn expect(&mut self, sign: Sign) {
        self.sign = sign;
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether the guest sends a notification.
    pub(super) fn is_notified(&self) -> bool {
        self.notify.is_some()
    }

    /// The notification socket has input.
    pub(super) fn read_notification(&mut self) {
        if self.notify.as_ref().is_some_and(Notify::is_ready) {
            self.becomes_ready();
        }
    }

    /// A login prompt has appeared on the console. It counts only for a guest without notification.
    pub(super) fn prompted(&mut self) {
        if self.notify.is_none() {
            self.becomes_ready();
        }
    }

    fn becomes_ready(&mut self) {
        self.changed |= !std::mem::replace(&mut self.ready, true);
    }

    /// Whether subscribers have to be notified of a change.
    pub(super) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Checks a running guest for the sign. A slow machine may exceed the timeout once; a guest that cannot be checked is
    /// not checked again. Does nothing in the pause after a check.
    pub(super) fn look(&mut self, init: Pid, name: &Name) {
        let sign = self.sign;
        let begun = now();
        if self.ready || sign == Sign::None || begun < self.next {
            return;
        }
        let looked = within(TIMEOUT, || {
            let root = Root::open(Path::new(&format!("/proc/{init}/root/")))?;
            Ok(vec![u8::from(sign.shows(&root, init).unwrap_or(false))])
        });
        match looked {
            Ok(answer) if answer == [1] => self.becomes_ready(),
            Ok(_) => self.pause(begun, now()),
            Err(error) => {
                self.failures += 1;
                if self.failures == MAX_FAILURES {
                    log::warn!("{name}: cannot determine whether it is up: {error:#}");
                    self.sign = Sign::None;
                }
            }
        }
    }

    /// A check without the sign has taken this time.
    fn pause(&mut self, begun: Duration, end: Duration) {
        self.next = end + LONGEST_PAUSE.min(PAUSE * (end - begun));
    }
}

impl Part for Readiness {
    fn watch<'a>(&'a self, set: &mut PollSet<'a, Ready>) {
        if let Some(notify) = &self.notify {
            set.input(Ready::Notify, notify.fd());
        }
    }
}

/// The default of BusyBox without a table: it offers a shell on the console.
const DEFAULT_INITTAB: &str = "::askfirst:-/bin/sh\n";

/// Actions and commands of a table of BusyBox.
fn actions(table: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = table.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let mut fields = line.splitn(4, ':').skip(2);
        Some((fields.next()?, fields.next()?))
    })
}

/// The name of the process with this command.
fn process_name(command: &str) -> Option<String> {
    /// Maximum length of a process name, proc_pid_comm(5).
    const NAME: usize = 15;
    let program = command.trim_start_matches('-').split_whitespace().next()?;
    Some(program.rsplit('/').next()?.chars().take(NAME).collect())
}

/// Names of the processes that BusyBox init starts after `sysinit`, `wait` and `once`.
fn kept(table: &str) -> Vec<String> {
    let name = |(action, command)| match action {
        // Until a key is pressed, it is a copy of init.
        "askfirst" => Some("init".to_owned()),
        "respawn" => process_name(command),
        _ => None,
    };
    actions(table).filter_map(name).collect()
}

/// Names of the processes that BusyBox init waits for; it is a copy of init before it executes the program, and a shell
/// if the command needs one.
fn awaited(table: &str) -> Vec<String> {
    let commands = actions(table).filter(|(action, _)| ["sysinit", "wait"].contains(action));
    let mut names: Vec<String> = commands.filter_map(|(_, command)| process_name(command)).collect();
    if !names.is_empty() {
        names.extend(["init".to_owned(), "sh".to_owned()]);
    }
    names
}

/// Whether BusyBox init, which keeps no process, has waited for all that its table tells it to wait for. The second look
/// is for the moment between two of them.
fn table_is_done(table: &str, init: Pid) -> bool {
    const BETWEEN: Duration = Duration::from_millis(20);
    let awaited = awaited(table);
    // The page faults of the children that it has waited for.
    let has_waited = || {
        let about = proc_stat::read(&format!("/proc/{init}/stat")).unwrap_or_default();
        proc_stat::field(&about, 11).is_some_and(|faults| faults != "0")
    };
    let idle = || !children(init).iter().any(|name| awaited.contains(name));
    awaited.is_empty()
        || has_waited() && idle() && {
            std::thread::sleep(BETWEEN);
            idle()
        }
}

/// Whether sysvinit has entered one of the run levels 2 to 5, and its script has ended: the process with the id `lN`,
/// as in the inittab(5) of every distribution.
fn level_reached(utmp: &[u8]) -> bool {
    const RUN_LVL: u16 = 1;
    const INIT_PROCESS: u16 = 5;
    let records = || {
        utmp.chunks_exact(RECORD).map(|record| {
            let kind = u16::from_ne_bytes([record[0], record[1]]);
            // The run level is the low byte of the process id field.
            let number = i32::from_ne_bytes([record[4], record[5], record[6], record[7]]);
            (kind, number.to_le_bytes()[0], [record[40], record[41], record[42]])
        })
    };
    let Some((_, level, _)) = records().find(|(kind, ..)| *kind == RUN_LVL) else { return false };
    let busy = records().any(|(kind, _, id)| kind == INIT_PROCESS && id == [b'l', level, 0]);
    (b'2'..=b'5').contains(&level) && !busy
}

/// Names of the children of a process, from the host's /proc.
fn children(parent: Pid) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let is_number = |name: &OsStr| name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
    entries
        .filter(|entry| is_number(&entry.file_name()))
        .filter_map(|entry| child_name(&entry.path(), parent))
        .collect()
}

fn child_name(process: &Path, parent: Pid) -> Option<String> {
    let bytes = std::fs::read(process.join("stat")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // The name in parentheses may contain anything: proc_pid_stat(5).
    let (before, after) = text.rsplit_once(')')?;
    let number: i32 = after.split_whitespace().nth(1)?.parse().ok()?;
    (number == parent.as_raw()).then(|| before.split_once('(').map(|(_, name)| name.to_owned()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u16, number: i32, id: &str) -> Vec<u8> {
        let mut record = vec![0; RECORD];
        record[..2].copy_from_slice(&kind.to_ne_bytes());
        record[4..8].copy_from_slice(&number.to_ne_bytes());
        record[40..40 + id.len()].copy_from_slice(id.as_bytes());
        record
    }

    #[test]
    fn a_guest_is_checked_again_after_a_failure_and_not_forever() {
        let mut readiness = Readiness::new(Sign::RunLevel, None);
        let (nobody, name) = (Pid::from_raw(i32::MAX), "web".parse().unwrap());
        for failures in 1..=MAX_FAILURES {
            assert_eq!(readiness.sign, Sign::RunLevel, "before failure {failures}");
            readiness.look(nobody, &name);
        }
        assert_eq!((readiness.sign, readiness.is_ready()), (Sign::None, false));
    }

    #[test]
    fn a_check_is_followed_by_a_pause() {
        let (nobody, name) = (Pid::from_raw(i32::MAX), "web".parse().unwrap());
        let mut readiness = Readiness::new(Sign::RunLevel, None);
        readiness.pause(Duration::from_millis(100), Duration::from_millis(105));
        assert_eq!(readiness.next, Duration::from_millis(150));
        readiness.pause(Duration::from_secs(1), Duration::from_secs(2));
        assert_eq!(readiness.next, Duration::from_secs(4));
        readiness.next = now() + Duration::from_secs(600);
        readiness.look(nobody, &name);
        assert_eq!(readiness.failures, 0, "it was not checked");
        readiness.reset();
        readiness.look(nobody, &name);
        assert_eq!(readiness.failures, 1, "the next boot is checked at once");
    }

    #[test]
    fn a_run_level_is_reached_when_its_script_has_ended() {
        let level = |level: u8| record(1, i32::from(b'N') * 256 + i32::from(level), "~~");
        assert!(!level_reached(&[]));
        assert!(!level_reached(&level(b'S')));
        assert!(!level_reached(&level(b'6')));
        assert!(level_reached(&level(b'2')));
        assert!(!level_reached(&[level(b'2'), record(5, 77, "l2")].concat()), "its script runs");
        assert!(level_reached(&[level(b'2'), record(8, 77, "l2"), record(5, 78, "1")].concat()));
        assert!(level_reached(&[level(b'5'), vec![0; 100]].concat()), "cut off");
    }

    #[test]
    fn what_busybox_keeps_is_read_from_its_table() {
        let table = "# ::respawn:/bin/no\n::sysinit:/etc/init.d/rcS\ntty1::respawn:/sbin/getty 38400 tty1\n\
                     ::askfirst:-/bin/sh\n::respawn:-/bin/a-name-that-is-too-long\nbroken\n::once:/bin/x\n";
        assert_eq!(kept(table), ["getty", "init", "a-name-that-is-"]);
        assert_eq!(awaited(table), ["rcS", "init", "sh"]);
        assert!(awaited("::once:/bin/x\n::respawn:/bin/y\n").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_a_guest_writes_panics(bytes in proptest::collection::vec(0_u8.., 0..2000)) {
            level_reached(&bytes);
            kept(&String::from_utf8_lossy(&bytes));
            awaited(&String::from_utf8_lossy(&bytes));
        }
    }
}
