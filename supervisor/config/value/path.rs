//! Paths of the host and of a container, as two types without conversion between them.
//!
//! A [`ContainerPath`] is only meaningful inside a container's tree and is resolved there, component by component,
//! by `rootfs::root`; it therefore has no conversion to `std::path`. path_resolution(7).

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::invalid::{Invalid, quoted, refuse_control_characters};

/// `PATH_MAX` without its final NUL (limits.h).
const LONGEST: usize = 4095;
/// `NAME_MAX` (limits.h).
const LONGEST_COMPONENT: usize = 255;

/// An absolute path on the host. Repeated slashes, `.` and a final slash are removed; `..` is kept, because its
/// meaning depends on symbolic links.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPath(String);

impl HostPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path for file system calls.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// Whether this is the host's root directory.
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }
}

impl AsRef<Path> for HostPath {
    fn as_ref(&self) -> &Path {
        self.as_path()
    }
}

impl FromStr for HostPath {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        normalised(text).map(Self)
    }
}

/// An absolute path inside a container, normalised: no `.`, no `..`, no repeated or final slash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerPath(String);

impl ContainerPath {
    /// The path as text, for messages, for execve(2) inside the container and for resolution inside its tree.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components of the path; none for `/`.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|component| !component.is_empty())
    }

    /// Whether this is the container's root directory.
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }
}

impl FromStr for ContainerPath {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut offset = 0;
        for component in text.split('/') {
            if component == ".." {
                let why = format!("path {} contains '..'", quoted(text));
                return Err(Invalid::new(why, "write the path without it").at(offset));
            }
            offset += component.len() + 1;
        }
        normalised(text).map(Self)
    }
}

/// `text` as an absolute path without empty and `.` components.
fn normalised(text: &str) -> Result<String, Invalid> {
    refuse_control_characters(text)?;
    if !text.starts_with('/') {
        return Err(Invalid::new(format!("path {} is not absolute", quoted(text)), "begin it with '/'"));
    }
    let components = text.split('/').filter(|component| !component.is_empty() && *component != ".");
    let mut path = String::with_capacity(text.len());
    for component in components {
        if component.len() > LONGEST_COMPONENT {
            let why = format!("path {} has a name of more than {LONGEST_COMPONENT} bytes", quoted(text));
            return Err(Invalid::new(why, "shorten it"));
        }
        path.push('/');
        path.push_str(component);
    }
    if path.len() > LONGEST {
        return Err(Invalid::new(
            format!("path {} is longer than {LONGEST} bytes", quoted(text)),
            "shorten it",
        ));
    }
    Ok(if path.is_empty() { "/".to_owned() } else { path })
}

impl fmt::Display for HostPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Display for ContainerPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

text_in_serde!(HostPath, ContainerPath);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn container_paths() {
        for (text, shown) in [("/", "/"), ("//", "/"), ("/a//b/./c/", "/a/b/c"), ("/.a/..b", "/.a/..b")] {
            assert_eq!(text.parse::<ContainerPath>().unwrap().to_string(), shown);
        }
        for bad in ["", "a", "./a", "/..", "/a/../b", "/a/..", "/a\0", "/a\nb", "/a\u{85}"] {
            assert!(bad.parse::<ContainerPath>().is_err(), "{bad:?}");
        }
        assert_eq!("/ab/../c".parse::<ContainerPath>().unwrap_err().offset(), 4);
        assert!(format!("/{}", "a".repeat(256)).parse::<ContainerPath>().is_err());
        assert!("/aaaaaaa".repeat(512).parse::<ContainerPath>().is_err());
    }

    #[test]
    fn components() {
        let path: ContainerPath = "/usr/local/bin".parse().unwrap();
        assert_eq!(path.components().collect::<Vec<_>>(), ["usr", "local", "bin"]);
        assert_eq!("/".parse::<ContainerPath>().unwrap().components().count(), 0);
    }

    #[test]
    fn host_paths() {
        assert_eq!("/a/../b//".parse::<HostPath>().unwrap().as_str(), "/a/../b");
        assert!("data/x".parse::<HostPath>().is_err());
        assert!("//.".parse::<HostPath>().unwrap().is_root());
    }

    proptest! {
        #[test]
        fn parsed_paths_are_fixed_points(text in "/(\\PC|/){0,30}|[/.a]{0,12}") {
            if let Ok(path) = text.parse::<ContainerPath>() {
                prop_assert!(path.components().all(|component| component != "." && component != ".."));
                prop_assert_eq!(path.as_str().parse::<ContainerPath>().unwrap(), path);
            }
            if let Ok(path) = text.parse::<HostPath>() {
                prop_assert_eq!(path.as_str().parse::<HostPath>().unwrap(), path);
            }
        }
    }
}
