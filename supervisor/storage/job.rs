//! The process that does the work of a job, and what the worker hears from it.
//!
//! The child has a mount namespace of its own, so that a mounted image is seen by nobody and goes with it, and a PID
//! namespace, so that whatever it started ends with it. It dies with the worker; the worker kills it when the client
//! interrupts. What it has made counts only once the worker has put it into its place. clone(2),
//! PR_SET_PDEATHSIG(2const), mount_namespaces(7), pid_namespaces(7).

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Error, Result, bail};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::call;
use crate::fault;
use crate::mount::namespace::enter_private_namespace;
use crate::poll;
use crate::socket;
use crate::subprocess::Subprocess;
use crate::sys::process::{Ended, Fork, clone, exit_immediately, fork, set_parent_death_signal};
use crate::worker::Env;

/// How often progress is told.
const INTERVAL: Duration = Duration::from_millis(100);

/// What the numbers of a step count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Hundredths of the whole.
    Percent,
}

/// What a job tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobEvent {
    /// A step begins.
    Step {
        /// One word: what is done.
        step: String,
        /// What its numbers count.
        unit: Unit,
        /// Where it ends, if that is known.
        total: Option<u64>,
    },
    /// How far the step is.
    Progress(u64),
    /// Something is not as one might expect; one line.
    Warning(String),
}

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
enum Message {
    Event(JobEvent),
    /// It is done, and this came of it.
    Done(Value),
    /// Why it could not be done.
    Failed(String),
}

/// The child's way to tell how far it is.
#[derive(Debug)]
pub struct Reporter {
    socket: OwnedFd,
    told: Option<Instant>,
}

impl Reporter {
    /// A step begins, counted in bytes.
    ///
    /// # Errors
    /// When the worker is gone.
    pub fn step(&mut self, step: &str, total: Option<u64>) -> Result<()> {
        self.begin(step, Unit::Bytes, total)
    }

    /// A step begins, counted in hundredths.
    ///
    /// # Errors
    /// When the worker is gone.
    pub fn step_in_percent(&mut self, step: &str) -> Result<()> {
        self.begin(step, Unit::Percent, Some(100))
    }

    fn begin(&mut self, step: &str, unit: Unit, total: Option<u64>) -> Result<()> {
        self.told = None;
        self.tell(JobEvent::Step { step: step.to_owned(), unit, total })
    }

    /// How far the step is. Told now and then; a worker that is gone takes this process along.
    pub fn progress(&mut self, done: u64) {
        let now = Instant::now();
        if self.told.is_none_or(|told| now.duration_since(told) >= INTERVAL) {
            self.told = Some(now);
            let _ = self.tell(JobEvent::Progress(done));
        }
    }

    /// How far the step is in the end.
    ///
    /// # Errors
    /// When the worker is gone.
    pub fn finish(&mut self, done: u64) -> Result<()> {
        self.tell(JobEvent::Progress(done))
    }

    /// One line of warning.
    ///
    /// # Errors
    /// When the worker is gone.
    pub fn warn(&mut self, text: impl Into<String>) -> Result<()> {
        self.tell(JobEvent::Warning(text.into()))
    }

    fn tell(&mut self, event: JobEvent) -> Result<()> {
        socket::send(&self.socket, &Message::Event(event), &[])
    }
}

/// What hears the events of a job, in the worker.
pub type Watcher<'a> = &'a mut dyn FnMut(&JobEvent);

/// Does `work` in a process of its own and waits for its end; what it returns is handed on.
///
/// # Errors
/// Why it failed, in its own words; that the client interrupted it; that it was killed. It has ended in any case,
/// with everything that it had started.
pub fn run(
    env: &Env,
    watcher: Watcher<'_>,
    work: &mut dyn FnMut(&mut Reporter) -> Result<Value>,
) -> Result<Value> {
    fault::point("job-begun")?;
    let (ours, theirs) = socket::pair()?;
    let namespaces = libc::CLONE_NEWNS | libc::CLONE_NEWPID;
    let side = match clone(namespaces, None) {
        Ok(cloned) => cloned.side,
        // A kernel without PID namespaces runs no containers, but they can be made and moved.
        Err(Errno::EINVAL) => call!(fork(), "fork")?,
        other => call!(other, "clone")?.side,
    };
    match side {
        Fork::Child => {
            drop(ours);
            exit_immediately(begin(theirs, work))
        }
        Fork::Parent(pid) => {
            drop(theirs);
            hear(env, watcher, &ours, Subprocess::own(pid))
        }
    }
}

/// The child's whole life.
fn begin(socket: OwnedFd, work: &mut dyn FnMut(&mut Reporter) -> Result<Value>) -> i32 {
    let mut reporter = Reporter { socket, told: None };
    let done = prepare(&reporter).and_then(|()| work(&mut reporter));
    let (message, code) = match done {
        Ok(value) => (Message::Done(value), 0),
        Err(error) => (Message::Failed(format!("{error:#}")), 1),
    };
    // A worker that is gone has nobody to tell.
    let _ = socket::send(&reporter.socket, &message, &[]);
    code
}

fn prepare(reporter: &Reporter) -> Result<()> {
    call!(set_parent_death_signal(Signal::SIGKILL), "prctl(PR_SET_PDEATHSIG)")?;
    // The parent may have gone before that. It cannot be asked for by its number from another PID namespace.
    if poll::is_hung_up(reporter.socket.as_fd()) {
        bail!("the client is gone");
    }
    let _ = prctl::set_name(c"ds:job");
    // Again, for a child that could only be forked.
    enter_private_namespace()?;
    fault::point("job-prepared")
}

fn hear(env: &Env, watcher: Watcher<'_>, socket: &OwnedFd, mut child: Subprocess) -> Result<Value> {
    loop {
        env.client.wait_for(socket)?;
        match socket::receive::<Message>(socket)?.map(|received| received.message) {
            Some(Message::Event(event)) => watcher(&event),
            Some(Message::Done(value)) => {
                let _ = child.wait();
                return Ok(value);
            }
            Some(Message::Failed(text)) => {
                let _ = child.wait();
                return Err(Error::msg(text));
            }
            None => match child.wait() {
                Ok(killed @ Ended::Signalled(_)) => {
                    bail!("the job was killed by {killed}; nothing has changed")
                }
                _ => bail!("the job ended before it was complete; nothing has changed"),
            },
        }
    }
}
