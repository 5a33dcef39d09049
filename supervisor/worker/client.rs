//! The client, as its worker sees it: what it sends, its terminal, and how it is given the exit code.
//!
//! Owns the worker's end of the client's connection. Touches the client's terminal only to restore it for a client
//! that was killed. Knows no command. termios(3).

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::poll::PollTimeout;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use super::protocol::{FromWorker, ToWorker};
use crate::call;
use crate::poll::wait_for_input;
use crate::socket;
use crate::sys::signal::raise_on_input;

/// What the client has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromClient {
    /// The client received this signal.
    Signal(i32),
    /// The client is gone: its session is to be hung up.
    HungUp,
}

/// The client at the other end; or nobody, when the supervisor itself asked for the command.
#[derive(Debug)]
pub struct Client {
    connection: Option<OwnedFd>,
    /// How the client's terminal was before it was made raw.
    saved: RefCell<Option<Termios>>,
    /// It was sent away, and the command goes on without it.
    left: Cell<bool>,
}

impl Client {
    /// The client of this connection, or nobody.
    #[must_use]
    pub fn new(connection: Option<OwnedFd>) -> Self {
        Self { connection, saved: RefCell::new(None), left: Cell::new(false) }
    }

    /// Readable when [`Client::receive`] has something; none without a client.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().filter(|_| !self.left.get()).map(AsFd::as_fd)
    }

    /// Closes the connection in a process that was forked and serves nobody; the worker keeps its own.
    pub fn close(&self) {
        if let Some(connection) = self.fd() {
            let _ = nix::unistd::close(connection.as_raw_fd());
        }
        self.left.set(true);
    }

    /// Tells the client its exit code and goes on without it: nothing that it does matters any more.
    pub fn leave(&self, code: u8) {
        self.exit(code);
        self.left.set(true);
    }

    /// From now on, whatever the client sends ends this process at once, as the signal that the client got would have
    /// ended a program of its own. For commands that leave nothing half done behind.
    ///
    /// # Errors
    /// What fcntl(2) answers; that the client has sent something already.
    pub fn dies_with_client(&self) -> Result<()> {
        let Some(connection) = self.fd() else { return Ok(()) };
        call!(raise_on_input(connection), "fcntl(O_ASYNC)")?;
        if call!(wait_for_input(connection, PollTimeout::ZERO), "poll")? {
            // It came before the kernel was told.
            bail!("interrupted");
        }
        Ok(())
    }

    /// Waits until `descriptor` is readable; a client that goes away or interrupts ends the wait.
    ///
    /// # Errors
    /// That it was interrupted.
    pub fn wait_for(&self, descriptor: &OwnedFd) -> Result<()> {
        self.wait(Some(descriptor.as_fd()), None).map(drop)
    }

    /// The next message; waits for it.
    ///
    /// # Errors
    /// Without a client, or when the connection fails.
    pub fn receive(&self) -> Result<FromClient> {
        let connection = self.fd().context("there is no client")?;
        match socket::receive::<ToWorker>(connection)? {
            Some(received) => {
                let ToWorker::Signal(number) = received.message;
                Ok(FromClient::Signal(number))
            }
            None => {
                self.restore_terminal();
                Ok(FromClient::HungUp)
            }
        }
    }

    /// Switches the client's terminal (standard input) to raw mode, or back. The client does it, and restores its
    /// terminal when this process ends in whatever way.
    ///
    /// # Errors
    /// When the client is gone.
    pub fn raw_mode(&self, on: bool) -> Result<()> {
        let Some(connection) = self.fd() else { return Ok(()) };
        *self.saved.borrow_mut() = if on { tcgetattr(std::io::stdin()).ok() } else { None };
        socket::send(connection, &FromWorker::RawMode(on), &[])
    }

    /// Restores the terminal for a client that was killed, unless somebody else has set it since.
    fn restore_terminal(&self) {
        let Some(saved) = self.saved.borrow_mut().take() else { return };
        let mut raw = saved.clone();
        cfmakeraw(&mut raw);
        let terminal = std::io::stdin();
        if tcgetattr(&terminal).is_ok_and(|now| now == raw) {
            // Nobody is left to tell.
            let _ = tcsetattr(&terminal, SetArg::TCSANOW, &saved);
        }
    }

    /// Tells the client that the command has ended; the last thing that is said.
    pub fn exit(&self, code: u8) {
        if let Some(connection) = self.fd() {
            // A client that is gone does not mind.
            let _ = socket::send(connection, &FromWorker::Exit(code), &[]);
        }
    }
}
