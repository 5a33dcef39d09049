//! Delivers one verified file: from the cache, or from the first server that has it, resuming an interrupted download.
//!
//! Owns the order of servers, retries with increasing delays, resuming, and the checksum: a file with a wrong checksum
//! is never kept. The bytes go to the cache and, at the same time, to the process that unpacks them; they are valid
//! only when [`deliver`] has returned.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::cache::{Cache, Part};
use super::failure::{Failure, Remedy};
use super::fetch::{Fetch, FetchRequest, Network};
use crate::fault;
use crate::sys::errno_of;

/// The maximum number of consecutive attempts without progress.
const ATTEMPTS: u32 = 5;
/// The delay after the first attempt; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Size of the buffer, in bytes.
const CHUNK: usize = 256 << 10;

/// A file to deliver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its addresses, in the order of attempts.
    pub addresses: Vec<String>,
    /// Its SHA-256, if known.
    pub sha256: Option<String>,
    /// Its length, if known.
    pub size: Option<u64>,
    /// Its name in messages.
    pub source: String,
}

/// The result of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// All bytes were delivered; the SHA-256.
    Whole(String),
    /// No server has the file any more; nothing was delivered.
    NowhereFound(String),
}

impl Item {
    /// The file at an address from the user.
    #[must_use]
    pub fn at(address: &str, sha256: Option<&str>) -> Self {
        Self {
            addresses: vec![address.to_owned()],
            sha256: sha256.map(str::to_ascii_lowercase),
            size: None,
            source: address.to_owned(),
        }
    }

    /// Its key for an incomplete file in the cache.
    fn key(&self) -> String {
        match &self.sha256 {
            Some(sha256) => sha256.clone(),
            None => format!("u-{}", &hexadecimal(&Sha256::digest(self.source.as_bytes()))[..32]),
        }
    }
}

/// Delivers the file to `sink`, if any, and into the cache. `progress` receives the number of bytes.
///
/// # Errors
/// Why it failed, in one line. Delivered bytes are then invalid.
pub fn deliver(
    item: &Item,
    cache: &Cache,
    network: &Network,
    sink: Option<&mut File>,
    progress: &mut dyn FnMut(u64),
) -> Result<Delivery> {
    if let Some(sha256) = &item.sha256
        && let Some(file) = cache.whole(sha256)?
    {
        return from_cache(&file, sha256, cache, sink, progress);
    }
    let part = cache.part(&item.key())?;
    // Another process may have just completed it.
    if let Some(sha256) = &item.sha256
        && let Some(file) = cache.whole(sha256)?
    {
        cache.abandon(part);
        return from_cache(&file, sha256, cache, sink, progress);
    }
    let mut pump = Pump {
        item,
        cache,
        part: Some(part),
        feeds: sink.is_some(),
        sink,
        progress,
        sum: Sha256::new(),
        have: 0,
        replayed: 0,
        tag: cache.tag(&item.key()),
    };
    pump.replay()?;
    let fetched = pump.fetch(network);
    if fetched.is_err() && pump.have == 0 {
        pump.drop_part();
    }
    if let Some(text) = fetched? {
        return Ok(Delivery::NowhereFound(text));
    }
    pump.conclude(network)
}

fn from_cache(
    mut file: &File,
    sha256: &str,
    cache: &Cache,
    mut sink: Option<&mut File>,
    progress: &mut dyn FnMut(u64),
) -> Result<Delivery> {
    let (mut sum, mut have, mut buffer) = (Sha256::new(), 0, vec![0; CHUNK]);
    loop {
        let length = file.read(&mut buffer).context("read the cache")?;
        if length == 0 {
            break;
        }
        sum.update(&buffer[..length]);
        hand_on(&mut sink, &buffer[..length])?;
        have += u64::try_from(length)?;
        progress(have);
    }
    if hexadecimal(&sum.finalize()) != sha256 {
        cache.discard(sha256);
        bail!("the copy in the cache was damaged and has been removed; try again");
    }
    Ok(Delivery::Whole(sha256.to_owned()))
}

/// A delivery in progress.
struct Pump<'a, 'b> {
    item: &'a Item,
    cache: &'a Cache,
    /// `None` once the cache is full: then nothing is kept.
    part: Option<Part>,
    sink: Option<&'b mut File>,
    /// Whether there was a sink at the beginning: it cannot take back what it got.
    feeds: bool,
    progress: &'b mut dyn FnMut(u64),
    sum: Sha256,
    /// The number of delivered bytes.
    have: u64,
    /// How many of them an earlier attempt had downloaded.
    replayed: u64,
    tag: Option<String>,
}

impl Pump<'_, '_> {
    /// Delivers the bytes of an earlier attempt.
    fn replay(&mut self) -> Result<()> {
        let Some(part) = &mut self.part else { return Ok(()) };
        let resumable = self.item.sha256.is_some() || self.tag.is_some();
        if !resumable
            || self.item.size.is_some_and(|size| part.file().metadata().is_ok_and(|about| about.len() > size))
        {
            part.clear()?;
            return Ok(());
        }
        let mut file = part.file();
        file.rewind().context("lseek")?;
        let mut buffer = vec![0; CHUNK];
        loop {
            let length = file.read(&mut buffer).context("read the cache")?;
            if length == 0 {
                self.replayed = self.have;
                return Ok(());
            }
            self.sum.update(&buffer[..length]);
            hand_on(&mut self.sink, &buffer[..length])?;
            self.have += u64::try_from(length)?;
            (self.progress)(self.have);
        }
    }

    /// Downloads the rest. Returns the last refusal if no server has the file.
    fn fetch(&mut self, network: &Network) -> Result<Option<String>> {
        let mut vain = 0;
        let mut missing = 0;
        let mut wait = FIRST_WAIT;
        for address in self.item.addresses.iter().cycle() {
            if self.item.size == Some(self.have) {
                return Ok(None);
            }
            let (before, begun) = (self.have, Instant::now());
            let Err(failure) = self.fetch_from(address, network)? else { return Ok(None) };
            let moved = network.is_progress(self.have - before, begun.elapsed());
            if moved && failure.remedy == Remedy::Wait {
                (vain, missing, wait) = (0, 0, FIRST_WAIT);
            }
            vain += 1;
            let servers = u32::try_from(self.item.addresses.len())?;
            match failure.remedy {
                Remedy::Elsewhere => {
                    missing += 1;
                    if missing >= servers {
                        ensure!(self.have == 0, "{}", failure.text);
                        self.drop_part();
                        return Ok(Some(failure.text));
                    }
                    continue;
                }
                Remedy::Whole if self.item.sha256.is_some() => return Ok(None),
                Remedy::Whole => {
                    self.drop_part();
                    bail!("{}", failure.text)
                }
                Remedy::None if vain >= servers => bail!("{}", failure.text),
                Remedy::None => continue,
                Remedy::Wait => {}
            }
            if vain >= ATTEMPTS.max(servers) {
                let later = if self.have > 0 { "; a later download resumes here" } else { "" };
                bail!("{}; giving up after {vain} attempts{later}", failure.text);
            }
            log::info!("{}: {}; trying again", self.item.source, failure.text);
            sleep(wait);
            wait *= 2;
        }
        bail!("no server is configured; set 'images.mirror' in supervisor.ini")
    }

    fn fetch_from(&mut self, address: &str, network: &Network) -> Result<Result<(), Failure>> {
        let request = FetchRequest { address, from: self.have, tag: self.tag.as_deref() };
        let (mut fetch, head) = match Fetch::begin(&request, network)? {
            Ok(begun) => begun,
            Err(failure) => return Ok(Err(failure)),
        };
        fault::point("pull-begun")?;
        ensure!(!head.is_page, "{address}: the answer is a web page; the network may require a login");
        if let (Some(size), Some(total)) = (self.item.size, head.total) {
            ensure!(
                size == total,
                "{address}: the file has {total} bytes on the server, but {size} in the index; refused"
            );
        }
        if head.from == 0 {
            self.begin_again(address, head.tag.as_deref())?;
        }
        // A server that does not support ranges sends the existing bytes again.
        let mut surplus = self.have - head.from;
        let mut buffer = vec![0; CHUNK];
        loop {
            let length = match fetch.read(&mut buffer) {
                Ok(0) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other.context("read from the network")?,
            };
            let known = usize::try_from(surplus.min(u64::try_from(length)?))?;
            surplus -= u64::try_from(known)?;
            self.take(&buffer[known..length])?;
            if let Some(size) = self.item.size {
                ensure!(
                    self.have <= size,
                    "{address}: the file is larger than the {size} bytes in the index; refused"
                );
            }
        }
        let done = fetch.finish()?;
        // Without a length in the answer, only the index shows that it was cut short.
        if done.is_ok() && self.item.size.is_some_and(|size| self.have < size) {
            return Ok(Err(Failure::passing(format!(
                "{address}: the server closed the connection too early"
            ))));
        }
        Ok(done)
    }

    /// The server sends the file from its first byte: the same version, or another one.
    fn begin_again(&mut self, address: &str, tag: Option<&str>) -> Result<()> {
        if self.item.sha256.is_none() {
            let same = self.have == 0 || (self.tag.is_some() && self.tag.as_deref() == tag);
            if !same {
                self.drop_part();
                bail!("{address}: the file has changed on the server; try again");
            }
            self.tag = tag.map(str::to_owned);
            self.cache.set_tag(&self.item.key(), tag)?;
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        self.sum.update(bytes);
        self.have += u64::try_from(bytes.len())?;
        if let Some(part) = &self.part {
            let mut file = part.file();
            let at = self.have - u64::try_from(bytes.len())?;
            let written = file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(bytes));
            if let Err(error) = written {
                let error = anyhow::Error::from(error).context("write the cache");
                if errno_of(&error) != Some(nix::errno::Errno::ENOSPC) {
                    return Err(error);
                }
                // The rest of the machine needs the space.
                self.drop_part();
                // A container can be created without the cache, but a download for the cache alone is useless.
                if self.sink.is_none() {
                    return Err(error);
                }
                log::warn!("the cache is full; the download is not kept");
            }
        }
        hand_on(&mut self.sink, bytes)?;
        (self.progress)(self.have);
        fault::point("pull-chunk")
    }

    fn drop_part(&mut self) {
        if let Some(part) = self.part.take() {
            self.cache.abandon(part);
        }
    }

    fn conclude(mut self, network: &Network) -> Result<Delivery> {
        let found = hexadecimal(&std::mem::take(&mut self.sum).finalize());
        if let Some(expected) = &self.item.sha256
            && *expected != found
        {
            self.drop_part();
            let source = &self.item.source;
            if self.replayed > 0 && !self.feeds {
                log::warn!(
                    "{source}: the incomplete download in the cache was damaged; downloading it again"
                );
                return deliver(self.item, self.cache, network, None, self.progress);
            }
            ensure!(
                self.replayed == 0,
                "{source}: the incomplete download in the cache was damaged and has been removed; try again"
            );
            bail!(
                "{source}: the checksum is wrong (expected {expected}, received {found}); nothing was kept"
            );
        }
        fault::point("pull-verified")?;
        if let Some(part) = self.part.take() {
            self.cache.keep(&part, &found, &self.item.source)?;
        }
        fault::point("pull-kept")?;
        Ok(Delivery::Whole(found))
    }
}

/// A closed reader has all it needs, or reports its own error: the download continues for the cache.
fn hand_on(sink: &mut Option<&mut File>, bytes: &[u8]) -> Result<()> {
    match sink.as_mut().map(|sink| sink.write_all(bytes)) {
        Some(Err(error)) if error.kind() == ErrorKind::BrokenPipe => *sink = None,
        Some(other) => other.context("forward the download")?,
        None => {}
    }
    Ok(())
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
