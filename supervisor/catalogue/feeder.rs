//! A process that downloads while another one unpacks: it writes to a pipe and reports at the end whether the data is
//! valid.
//!
//! Owns the process and its verdict. A dropped [`Feeder`] kills the process, which also ends with its parent.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::cache::Cache;
use super::download::{Delivery, Item, deliver};
use super::fetch::Network;
use crate::confined::{Confinement, large_pipe, start};
use crate::poll;
use crate::socket;
use crate::subprocess::Subprocess;

/// The interval of progress messages.
const INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, Serialize, Deserialize)]
enum Message {
    Progress(u64),
    /// The SHA-256 of the whole file.
    Whole(String),
    Failed(String),
}

/// Finds a file again that no server has any more.
pub type Relocate<'a> = &'a dyn Fn() -> Result<Item>;

/// The process.
#[derive(Debug)]
pub struct Feeder {
    messages: OwnedFd,
    _child: Subprocess,
    have: u64,
    verdict: Option<Result<String, String>>,
}

impl Feeder {
    /// Starts the process; the returned descriptor delivers the bytes.
    ///
    /// # Errors
    /// If fork(2) fails.
    pub fn begin(
        item: &Item,
        cache: &Cache,
        network: &Network,
        relocate: Relocate<'_>,
    ) -> Result<(Self, OwnedFd)> {
        let (reading, writing) = large_pipe()?;
        let (messages, theirs) = socket::pair()?;
        let mut work =
            |messages: &mut File, pipe: &mut File| feed(messages, pipe, item, cache, network, relocate);
        let child = start(&theirs, &writing, Confinement::None, &mut work)?;
        drop((theirs, writing));
        Ok((Self { messages, _child: child, have: 0, verdict: None }, reading))
    }

    /// The number of downloaded bytes.
    pub fn progress(&mut self) -> u64 {
        while self.verdict.is_none() && poll::is_readable(self.messages.as_fd()) {
            self.hear();
        }
        self.have
    }

    fn hear(&mut self) {
        let failed = |text: String| Some(Err(text));
        match socket::receive::<Message>(&self.messages)
            .map(|received| received.map(|received| received.message))
        {
            Ok(Some(Message::Progress(have))) => self.have = have,
            Ok(Some(Message::Whole(sha256))) => self.verdict = Some(Ok(sha256)),
            Ok(Some(Message::Failed(text))) => self.verdict = failed(text),
            Ok(None) => self.verdict = failed("the download ended unexpectedly".to_owned()),
            Err(error) => self.verdict = failed(format!("{error:#}")),
        }
    }

    /// Waits for the verdict: the SHA-256 of the data.
    ///
    /// # Errors
    /// Why the data is invalid.
    pub fn finish(&mut self) -> Result<String> {
        loop {
            match &self.verdict {
                Some(Ok(sha256)) => return Ok(sha256.clone()),
                Some(Err(text)) => bail!("{text}"),
                None => self.hear(),
            }
        }
    }

    /// Why the data is invalid, if that is known or becomes known within `patience`.
    #[must_use]
    pub fn failure(&mut self, patience: Duration) -> Option<String> {
        let until = Instant::now() + patience;
        while self.verdict.is_none() {
            if poll::wait_until(self.messages.as_fd(), until) != Ok(true) {
                return None;
            }
            self.hear();
        }
        self.verdict.clone().and_then(Result::err)
    }
}

fn feed(
    messages: &mut File,
    pipe: &mut File,
    item: &Item,
    cache: &Cache,
    network: &Network,
    relocate: Relocate<'_>,
) -> u8 {
    let mut told = Instant::now();
    let mut progress = |have: u64| {
        if told.elapsed() >= INTERVAL {
            told = Instant::now();
            let _ = socket::send(messages.as_fd(), &Message::Progress(have), &[]);
        }
    };
    let mut attempt = |item: &Item| deliver(item, cache, network, Some(pipe), &mut progress);
    let done = attempt(item).and_then(|delivery| match delivery {
        Delivery::NowhereFound(_) => attempt(&relocate()?),
        whole => Ok(whole),
    });
    let message = match done {
        Ok(Delivery::Whole(sha256)) => Message::Whole(sha256),
        Ok(Delivery::NowhereFound(text)) => Message::Failed(text),
        Err(error) => Message::Failed(format!("{error:#}")),
    };
    u8::from(socket::send(messages.as_fd(), &message, &[]).is_err())
}
