//! The list of images on a server, in the two index formats of images.linuxcontainers.org and its mirrors.
//!
//! Owns the parser and the checks of every field. An entry with an invalid field is skipped, since a server may use
//! newer features. Reads only bytes; never uses the network or the disk. Formats: simplestreams `products:1.0`
//! (`streams/v1/images.json`), and the text index (`meta/1.0/index-system`).

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// Path of the JSON index on a server.
pub const STREAMS: &str = "streams/v1/images.json";
/// Path of the text index on a server.
pub const TEXT: &str = "meta/1.0/index-system";
/// Maximum size of an index, in bytes.
pub const MAX: u64 = 32 << 20;
/// Maximum length of a field, in characters.
const LONGEST_FIELD: usize = 64;
/// Maximum length of a path, in characters.
const LONGEST_PATH: usize = 512;

/// A root file system on a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The distribution, such as `debian`.
    pub distribution: String,
    /// The release, such as `trixie`.
    pub release: String,
    /// Other names of the release, such as `13`.
    pub aliases: Vec<String>,
    /// The processor architecture in Debian's terms, such as `arm64`.
    pub architecture: String,
    /// The variant, usually `default`.
    pub variant: String,
    /// Its build time: `YYYYMMDD_HH:MM`, UTC.
    pub build: String,
    /// Path of the tar archive below the server's address.
    pub path: String,
    /// SHA-256 of the archive in hexadecimal digits; the text index has none.
    pub sha256: Option<String>,
    /// Length of the archive in bytes; the text index has none.
    pub size: Option<u64>,
}

impl Image {
    /// The name that selects it: `debian:trixie`, with the variant unless that is the default.
    #[must_use]
    pub fn name(&self) -> String {
        match self.variant.as_str() {
            "default" => format!("{}:{}", self.distribution, self.release),
            variant => format!("{}:{}:{variant}", self.distribution, self.release),
        }
    }
}

#[derive(Deserialize)]
struct Document {
    products: BTreeMap<String, Product>,
}

#[derive(Deserialize)]
struct Product {
    #[serde(default)]
    aliases: String,
    #[serde(default)]
    versions: BTreeMap<String, Version>,
}

#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    items: BTreeMap<String, Item>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    ftype: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    sha256: String,
    #[serde(default)]
    size: Option<u64>,
}

/// Parses `streams/v1/images.json`: for each product, the newest build with a tar archive.
///
/// # Errors
/// If the document is invalid or has no usable entry.
pub fn parse_streams(bytes: &[u8]) -> Result<Vec<Image>> {
    let document: Document = serde_json::from_slice(bytes).context("the index is not valid JSON")?;
    let images: Vec<Image> =
        document.products.iter().filter_map(|(key, product)| image(key, product)).collect();
    ensure!(!images.is_empty(), "the index lists no root file system");
    Ok(images)
}

fn image(key: &str, product: &Product) -> Option<Image> {
    let fields: Vec<&str> = key.split(':').collect();
    let &[distribution, release, architecture, variant] = fields.as_slice() else { return None };
    let builds = product.versions.iter().rev().filter(|(build, _)| is_build(build));
    let (build, item) = builds.into_iter().find_map(|(build, version)| {
        let item = version.items.values().find(|item| item.ftype == "root.tar.xz")?;
        Some((build, item))
    })?;
    let image = Image {
        distribution: distribution.to_owned(),
        release: release.to_owned(),
        aliases: aliases(distribution, release, &product.aliases),
        architecture: architecture.to_owned(),
        variant: variant.to_owned(),
        build: build.clone(),
        path: item.path.clone(),
        sha256: Some(item.sha256.to_ascii_lowercase()),
        size: item.size,
    };
    is_valid(&image).then_some(image)
}

/// The other names of a release, from `debian/trixie/default,debian/13/default,debian/trixie,debian/13`.
fn aliases(distribution: &str, release: &str, text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for alias in text.split(',') {
        let mut parts = alias.trim().split('/');
        if parts.next() == Some(distribution)
            && let Some(name) = parts.next()
            && name != release
            && is_field(name)
            && !found.iter().any(|known| known == name)
        {
            found.push(name.to_owned());
        }
    }
    found
}

/// Parses `meta/1.0/index-system`: lines of `distribution;release;architecture;variant;build;path`.
///
/// # Errors
/// If no line is usable, for example because it is the login page of a network.
pub fn parse_text(bytes: &[u8]) -> Result<Vec<Image>> {
    let text = String::from_utf8_lossy(bytes);
    let images: Vec<Image> = text.lines().filter_map(line).collect();
    ensure!(!images.is_empty(), "the index lists no root file system");
    Ok(images)
}

fn line(line: &str) -> Option<Image> {
    let fields: Vec<&str> = line.trim_end_matches('\r').split(';').collect();
    let &[distribution, release, architecture, variant, build, directory] = fields.as_slice() else {
        return None;
    };
    let directory = directory.trim_matches('/');
    let image = Image {
        distribution: distribution.to_owned(),
        release: release.to_owned(),
        aliases: Vec::new(),
        architecture: architecture.to_owned(),
        variant: variant.to_owned(),
        build: build.to_owned(),
        path: format!("{directory}/rootfs.tar.xz"),
        sha256: None,
        size: None,
    };
    (!directory.is_empty() && is_valid(&image)).then_some(image)
}

/// The SHA-256 of `name` in the output of sha256sum(1).
#[must_use]
pub fn sum_of(name: &str, sums: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(sums);
    text.lines().find_map(|line| {
        let (digest, file) = line.split_once(' ')?;
        // Two spaces, or a space and an asterisk for binary mode.
        let file = file.strip_prefix([' ', '*']).unwrap_or(file);
        (file.trim_start_matches("./") == name && is_sha256(digest)).then(|| digest.to_ascii_lowercase())
    })
}

/// Whether a text is a SHA-256 in hexadecimal digits.
#[must_use]
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_valid(image: &Image) -> bool {
    [&image.distribution, &image.release, &image.architecture, &image.variant]
        .iter()
        .all(|field| is_field(field))
        && is_build(&image.build)
        && is_path(&image.path)
        && image.sha256.as_deref().is_none_or(is_sha256)
}

/// Fields become parts of paths and of messages.
fn is_field(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+');
    !text.is_empty() && text.len() <= LONGEST_FIELD && !text.starts_with('.') && text.bytes().all(fits)
}

fn is_build(text: &str) -> bool {
    text.len() >= 8
        && text.len() <= LONGEST_FIELD
        && text.bytes().take(8).all(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'_' | b':'))
}

/// A relative path below the server's address, without characters that have a meaning in an address.
fn is_path(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'%' | b'\\' | b'"');
    !text.is_empty()
        && text.len() <= LONGEST_PATH
        && !text.starts_with('/')
        && text.bytes().all(fits)
        && text.split('/').all(|part| !matches!(part, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SUM: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn streams() -> String {
        let items = format!(
            r#"{{"items":{{"incus.tar.xz":{{"ftype":"incus.tar.xz","sha256":"{SUM}","size":884,"path":"x"}},
            "root.tar.xz":{{"ftype":"root.tar.xz","sha256":"{SUM}","size":99,"path":"images/d/rootfs.tar.xz"}}}}}}"#
        );
        format!(
            r#"{{"content_id":"images","format":"products:1.0","products":{{
            "debian:trixie:arm64:default":{{"aliases":"debian/trixie/default,debian/13/default,debian/trixie,debian/13",
              "arch":"arm64","os":"Debian","versions":{{"20260820_05:24":{items},"20260821_05:24":{items},"tmp":{items}}}}},
            "ubuntu:noble:amd64:desktop":{{"versions":{{"20260821_05:24":{{"items":{{"disk.qcow2":{{"ftype":"disk-kvm.img"}}}}}}}}}},
            "evil:../..:arm64:default":{{"versions":{{"20260821_05:24":{items}}}}},
            "short:key":{{}}}}}}"#
        )
    }

    #[test]
    fn the_newest_build_with_an_archive_is_taken() {
        let images = parse_streams(streams().as_bytes()).unwrap();
        assert_eq!(images.len(), 1, "{images:?}");
        let image = &images[0];
        assert_eq!(
            (image.name().as_str(), image.aliases.as_slice()),
            ("debian:trixie", &["13".to_owned()][..])
        );
        assert_eq!((image.build.as_str(), image.size), ("20260821_05:24", Some(99)));
    }

    #[test]
    fn lines_that_are_not_entries_are_left_out() {
        let text = "debian;trixie;arm64;cloud;20260821_05:24;/images/a/\r\n\
            debian;trixie;arm64;default;20260821_05:24;\n\
            debian;trixie;arm64;default;20260821_05:24;/../../etc/\n<html>\n";
        let images = parse_text(text.as_bytes()).unwrap();
        assert_eq!(images.len(), 1);
        assert_eq!(
            (images[0].path.as_str(), images[0].name().as_str()),
            ("images/a/rootfs.tar.xz", "debian:trixie:cloud")
        );
        assert!(parse_text(b"<html>log in</html>").is_err());
        assert!(parse_streams(b"<html>log in</html>").is_err());
    }

    #[test]
    fn sums_are_found_by_name() {
        let text = format!("{SUM}  rootfs.squashfs\n{SUM} *rootfs.tar.xz\nnonsense\n");
        assert_eq!(sum_of("rootfs.tar.xz", text.as_bytes()).as_deref(), Some(SUM));
        assert_eq!(sum_of("meta.tar.xz", text.as_bytes()), None);
    }

    proptest! {
        #[test]
        fn no_index_leads_out_of_the_server(bytes in proptest::collection::vec(any::<u8>(), 0..300), path in "[./a%?]{0,12}") {
            let _ = parse_streams(&bytes);
            let _ = parse_text(&bytes);
            let line = format!("d;r;a;default;20260821_05:24;{path}");
            for image in parse_text(line.as_bytes()).unwrap_or_default() {
                prop_assert!(!image.path.starts_with('/') && !image.path.split('/').any(|part| part == ".."), "{}", image.path);
            }
            let changed = streams().replace("images/d/rootfs.tar.xz", &path);
            for image in parse_streams(changed.as_bytes()).unwrap_or_default() {
                prop_assert!(!image.path.starts_with('/') && !image.path.split('/').any(|part| part == ".."));
            }
        }
    }
}
