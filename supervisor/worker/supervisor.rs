//! The supervisor, as its worker sees it: what a worker reports and asks.
//!
//! Owns the worker's end of the socket that the supervisor made when it forked the worker. A supervisor that is gone
//! fails no command.

use std::cell::{Cell, OnceCell};
use std::error::Error;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::unistd::getppid;

use super::client::Client;
use super::protocol::{Containers, FromSupervisor, ToSupervisor};
use crate::config::value::Name;
use crate::socket;
use crate::worker::waiting::PATIENCE;

/// How long a supervisor may take to end.
const ENDING: Duration = Duration::from_secs(10);

/// A supervisor that does not answer.
#[derive(Debug)]
struct Silent;

impl fmt::Display for Silent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It lives, or the connection to it would have ended; so the number is its own.
        let pid = getppid();
        write!(
            formatter,
            "the supervisor (pid {pid}) does not answer; 'kill -KILL {pid}' ends it, containers keep running"
        )
    }
}

impl Error for Silent {}

/// The worker's connection to the supervisor that forked it.
#[derive(Debug)]
pub struct Supervisor {
    connection: OwnedFd,
    containers: OnceCell<Containers>,
    /// It has been waited for in vain: not once more.
    is_silent: Cell<bool>,
}

impl Supervisor {
    /// The worker's end of the connection.
    #[must_use]
    pub fn new(connection: OwnedFd) -> Self {
        Self { connection, containers: OnceCell::new(), is_silent: Cell::new(false) }
    }

    /// Readable when the supervisor has something to say, or is gone.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// A client is served now: another worker may stand by. Said as soon as the command is known, or, by a command
    /// that starts a program at once, when it has: the fork of the next worker need not delay it.
    pub fn taken(&self) {
        // A supervisor that is gone needs no other.
        let _ = socket::send(&self.connection, &ToSupervisor::Taken, &[]);
    }

    /// The answer to a question, which is waited for no longer than `until`; none from a supervisor that is gone.
    fn answer(&self, client: &Client, until: Option<Instant>) -> Result<Option<FromSupervisor>> {
        loop {
            if !client.wait(Some(self.fd()), until)? {
                self.is_silent.set(true);
                return Err(Silent.into());
            }
            match socket::receive::<FromSupervisor>(&self.connection)?.map(|received| received.message) {
                // It crossed the client that came.
                Some(FromSupervisor::Dismissed) => {}
                answer => return Ok(answer),
            }
        }
    }

    /// What it knows of the containers; asked once. A supervisor that is gone knows nothing.
    pub fn containers(&self) -> &Containers {
        self.containers.get_or_init(|| {
            let asked = socket::send(&self.connection, &ToSupervisor::Containers, &[]);
            let nobody = Client::new(None);
            match asked.and_then(|()| self.answer(&nobody, Some(Instant::now() + PATIENCE))) {
                Ok(Some(FromSupervisor::Containers(known))) => known,
                Err(error) if error.is::<Silent>() => {
                    log::warn!("{error}");
                    Containers::default()
                }
                _ => Containers::default(),
            }
        })
    }

    /// A monitor has come to life: watch it.
    pub fn started(&self, name: &Name) {
        // A supervisor that is gone finds the monitor when it comes back.
        let _ = socket::send(&self.connection, &ToSupervisor::Started(name.as_str().to_owned()), &[]);
    }

    /// Cancels the restart that `name` waits for and any start that the supervisor has under way; returns once
    /// neither can happen any more. To be called before a container is stopped, deleted or renamed.
    ///
    /// # Errors
    /// When the connection fails; a supervisor that is gone restarts nothing, which is success.
    pub fn cancel_restart(&self, client: &Client, name: &Name) -> Result<()> {
        let asked = socket::send(&self.connection, &ToSupervisor::Cancel(name.as_str().to_owned()), &[]);
        if self.is_silent.get() || asked.is_err() {
            return Ok(());
        }
        match self.answer(client, Some(Instant::now() + PATIENCE)) {
            Err(error) if error.is::<Silent>() => log::warn!("{error}"),
            other => drop(other?),
        }
        Ok(())
    }

    /// Has the supervisor become another program, and returns once that one serves.
    ///
    /// # Errors
    /// Why it did not.
    pub fn succeed(&self, program: BorrowedFd<'_>) -> Result<()> {
        socket::send(&self.connection, &ToSupervisor::Succeed, &[program])?;
        match self.answer(&Client::new(None), None)? {
            Some(FromSupervisor::Done) => Ok(()),
            Some(FromSupervisor::Failed(reason)) => bail!("{reason}"),
            _ => bail!("the new program ended at once; the next command starts a supervisor; see its log"),
        }
    }

    /// Waits until the supervisor has ended.
    ///
    /// # Errors
    /// When the connection fails.
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
