//! Detects the kind of system. Owns that one question; only checks whether files exist.

use std::path::Path;

/// Whether this is a running Android system: its runtime exists, and this is not the recovery.
#[must_use]
pub fn is_android() -> bool {
    !Path::new("/system/bin/recovery").exists()
        && (Path::new("/system/build.prop").exists() || Path::new("/system/bin/app_process").exists())
}
