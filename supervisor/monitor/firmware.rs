//! The first directory in which the kernel looks for firmware: that of a container with full access to the hardware.
//!
//! Owns the kernel's parameter `firmware_class.path` as long as such a container runs, and its record in the run
//! directory. The kernel has only one such path; an existing one is not changed.
//! Documentation/driver-api/firmware/fw_search_path.rst of the kernel.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::config::value::Name;
use crate::durable;
use crate::paths::Paths;
use crate::rootfs::root::Root;
use crate::sys::descriptor;

const PARAMETER: &str = "/sys/module/firmware_class/parameters/path";
/// The directories of firmware in distributions.
const INSIDE: &str = "/lib/firmware";
/// Length of the kernel's copy, with the NUL at its end.
const LONGEST: usize = 255;
/// Clears the parameter: a write of no bytes changes nothing.
const NOTHING: &[u8] = b"\0";

/// Adds the firmware of a tree. `Ok(false)` if the tree has none, or the kernel does not load any.
///
/// # Errors
/// If another path is in use, or cannot be changed.
pub fn give(paths: &Paths, container: &Name, tree: &Root) -> Result<bool> {
    let Ok(directory) = tree.resolve(Path::new(INSIDE)) else { return Ok(false) };
    let Some(now) = current() else { return Ok(false) };
    let path = fs::read_link(descriptor::path(directory.as_fd())).context("the path of its firmware")?;
    let path = path.to_str().filter(|path| path.len() < LONGEST && !path.contains('\n'));
    let path = path.context("the path of its firmware is too long")?;
    if now == path {
        return Ok(true);
    }
    if !now.is_empty() {
        bail!("the kernel already looks for firmware in {now}");
    }
    let record = format!("{container}\n{path}");
    durable::replace(&record_of(paths), record.as_bytes(), 0o600).context("record the change")?;
    fs::write(PARAMETER, path).with_context(|| format!("write {PARAMETER}"))?;
    Ok(true)
}

/// Removes the path that [`give`] has added for a container that has ended.
pub fn take_back(paths: &Paths, container: &Name) {
    let file = record_of(paths);
    let record = fs::read_to_string(&file).unwrap_or_default();
    let Some((name, path)) = record.split_once('\n') else { return };
    if name != container.as_str() {
        return;
    }
    // A path that has replaced it since belongs to another program.
    if current().as_deref() == Some(path)
        && let Err(error) = fs::write(PARAMETER, NOTHING)
    {
        log::warn!("{container}: cannot remove its directory of firmware from {PARAMETER}: {error}");
    }
    let _ = fs::remove_file(file);
}

fn current() -> Option<String> {
    let text = fs::read_to_string(PARAMETER).ok()?;
    Some(text.trim_matches(['\n', '\0']).to_owned())
}

fn record_of(paths: &Paths) -> PathBuf {
    paths.firmware()
}
