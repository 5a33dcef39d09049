//! The setup of a new root file system before it is published: accounts, and the changes that a start would make.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::job::Reporter;
use crate::config::{Config, Seeding};
use crate::paths::SEED_LEDGER;
use crate::rootfs::files::{OS_RELEASE, OS_RELEASE_SHIPPED};
use crate::rootfs::login::{self, Login};
use crate::rootfs::root::Root;
use crate::seed::Facts;
use crate::seed::accounts::needed_groups;
use crate::seed::apply::{SeedMode, apply};
use crate::seed::ledger::Ledger;
use crate::worker::Env;

/// The actions.
#[derive(Debug)]
pub(super) struct Provisioning<'a> {
    login: &'a Login,
    facts: Facts,
    /// The record of seeding; `None` if the tree is not seeded.
    ledger: Option<PathBuf>,
}

impl<'a> Provisioning<'a> {
    /// For the container that is created in `staging`.
    pub(super) fn new(env: &Env, config: &Config, staging: &Path, login: &'a Login) -> Self {
        let seeding = Seeding::load_or_default(&env.paths.supervisor_ini());
        let facts = Facts::new(config, env.host.android, &seeding);
        let ledger = (!config.container.volatile).then(|| staging.join(SEED_LEDGER));
        Self { login, facts, ledger }
    }

    /// Sets up the accounts, and locks root's password unless one is set.
    pub(super) fn set_up_accounts(&self, root: &Root, reporter: &mut Reporter) -> Result<()> {
        set_up_accounts(root, self.login, self.facts.android, reporter)?;
        if self.login.is_empty()
            && let Some(warning) = login::lock_root(root).context("lock root")?
        {
            reporter.warn(warning)?;
        }
        Ok(())
    }

    /// Takes over the record of a tree that was seeded elsewhere.
    pub(super) fn adopt(&self, record: &Ledger) -> Result<()> {
        self.ledger.as_ref().map_or(Ok(()), |path| record.save(path))
    }

    /// Seeds a distribution. A failure is a warning; the first start tries again.
    pub(super) fn seed(&self, root: &Root, reporter: &mut Reporter) -> Result<()> {
        let Some(ledger) = &self.ledger else { return Ok(()) };
        // A start handles anything that is not a distribution.
        if ![OS_RELEASE, OS_RELEASE_SHIPPED].iter().any(|file| root.resolve(file.path()).is_ok()) {
            return Ok(());
        }
        let warnings = match apply(root, ledger, &self.facts, SeedMode::Persistent) {
            Ok(report) => report.warnings,
            Err(error) => vec![format!("its root file system is not seeded: {error:#}")],
        };
        warnings.into_iter().try_for_each(|warning| reporter.warn(warning))
    }
}

/// Sets up the accounts of `login` in a tree.
///
/// # Errors
/// If its account files cannot be used.
pub(super) fn set_up_accounts(
    root: &Root,
    login: &Login,
    android: bool,
    reporter: &mut Reporter,
) -> Result<()> {
    let warnings = login::apply(root, login, needed_groups(android)).context("its accounts")?;
    warnings.into_iter().try_for_each(|warning| reporter.warn(warning))
}
