//! Where things are: the source tree, the target directory, the toolchain that is in use.
//!
//! Owns every path below `target/` that xtask uses, and the cargo and rustc to call (cargo hands its own path on in
//! `CARGO`, so a toolchain that is not from rustup works the same). Creates nothing.

use crate::process;
use anyhow::{Context, Result};
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The source tree and the toolchain.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
    cargo: OsString,
    host: String,
}

impl Workspace {
    /// Asks the compiler what machine this is.
    ///
    /// # Errors
    /// When there is no rustc, or its version text has no host line.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("the xtask package has no parent folder")?;
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let version = process::read(Command::new(rustc).arg("-vV"))?;
        Ok(Self {
            root: root.to_owned(),
            target,
            cargo: env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
            host: host_line(&version).context("`rustc -vV` names no host")?.to_owned(),
        })
    }

    /// A cargo command in the source tree.
    pub fn cargo(&self) -> Command {
        let mut command = process::nice(&self.cargo);
        command.current_dir(&self.root);
        command
    }

    /// The target triple of this machine, such as `x86_64-unknown-linux-gnu`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// A path below `target/`.
    pub fn target(&self, path: &str) -> PathBuf {
        self.target.join(path)
    }

    /// Where the fixtures are cached.
    pub fn fixtures(&self) -> PathBuf {
        self.target("fixtures")
    }
}

/// The triple in what `rustc -vV` prints.
fn host_line(version: &str) -> Option<&str> {
    version.lines().find_map(|line| line.strip_prefix("host: "))
}

#[cfg(test)]
mod tests {
    use super::host_line;

    #[test]
    fn the_host_is_read_from_the_version() {
        let text = "rustc 1.88.0\nbinary: rustc\nhost: aarch64-unknown-linux-gnu\nrelease: 1.88.0\n";
        assert_eq!(host_line(text), Some("aarch64-unknown-linux-gnu"));
        assert_eq!(host_line("rustc 1.88.0"), None);
    }
}
