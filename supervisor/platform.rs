//! Which kind of system this is. Owns that one question; reads nothing but whether files exist.

use std::path::Path;

/// Whether this is an Android system: its runtime is there and this is not the recovery.
#[must_use]
pub fn is_android() -> bool {
    !Path::new("/system/bin/recovery").exists()
        && (Path::new("/system/build.prop").exists() || Path::new("/system/bin/app_process").exists())
}
