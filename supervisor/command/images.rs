//! `ds images`: lists the systems in the catalogue.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use serde::Serialize;

use super::progress::Progress;
use super::{Env, output};
use crate::catalogue::choose::architecture;
use crate::catalogue::index::Image;
use crate::cli;
use crate::exit::ExitCode;
use crate::storage::remote;
use crate::units;

#[derive(Serialize)]
struct Document<'a> {
    mirror: &'a str,
    images: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: String,
    distribution: &'a str,
    release: &'a str,
    aliases: &'a [String],
    architecture: &'a str,
    variant: &'a str,
    build: &'a str,
    size: Option<u64>,
}

/// Prints the list.
///
/// # Errors
/// If no server answers and no list is cached, or nothing matches.
pub fn run(arguments: &cli::Images, env: &Env) -> Result<ExitCode> {
    let mut progress = Progress::new(false);
    let listing = remote::list(env, &mut |event| progress.show(event));
    progress.clear();
    let listing = listing?;
    let wanted = arguments.arch.as_deref().unwrap_or_else(|| architecture());
    let search = arguments.search.as_deref().unwrap_or_default().to_lowercase();
    let found = |image: &&Image| {
        matches(&image.name(), &search) || aliases(image).any(|alias| matches(&alias, &search))
    };
    let all: Vec<&Image> = listing.images.iter().filter(found).collect();
    let fits = |image: &&&Image| wanted == "all" || image.architecture == wanted;
    let mut images: Vec<&Image> = all.iter().filter(fits).copied().collect();
    images.sort_by_key(|image| {
        (&image.distribution, &image.release, image.variant != "default", &image.variant, &image.architecture)
    });
    if arguments.json {
        let images = images.iter().map(|image| entry(image)).collect();
        return output::json(&Document { mirror: &listing.mirror, images });
    }
    if images.is_empty() && !all.is_empty() {
        let others: BTreeSet<&str> = all.iter().map(|image| image.architecture.as_str()).collect();
        let others: Vec<&str> = others.into_iter().collect();
        bail!("no image for {wanted} matches '{search}', only for {}; use --arch", others.join(", "));
    }
    if images.is_empty() {
        let there: BTreeMap<&str, ()> =
            listing.images.iter().map(|image| (image.distribution.as_str(), ())).collect();
        let there: Vec<&str> = there.into_keys().collect();
        bail!("no image for {wanted} matches '{search}'; available distributions: {}", there.join(", "));
    }
    let heading = ["NAME", "ALSO", "ARCHITECTURE", "BUILD", "SIZE"].map(str::to_owned);
    let rows: Vec<_> = [heading].into_iter().chain(images.iter().map(|image| row(image))).collect();
    output::table(&rows)
}

fn matches(name: &str, search: &str) -> bool {
    name.to_lowercase().contains(search) || name.replace(':', "/").to_lowercase().contains(search)
}

/// Other names that select it.
fn aliases(image: &Image) -> impl Iterator<Item = String> {
    let variant = Some(&image.variant).filter(|variant| *variant != "default");
    let variant = variant.map(|variant| format!(":{variant}")).unwrap_or_default();
    image.aliases.iter().map(move |alias| format!("{}:{alias}{variant}", image.distribution))
}

fn entry(image: &Image) -> Entry<'_> {
    Entry {
        name: image.name(),
        distribution: &image.distribution,
        release: &image.release,
        aliases: &image.aliases,
        architecture: &image.architecture,
        variant: &image.variant,
        build: &image.build,
        size: image.size,
    }
}

fn row(image: &Image) -> [String; 5] {
    [
        image.name(),
        aliases(image).collect::<Vec<_>>().join(" "),
        image.architecture.clone(),
        image.build.clone(),
        image.size.map_or_else(|| "-".to_owned(), units::size),
    ]
}
