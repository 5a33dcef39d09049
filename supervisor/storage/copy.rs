//! `ds copy`: a second container with its own root file system, configuration and machine id. Never changes the
//! original.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::duplicate::duplicate_image;
use super::fill::{Form, Vessel, explain};
use super::identity;
use super::job::{self, Reporter, Watcher};
use super::mounted::{Mounting, label, mount};
use super::reservation::{NewName, Reservation};
use super::space;
use super::staging::Staging;
use super::transfer::transfer;
use crate::config::Config;
use crate::config::value::Name;
use crate::durable;
use crate::network;
use crate::paths::{Paths, SEED_LEDGER};
use crate::rootfs::image::{Access, Fsck};
use crate::rootfs::root::Root;
use crate::rootfs::size::measure;
use crate::seed::ledger::Ledger;
use crate::worker::Env;

/// Maximum size of a configuration, in bytes.
pub const LARGEST_CONFIGURATION: u64 = 1 << 20;

/// Copies a stopped container; returns whether the original has autostart, which the copy does not.
///
/// # Errors
/// If the copy fails: there is then no copy.
pub fn copy(env: &Env, from: &Name, to: &Name, watcher: Watcher<'_>) -> Result<bool> {
    ensure!(from != to, "the copy needs another name");
    let held = Reservation::take(env, from, "copied")?;
    let new = NewName::take(env, to, "made")?;
    let tree = held.tree()?;
    let form = if tree.is_some() { Form::Directory } else { Form::Image { size: 0, files: None } };
    let image = match &tree {
        Some(_) => None,
        None => {
            let path = held.image()?;
            let claim = held.claim_image(&path)?;
            ensure!(!claim.is_device(), "{} is a block device; export it and import it", path.display());
            Some(claim)
        }
    };
    let staging = Staging::for_new(&env.paths, to)?;
    let config = configure(&env.paths, &held, to, form, &staging)?;
    let containers = env.paths.containers();
    job::run(env, watcher, &mut |reporter| {
        warn_about_network(&config, &env.paths, reporter)?;
        match (&tree, &image) {
            (Some(tree), _) => copy_tree(&tree.root, &held, to, &staging, &containers, reporter)?,
            (None, Some(image)) => {
                let file = File::from(image.file().try_clone_to_owned().context("dup")?);
                let path = staging.join(form.file_name());
                copy_image(&file, &path, &containers, reporter)?;
                if let Err(error) = renew_identity(&path, &held, &staging, reporter) {
                    reporter.warn(format!("the copy keeps the machine id of the original: {error:#}"))?;
                }
            }
            (None, None) => {}
        }
        Ok(Value::Null)
    })?;
    new.publish(env, staging)?;
    Ok(held.config.container.autostart)
}

fn configure(paths: &Paths, held: &Reservation, to: &Name, form: Form, staging: &Staging) -> Result<Config> {
    let file = paths.container_ini(&held.name);
    let text =
        durable::read(&file, LARGEST_CONFIGURATION).with_context(|| format!("read {}", file.display()))?;
    let text = Config::detached(&text, &file, &held.name)?;
    let (key, other) = form.keys();
    let root = form.own_path();
    let mut changes = vec![(other, ""), (key, root.as_str())];
    if held.config.container.autostart {
        changes.push(("autostart", "no"));
    }
    let config = Config::derive(text.as_bytes(), &staging.join("container.ini"), to, &changes)?;
    Ledger::load(&paths.seed_ledger(&held.name))?.save(&staging.join(SEED_LEDGER))?;
    Ok(config)
}

/// A copy or an import may have settings of another container, or need one of another machine. They are kept, because
/// only the user can decide what to change.
pub(super) fn warn_about_network(config: &Config, paths: &Paths, reporter: &mut Reporter) -> Result<()> {
    match network::check(config, None, paths) {
        Err(error) => reporter.warn(format!("{} cannot start with these settings: {error:#}", config.name)),
        Ok(()) => Ok(()),
    }
}

fn copy_tree(
    source: &Root,
    held: &Reservation,
    to: &Name,
    staging: &Staging,
    containers: &Path,
    reporter: &mut Reporter,
) -> Result<()> {
    let usage = measure(source.directory()).context("measure the tree")?;
    space::require(containers, usage.bytes)?;
    let form = Form::Directory;
    let vessel = Vessel { form, staging: staging.path(), name: to, label: label(&held.config) };
    vessel.fill(reporter, &mut |target, reporter| {
        reporter.step("copy", Some(usage.bytes))?;
        transfer(source, target, reporter).or_else(|error| explain(error, form, target, &mut || None))?;
        identity::renew(target)
    })
}

/// An image without a machine id is kept byte for byte: a writable mount would change it.
fn renew_identity(
    image: &Path,
    held: &Reservation,
    staging: &Staging,
    reporter: &mut Reporter,
) -> Result<()> {
    let mounting = Mounting {
        image,
        staging: staging.path(),
        partition: held.config.container.image_partition,
        access: Access::ReadOnly,
        fsck: Fsck::Auto,
        label: label(&held.config),
    };
    let attached = mount(&mounting, reporter)?;
    let has_one = identity::has_one(attached.root());
    attached.detach()?;
    if !has_one {
        return Ok(());
    }
    let mounting = Mounting { access: Access::ReadWrite, fsck: Fsck::Never, ..mounting };
    let attached = mount(&mounting, reporter)?;
    identity::renew(attached.root())?;
    attached.detach()?;
    File::open(image).context("open the copy")?.sync_all().context("write the image")
}

fn copy_image(source: &File, path: &Path, containers: &Path, reporter: &mut Reporter) -> Result<()> {
    let target = duplicate_image(source, path, containers, reporter)?;
    reporter.step("flush", None)?;
    target.sync_all().context("write the image")
}
