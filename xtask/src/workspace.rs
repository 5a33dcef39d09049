//! The paths of the source tree, the target directory and the toolchain in use.
//!
//! Owns every path below `target/` that xtask uses, and the cargo and rustc to call (cargo passes its own path in
//! `CARGO`, so any toolchain works). Creates nothing.

use crate::process;
use anyhow::{Context, Result};
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The source tree and the toolchain.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
    cargo: OsString,
    rustc: OsString,
    host: String,
    rustc_version: String,
}

impl Workspace {
    /// Queries the compiler for this machine's target.
    ///
    /// # Errors
    /// If rustc is missing, or its version text has no host line.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("the xtask package has no parent folder")?;
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let version = process::read(Command::new(&rustc).arg("-vV"))?;
        Ok(Self {
            root: root.to_owned(),
            target,
            cargo: env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
            rustc,
            host: field(&version, "host: ").context("`rustc -vV` reports no host")?.to_owned(),
            rustc_version: field(&version, "release: ").and_then(minor).unwrap_or_default().to_owned(),
        })
    }

    /// A cargo command in the source tree.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(&self.root);
        command
    }

    /// The compiler.
    pub fn rustc(&self) -> &OsStr {
        &self.rustc
    }

    /// The same toolchain with another source tree and target directory.
    pub fn elsewhere(&self, root: PathBuf, target: PathBuf) -> Self {
        Self { root, target, ..self.clone() }
    }

    /// The target triple of this machine, such as `x86_64-unknown-linux-gnu`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The compiler's version without its last part, such as `1.96`. Clippy's version contains it: `0.1.96`.
    pub fn rustc_version(&self) -> &str {
        &self.rustc_version
    }

    /// A path in the source tree.
    pub fn source(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A path below `target/`.
    pub fn target(&self, path: &str) -> PathBuf {
        self.target.join(path)
    }

    /// The cache of the fixtures.
    pub fn fixtures(&self) -> PathBuf {
        self.target("fixtures")
    }
}

/// The value of one line of `rustc -vV`.
fn field<'text>(version: &'text str, name: &str) -> Option<&'text str> {
    version.lines().find_map(|line| line.strip_prefix(name))
}

/// `1.96` of `1.96.0-nightly`.
fn minor(release: &str) -> Option<&str> {
    let second_dot = release.match_indices('.').nth(1)?.0;
    release.get(..second_dot)
}

#[cfg(test)]
mod tests {
    use super::{field, minor};

    #[test]
    fn the_host_and_the_version_are_read() {
        let text = "rustc 1.88.0\nbinary: rustc\nhost: aarch64-unknown-linux-gnu\nrelease: 1.88.0-nightly\n";
        assert_eq!(field(text, "host: "), Some("aarch64-unknown-linux-gnu"));
        assert_eq!(field(text, "release: ").and_then(minor), Some("1.88"));
        assert_eq!(field("rustc 1.88.0", "host: "), None);
        assert_eq!(minor("1"), None);
    }
}
