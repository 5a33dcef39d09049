//! The destinations of log lines: the sinks behind the macros of the `log` crate, selected by the role of the process.
//!
//! Owns the sinks. A client or worker warns on stderr. The supervisor and monitors write a bounded file and the
//! system's log (Android's logd or syslog), and in the foreground also stderr. Logging never fails and never blocks: a
//! line that cannot be written is lost, and a sink that has disappeared is dropped. Every message is one line.

mod file;
mod system;

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::config::Supervisor as Settings;
use crate::config::value::LogLevel;
use crate::screen;
pub use file::Bounds;
use file::{LONGEST, RotatedFile, word};
use system::{Logd, Syslog};

/// Android's logger daemon, liblog's `logdw`.
const LOGD: &str = "/dev/socket/logdw";
/// The socket of syslog(3).
const SYSLOG: &str = "/dev/log";

/// The role of this process.
#[derive(Debug, Clone, Copy)]
pub enum Role<'a> {
    /// A client, or a worker with a client: `ds: warning: …` on stderr.
    Client,
    /// The supervisor, a monitor, or a worker without a client.
    Daemon {
        /// The path of the log file.
        file: &'a Path,
        /// Its limits.
        bounds: Bounds,
        /// The lowest level that is written.
        level: LevelFilter,
        /// Also write to stderr.
        foreground: bool,
    },
}

impl<'a> Role<'a> {
    /// The role of the supervisor and its monitors according to `supervisor.ini`. The current file counts as one of its
    /// `log-files`.
    #[must_use]
    pub fn daemon(settings: &Settings, file: &'a Path, foreground: bool) -> Self {
        let level = match settings.log_level {
            LogLevel::Error => LevelFilter::Error,
            LogLevel::Warn => LevelFilter::Warn,
            LogLevel::Info => LevelFilter::Info,
            LogLevel::Debug => LevelFilter::Debug,
        };
        let bounds = Bounds { size: settings.log_size.bytes(), count: settings.log_files.saturating_sub(1) };
        Self::Daemon { file, bounds, level, foreground }
    }
}

#[derive(Debug)]
enum Sink {
    Warnings,
    Stderr,
    File(RotatedFile),
    Logd(Logd),
    Syslog(Syslog),
}

#[derive(Debug)]
struct Logger {
    sinks: Mutex<Vec<Sink>>,
}

static LOGGER: Logger = Logger { sinks: Mutex::new(Vec::new()) };

static IS_DAEMON: AtomicBool = AtomicBool::new(false);

/// Whether no one reads stderr of this process, so that errors must go to the log.
#[must_use]
pub fn is_daemon() -> bool {
    IS_DAEMON.load(Ordering::Relaxed)
}

/// Sends the log lines of this process to the sinks of its role from now on.
pub fn take_role(role: Role<'_>) {
    let (sinks, level) = match role {
        Role::Client => (vec![Sink::Warnings], LevelFilter::Warn),
        Role::Daemon { file, bounds, level, foreground } => {
            let mut sinks = vec![Sink::File(RotatedFile::new(file, bounds))];
            match Logd::connect(Path::new(LOGD)) {
                Ok(logd) => sinks.push(Sink::Logd(logd)),
                Err(_) => sinks.extend(Syslog::connect(Path::new(SYSLOG)).map(Sink::Syslog)),
            }
            if foreground {
                sinks.push(Sink::Stderr);
            }
            (sinks, level)
        }
    };
    IS_DAEMON.store(matches!(role, Role::Daemon { .. }), Ordering::Relaxed);
    *LOGGER.lock() = sinks;
    // Fails if a logger is already set, as in a worker that was forked from the supervisor.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(level);
}

impl Logger {
    fn lock(&self) -> MutexGuard<'_, Vec<Sink>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let message = record.args().to_string();
            let line = one_line(&message);
            self.lock().retain_mut(|sink| match sink.write(record.level(), &line) {
                Ok(()) => true,
                Err(error) => is_passing(&error),
            });
        }
    }

    fn flush(&self) {}
}

impl Sink {
    fn write(&mut self, level: Level, line: &str) -> io::Result<()> {
        match self {
            Self::Warnings | Self::Stderr => {
                let text = format!("ds: {}: {line}\n", word(level));
                io::stderr().write_all(text.as_bytes())
            }
            Self::File(file) => file.write(level, line),
            Self::Logd(logd) => logd.write(level, line),
            Self::Syslog(syslog) => syslog.write(level, line),
        }
    }
}

/// Whether a retry may succeed after this error.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, ReadOnlyFilesystem, StorageFull, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | StorageFull | ReadOnlyFilesystem)
}

/// The message without characters that could end the line, move the cursor or hide text; truncated if it is too long.
fn one_line(message: &str) -> Cow<'_, str> {
    let end = (0..=message.len().min(LONGEST)).rev().find(|index| message.is_char_boundary(*index));
    let message = &message[..end.unwrap_or(0)];
    if !message.chars().any(screen::is_hidden) {
        return Cow::Borrowed(message);
    }
    let clean = |character: char| if screen::is_hidden(character) { ' ' } else { character };
    Cow::Owned(message.chars().map(clean).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_line_stays_one_line(message: String) {
            let line = one_line(&message);
            prop_assert!(!line.contains(char::is_control));
            prop_assert!(line.len() <= LONGEST);
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let message = "é".repeat(LONGEST);
        assert_eq!(one_line(&message).len(), LONGEST);
        assert_eq!(one_line(&format!("x{message}")).len(), LONGEST - 1);
        assert_eq!(one_line("a\nb\u{1b}[2Jc"), "a b [2Jc");
    }
}
