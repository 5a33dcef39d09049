//! Detects the kind of system. Owns these questions; only checks whether files exist.

use std::path::Path;

/// Whether this is a running Android system: its runtime exists, and this is not the recovery.
#[must_use]
pub fn is_android() -> bool {
    !Path::new("/system/bin/recovery").exists()
        && (Path::new("/system/build.prop").exists() || Path::new("/system/bin/app_process").exists())
}

/// Whether this process is in a container of ds. Restrictions of that container also apply to containers inside it.
#[must_use]
pub fn is_own_container() -> bool {
    std::fs::read("/run/host/container-manager").is_ok_and(|manager| manager.starts_with(b"droidspaces"))
}
