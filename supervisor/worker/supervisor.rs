//! The supervisor as seen by its worker: reports and requests.
//!
//! Owns the worker's end of the socket between them. If the supervisor has ended, no command fails.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::unistd::getppid;

use super::client::Client;
use super::protocol::{Containers, FromSupervisor, ToSupervisor};
use crate::config::value::Name;
use crate::socket;
use crate::worker::waiting::TIMEOUT;

/// The timeout for the end of a supervisor.
const ENDING: Duration = Duration::from_secs(10);

/// A supervisor that does not answer.
#[derive(Debug)]
struct Silent;

impl fmt::Display for Silent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It is alive, otherwise the connection would have ended; so the process id is valid.
        let pid = getppid();
        write!(
            formatter,
            "the supervisor (pid {pid}) does not answer; run 'kill -KILL {pid}' to end it; containers keep running"
        )
    }
}

impl Error for Silent {}

/// The worker's connection to the supervisor that forked it.
#[derive(Debug)]
pub struct Supervisor {
    connection: OwnedFd,
    containers: RefCell<Option<Rc<Containers>>>,
    /// A request has timed out: do not wait again.
    is_silent: Cell<bool>,
}

impl Supervisor {
    /// The worker's end of the connection.
    #[must_use]
    pub fn new(connection: OwnedFd) -> Self {
        Self { connection, containers: RefCell::new(None), is_silent: Cell::new(false) }
    }

    /// Readable when the supervisor has sent a message or has ended.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// Reports that the worker serves a client, so that the supervisor can fork another worker. Sent as soon as the
    /// command is known. A command that starts a program at once sends it afterwards: the fork must not delay it.
    pub fn taken(&self) {
        // A supervisor that has ended needs no report.
        let _ = socket::send(&self.connection, &ToSupervisor::Taken, &[]);
    }

    /// Waits for the answer until the deadline; `None` if the supervisor has ended.
    fn answer(&self, client: &Client, until: Option<Instant>) -> Result<Option<FromSupervisor>> {
        loop {
            if !client.wait(Some(self.fd()), until)? {
                self.is_silent.set(true);
                return Err(Silent.into());
            }
            match socket::receive::<FromSupervisor>(&self.connection)?.map(|received| received.message) {
                // The message was sent while the client arrived.
                Some(FromSupervisor::Dismissed) => {}
                answer => return Ok(answer),
            }
        }
    }

    /// The state that only the supervisor knows; requested once, until [`Supervisor::forget`]. Empty if the supervisor
    /// has ended.
    pub fn containers(&self) -> Rc<Containers> {
        let mut known = self.containers.borrow_mut();
        Rc::clone(known.get_or_insert_with(|| Rc::new(self.ask())))
    }

    /// Requests the state anew the next time.
    pub fn forget(&self) {
        *self.containers.borrow_mut() = None;
    }

    /// Closes the connection in a forked process that is no worker; the worker keeps its own descriptor.
    pub fn close(&self) {
        let _ = nix::unistd::close(self.connection.as_raw_fd());
    }

    fn ask(&self) -> Containers {
        let asked = socket::send(&self.connection, &ToSupervisor::Containers, &[]);
        let no_client = Client::new(None);
        match asked.and_then(|()| self.answer(&no_client, Some(Instant::now() + TIMEOUT))) {
            Ok(Some(FromSupervisor::Containers(known))) => known,
            Err(error) if error.is::<Silent>() => {
                log::warn!("{error}");
                Containers::default()
            }
            _ => Containers::default(),
        }
    }

    /// Reports that a monitor is running.
    pub fn started(&self, name: &Name) {
        // If the supervisor has ended, the next one finds the monitor.
        let _ = socket::send(&self.connection, &ToSupervisor::Started(name.as_str().to_owned()), &[]);
    }

    /// Cancels the pending restart of `name` and any start that the supervisor has in progress; returns when neither
    /// can happen. Must be called before a container is stopped, deleted or renamed.
    ///
    /// # Errors
    /// If the connection fails. If the supervisor has ended, it restarts nothing, which is success.
    pub fn cancel_restart(&self, client: &Client, name: &Name) -> Result<()> {
        let asked = socket::send(&self.connection, &ToSupervisor::Cancel(name.as_str().to_owned()), &[]);
        if self.is_silent.get() || asked.is_err() {
            return Ok(());
        }
        match self.answer(client, Some(Instant::now() + TIMEOUT)) {
            Err(error) if error.is::<Silent>() => log::warn!("{error}"),
            other => drop(other?),
        }
        Ok(())
    }

    /// Has the supervisor execute another program, and returns once that program serves.
    ///
    /// # Errors
    /// If it does not.
    pub fn succeed(&self, program: BorrowedFd<'_>) -> Result<()> {
        socket::send(&self.connection, &ToSupervisor::Succeed, &[program])?;
        match self.answer(&Client::new(None), None)? {
            Some(FromSupervisor::Done) => Ok(()),
            Some(FromSupervisor::Failed(reason)) => bail!("{reason}"),
            _ => bail!(
                "the new program ended immediately; see supervisor.log; the next command starts a supervisor"
            ),
        }
    }

    /// Waits for the end of the supervisor.
    ///
    /// # Errors
    /// If the connection fails.
    pub fn wait_for_end(&self, client: &Client) -> Result<()> {
        let deadline = Instant::now() + ENDING;
        while client.wait(Some(self.fd()), Some(deadline))? {
            if socket::receive::<FromSupervisor>(&self.connection)?.is_none() {
                return Ok(());
            }
        }
        Err(Silent.into())
    }
}
