//! Authentication for the page: a secret that works once, and the cookie that replaces it.
//!
//! Owns run/web: `server` (the server's process and port), `secret-…` (unused secrets), `cookie` (of the browser that
//! used the last secret). Only root can read it. A secret is used by unlink(2), so only one of two concurrent attempts
//! succeeds.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::config::value::Uuid;
use crate::durable;
use crate::monitor::is_stopped;
use crate::paths::create_private;
use crate::proc_stat::start_time;
use crate::sys::process::kill;

/// The session of one browser.
#[derive(Debug)]
pub(super) struct Session {
    directory: PathBuf,
}

impl Session {
    /// The session in this directory.
    #[must_use]
    pub fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Creates an empty directory.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn begin(&self) -> Result<()> {
        self.end();
        create_private(&self.directory)
    }

    /// Removes everything.
    pub fn end(&self) {
        let _ = fs::remove_dir_all(&self.directory);
    }

    /// Records the server.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_down(&self, server: Pid, port: u16) -> Result<()> {
        let text = format!("{server} {} {port}", started(server).unwrap_or_default());
        durable::replace(&self.directory.join("server"), text.as_bytes(), 0o600).context("record the server")
    }

    /// The running server and its port.
    fn server(&self) -> Option<(Pid, u16)> {
        let text = fs::read_to_string(self.directory.join("server")).ok()?;
        let mut words = text.split(' ');
        let pid = Pid::from_raw(words.next()?.parse().ok()?);
        let begun: u64 = words.next()?.parse().ok()?;
        (started(pid) == Some(begun)).then_some((pid, words.next()?.parse().ok()?))
    }

    /// The port of the running server, unless a signal has stopped that.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        let (pid, port) = self.server()?;
        (!is_stopped(pid)).then_some(port)
    }

    /// Ends the server and its connections. A stopped process would not receive SIGTERM.
    pub fn stop(&self) {
        if let Some((pid, _)) = self.server() {
            let _ = kill(Pid::from_raw(-pid.as_raw()), Signal::SIGKILL as i32);
        }
        self.end();
    }

    /// A new secret.
    ///
    /// # Errors
    /// If /dev/urandom cannot be read, or the file cannot be written.
    pub fn new_secret(&self) -> Result<String> {
        let secret = random()?;
        let path = self.directory.join(format!("secret-{secret}"));
        durable::replace(&path, b"", 0o600).context("write the secret")?;
        Ok(secret)
    }

    /// The cookie, in exchange for an unused secret.
    #[must_use]
    pub fn use_secret(&self, secret: &str) -> Option<String> {
        let is_one = secret.len() == 64 && secret.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_one || fs::remove_file(self.directory.join(format!("secret-{secret}"))).is_err() {
            return None;
        }
        let cookie = random().ok()?;
        durable::replace(&self.directory.join("cookie"), cookie.as_bytes(), 0o600).ok()?;
        Some(cookie)
    }

    /// Whether this is the cookie of the browser that used the last secret.
    #[must_use]
    pub fn knows(&self, cookie: &str) -> bool {
        let kept = fs::read_to_string(self.directory.join("cookie")).unwrap_or_default();
        // The comparison takes the same time for every wrong cookie.
        let difference = kept.bytes().zip(cookie.bytes()).fold(0, |all, (left, right)| all | (left ^ right));
        kept.len() == 64 && cookie.len() == kept.len() && difference == 0
    }
}

/// 244 random bits.
fn random() -> Result<String> {
    let part = || Uuid::random().context("read /dev/urandom").map(|id| id.to_string().replace('-', ""));
    Ok(part()? + &part()?)
}

fn started(pid: Pid) -> Option<u64> {
    start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_works_once_and_the_last_browser_is_the_one() {
        let directory = tempfile::tempdir().unwrap();
        let session = Session::at(directory.path().join("web"));
        session.begin().unwrap();
        let (first, second) = (session.new_secret().unwrap(), session.new_secret().unwrap());
        for wrong in ["", "x", "../cookie", &"0".repeat(64), &first.to_uppercase()[..63]] {
            assert_eq!(session.use_secret(wrong), None, "{wrong}");
        }
        assert!(!session.knows(""));
        let cookie = session.use_secret(&first).unwrap();
        assert!(session.knows(&cookie) && !session.knows(&first) && !session.knows(&cookie[1..]));
        assert_eq!(session.use_secret(&first), None);
        let other = session.use_secret(&second).unwrap();
        assert!(session.knows(&other) && !session.knows(&cookie));
        assert_eq!(session.port(), None);
        session.end();
        assert!(!session.knows(&other));
    }
}
