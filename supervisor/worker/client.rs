//! The client as seen by its worker: its messages, its terminal, and its exit code.
//!
//! Owns the worker's end of the client's connection. Changes the client's terminal only to restore it after a client
//! was killed. Knows no command. termios(3).

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

/// A message from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromClient {
    /// The client received this signal.
    Signal(i32),
    /// The client has ended: the session must be hung up.
    HungUp,
}

/// The client at the other end, or none if the supervisor requested the command.
#[derive(Debug)]
pub struct Client {
    connection: Option<OwnedFd>,
    /// The attributes of the client's terminal before raw mode.
    saved: RefCell<Option<Termios>>,
    /// The worker has released it and continues without a client.
    left: Cell<bool>,
}

impl Client {
    /// The client of this connection, if any.
    #[must_use]
    pub fn new(connection: Option<OwnedFd>) -> Self {
        Self { connection, saved: RefCell::new(None), left: Cell::new(false) }
    }

    /// Readable when [`Client::receive`] returns a message; `None` without a client.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().filter(|_| !self.left.get()).map(AsFd::as_fd)
    }

    /// Closes the connection in a forked process that serves no client; the worker keeps its own.
    pub fn close(&self) {
        if let Some(connection) = self.fd() {
            let _ = nix::unistd::close(connection.as_raw_fd());
        }
        self.left.set(true);
    }

    /// Sends the client its exit code and continues without a client.
    pub fn leave(&self, code: u8) {
        self.exit(code);
        self.left.set(true);
    }

    /// From now on, any message of the client ends this process at once, as a signal ends a program. For commands that
    /// leave nothing behind but files, which the supervisor removes.
    ///
    /// # Errors
    /// If fcntl(2) fails, or the client has already sent a message.
    pub fn dies_with_client(&self) -> Result<()> {
        let Some(connection) = self.fd() else { return Ok(()) };
        call!(raise_on_input(connection), "fcntl(O_ASYNC)")?;
        if call!(wait_for_input(connection, PollTimeout::ZERO), "poll")? {
            // The message arrived before fcntl(2).
            bail!("interrupted");
        }
        Ok(())
    }

    /// Waits for the next message.
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

    /// Switches the client's terminal (standard input) to raw mode, or back. The client does this, and restores its
    /// terminal when this process ends for any reason.
    ///
    /// # Errors
    /// If the client has ended.
    pub fn raw_mode(&self, on: bool) -> Result<()> {
        let Some(connection) = self.fd() else { return Ok(()) };
        *self.saved.borrow_mut() = if on { tcgetattr(std::io::stdin()).ok() } else { None };
        socket::send(connection, &FromWorker::RawMode(on), &[])
    }

    /// Restores the terminal after the client was killed, unless another process has changed it since.
    fn restore_terminal(&self) {
        let Some(saved) = self.saved.borrow_mut().take() else { return };
        let mut raw = saved.clone();
        cfmakeraw(&mut raw);
        let terminal = std::io::stdin();
        if tcgetattr(&terminal).is_ok_and(|now| now == raw) {
            // An error could not be reported to anyone.
            let _ = tcsetattr(&terminal, SetArg::TCSANOW, &saved);
        }
    }

    /// Sends the exit code to the client. This is the last message.
    pub fn exit(&self, code: u8) {
        if let Some(connection) = self.fd() {
            // Ignores that the client has ended.
            let _ = socket::send(connection, &FromWorker::Exit(code), &[]);
        }
    }
}
