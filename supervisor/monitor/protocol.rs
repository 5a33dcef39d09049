//! The messages on a container's control socket, `run/containers/NAME/control`, and from a monitor to its worker. Owns
//! their types and the state of a container; sends nothing itself.
//!
//! | request | answer |
//! |---|---|
//! | Status | one Status |
//! | Watch | a Status now and after every change, until the monitor ends |
//! | Stop | Done once the request is accepted, which cannot be cancelled; the connection ends with the container |
//! | Restart | Done once the new PID 1 runs; Failed if the container is being stopped, or a Stop arrives meanwhile |
//! | Console | Done with one stream descriptor: the container's /dev/console |
//! | Listener, with one descriptor | Done: the monitor answers the calls of a session |
//! | Resize | none: the console gets the size |
//! | Neighbours | none: the monitor reads the list of containers in its network again |
//! | NameServers | none: the monitor compares the machine's name servers with those in its container |

use serde::{Deserialize, Serialize};

use crate::plan::devices::Enforcement;
use crate::plan::terms::Terms;
use crate::sys::terminal::WindowSize;

/// Increases when a message is added to the control socket. Either side may be older: missing fields have their
/// defaults, and a monitor ends a connection on which it receives an unknown message.
pub const PROTOCOL: u32 = 3;
/// The first version with [`ControlRequest::Neighbours`].
pub const WITH_NEIGHBOURS: u32 = 2;
/// The first version with [`ControlRequest::NameServers`]; earlier monitors follow the name servers themselves.
pub const WITH_NAME_SERVERS: u32 = 3;

/// A request to the monitor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ControlRequest {
    /// Requests the status.
    Status,
    /// Subscribes to status changes.
    Watch,
    /// Shut the container down.
    Stop {
        /// Seconds until SIGKILL; the configuration's when absent.
        timeout_s: Option<u32>,
        /// SIGKILL immediately.
        kill: bool,
    },
    /// Shut down and boot again; the root file system stays mounted.
    Restart {
        /// Seconds until SIGKILL; the configuration's when absent.
        timeout_s: Option<u32>,
    },
    /// Attach to /dev/console.
    Console,
    /// Answer the calls of a session on this descriptor, on a kernel without PID namespaces.
    Listener {
        /// Its first process.
        process: i32,
    },
    /// Size of the viewer's terminal.
    Resize(WindowSize),
    /// The names or addresses of containers in networks have changed.
    Neighbours,
    /// The machine's name servers may have changed.
    NameServers,
}

/// An answer of the monitor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    /// The container's state.
    Status(Box<Status>),
    /// The request was completed (Stop: accepted).
    Done,
    /// The request failed: a message of one line.
    Failed(String),
}

/// A report of a monitor to the worker that forked it, until PID 1 runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Report {
    /// A warning: a setting has no effect.
    Warning(String),
    /// The progress of the check of an image.
    Checking {
        /// Relative to the total, if that is known.
        percent: Option<u8>,
    },
    /// PID 1 runs.
    Running,
    /// The start failed; everything was undone.
    Failed(String),
}

/// State of a container, as in `ds list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No monitor, and the last exit was requested or clean.
    Stopped,
    /// Being prepared.
    Starting,
    /// PID 1 runs.
    Running,
    /// A shutdown was requested.
    Stopping,
    /// Between two boots.
    Restarting,
    /// No monitor, and the last start or exit was a failure.
    Failed,
    /// Running, with all its processes frozen.
    Frozen,
}

impl State {
    /// The word in the JSON output.
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

/// The status that a monitor reports about its container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`PROTOCOL`] of the monitor, which keeps its program until its container restarts; 0 if it predates this field.
    #[serde(default)]
    pub protocol: u32,
    /// Version of the monitor's program; empty if it predates this field.
    #[serde(default)]
    pub version: String,
    /// State.
    pub state: State,
    /// The host's process id of PID 1, if it exists.
    pub pid: Option<i32>,
    /// Start time of PID 1 in clock ticks after boot (field 22 of /proc/PID/stat). Together with `pid`, it identifies
    /// one process.
    pub pid_started: Option<u64>,
    /// Process id of the monitor.
    pub monitor: i32,
    /// Kind of init system: a word of the JSON output.
    pub init: String,
    /// The init system has reported that it is up.
    pub ready: bool,
    /// Start time of PID 1, in seconds of CLOCK_BOOTTIME.
    pub started_s: Option<u64>,
    /// Boots since the monitor began; more than 1 after a reboot.
    pub boots: u32,
    /// Host name in the container.
    pub hostname: String,
    /// The container's cgroup on the host: the directory with the limits.
    pub cgroup: Option<String>,
    /// The namespaces (`CLONE_NEW*`) that belong to the container.
    pub namespaces: i32,
    /// The settings for every process in the container; absent if the monitor predates this field.
    #[serde(default)]
    pub terms: Option<Box<Terms>>,
    /// The devices that it may use; absent if the monitor predates this field and restricts nothing.
    #[serde(default)]
    pub devices: Option<Devices>,
    /// The protections that it lacks, `no` for none; empty if the monitor predates this field.
    #[serde(default)]
    pub privileged: String,
    /// Whether changes are kept in memory, because of the file or of the start.
    #[serde(default)]
    pub volatile: bool,
    /// Network mode: a word of the JSON output.
    pub network: String,
    /// Addresses in the container, if it has its own network.
    pub addresses: Vec<String>,
    /// How the previous boot ended, if there was one.
    pub last_exit: Option<Exit>,
    /// Seconds until PID 1 is killed, after a shutdown request; absent if the monitor predates this field.
    #[serde(default)]
    pub ends_within_s: Option<u64>,
    /// Features that the container lacks, one sentence each; empty if the monitor predates this field.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The devices that processes of a container may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// The mechanism that enforces the policy.
    pub enforced_by: Enforcement,
    /// Permissions in the form of the devices controller of version 1.
    pub rules: Vec<String>,
    /// The paths of the devices of the host in it now.
    #[serde(default)]
    pub nodes: Vec<String>,
}

/// Why a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitReason {
    /// `ds stop`: no policy restarts it. With a signal if PID 1 had to be killed.
    Stopped,
    /// A reboot inside; the container has booted again.
    Rebooted,
    /// `ds restart`; the container has booted again. With a signal if PID 1 had to be killed.
    Restarted,
    /// `poweroff` or `halt` inside.
    PoweredOff,
    /// PID 1 exited with a code.
    Exited,
    /// A signal killed PID 1.
    Killed,
    /// The start failed.
    StartFailed,
    /// The monitor was killed.
    Lost,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The reason.
    pub reason: ExitReason,
    /// Exit code of PID 1, with `Exited`.
    pub code: Option<i32>,
    /// The signal that killed PID 1, with `Killed`; SIGKILL if PID 1 did not end in time.
    pub signal: Option<i32>,
    /// A message of one line, with `StartFailed`.
    pub message: Option<String>,
    /// The time, in seconds since 1970.
    pub at: u64,
    /// The uptime of PID 1, in seconds.
    pub uptime_s: u64,
}

impl Exit {
    /// Whether `restart = on-failure` restarts the container.
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
        // One that predates terms and versions, and a newer one with unknown fields.
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
