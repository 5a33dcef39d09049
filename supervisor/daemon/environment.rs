//! The environment variables of a supervisor: how it was launched, and the path of its program.
//!
//! Owns their names. Nothing else of the launching shell's environment is passed on.

use std::env;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::Result;

use crate::fault;
use crate::paths::own_root;
use crate::platform;

/// The environment variable for the executed copy: `foreground`, the number of the readiness pipe, or the state from
/// the previous program.
pub(super) const MARKER: &str = "DS_SUPERVISOR";
pub(super) const FOREGROUND: &str = "foreground";
/// The prefix in [`MARKER`] before the number of the descriptor with the state of the previous program.
pub(super) const SUCCESSOR: &str = "successor:";
/// The environment variable with the path of the installed program.
const BINARY: &str = "DS_BINARY";
/// The path of the program from which this supervisor was started.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    env::var_os(BINARY).map(PathBuf::from)
}

/// The variable with that path; `None` if the file no longer exists.
#[must_use]
fn origin() -> Option<CString> {
    let path = installed().or_else(|| std::fs::read_link("/proc/self/exe").ok())?;
    let text = path.to_str()?;
    // The kernel appends this if the file was replaced while it ran; the new file at the path is the newer version.
    let text = text.strip_suffix(" (deleted)").unwrap_or(text);
    CString::new(format!("{BINARY}={text}")).ok()
}

/// The complete environment of the supervisor.
pub(super) fn environment(marker: &str) -> Result<Vec<CString>> {
    let path = if platform::is_android() {
        "PATH=/system/bin:/system/xbin:/vendor/bin:/product/bin"
    } else {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    };
    let mut variables = vec![CString::new(path)?, CString::new(format!("{MARKER}={marker}"))?];
    variables.extend(fault::inherited());
    variables.extend(origin());
    if let Some(root) = own_root() {
        variables.push(CString::new([b"DS_ROOT=", root.as_os_str().as_bytes()].concat())?);
    }
    Ok(variables)
}
