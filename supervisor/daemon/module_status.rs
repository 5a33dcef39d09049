//! Our line in the root manager's list of modules: what it says, and how often it changes.
//!
//! Owns the path of the module that started us, and the text that was shown last. A worker writes it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::android::manager;
use crate::clock::now;
use crate::durable;
use crate::paths::Paths;

/// The shortest time between two changes.
const PACE: Duration = Duration::from_secs(2);
/// Longest path of a module that is read, bytes.
const LONGEST_PATH: u64 = 4096;

/// The line, if a module has started us.
#[derive(Debug, Default)]
pub struct ModuleStatus {
    /// The module's directory.
    module: Option<PathBuf>,
    /// What was shown last.
    shown: Option<String>,
    /// Nothing is shown before.
    not_before: Option<Duration>,
}

impl ModuleStatus {
    /// Finds out whether a module has started us in this boot.
    pub fn find(&mut self, paths: &Paths) {
        let bytes = durable::read(&paths.module(), LONGEST_PATH).ok();
        let path = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        self.module = path.filter(|path| Path::new(path).is_absolute()).map(PathBuf::from);
    }

    /// Whether a module has started us.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.module.is_some()
    }

    /// Whether the user has disabled the module.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.module.as_deref().is_some_and(manager::is_disabled)
    }

    /// When `text` is to be shown, if it is not yet.
    #[must_use]
    pub fn deadline(&self, text: &str) -> Option<Duration> {
        self.not_before.filter(|_| self.differs(text))
    }

    /// What is to be shown now, and where, if it is time.
    pub fn update(&mut self, text: String) -> Option<(PathBuf, String)> {
        let module = self.module.clone().filter(|_| self.differs(&text))?;
        if self.not_before.is_some_and(|at| at > now()) {
            return None;
        }
        self.not_before = Some(now() + PACE);
        self.shown = Some(text.clone());
        Some((module, text))
    }

    /// Takes the line away.
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
