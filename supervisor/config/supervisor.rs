//! `supervisor.ini`: the settings of the supervisor and those for all containers.
//!
//! A missing file is an empty one, and every key has a default.

use std::path::Path;

use super::error::{Error, Kind};
use super::ini::Document;
use super::load::load_document;
use super::schema::{Form, Key, Schema, value_error};
use super::value::{Invalid, LogLevel, Seconds, Size, Subsystems, Switch, Whole};

/// The minimum size of a log; a smaller one would be rotated permanently.
const MIN_LOG: u64 = 4 << 10;

/// The keys of `supervisor.ini`.
pub const SCHEMA: Schema = Schema { main: SECTION, keys: KEYS, environment: None, old: &[] };

const SECTION: &str = "supervisor";

const KEYS: &[Key] = &[
    Key::new(SECTION, "log-level", "info", Form::OneOf(LogLevel::WORDS), "lowest severity to log", "debug"),
    Key::new(
        SECTION,
        "log-size",
        "1M",
        Form::Text("SIZE"),
        "size at which a log is rotated, at least 4K",
        "256K",
    ),
    Key::new(
        SECTION,
        "log-files",
        "4",
        Form::Text("NUMBER"),
        "log files to keep of each kind, 1 to 100",
        "2",
    ),
    Key::new(
        SECTION,
        "start-parallel",
        "0",
        Form::Text("NUMBER"),
        "containers that may start at the same time, up to 1024; 0 for no limit",
        "2",
    ),
    Key::new(
        SECTION,
        "autostart",
        "yes",
        Form::OneOf(Switch::WORDS),
        "start the containers that have `autostart = yes`; set `no` if the device does not boot otherwise",
        "no",
    ),
    Key::new(
        SECTION,
        "network-wait",
        "120",
        Form::Text("SECONDS"),
        "maximum time that autostart waits for the network; 0 disables the wait",
        "5m",
    ),
    Key::new(
        SECTION,
        "guard-time",
        "120",
        Form::Text("SECONDS"),
        "time after which a start by autostart counts as successful; 0 disables the boot-loop guard",
        "300",
    ),
    Key::new(
        "images",
        "mirror",
        "https://images.linuxcontainers.org",
        Form::Text("ADDRESSES"),
        "servers with the layout of images.linuxcontainers.org, separated by commas, in order of preference",
        "https://mirror.nju.edu.cn/lxc-images,https://images.linuxcontainers.org",
    ),
    Key::new(
        "images",
        "cache-size",
        "2G",
        Form::Text("SIZE"),
        "maximum size of the download cache; the least recently used downloads are removed first",
        "500M",
    ),
    Key::new(
        "images",
        "timeout",
        "30",
        Form::Text("SECONDS"),
        "ds abandons a server that sends less than 128 KiB in this time",
        "2m",
    ),
    Key::new(
        "seed",
        "udev-subsystems",
        Subsystems::DEFAULT,
        Form::Text("NAMES"),
        "subsystems whose events udev may replay at the boot of a container, separated by commas",
        "usb,input",
    ),
];

/// The configuration of the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supervisor {
    /// The least severe level that is logged.
    pub log_level: LogLevel,
    /// The size at which a log is rotated.
    pub log_size: Size,
    /// The number of files kept for a log, including the current one.
    pub log_files: u32,
    /// The maximum number of containers that start in parallel; unlimited if `None`.
    pub start_parallel: Option<u32>,
    /// Whether containers with autostart are started.
    pub autostart: bool,
    /// The timeout of containers that wait for the network at boot.
    pub network_wait: Seconds,
    /// The time after which a started container no longer counts for the boot-loop guard; zero disables the guard.
    pub guard_time: Seconds,
}

impl Supervisor {
    /// Reads the file `path`; a missing file means the defaults.
    ///
    /// # Errors
    /// The first error in the file, or the reason why it cannot be read.
    pub fn load(path: &Path) -> Result<Self, Error> {
        match load_document(path) {
            Err(error) if error.kind() == Kind::NotFound => Self::read(&Document::empty(path)),
            document => Self::read(&document?),
        }
    }

    /// Reads `text`, the content of `file`.
    ///
    /// # Errors
    /// The first error in the text, with its position.
    pub fn parse(text: &[u8], file: &Path) -> Result<Self, Error> {
        Self::read(&Document::parse(text, file)?)
    }

    fn read(document: &Document) -> Result<Self, Error> {
        SCHEMA.check(document)?;
        let log_size: Size = SCHEMA.read(document, SECTION, "log-size")?;
        if log_size.bytes() < MIN_LOG {
            let fault = Invalid::new(format!("{log_size} is less than 4K"), "use 4K or more");
            return Err(value_error(
                document,
                document.entry(SECTION, "log-size"),
                SECTION,
                "log-size",
                &fault,
            ));
        }
        let parallel = SCHEMA.read::<Whole<0, 1024>>(document, SECTION, "start-parallel")?.magnitude();
        Ok(Self {
            log_level: SCHEMA.read(document, SECTION, "log-level")?,
            log_size,
            log_files: SCHEMA.read::<Whole<1, 100>>(document, SECTION, "log-files")?.magnitude(),
            start_parallel: Some(parallel).filter(|most| *most > 0),
            autostart: SCHEMA.read::<Switch>(document, SECTION, "autostart")?.0,
            network_wait: SCHEMA.read(document, SECTION, "network-wait")?,
            guard_time: SCHEMA.read(document, SECTION, "guard-time")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Supervisor, Error> {
        Supervisor::parse(text.as_bytes(), Path::new("supervisor.ini"))
    }

    #[test]
    fn defaults() {
        let expected = Supervisor {
            log_level: LogLevel::Info,
            log_size: Size::from_bytes(1 << 20).unwrap(),
            log_files: 4,
            start_parallel: None,
            autostart: true,
            network_wait: Seconds::new(120),
            guard_time: Seconds::new(120),
        };
        assert_eq!(parse("").unwrap(), expected);
        assert_eq!(parse("[supervisor]\nlog-size =\n").unwrap(), expected);
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Supervisor::load(&directory.path().join("supervisor.ini")).unwrap(), expected);
        assert_eq!(Supervisor::load(directory.path()).unwrap_err().kind(), Kind::Read);
    }

    #[test]
    fn values_and_faults() {
        let text =
            "[supervisor]\nlog-level = DEBUG\nlog-size=8k\nlog-files=1\nstart-parallel=2\nautostart=off\n";
        let supervisor = parse(text).unwrap();
        assert_eq!((supervisor.log_level, supervisor.log_size.bytes()), (LogLevel::Debug, 8192));
        assert_eq!(
            (supervisor.log_files, supervisor.start_parallel, supervisor.autostart),
            (1, Some(2), false)
        );
        for (line, message) in [
            ("log-size = 1K", "supervisor.ini:2:12: supervisor.log-size: 1K is less than 4K; use 4K or more"),
            (
                "log-files=0",
                "supervisor.ini:2:11: supervisor.log-files: '0' is not a whole number from 1 to 100; write one in that range",
            ),
            (
                "loglevel=info",
                "supervisor.ini:2:1: there is no key 'loglevel' in section 'supervisor'; did you mean 'supervisor.log-level'?",
            ),
        ] {
            assert_eq!(parse(&format!("[supervisor]\n{line}\n")).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn every_default_and_example_is_valid() {
        for key in KEYS {
            for value in [key.default, key.example] {
                parse(&format!("[{}]\n{} = {value}\n", key.section, key.name)).unwrap();
            }
        }
    }
}
