//! The process that does the work of a job, and its messages to the worker.
//!
//! Owns the process. It has its own mount namespace, so that a mounted image is invisible to others and is unmounted
//! with it, and its own PID namespace, so that its children end with it. It dies with the worker, and the worker kills
//! it when the client interrupts. Its result becomes effective only when the worker moves it into place. clone(2),
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
use crate::cgroup::kill_frozen;
use crate::fault;
use crate::mount::namespace::enter_private_namespace;
use crate::poll;
use crate::socket;
use crate::subprocess::Subprocess;
use crate::sys::process::{Ended, Fork, clone, exit_immediately, fork, set_parent_death_signal};
use crate::worker::Env;
use crate::worker::client::Client;
use crate::worker::stopped::{StoppedWatch, reason, tree};

/// The interval of progress messages.
const INTERVAL: Duration = Duration::from_millis(100);

/// The unit of a step's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Percent.
    Percent,
}

/// An event of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobEvent {
    /// A step begins.
    Step {
        /// Its name, one word.
        step: String,
        /// The unit of its numbers.
        unit: Unit,
        /// The total, if known.
        total: Option<u64>,
    },
    /// The progress of the step.
    Progress(u64),
    /// A warning of one line.
    Warning(String),
}

/// A message of the child.
#[derive(Debug, Serialize, Deserialize)]
enum Message {
    Event(JobEvent),
    /// The job succeeded, with this result.
    Done(Value),
    /// The job failed, with this error.
    Failed(String),
}

/// The child's connection for progress messages.
#[derive(Debug)]
pub struct Reporter {
    socket: OwnedFd,
    told: Option<Instant>,
}

impl Reporter {
    /// Begins a step that is counted in bytes.
    ///
    /// # Errors
    /// If the worker is gone.
    pub fn step(&mut self, step: &str, total: Option<u64>) -> Result<()> {
        self.begin(step, Unit::Bytes, total)
    }

    /// Begins a step that is counted in percent.
    ///
    /// # Errors
    /// If the worker is gone.
    pub fn step_in_percent(&mut self, step: &str) -> Result<()> {
        self.begin(step, Unit::Percent, Some(100))
    }

    fn begin(&mut self, step: &str, unit: Unit, total: Option<u64>) -> Result<()> {
        self.told = None;
        self.tell(JobEvent::Step { step: step.to_owned(), unit, total })
    }

    /// Reports the progress, at intervals. If the worker has ended, this process ends too.
    pub fn progress(&mut self, done: u64) {
        let now = Instant::now();
        if self.told.is_none_or(|told| now.duration_since(told) >= INTERVAL) {
            self.told = Some(now);
            let _ = self.tell(JobEvent::Progress(done));
        }
    }

    /// Reports the final progress of the step.
    ///
    /// # Errors
    /// If the worker is gone.
    pub fn finish(&mut self, done: u64) -> Result<()> {
        self.tell(JobEvent::Progress(done))
    }

    /// Reports a warning of one line.
    ///
    /// # Errors
    /// If the worker is gone.
    pub fn warn(&mut self, text: impl Into<String>) -> Result<()> {
        self.tell(JobEvent::Warning(text.into()))
    }

    fn tell(&mut self, event: JobEvent) -> Result<()> {
        socket::send(&self.socket, &Message::Event(event), &[])
    }
}

/// The receiver of a job's events, in the worker.
pub type Watcher<'a> = &'a mut dyn FnMut(&JobEvent);

/// Runs `work` in a child and waits for its end; returns its result.
///
/// # Errors
/// If the job failed, the client interrupted it, or it was killed. In any case, it has ended together with all its
/// children.
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
        // A kernel without PID namespaces runs no containers, but can create and transfer them.
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
            hear(&env.client, watcher, &ours, Subprocess::own(pid))
        }
    }
}

/// The main function of the child.
fn begin(socket: OwnedFd, work: &mut dyn FnMut(&mut Reporter) -> Result<Value>) -> i32 {
    let mut reporter = Reporter { socket, told: None };
    let done = prepare(&reporter).and_then(|()| work(&mut reporter));
    let (message, code) = match done {
        Ok(value) => (Message::Done(value), 0),
        Err(error) => (Message::Failed(format!("{error:#}")), 1),
    };
    // If the worker has ended, there is no recipient.
    let _ = socket::send(&reporter.socket, &message, &[]);
    code
}

fn prepare(reporter: &Reporter) -> Result<()> {
    call!(set_parent_death_signal(Signal::SIGKILL), "prctl(PR_SET_PDEATHSIG)")?;
    // The parent may have ended before that. Its process id is not visible in another PID namespace.
    if poll::is_hung_up(reporter.socket.as_fd()) {
        bail!("the client has ended");
    }
    let _ = prctl::set_name(c"ds:job");
    // Repeated for a child that was created by fork(2).
    enter_private_namespace()?;
    fault::point("job-prepared")
}

fn hear(client: &Client, watcher: Watcher<'_>, socket: &OwnedFd, mut child: Subprocess) -> Result<Value> {
    let mut watch = child.pid().map(StoppedWatch::of_tree);
    loop {
        while !client.wait(Some(socket.as_fd()), watch.as_ref().map(StoppedWatch::due))? {
            if let Some(pid) = watch.as_mut().and_then(|watch| watch.check(Instant::now())) {
                let reason = reason(pid);
                // The wait for the end of frozen processes would not end.
                child.pid().into_iter().flat_map(tree).for_each(kill_frozen);
                bail!("a process of the job (pid {pid}) {reason}; nothing has changed; try again");
            }
        }
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
