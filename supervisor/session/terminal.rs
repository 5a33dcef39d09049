//! The client's terminal: its size, and raw mode for the duration of a session.
//!
//! Owns the changes to the terminal, which belongs to the client's shell. Dropping [`RawMode`] reverts them; if this
//! process dies, the client does. ioctl_tty(2), proc_pid_stat(5).

use std::io::{stderr, stdin, stdout};
use std::os::fd::AsFd;

use anyhow::Result;
use nix::sys::stat::fstat;
use nix::unistd::isatty;

use crate::proc_stat;
use crate::sys::socket::peer;
use crate::sys::terminal::{WindowSize, window_size};
use crate::worker::client::Client;

/// Whether standard input is a terminal.
#[must_use]
pub fn input_is_terminal() -> bool {
    isatty(stdin()).unwrap_or(false)
}

/// Whether both standard input and output are terminals, so that a user can be asked.
#[must_use]
pub fn is_interactive() -> bool {
    input_is_terminal() && isatty(stdout()).unwrap_or(false)
}

/// The size of the client's terminal, from any of its standard streams.
#[must_use]
pub fn size() -> Option<WindowSize> {
    window_size(stdin().as_fd())
        .or_else(|_| window_size(stdout().as_fd()))
        .or_else(|_| window_size(stderr().as_fd()))
        .ok()
}

/// Whether the kernel notifies the client of a new size, which it does only for a controlling terminal. The `su` of
/// some root managers provides none.
#[must_use]
pub fn tells_its_size(client: &Client) -> bool {
    let controlling = || {
        let pid = peer(client.fd()?).ok()?.pid();
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let number: i64 = proc_stat::field(&text, 7)?.parse().ok()?;
        Some(number)
    };
    let Ok(status) = fstat(stdin()) else { return true };
    // The kernel's 32-bit format, new_encode_dev() of kdev_t.h.
    let (major, minor) = (libc::major(status.st_rdev), libc::minor(status.st_rdev));
    let expected = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
    controlling().is_none_or(|number| number == i64::from(expected))
}

/// Raw mode of the client's terminal.
#[derive(Debug)]
pub struct RawMode<'a> {
    client: &'a Client,
}

impl<'a> RawMode<'a> {
    /// Switches to raw mode if standard input is a terminal.
    ///
    /// # Errors
    /// If the client has ended.
    pub fn begin(client: &'a Client) -> Result<Option<Self>> {
        if !input_is_terminal() {
            return Ok(None);
        }
        client.raw_mode(true)?;
        Ok(Some(Self { client }))
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        // If the client has ended, its terminal was restored.
        let _ = self.client.raw_mode(false);
    }
}
