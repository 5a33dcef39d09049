//! What client and worker say to each other, on one connection to `run/supervisor.sock`.
//!
//! | direction | message | then |
//! |---|---|---|
//! | client → | CommandRequest with the descriptors of stdin, stdout, stderr | the worker that took the connection serves it |
//! | client → | Signal | the worker passes it on to the command |
//! | ← worker | RawMode | the client switches its terminal, and says SIGWINCH once it is raw; it restores it at the end, however that comes |
//! | ← worker | Exit | the client exits with the code |
//! | ← worker | Refused | the client says why and fails |
//!
//! The end of the connection without Exit means that the worker died; the end of the client hangs up its session.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::value::Name;

/// Raised when a message changes its meaning; a client refuses a supervisor of another generation.
pub const GENERATION: u32 = 1;

/// Names of the environment variables that a client hands on.
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

/// One command line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CommandRequest {
    /// [`GENERATION`] of the client.
    pub generation: u32,
    /// The name that the program was called by, then its arguments.
    pub argv: Vec<String>,
    /// The client's working directory, for relative paths.
    pub cwd: String,
    /// The variables of [`ENVIRONMENT`] that the client has.
    pub environment: BTreeMap<String, String>,
}

/// From the client once the worker is there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToWorker {
    /// A signal that the client received, by its Linux number.
    Signal(i32),
}

/// From the worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromWorker {
    /// Switch the terminal on standard input to raw mode, or back.
    RawMode(bool),
    /// The command has ended with this exit code.
    Exit(u8),
    /// No request is taken from this client: one line.
    Refused(String),
}

/// From a worker to the supervisor that forked it, on a socket of their own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToSupervisor {
    /// The worker that stood by serves a client now: another one may stand by.
    Taken,
    /// What do you know of the containers? Answered by [`FromSupervisor::Containers`].
    Containers,
    /// The monitor of this container has come to life.
    Started(String),
    /// Restart this container no more; answered by [`FromSupervisor::Done`].
    Cancel(String),
    /// Become the program whose descriptor comes along; answered by [`FromSupervisor::Done`] from that program, or by
    /// [`FromSupervisor::Failed`].
    Succeed,
}

/// The supervisor's answer to a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromSupervisor {
    /// It is so.
    Done,
    /// It is not: one line.
    Failed(String),
    /// What it knows of the containers.
    Containers(Containers),
    /// Stand by no longer; said unasked.
    Dismissed,
}

/// What the supervisor knows of the containers and no monitor does.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Containers {
    /// Those whose monitors it watches.
    pub watched: Vec<Name>,
    /// Those that wait for a restart, and when it begins, on the clock of [`now`](crate::clock::now).
    pub restarts: BTreeMap<Name, Duration>,
    /// Those that wait for something of the machine before they start by themselves: `network` or `unlock`.
    #[serde(default)]
    pub waiting: BTreeMap<Name, String>,
    /// Why nothing starts by itself in this boot of the machine: one line.
    #[serde(default)]
    pub held_back: Option<String>,
}
