//! Root file systems from a server: looks them up in the catalogue and downloads them into the cache.
//!
//! A job does the work, so that an interruption ends it immediately; the cache keeps the downloaded part.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::job::{self, Reporter, Watcher};
use crate::catalogue::cache::Cache;
use crate::catalogue::choose::Query;
use crate::catalogue::download::{Delivery, Item, deliver};
use crate::catalogue::fetch::Network;
use crate::catalogue::listing::Listing;
use crate::config::Images;
use crate::paths::Paths;
use crate::worker::Env;

/// The requested file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// An image of the catalogue for an architecture.
    Image(Query, String),
    /// The file at an address, with its SHA-256 if known.
    Address(String, Option<String>),
}

/// A file on a server, with everything that is needed to download it.
#[derive(Debug, Clone)]
pub struct Remote {
    /// The file.
    pub item: Item,
    wanted: Wanted,
    /// The cache.
    pub cache: Cache,
    /// The network settings.
    pub network: Network,
    mirrors: Vec<String>,
}

impl Remote {
    /// Looks up the file.
    ///
    /// # Errors
    /// If the catalogue is not available or does not contain it, or the settings are invalid.
    pub fn find(env: &Env, wanted: Wanted, watcher: Watcher<'_>) -> Result<Self> {
        let (cache, network, mirrors) = surroundings(&env.paths, &env.environment)?;
        let item = match &wanted {
            Wanted::Address(address, sha256) => Item::at(address, sha256.as_deref()),
            Wanted::Image(query, architecture) => {
                let found = job::run(env, watcher, &mut |reporter| {
                    let item =
                        locate(query, architecture, (&cache, &network, &mirrors), false, Some(reporter))?;
                    Ok(serde_json::to_value(item)?)
                })?;
                serde_json::from_value(found).context("what the job found")?
            }
        };
        Ok(Self { item, wanted, cache, network, mirrors })
    }

    /// Looks it up again in a new list of images.
    ///
    /// # Errors
    /// As for [`Remote::find`].
    pub fn find_again(&self) -> Result<Item> {
        match &self.wanted {
            Wanted::Address(address, _) => bail!("{address}: the server does not have it"),
            Wanted::Image(query, architecture) => {
                locate(query, architecture, (&self.cache, &self.network, &self.mirrors), true, None)
            }
        }
    }

    /// Downloads it into the cache; returns its SHA-256.
    ///
    /// # Errors
    /// If the download fails. The downloaded part is kept for the next attempt.
    pub fn pull(&self, env: &Env, watcher: Watcher<'_>) -> Result<String> {
        let pulled = job::run(env, watcher, &mut |reporter| {
            reporter.step("download", self.item.size)?;
            let sha256 = self.deliver_to_cache(reporter)?;
            Ok(sha256.into())
        })?;
        Ok(pulled.as_str().unwrap_or_default().to_owned())
    }

    fn deliver_to_cache(&self, reporter: &mut Reporter) -> Result<String> {
        let mut have = 0;
        let mut attempt = |item: &Item| {
            deliver(item, &self.cache, &self.network, None, &mut |bytes| {
                have = bytes;
                reporter.progress(bytes);
            })
        };
        let delivery = match attempt(&self.item)? {
            Delivery::NowhereFound(_) => attempt(&self.find_again()?)?,
            whole @ Delivery::Whole(_) => whole,
        };
        reporter.finish(have)?;
        match delivery {
            Delivery::Whole(sha256) => Ok(sha256),
            Delivery::NowhereFound(text) => bail!("{text}"),
        }
    }
}

/// The list of all images, for display.
///
/// # Errors
/// If no server answers and no list is cached.
pub fn list(env: &Env, watcher: Watcher<'_>) -> Result<Listing> {
    let (cache, network, mirrors) = surroundings(&env.paths, &env.environment)?;
    job::run(env, watcher, &mut |reporter| {
        reporter.step("index", None)?;
        let mut warnings = Vec::new();
        Listing::load(&cache, &mirrors, &network, false, &mut |text| warnings.push(text))?;
        warnings.into_iter().try_for_each(|text| reporter.warn(text))?;
        Ok(serde_json::Value::Null)
    })?;
    Listing::kept(&cache).context("the list of images cannot be read")
}

/// The cache with the configured settings.
///
/// # Errors
/// If the settings are invalid, or its directory cannot be created.
pub fn cache(paths: &Paths) -> Result<Cache> {
    let images = Images::load(&paths.supervisor_ini())?;
    Cache::open(paths, images.cache_size.bytes())
}

fn surroundings(
    paths: &Paths,
    environment: &BTreeMap<String, String>,
) -> Result<(Cache, Network, Vec<String>)> {
    let images = Images::load(&paths.supervisor_ini())?;
    let cache = Cache::open(paths, images.cache_size.bytes())?;
    Ok((cache, Network::load(environment, images.timeout)?, images.mirrors))
}

fn locate(
    query: &Query,
    architecture: &str,
    (cache, network, mirrors): (&Cache, &Network, &[String]),
    anew: bool,
    mut reporter: Option<&mut Reporter>,
) -> Result<Item> {
    if let Some(reporter) = &mut reporter {
        reporter.step("index", None)?;
    }
    let mut warnings = Vec::new();
    let listing = Listing::load(cache, mirrors, network, anew, &mut |text| warnings.push(text))?;
    if let Some(reporter) = reporter {
        warnings.into_iter().try_for_each(|text| reporter.warn(text))?;
    }
    let image = query.select(&listing.images, architecture)?;
    listing.item(image, mirrors, network)
}
