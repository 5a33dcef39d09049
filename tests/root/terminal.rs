//! A user at a terminal: a pseudoterminal with a command, its output, and typed input.

use crate::{LONGEST_WAIT, wait_for};
use ds::sys::terminal::{WindowSize, set_window_size};
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;
use nix::sys::termios::{Termios, tcgetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};

/// A command on a terminal of 24 rows and 80 columns.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    /// Kept open, so that the settings can be checked after the end of the command.
    peer: File,
    pub child: Child,
    seen: Vec<u8>,
    /// The part that [`Terminal::expect`] has already matched.
    read: usize,
}

impl Terminal {
    pub fn spawn(mut command: Command) -> Self {
        // Not openpty(3): processes that other tests start at the same time would inherit both sides.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags).expect("posix_openpt");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let name = ptsname_r(&master).expect("ptsname_r");
        let peer = File::from(open(name.as_str(), flags, Mode::empty()).expect("open the terminal"));
        let master = OwnedFd::from(master);
        set_window_size(master.as_fd(), WindowSize { rows: 24, columns: 80 }).expect("TIOCSWINSZ");
        let stream = || peer.try_clone().expect("dup");
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().expect("run");
        let flags = OFlag::from_bits_retain(fcntl(&master, FcntlArg::F_GETFL).expect("F_GETFL"));
        fcntl(&master, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).expect("F_SETFL");
        Self { master: File::from(master), peer, child, seen: Vec::new(), read: 0 }
    }

    /// Types text; reads in the meantime, so that neither side blocks.
    pub fn send(&mut self, bytes: &[u8]) {
        let mut left = bytes;
        wait_for("the terminal to accept input", || {
            self.look();
            match self.master.write(left) {
                Ok(count) => left = &left[count..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("write to the terminal: {error}"),
            }
            left.is_empty().then_some(())
        });
    }

    /// Waits until it shows a text after the last match.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let begun = std::time::Instant::now();
        loop {
            self.look();
            let fresh = &self.seen[self.read..];
            if let Some(at) = fresh.windows(text.len()).position(|window| window == text.as_bytes()) {
                self.read += at + text.len();
                return;
            }
            assert!(begun.elapsed() < LONGEST_WAIT, "no '{text}' on the terminal, but:\n{}", self.shown());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// All output so far.
    pub fn shown(&mut self) -> String {
        self.look();
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    fn look(&mut self) {
        let mut buffer = [0_u8; 64 * 1024];
        while let Ok(count @ 1..) = self.master.read(&mut buffer) {
            self.seen.extend(&buffer[..count]);
        }
    }

    /// Waits for the end of the command; returns its exit code.
    pub fn wait(&mut self) -> i32 {
        let status = wait_for("the command on the terminal to end", || {
            self.look();
            self.child.try_wait().expect("wait")
        });
        self.look();
        status.code().unwrap_or(-1)
    }

    /// The settings, as stty(1) shows them.
    pub fn settings(&self) -> Termios {
        tcgetattr(&self.peer).expect("tcgetattr")
    }

    /// Changes the size of the window.
    pub fn resize(&self, rows: u16, columns: u16) {
        set_window_size(self.master.as_fd(), WindowSize { rows, columns }).expect("TIOCSWINSZ");
    }
}
