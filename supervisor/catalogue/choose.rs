//! Selects the image for a name: `debian:13`, `debian`, `ubuntu:lts`, `alpine:edge`, `archlinux`.
//!
//! Owns the rules, and no list of releases: the current release is derived from the index and its date, so that a name
//! keeps its meaning in the future. Pure: it reads and changes nothing.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};

use super::index::Image;
use crate::nearest::nearest;

/// Variants for special purposes, selected only by their name.
const NEVER_BY_ITSELF: &[&str] = &["cloud", "tinycloud", "desktop"];
/// Rolling releases, in order of preference, if there is nothing else.
const ROLLING: &[&str] = &["current", "tumbleweed", "edge", "unstable", "snapshot", "Sisyphus"];

/// The parsed name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The distribution, or a prefix of its name.
    pub distribution: String,
    /// The release, if given.
    pub release: Option<String>,
    /// The variant, if given.
    pub variant: Option<String>,
}

/// The architecture of this machine in the terms of the catalogue.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "armhf",
        "x86" => "i386",
        "powerpc64" => "ppc64el",
        other => other,
    }
}

/// Whether a word can only be a name of the catalogue: a plain word, or words with colons.
#[must_use]
pub fn is_name(word: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    let first = word.split(':').next().unwrap_or_default();
    word.split(':').all(is_part)
        && !first.contains('.')
        && first.starts_with(|c: char| c.is_ascii_alphabetic())
}

impl Query {
    /// Parses `DISTRIBUTION[:RELEASE[:VARIANT]]`. The separator may be a slash and, with two parts, an underscore. The
    /// prefix `images:`, the name of the server in LXD and Incus, is ignored.
    ///
    /// # Errors
    /// If the distribution is missing, or there are more than three parts.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.strip_prefix("images:").unwrap_or(text);
        let separator =
            [':', '/', '_'].into_iter().find(|separator| text.contains(*separator)).unwrap_or(':');
        let mut parts = text.split(separator).map(|part| part.trim().to_owned());
        let query = Self {
            distribution: parts.next().unwrap_or_default().to_ascii_lowercase(),
            release: parts.next(),
            variant: parts.next(),
        };
        let empty = |part: &Option<String>| part.as_deref() == Some("");
        ensure!(
            !query.distribution.is_empty()
                && !empty(&query.release)
                && !empty(&query.variant)
                && parts.next().is_none(),
            "'{text}' is not the name of an image; write DISTRIBUTION:RELEASE, such as debian:13"
        );
        Ok(query)
    }

    /// The selected image.
    ///
    /// # Errors
    /// If there is none; the message lists the alternatives.
    pub fn select<'a>(&self, images: &'a [Image], architecture: &str) -> Result<&'a Image> {
        let distribution = self.distribution_of(images)?;
        let all: Vec<&Image> = images.iter().filter(|image| image.distribution == distribution).collect();
        let fitting: Vec<&Image> =
            all.iter().copied().filter(|image| image.architecture == architecture).collect();
        if fitting.is_empty() {
            let there: BTreeSet<&str> = all.iter().map(|image| image.architecture.as_str()).collect();
            bail!("{distribution} is not available for {architecture}, only for {}; use --arch", list(there));
        }
        let release = self.release_of(&fitting, &distribution)?;
        let mut variants: Vec<&Image> =
            fitting.iter().copied().filter(|image| image.release == release).collect();
        variants.sort_by_key(|image| (image.variant != "default", image.variant.clone()));
        let chosen = match &self.variant {
            Some(variant) => variants.iter().find(|image| image.variant == *variant),
            None => variants.iter().find(|image| !NEVER_BY_ITSELF.contains(&image.variant.as_str())),
        };
        let there = variants.iter().map(|image| image.variant.as_str());
        match chosen {
            Some(image) => Ok(image),
            None => bail!(
                "{distribution}:{release} has no such variant; available: {}; write {distribution}:{release}:VARIANT",
                list(there)
            ),
        }
    }

    fn distribution_of(&self, images: &[Image]) -> Result<String> {
        let names: BTreeSet<&str> = images.iter().map(|image| image.distribution.as_str()).collect();
        let wanted = self.distribution.as_str();
        if names.contains(wanted) {
            return Ok(wanted.to_owned());
        }
        let beginning: Vec<&str> = names.iter().copied().filter(|name| name.starts_with(wanted)).collect();
        if let [only] = beginning.as_slice() {
            return Ok((*only).to_owned());
        }
        let hint = nearest(wanted, names)
            .map(|found| format!("did you mean '{}'? ", found.word))
            .unwrap_or_default();
        bail!("the catalogue has no distribution '{wanted}'; {hint}'ds images' lists all of them");
    }

    fn release_of(&self, images: &[&Image], distribution: &str) -> Result<String> {
        let today = images.iter().filter_map(|image| Month::of_build(&image.build)).max().unwrap_or_default();
        let usual = |wanted: Usual| current(images, distribution, today, wanted);
        let found = match self.release.as_deref() {
            None | Some("stable" | "default") => usual(Usual::Stable),
            Some("latest" | "newest") => usual(Usual::Newest),
            Some("lts") => usual(Usual::Lts),
            Some(named) => images
                .iter()
                .filter_map(|image| Some((closeness(image, named)?, image)))
                .max_by_key(|(closeness, image)| (Reverse(*closeness), Number::of(image)))
                .map(|(_, image)| image.release.clone()),
        };
        if let Some(release) = found {
            return Ok(release);
        }
        let mut there: Vec<(Reverse<Option<Number>>, String)> = images
            .iter()
            .map(|image| {
                (
                    Reverse(Number::of(image)),
                    [vec![image.release.clone()], image.aliases.clone()].concat().join("/"),
                )
            })
            .collect();
        there.sort();
        there.dedup();
        let there = list(there.iter().map(|(_, text)| text.as_str()));
        bail!(
            "{distribution} has no release '{}'; available: {there}",
            self.release.as_deref().unwrap_or("stable")
        );
    }
}

/// How well an image's release matches a name: 0 equal, 1 an alias, 2 a prefix of either; `None` otherwise.
fn closeness(image: &Image, named: &str) -> Option<u8> {
    let begins = |release: &str| release.strip_prefix(named).is_some_and(|rest| rest.starts_with(['.', '-']));
    if image.release.eq_ignore_ascii_case(named) {
        Some(0)
    } else if image.aliases.iter().any(|alias| alias == named) {
        Some(1)
    } else if begins(&image.release) || image.aliases.iter().any(|alias| begins(alias)) {
        Some(2)
    } else {
        None
    }
}

/// The release for a distribution without a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Usual {
    Stable,
    Newest,
    Lts,
}

fn current(images: &[&Image], distribution: &str, today: Month, wanted: Usual) -> Option<String> {
    let released = |number: &Number| match distribution {
        "debian" => wanted == Usual::Newest || number.0 <= debian_stable(today),
        "ubuntu" => {
            let month = Month { year: 2000 + number.0, month: number.1 };
            let long_term = number.0.is_multiple_of(2) && number.1 == 4;
            month <= today && (wanted == Usual::Newest || long_term)
        }
        _ => wanted != Usual::Lts,
    };
    let numbered = images.iter().filter_map(|image| Some((Number::of(image)?, image)));
    let newest = numbered.filter(|(number, _)| released(number)).max_by_key(|(number, _)| *number);
    if let Some((_, image)) = newest {
        return Some(image.release.clone());
    }
    if wanted == Usual::Lts {
        return None;
    }
    let by_preference =
        |image: &&&Image| ROLLING.iter().position(|name| *name == image.release).unwrap_or(ROLLING.len());
    let rolling =
        images.iter().min_by_key(by_preference).filter(|image| ROLLING.contains(&image.release.as_str()));
    // Distributions whose releases have names without numbers use them in alphabetical order.
    let named = images.iter().max_by_key(|image| &image.release);
    rolling.or(named).map(|image| image.release.clone())
}

/// The stable Debian of a month: there is a release in the summer of each odd year; 11 was released in 2021.
fn debian_stable(today: Month) -> u32 {
    let summers = today.year - u32::from(today.month < 9);
    11 + summers.saturating_sub(2021) / 2
}

/// A month of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Month {
    year: u32,
    month: u32,
}

impl Month {
    fn of_build(build: &str) -> Option<Self> {
        Some(Self { year: build.get(..4)?.parse().ok()?, month: build.get(4..6)?.parse().ok()? })
    }
}

/// The number of a release, from its own name or an alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Number(u32, u32);

impl Number {
    fn of(image: &Image) -> Option<Self> {
        let names = [&image.release].into_iter().chain(&image.aliases);
        names.into_iter().find_map(|name| Self::parse(name))
    }

    /// `13`, `24.04`, `3.23`, `9-Stream`.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(['.', '-']);
        let major = parts.next()?.parse().ok()?;
        Some(Self(major, parts.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
    }
}

fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The catalogue in the summer of 2026: `distribution release aliases variants`.
    const CATALOGUE: &str = "\
        debian bullseye 11 default,cloud\ndebian bookworm 12 default,cloud\ndebian trixie 13 cloud,default\n\
        debian forky 14 default\nubuntu jammy 22.04 default\nubuntu noble 24.04 cloud,default,desktop\n\
        ubuntu questing 25.10 default\nubuntu resolute 26.04 default\nalpine 3.22 - default\nalpine 3.23 - cloud,default,tinycloud\n\
        alpine edge - default\narchlinux current - default\nvoidlinux current - default,musl\n\
        devuan daedalus - default\ndevuan excalibur - default\nfedora 43 - default\nfedora 44 - default\n\
        gentoo current - openrc,systemd\ncentos 9-Stream - default\nopensuse 16.0 - default\nopensuse tumbleweed - default\n\
        nixos unstable - default\nnixos 26.05 - default\nopenwrt snapshot - default\nopenwrt 25.12 - default";

    fn catalogue(date: &str) -> Vec<Image> {
        let mut images = Vec::new();
        for line in CATALOGUE.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            for variant in fields[3].split(',') {
                for architecture in ["arm64", "amd64"] {
                    images.push(Image {
                        distribution: fields[0].to_owned(),
                        release: fields[1].to_owned(),
                        aliases: if fields[2] == "-" { vec![] } else { vec![fields[2].to_owned()] },
                        architecture: architecture.to_owned(),
                        variant: variant.to_owned(),
                        build: format!("{date}_05:24"),
                        path: "p".to_owned(),
                        sha256: None,
                        size: None,
                    });
                }
            }
        }
        images
    }

    fn chosen(name: &str, date: &str) -> String {
        let images = catalogue(date);
        let query = Query::parse(name).unwrap();
        query.select(&images, "arm64").map_or_else(|error| error.to_string(), Image::name)
    }

    #[test]
    fn names_mean_what_people_mean() {
        for (name, expected) in [
            ("debian:13", "debian:trixie"),
            ("debian", "debian:trixie"),
            ("Debian:Trixie", "debian:trixie"),
            ("debian/12", "debian:bookworm"),
            ("images:debian/12", "debian:bookworm"),
            ("debian_trixie", "debian:trixie"),
            ("debian:latest", "debian:forky"),
            ("debian:13:cloud", "debian:trixie:cloud"),
            ("ubuntu", "ubuntu:resolute"),
            ("ubuntu:lts", "ubuntu:resolute"),
            ("ubuntu:24", "ubuntu:noble"),
            ("ubuntu:24.04", "ubuntu:noble"),
            ("alpine", "alpine:3.23"),
            ("alpine:edge", "alpine:edge"),
            ("alpine:3", "alpine:3.23"),
            ("arch", "archlinux:current"),
            ("void", "voidlinux:current"),
            ("devuan", "devuan:excalibur"),
            ("fedora", "fedora:44"),
            ("gentoo", "gentoo:current:openrc"),
            ("gentoo:current:systemd", "gentoo:current:systemd"),
            ("centos:9", "centos:9-Stream"),
            ("opensuse", "opensuse:16.0"),
            ("nixos", "nixos:26.05"),
            ("openwrt", "openwrt:25.12"),
        ] {
            assert_eq!(chosen(name, "20260821"), expected, "{name}");
        }
    }

    #[test]
    fn time_moves_what_is_current() {
        assert_eq!(chosen("ubuntu:lts", "20260301"), "ubuntu:noble");
        assert_eq!(chosen("ubuntu:latest", "20260301"), "ubuntu:questing");
        assert_eq!(chosen("debian", "20271001"), "debian:forky");
        assert_eq!(chosen("debian", "20270301"), "debian:trixie");
        assert_eq!(chosen("debian", "20240101"), "debian:bookworm");
    }

    #[test]
    fn what_is_not_there_is_answered_with_what_is() {
        assert!(chosen("debain", "20260821").contains("did you mean 'debian'?"));
        let text = chosen("debian:99", "20260821");
        assert!(text.starts_with("debian has no release '99'; available: forky/14, trixie/13,"), "{text}");
        assert!(chosen("debian:13:desktop", "20260821").contains("available: default, cloud"));
        let images = catalogue("20260821");
        let error = Query::parse("debian").unwrap().select(&images, "riscv64").unwrap_err().to_string();
        assert!(error.contains("only for amd64, arm64; use --arch"), "{error}");
        for wrong in ["", ":13", "debian:", "a:b:c:d"] {
            assert!(Query::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_is_distinguished_from_a_path() {
        for name in ["debian:13", "alpine", "ubuntu:24.04", "gentoo:current:systemd", "debian_trixie"] {
            assert!(is_name(name), "{name}");
        }
        for path in ["./debian", "/tmp/x", "x.tar.xz", "a/b:c", "-", "https://a/b", "debian:", ".x"] {
            assert!(!is_name(path), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_query_panics(text in ".{0,24}") {
            if let Ok(query) = Query::parse(&text) {
                let _ = query.select(&catalogue("20260821"), "arm64");
            }
        }
    }
}
