//! The description of the module in the root manager's list: its text, and the rate of its changes.
//!
//! Owns the path of the module that started ds, and the last text. A worker writes it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::android::manager;
use crate::clock::now;
use crate::durable;
use crate::paths::Paths;

/// The minimum interval between two changes.
const PACE: Duration = Duration::from_secs(2);
/// Maximum length of a module's path, in bytes.
const LONGEST_PATH: u64 = 4096;

/// The description, if a module has started ds.
#[derive(Debug, Default)]
pub struct ModuleStatus {
    /// The module's directory.
    module: Option<PathBuf>,
    /// The last text.
    shown: Option<String>,
    /// There is no text before this.
    not_before: Option<Duration>,
}

impl ModuleStatus {
    /// Determines whether a module has started ds in this boot.
    pub fn find(&mut self, paths: &Paths) {
        let bytes = durable::read(&paths.module(), LONGEST_PATH).ok();
        let path = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        self.module = path.filter(|path| Path::new(path).is_absolute()).map(PathBuf::from);
    }

    /// Whether a module has started ds.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.module.is_some()
    }

    /// Whether the user has disabled the module.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.module.as_deref().is_some_and(manager::is_disabled)
    }

    /// When `text` is due to be written, if it differs from the last one.
    #[must_use]
    pub fn deadline(&self, text: &str) -> Option<Duration> {
        self.not_before.filter(|_| self.differs(text))
    }

    /// The text and path to write now, if it is due.
    pub fn update(&mut self, text: String) -> Option<(PathBuf, String)> {
        let module = self.module.clone().filter(|_| self.differs(&text))?;
        if self.not_before.is_some_and(|at| at > now()) {
            return None;
        }
        self.not_before = Some(now() + PACE);
        self.shown = Some(text.clone());
        Some((module, text))
    }

    /// Removes the description.
    pub fn clear(&self) {
        if let Some(module) = &self.module
            && let Err(error) = manager::describe(module, None)
        {
            log::warn!("module.prop: {error:#}");
        }
    }

    fn differs(&self, text: &str) -> bool {
        self.module.is_some() && self.shown.as_deref() != Some(text)
    }
}
