//! Unpacks a root file system into a directory of the user, for use in place.
//!
//! Owns that the directory appears completely or not at all.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::create::unpack_all;
use super::fill::{Form, Vessel};
use super::job::{self, Watcher};
use super::provision::set_up_accounts;
use super::source::ArchiveSource;
use super::space;
use super::staging::{Staging, rename_to_free, sync_directory};
use crate::rootfs::files::RESOLV_CONF;
use crate::rootfs::login::Login;
use crate::worker::Env;

/// The program that a root file system should contain.
const INIT: &str = "/sbin/init";

/// The directory to create.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// Its path; it must not exist.
    pub directory: &'a Path,
    /// The accounts to set up; if empty, the accounts are not changed.
    pub login: &'a Login,
    /// A name server for /etc/resolv.conf.
    pub name_server: Option<String>,
}

/// Unpacks `source` into it.
///
/// # Errors
/// If the source is invalid; there is then no directory.
pub fn unpack(env: &Env, source: &ArchiveSource, target: &Target<'_>, watcher: Watcher<'_>) -> Result<()> {
    let parent = target.directory.parent().context("it has no parent directory")?;
    space::require(parent, source.length.unwrap_or(0))?;
    let staging = Staging::beside(parent)?;
    let name = "unpacked".parse()?;
    let vessel = Vessel { form: Form::Directory, staging: staging.path(), name: &name, label: None };
    let room = space::free(parent)?;
    let init = INIT.parse()?;
    job::run(env, watcher, &mut |reporter| {
        vessel.fill(reporter, &mut |root, reporter| {
            let _ = unpack_all(source, room, Form::Directory, root, &init, reporter)?;
            set_up_accounts(root, target.login, env.host.android, reporter)?;
            if let Some(server) = &target.name_server {
                root.replace(RESOLV_CONF, format!("nameserver {server}\n").as_bytes(), 0o644)?;
            }
            Ok(())
        })?;
        Ok(Value::Null)
    })?;
    if let Err(error) = rename_to_free(&vessel.path(), target.directory) {
        if target.directory.symlink_metadata().is_ok() {
            bail!("{} already exists; choose another directory", target.directory.display());
        }
        return Err(error);
    }
    sync_directory(parent)
}
