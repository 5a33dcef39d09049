//! The messages between client and worker, on one connection to `run/supervisor.sock`, and between worker and
//! supervisor. Owns their types; sends nothing itself.
//!
//! | direction | message | then |
//! |---|---|---|
//! | client → | CommandRequest with the descriptors of stdin, stdout, stderr | the worker that accepted the connection serves it |
//! | client → | Signal | the worker forwards it to the command |
//! | ← worker | Serving, if the request asks for it | the client checks now and then whether the worker is stopped |
//! | ← worker | RawMode | the client switches its terminal and then sends SIGWINCH; it restores the terminal at its end |
//! | ← worker | Exit | the client exits with the code |
//! | ← worker | Refused | the client prints the reason and fails |
//!
//! If the connection ends without Exit, the worker died. If the client ends, its session is hung up.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::value::Name;

/// Increases when the meaning of a message changes; a client refuses a supervisor of another generation.
pub const GENERATION: u32 = 1;

/// Names of the environment variables that a client sends.
pub const ENVIRONMENT: &[&str] = &[
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "COLUMNS",
    // For downloads.
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "https_proxy",
    "HTTPS_PROXY",
    "http_proxy",
    "HTTP_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// The name of a process that serves a client, for ps(1).
pub const SERVING: &CStr = c"ds:worker";

/// One command line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CommandRequest {
    /// [`GENERATION`] of the client.
    pub generation: u32,
    /// The name by which the program was called, then its arguments.
    pub argv: Vec<String>,
    /// The client's working directory, for relative paths.
    pub cwd: String,
    /// The values of [`ENVIRONMENT`] that are set in the client.
    pub environment: BTreeMap<String, String>,
    /// Whether the client understands [`FromWorker::Serving`].
    #[serde(default)]
    pub watches: bool,
}

/// From the client, after the request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToWorker {
    /// A signal that the client received, by its Linux number.
    Signal(i32),
}

/// From the worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromWorker {
    /// The process with this number serves the request.
    Serving(i32),
    /// Switch the terminal on standard input to raw mode, or back.
    RawMode(bool),
    /// The command has ended with this exit code.
    Exit(u8),
    /// The request is refused: a message of one line.
    Refused(String),
}

/// From a worker to the supervisor that forked it, on a separate socket.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToSupervisor {
    /// The standby worker now serves a client: the supervisor may fork another one.
    Taken,
    /// Requests the state of the containers; the answer is [`FromSupervisor::Containers`].
    Containers,
    /// The monitor of this container is running.
    Started(String),
    /// Cancels the restart of this container; the answer is [`FromSupervisor::Done`].
    Cancel(String),
    /// Requests that the supervisor execute the program in the attached descriptor. The answer is
    /// [`FromSupervisor::Done`], from that program, or [`FromSupervisor::Failed`].
    Succeed,
}

/// From the supervisor to a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromSupervisor {
    /// The request was completed.
    Done,
    /// The request failed: a message of one line.
    Failed(String),
    /// The state of the containers.
    Containers(Containers),
    /// The standby worker must end; sent without a request.
    Dismissed,
}

/// The state of the containers that only the supervisor knows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Containers {
    /// Those whose monitors it watches.
    pub watched: Vec<Name>,
    /// Those with a pending restart, and its time on the clock of [`now`](crate::clock::now).
    pub restarts: BTreeMap<Name, Duration>,
    /// Those whose autostart waits for a condition: `network` or `unlock`.
    #[serde(default)]
    pub waiting: BTreeMap<Name, String>,
    /// Why autostart is off in this boot of the machine: one line.
    #[serde(default)]
    pub held_back: Option<String>,
}
