//! `ds cache`: lists or removes downloads. `catalogue::cache` owns the files; this module owns only the output.

use std::io;

use anyhow::Result;
use serde_json::json;

use super::{Env, output, print};
use crate::catalogue::cache::Entry;
use crate::cli;
use crate::clock::unix_s;
use crate::exit::ExitCode;
use crate::storage::remote;
use crate::units;

/// Lists the cache or prunes it.
///
/// # Errors
/// If the cache cannot be read or a file cannot be removed.
pub fn run(arguments: &cli::Cache, env: &Env) -> Result<ExitCode> {
    let cache = remote::cache(&env.paths)?;
    match arguments.action {
        cli::CacheAction::List => {
            let entries = cache.entries()?;
            if arguments.json {
                return output::json(&json!({ "files": entries }));
            }
            if entries.is_empty() {
                return print(&mut io::stdout(), "the cache is empty\n");
            }
            let now = unix_s();
            let heading = ["SOURCE", "SIZE", "LAST USED", "SHA-256"].map(str::to_owned);
            let rows: Vec<_> =
                [heading].into_iter().chain(entries.iter().map(|entry| row(entry, now))).collect();
            output::table(&rows)
        }
        cli::CacheAction::Prune => {
            let (files, bytes) = cache.prune()?;
            if arguments.json {
                return output::json(&json!({ "event": "pruned", "files": files, "bytes": bytes }));
            }
            let noun = if files == 1 { "file" } else { "files" };
            print(&mut io::stdout(), &format!("{files} {noun} removed, {} freed\n", units::size(bytes)))
        }
    }
}

fn row(entry: &Entry, now: u64) -> [String; 4] {
    let short = |sha256: &String| sha256.chars().take(12).collect();
    [
        entry.source.clone(),
        units::size(entry.size),
        format!("{} ago", units::duration(now.saturating_sub(entry.used))),
        entry.sha256.as_ref().map_or_else(|| "-".to_owned(), short),
    ]
}
