//! One connection of a browser: its requests, one after the other.
//!
//! Without the cookie, the only answer is a refusal. The timeout for a request is ten seconds, so that idle connections
//! do not accumulate. A request of the page is passed to the supervisor as `ds rpc`, and its output is streamed
//! back. If the browser disconnects, the command ends.

use std::fs::File;
use std::io::{PipeWriter, Read, Write, pipe};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::message::{self, COOKIE, Head, LONGEST_HEAD};
use super::pages::{HTML, inline_scripts};
use super::site::Site;
use crate::poll::{PollSet, is_readable, timeout};
use crate::socket;
use crate::subprocess;
use crate::worker::protocol::{CommandRequest, FromWorker, GENERATION};

/// The timeout for receiving a request.
const PROMPTLY: Duration = Duration::from_secs(10);
/// The timeout of an idle connection.
const KEPT: Duration = Duration::from_secs(60);

/// Answers requests until the browser disconnects or violates the protocol. `known` receives a byte once the browser
/// has sent the cookie.
pub(super) fn answer(stream: TcpStream, site: &Site<'_>, known: PipeWriter) {
    let mut connection = Connection { stream, site, known, is_known: false, read: Vec::new() };
    let _ = connection.stream.set_nodelay(true);
    let _ = connection.stream.set_write_timeout(Some(PROMPTLY));
    while connection.turn().unwrap_or(false) {}
}

struct Connection<'a> {
    stream: TcpStream,
    site: &'a Site<'a>,
    known: PipeWriter,
    is_known: bool,
    /// Data that was read and not processed.
    read: Vec<u8>,
}

impl Connection<'_> {
    /// Answers one request; `false` if it was the last one.
    fn turn(&mut self) -> Result<bool> {
        if self.read.is_empty() && !wait(&self.stream, KEPT) {
            return Ok(false);
        }
        let deadline = Instant::now() + PROMPTLY;
        let head = loop {
            match message::head(&self.read, self.site.port) {
                Ok(Some(head)) => break head,
                Ok(None) if self.more(deadline)? => {}
                Ok(None) => return self.refuse(408, "the request timed out"),
                Err((status, sentence)) => return self.refuse(status, sentence),
            }
        };
        self.read.drain(..head.length);
        while self.read.len() < head.body {
            if !self.more(deadline)? {
                return self.refuse(408, "the request timed out");
            }
        }
        let body: Vec<u8> = self.read.drain(..head.body).collect();
        self.respond(&head, &body)?;
        Ok(!head.closes)
    }

    /// Reads more; `false` after the timeout.
    fn more(&mut self, deadline: Instant) -> Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || !wait(&self.stream, left) {
            return Ok(false);
        }
        let mut buffer = [0; LONGEST_HEAD];
        let count = self.stream.read(&mut buffer)?;
        if count == 0 {
            bail!("the browser has disconnected");
        }
        self.read.extend_from_slice(&buffer[..count]);
        Ok(true)
    }

    fn refuse(&mut self, status: u16, sentence: &str) -> Result<bool> {
        self.say(
            status,
            "text/plain; charset=utf-8",
            format!("{sentence}\n").as_bytes(),
            &["Connection: close".to_owned()],
        )?;
        Ok(false)
    }

    fn say(&mut self, status: u16, kind: &str, body: &[u8], more: &[String]) -> Result<()> {
        self.say_with(status, kind, body, "", more)
    }

    fn say_with(
        &mut self,
        status: u16,
        kind: &str,
        body: &[u8],
        scripts: &str,
        more: &[String],
    ) -> Result<()> {
        let head = message::answer(status, kind, Some(body.len()), scripts, more);
        self.stream.write_all(&[head.as_bytes(), body].concat())?;
        Ok(())
    }

    fn respond(&mut self, head: &Head, body: &[u8]) -> Result<()> {
        let session = self.site.session;
        let secret = head.path.strip_prefix("/open/").filter(|_| !head.is_post);
        if let Some(cookie) = secret.and_then(|secret| session.use_secret(secret)) {
            // Not a redirection: a strict cookie is not sent on one that another page or app has caused.
            // Without an icon, the browser asks for /favicon.ico.
            let page = "<!doctype html><meta http-equiv=\"refresh\" content=\"0;url=/\">\
                        <link rel=\"icon\" href=\"data:,\"><title>Droidspaces</title>";
            let cookie = format!("Set-Cookie: {COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Strict");
            return self.say(200, "text/html; charset=utf-8", page.as_bytes(), &[cookie]);
        }
        if !head.cookie.as_ref().is_some_and(|cookie| session.knows(cookie)) {
            let sentence = "This address has expired. Run 'ds web' again and open the new one.\n";
            return self.say(403, "text/plain; charset=utf-8", sentence.as_bytes(), &[]);
        }
        if !self.is_known {
            self.known.write_all(b"!")?;
            self.is_known = true;
        }
        match (head.is_post, head.path.as_str()) {
            (true, "/rpc") => self.relay(body),
            (false, path) => match self.site.pages.get(path) {
                Some((bytes, kind)) => {
                    let scripts = if kind == HTML { inline_scripts(&bytes) } else { String::new() };
                    self.say_with(200, kind, &bytes, &scripts, &[])
                }
                None => self.say(404, "text/plain; charset=utf-8", b"There is no such file.\n", &[]),
            },
            _ => self.say(404, "text/plain; charset=utf-8", b"Not found.\n", &[]),
        }
    }

    /// Passes a request to the supervisor, and forwards the lines of the answer in chunks.
    fn relay(&mut self, body: &[u8]) -> Result<()> {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_=".contains(byte);
        let Some(word) =
            std::str::from_utf8(body).ok().filter(|word| word.bytes().all(|byte| is_word(&byte)))
        else {
            return self.say(400, "text/plain; charset=utf-8", b"The request is not base64url.\n", &[]);
        };
        let Ok(Some((supervisor, lines))) = ask(self.site, word) else {
            return self.say(503, "text/plain; charset=utf-8", b"The supervisor does not answer.\n", &[]);
        };
        let head = message::answer(200, "application/x-ndjson", None, "", &[]);
        self.stream.write_all(head.as_bytes())?;
        self.pass(&supervisor, &mut File::from(lines))?;
        Ok(self.stream.write_all(b"0\r\n\r\n")?)
    }

    /// Forwards lines until the command has ended.
    fn pass(&mut self, supervisor: &OwnedFd, lines: &mut File) -> Result<()> {
        let mut ended = false;
        loop {
            let mut set = PollSet::default();
            set.input("lines", lines.as_fd());
            if !ended {
                set.input("supervisor", supervisor.as_fd());
            }
            set.input("browser", self.stream.as_fd());
            // Processes that the command leaves running may keep the pipe open.
            let left = ended.then_some(Duration::ZERO);
            let ready = set.wait(timeout(left))?;
            if ready.contains(&"lines") {
                let mut buffer = [0; 16 * 1024];
                let count = lines.read(&mut buffer)?;
                if count == 0 {
                    return Ok(());
                }
                let chunk = [format!("{count:x}\r\n").as_bytes(), &buffer[..count], b"\r\n"].concat();
                self.stream.write_all(&chunk)?;
            } else if ready.contains(&"browser") {
                self.hear()?;
            } else if ready.contains(&"supervisor") {
                ended = !matches!(
                    socket::receive::<FromWorker>(supervisor).map(|got| got.map(|got| got.message)),
                    Ok(Some(FromWorker::RawMode(_)))
                );
            } else if ended && !is_readable(lines.as_fd()) {
                return Ok(());
            }
        }
    }

    /// The browser has sent data in between, or has disconnected.
    fn hear(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        let count = self.stream.read(&mut buffer)?;
        if count == 0 || self.read.len() > LONGEST_HEAD {
            bail!("the browser has disconnected");
        }
        self.read.extend_from_slice(&buffer[..count]);
        Ok(())
    }
}

fn wait(stream: &TcpStream, time: Duration) -> bool {
    let deadline = Instant::now() + time;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut set = PollSet::default();
        set.input((), stream.as_fd());
        match set.wait(timeout(Some(left))) {
            Ok(ready) if !ready.is_empty() => return true,
            Ok(_) if left.is_zero() => return false,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

/// Sends a request to the supervisor; returns the connection to it and the stream of the answer.
fn ask(site: &Site<'_>, word: &str) -> Result<Option<(OwnedFd, OwnedFd)>> {
    let Some(supervisor) = socket::connect_to(&site.paths.supervisor_socket())? else { return Ok(None) };
    let (lines, end) = pipe().context("pipe")?;
    let null = subprocess::null()?;
    let request = CommandRequest {
        generation: GENERATION,
        argv: ["ds", "rpc", word].map(str::to_owned).into(),
        cwd: "/".to_owned(),
        environment: std::collections::BTreeMap::new(),
        watches: false,
    };
    socket::send(&supervisor, &request, &[null.as_fd(), end.as_fd(), null.as_fd()])?;
    Ok(Some((supervisor, lines.into())))
}
