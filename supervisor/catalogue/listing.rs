//! The list of all images: from the first mirror that answers, cached for an hour, and used beyond that without a
//! network.
//!
//! Owns when the list is downloaded again, and how an image becomes a file to download. The cached list is trusted,
//! because every field of a server's list is checked before it is written.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::cache::Cache;
use super::download::Item;
use super::failure::{Failure, Remedy};
use super::fetch::{Network, whole};
use super::index::{self, Image};
use crate::durable;

/// How long a list is valid.
const FRESH: Duration = Duration::from_secs(3600);
/// Maximum size of a file with checksums, in bytes.
const MAX_SUMS: u64 = 1 << 20;
/// The maximum number of attempts after temporary errors, and the delay after the first attempt.
const ATTEMPTS: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// An error that takes longer is a timeout. Another attempt would take as long.
const QUICK: Duration = Duration::from_secs(5);

/// The images of a mirror.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listing {
    /// The address of the mirror, without a trailing slash.
    pub mirror: String,
    /// Its images.
    pub images: Vec<Image>,
}

impl Listing {
    /// The cached list, of any age.
    #[must_use]
    pub fn kept(cache: &Cache) -> Option<Self> {
        serde_json::from_slice(&durable::read(&cache.listing(), index::MAX).ok()?).ok()
    }

    fn is_fresh(cache: &Cache) -> bool {
        let changed = fs::metadata(cache.listing()).and_then(|about| about.modified());
        changed.is_ok_and(|changed| SystemTime::now().duration_since(changed).is_ok_and(|age| age < FRESH))
    }

    /// The cached list if it is valid and from a configured mirror, otherwise a new one, otherwise the old one with a
    /// warning. If `anew`, the cached list is only the last resort.
    ///
    /// # Errors
    /// If no mirror answers and no list is cached: the errors of all mirrors.
    pub fn load(
        cache: &Cache,
        mirrors: &[String],
        network: &Network,
        anew: bool,
        warn: &mut dyn FnMut(String),
    ) -> Result<Self> {
        let kept = Self::kept(cache).filter(|listing| mirrors.contains(&listing.mirror));
        if let Some(listing) = kept.clone().filter(|_| !anew && Self::is_fresh(cache)) {
            return Ok(listing);
        }
        let mut faults = Vec::new();
        let attempts = if kept.is_some() { 1 } else { ATTEMPTS };
        for mirror in mirrors {
            match fetch(mirror, attempts, network)? {
                Ok(images) => {
                    let listing = Self { mirror: mirror.clone(), images };
                    let text = serde_json::to_vec(&listing)?;
                    durable::write(&cache.listing(), &text, 0o600).context("write the list of images")?;
                    return Ok(listing);
                }
                Err(text) => faults.push(text),
            }
        }
        match kept.filter(|_| !anew) {
            Some(listing) => {
                warn(format!("{}; using the cached list of images", faults.join("; ")));
                Ok(listing)
            }
            None => bail!("cannot download the list of images: {}", faults.join("; ")),
        }
    }

    /// The file of an image, first from this mirror and then from the others.
    ///
    /// # Errors
    /// If its checksum cannot be determined.
    pub fn item(&self, image: &Image, mirrors: &[String], network: &Network) -> Result<Item> {
        let others = mirrors.iter().filter(|mirror| **mirror != self.mirror);
        let servers = [&self.mirror].into_iter().chain(others);
        let addresses: Vec<String> = servers.map(|server| format!("{server}/{}", image.path)).collect();
        let source = format!("{} ({})", image.name(), image.build);
        let sha256 = match &image.sha256 {
            Some(sha256) => sha256.clone(),
            None => self.sum(image, network).with_context(|| source.clone())?,
        };
        Ok(Item { addresses, sha256: Some(sha256), size: image.size, source })
    }

    /// The checksum of an image of a text index, from the file next to the image.
    fn sum(&self, image: &Image, network: &Network) -> Result<String> {
        let (directory, name) = image.path.rsplit_once('/').context("its path has no directory")?;
        let address = format!("{}/{directory}/SHA256SUMS", self.mirror);
        match persistently(&address, MAX_SUMS, ATTEMPTS, network)? {
            Ok(sums) => index::sum_of(name, &sums)
                .with_context(|| format!("{address} has no checksum of {name}; refused")),
            Err(Failure { text, .. }) => bail!("{text}"),
        }
    }
}

/// Downloads a small file. Retries after a temporary error.
fn persistently(
    address: &str,
    most: u64,
    attempts: u32,
    network: &Network,
) -> Result<Result<Vec<u8>, Failure>> {
    let mut wait = FIRST_WAIT;
    for _ in 1..attempts {
        let begun = Instant::now();
        match whole(address, most, network)? {
            Err(failure) if failure.remedy == Remedy::Wait && begun.elapsed() < QUICK => {
                log::info!("{}; trying again", failure.text);
                sleep(wait);
                wait *= 2;
            }
            other => return Ok(other),
        }
    }
    whole(address, most, network)
}

/// The images of one mirror, in the better of the two formats that it provides.
fn fetch(mirror: &str, attempts: u32, network: &Network) -> Result<Result<Vec<Image>, String>> {
    let streams = format!("{mirror}/{}", index::STREAMS);
    let first = match persistently(&streams, index::MAX, attempts, network)? {
        Ok(bytes) => match index::parse_streams(&bytes) {
            Ok(images) => return Ok(Ok(images)),
            Err(error) => format!("{streams}: {error:#}"),
        },
        Err(failure) => failure.text,
    };
    let text = format!("{mirror}/{}", index::TEXT);
    Ok(match persistently(&text, index::MAX, attempts, network)? {
        Ok(bytes) => index::parse_text(&bytes).map_err(|error| format!("{text}: {error:#}")),
        Err(_) => Err(first),
    })
}
