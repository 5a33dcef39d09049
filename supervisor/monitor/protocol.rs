//! What is said on a container's control socket, `run/containers/NAME/control`.
//!
//! | request | answer |
//! |---|---|
//! | Status | one Status |
//! | Watch | a Status now and after every change, until the monitor ends |
//! | Stop | Done once the request is taken, which nothing takes back; the end of the connection is the end of the container |
//! | Restart | Done once the new PID 1 runs; or Failed, at once while the container is being stopped, and as soon as a Stop comes in between |
//! | Console | Done with one stream descriptor: the container's /dev/console |
//! | Resize | nothing: the console gets the size |

use serde::{Deserialize, Serialize};

use crate::plan::devices::Enforcement;
use crate::plan::terms::Terms;
use crate::sys::terminal::WindowSize;

/// Raised when something new is said on the control socket. Either side may be the older one: what is not understood is
/// passed over, what is missing is at its default.
pub const PROTOCOL: u32 = 1;

/// A request to the monitor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ControlRequest {
    /// How are you?
    Status,
    /// Tell me of every change.
    Watch,
    /// Shut the container down.
    Stop {
        /// Seconds until SIGKILL; the configuration's when absent.
        timeout_s: Option<u32>,
        /// SIGKILL at once.
        kill: bool,
    },
    /// Shut down and boot again; the root file system stays attached.
    Restart {
        /// Seconds until SIGKILL; the configuration's when absent.
        timeout_s: Option<u32>,
    },
    /// Attach to /dev/console.
    Console,
    /// Size of the terminal that looks at /dev/console.
    Resize(WindowSize),
}

/// What the monitor answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    /// The container's state.
    Status(Box<Status>),
    /// The request is carried out (Stop: taken).
    Done,
    /// The request failed: one line.
    Failed(String),
}

/// What a monitor reports to the worker that forked it, until PID 1 runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Report {
    /// Something is not as asked for.
    Warning(String),
    /// The image is being checked, so much of it is done.
    Checking {
        /// Of all work, if that is known.
        percent: Option<u8>,
    },
    /// PID 1 runs.
    Running,
    /// It did not work; everything is undone.
    Failed(String),
}

/// State of a container, as in `ds list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No monitor, and the last end was asked for or clean.
    Stopped,
    /// Being prepared.
    Starting,
    /// PID 1 runs.
    Running,
    /// Asked to shut down.
    Stopping,
    /// Between two boots.
    Restarting,
    /// No monitor, and the last start or end was a failure.
    Failed,
    /// Running, with all its processes frozen.
    Frozen,
}

impl State {
    /// The word of the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Restarting => "restarting",
            Self::Failed => "failed",
            Self::Frozen => "frozen",
        }
    }
}

/// Everything a monitor tells about its container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`PROTOCOL`] of the monitor, which keeps its program until its container restarts; 0 before there was this.
    #[serde(default)]
    pub protocol: u32,
    /// Version of the monitor's program; empty before there was this.
    #[serde(default)]
    pub version: String,
    /// State.
    pub state: State,
    /// PID 1 as the host sees it; none while there is none.
    pub pid: Option<i32>,
    /// Start time of PID 1 in clock ticks after boot (field 22 of /proc/PID/stat): with `pid` it names one process.
    pub pid_started: Option<u64>,
    /// Process id of the monitor.
    pub monitor: i32,
    /// Kind of init system: a word of the contract.
    pub init: String,
    /// The init system says that it is up.
    pub ready: bool,
    /// When PID 1 was started, CLOCK_BOOTTIME seconds.
    pub started_s: Option<u64>,
    /// Boots since the monitor began; above 1 after a reboot.
    pub boots: u32,
    /// Host name inside.
    pub hostname: String,
    /// The container's cgroup on the host: the directory that carries the limits.
    pub cgroup: Option<String>,
    /// The namespace flags (`CLONE_NEW*`) that the container has of its own.
    pub namespaces: i32,
    /// What holds for every process inside; absent from monitors of before there was this.
    #[serde(default)]
    pub terms: Option<Box<Terms>>,
    /// Which devices it may use; absent from monitors of before there was this, which restrict nothing.
    #[serde(default)]
    pub devices: Option<Devices>,
    /// Whether every change is kept in memory, by the file or by the start.
    #[serde(default)]
    pub volatile: bool,
    /// Network mode: a word of the contract.
    pub network: String,
    /// Addresses inside, when the container has a network of its own.
    pub addresses: Vec<String>,
    /// How the last boot ended, when there was one before.
    pub last_exit: Option<Exit>,
    /// Seconds until PID 1 is killed, when it was asked to end; absent from monitors of before there was this.
    #[serde(default)]
    pub ends_within_s: Option<u64>,
}

/// Which devices the processes of a container may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// What enforces it.
    pub enforced_by: Enforcement,
    /// One permission each, as the devices controller of version 1 writes them.
    pub rules: Vec<String>,
}

/// Why a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitReason {
    /// `ds stop`: not restarted by any policy. With a signal if PID 1 had to be killed.
    Stopped,
    /// A reboot inside; it has been booted again since.
    Rebooted,
    /// `ds restart`; it has been booted again since. With a signal if PID 1 had to be killed.
    Restarted,
    /// `poweroff` or `halt` inside.
    PoweredOff,
    /// PID 1 ended with a code.
    Exited,
    /// A signal ended PID 1.
    Killed,
    /// It never came to run.
    StartFailed,
    /// The monitor vanished.
    Lost,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Why.
    pub reason: ExitReason,
    /// Exit code of PID 1, with `Exited`.
    pub code: Option<i32>,
    /// Signal that ended PID 1, with `Killed`, and SIGKILL where it did not end when it was asked to.
    pub signal: Option<i32>,
    /// One line for people, with `StartFailed`.
    pub message: Option<String>,
    /// When, seconds since 1970.
    pub at: u64,
    /// How long PID 1 had been running, seconds.
    pub uptime_s: u64,
}

impl Exit {
    /// Whether `restart = on-failure` would start the container again.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        match self.reason {
            ExitReason::Stopped | ExitReason::PoweredOff | ExitReason::Rebooted | ExitReason::Restarted => {
                false
            }
            ExitReason::Exited => self.code != Some(0),
            ExitReason::Killed | ExitReason::StartFailed | ExitReason::Lost => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monitors_of_other_versions_are_understood() {
        // From before there were terms and versions; and from after, with what nobody here knows.
        let old = r#"{"Status":{"state":"running","pid":7,"pid_started":9,"monitor":6,"init":"systemd","ready":true,
            "started_s":1,"boots":1,"hostname":"web","cgroup":null,"namespaces":0,"network":"host","addresses":[],
            "last_exit":null}}"#;
        let Answer::Status(status) = serde_json::from_str(old).unwrap() else { panic!() };
        assert_eq!((status.protocol, status.version.as_str(), status.pid), (0, "", Some(7)));
        let new =
            old.replace(r#""state""#, r#""protocol":9,"version":"9.0","something":{"new":[1]},"state""#);
        let Answer::Status(status) = serde_json::from_str(&new).unwrap() else { panic!() };
        assert_eq!((status.protocol, status.version.as_str(), status.ready), (9, "9.0", true));
    }
}
