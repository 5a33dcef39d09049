//! The environment of a supervisor: what it is told of its launch, and where its program is installed.
//!
//! Owns the variables' names. Nothing of the launching shell's environment gets in.

use std::env;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::Result;

use crate::fault;
use crate::platform;

/// The environment variable that the copy finds: `foreground`, the number of the readiness pipe, or what a
/// program leaves to its successor.
pub(super) const MARKER: &str = "DS_SUPERVISOR";
pub(super) const FOREGROUND: &str = "foreground";
/// What is in [`MARKER`] in front of the number of a descriptor with the state of the program before.
pub(super) const SUCCESSOR: &str = "successor:";
/// The environment variable that names the file on disk that the supervisor came from.
const BINARY: &str = "DS_BINARY";
/// The file on disk that this supervisor came from.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    env::var_os(BINARY).map(PathBuf::from)
}

/// The variable that tells a supervisor of that file; none when there is no such file any more.
#[must_use]
fn origin() -> Option<CString> {
    let path = installed().or_else(|| std::fs::read_link("/proc/self/exe").ok())?;
    let text = path.to_str()?;
    // The kernel's word for a file that was replaced while it ran: what is there now is the newer one.
    let text = text.strip_suffix(" (deleted)").unwrap_or(text);
    CString::new(format!("{BINARY}={text}")).ok()
}

/// The supervisor's whole environment.
pub(super) fn environment(marker: &str) -> Result<Vec<CString>> {
    let path = if platform::is_android() {
        "PATH=/system/bin:/system/xbin:/vendor/bin:/product/bin"
    } else {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    };
    let mut variables = vec![CString::new(path)?, CString::new(format!("{MARKER}={marker}"))?];
    variables.extend(fault::inherited());
    variables.extend(origin());
    if let Some(root) = env::var_os("DS_ROOT") {
        variables.push(CString::new([b"DS_ROOT=", root.as_bytes()].concat())?);
    }
    Ok(variables)
}
