//! The parts of virtual machines, below `target/vm/`. Each part is built once and atomically.
//!
//! Owns the folder: `amd64/` boots a machine with Debian's tools (made by `system`), `phone-amd64/` and `phone-arm64/` boot
//! a phone (`phone`), `phone-stock/` and `phone-stock-5-10/` boot a phone with a kernel like those that phones are sold with
//! (`stock`), `images/` contains root file systems of containers (`image`), and `policy` is the SELinux policy of the guests
//! (`policy`). The `.stamp` beside a part describes its sources, and `lock` prevents concurrent builds. Boots nothing:
//! `tests/vm` does.

mod image;
mod kernel;
mod modules;
mod phone;
mod policy;
mod stock;
mod system;

use crate::workspace::Workspace;
use crate::{fixture, packages, terminal};
use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;
pub use stock::{Kernel, find as stock_kernel};

/// The architectures of phones, as Debian names them.
pub const PHONES: [&str; 2] = ["amd64", "arm64"];

/// Builds missing parts and returns the folder.
///
/// # Errors
/// If the caller is not root, a tool is missing, or a build fails.
pub fn ensure(workspace: &Workspace, stock: &Kernel) -> Result<PathBuf> {
    let folder = workspace.target("vm");
    fs::create_dir_all(folder.join("images"))
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let lock = File::create(folder.join("lock"))?;
    flock(&lock, FlockOperation::LockExclusive).context("cannot lock the parts of virtual machines")?;
    packages::ensure(packages::Verb::Machines)?;
    if !rustix::process::geteuid().is_root() {
        bail!("building virtual machines requires root");
    }
    part(&folder.join("amd64"), &system::stamp(), system::make)?;
    for architecture in PHONES {
        let make = |folder: &Path| phone::make(architecture, folder);
        part(&folder.join(format!("phone-{architecture}")), &phone::stamp(architecture), make)?;
    }
    let config = workspace.source("tests/vm/stock.config");
    let text = fs::read_to_string(&config).with_context(|| format!("cannot read {}", config.display()))?;
    let make = |folder: &Path| stock.make(&config, "phone-amd64", folder);
    part(&folder.join(stock.folder), &stock.stamp(&text), make)?;
    for (name, tree) in image::NAMES.iter().zip(fixture::ensure(workspace, image::NAMES)?) {
        let make = |file: &Path| image::make(&tree, file);
        part(&folder.join("images").join(name), &image::stamp(&fixture::stamp(name)?), make)?;
    }
    let source = workspace.source("tests/vm/policy.conf");
    let text = fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
    part(&folder.join("policy"), &text, |file| policy::make(&source, file))?;
    Ok(folder)
}

/// Makes one part, a file or a folder. The stamp is removed first and written last, and the part is renamed into place:
/// after any interruption, a part with a matching stamp is complete.
fn part(path: &Path, stamp: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let stamp_file = path.with_extension("stamp");
    if path.exists() && fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
        return Ok(());
    }
    let started = Instant::now();
    let partial = path.with_extension("partial");
    remove(&stamp_file)?;
    remove(&partial)?;
    remove(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    make(&partial).with_context(|| format!("virtual machines: {name}"))?;
    fs::rename(&partial, path)?;
    fs::write(&stamp_file, stamp)?;
    let seconds = started.elapsed().as_secs();
    terminal::line(format_args!("virtual machines: {name}: done after {seconds} s"));
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    if path.is_dir() {
        return fixture::remove(path);
    }
    if path.exists() {
        fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::part;
    use anyhow::bail;
    use std::fs;

    #[test]
    fn a_part_is_made_once_and_again_when_its_recipe_changes() {
        let folder = std::env::temp_dir().join(format!("xtask-part-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("thing");
        let make = |text: &'static str| move |file: &std::path::Path| Ok(fs::write(file, text)?);
        part(&path, "recipe 1", make("one")).unwrap();
        part(&path, "recipe 1", make("never")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        part(&path, "recipe 2", |_| bail!("no")).unwrap_err();
        assert!(!path.exists());
        part(&path, "recipe 2", make("two")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        fs::remove_dir_all(&folder).unwrap();
    }
}
