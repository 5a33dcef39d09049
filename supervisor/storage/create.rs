//! `ds create`: a new container, with its own root file system from an archive, or with an existing one. Never changes
//! an existing root file system.

use std::cell::RefCell;

use anyhow::{Context, Error, Result, bail, ensure};
use nix::errno::Errno;
use serde_json::Value;

use super::diagnosis;
use super::fill::{Form, Vessel, explain};
use super::hoist::{Hoisted, hoist};
use super::import::NOT_EXPORTED;
use super::inside::inside;
use super::job::{self, Reporter, Watcher};
use super::mounted::label;
use super::provision::{Provisioning, set_up_accounts};
use super::reservation::{NewName, Reservation};
use super::source::{ArchiveSource, Incoming, Shared};
use super::space;
use super::staging::Staging;
use crate::archive::unpack::{Rules, unpack};
use crate::config::Config;
use crate::config::value::{ContainerPath, Name};
use crate::container::{Lock, occupied};
use crate::fault;
use crate::network;
use crate::rootfs::image::Access;
use crate::rootfs::login::Login;
use crate::rootfs::root::Root;
use crate::sys::errno_of;
use crate::units::size_rounded_up;
use crate::worker::Env;

/// How many times the size of an image may be read from an archive before the job is cancelled: headers and padding,
/// and files that the archive contains more than once.
const SURPLUS: u64 = 4;
/// An archive that is larger than this many times the image is not read to its end to suggest a size.
const MAX_TIMES: u64 = 16;
/// Overhead of an image in addition to its content: journal and tables.
const OVERHEAD: u64 = 64 << 20;
/// Sizes in messages are multiples of this.
const ROUND: u64 = 64 << 20;

/// The container to create.
#[derive(Debug)]
pub struct Creation<'a> {
    /// The container.
    pub name: &'a Name,
    /// The archive.
    pub source: &'a ArchiveSource,
    /// Size of the image; a directory if absent.
    pub size: Option<u64>,
    /// Settings from the command line.
    pub settings: &'a [(&'a str, &'a str)],
    /// Who may log in.
    pub login: &'a Login,
    /// Refuse anything but an image or a backup of LXD, Incus or LXC.
    pub packed_only: bool,
}

/// Creates the container.
///
/// # Errors
/// If the name is taken, a setting is invalid, or the archive cannot be unpacked: there is then no container.
pub fn create(env: &Env, creation: &Creation<'_>, watcher: Watcher<'_>) -> Result<()> {
    let Creation { name, source, size, settings, login, packed_only } = creation;
    let new = NewName::take(env, name, "made")?;
    let form = size.map_or(Form::Directory, |size| Form::Image { size, files: None });
    let containers = env.paths.containers();
    // A compressed archive is larger when unpacked, never smaller.
    space::require(&containers, source.length.unwrap_or(0))?;
    let staging = Staging::for_new(&env.paths, name)?;
    let root = form.own_path();
    let mut all = vec![(form.keys().0, root.as_str())];
    all.extend(*settings);
    let config = Config::create(&staging.join("container.ini"), name, &all)?;
    network::check(&config, None, &env.paths)?;
    let vessel = Vessel { form, staging: staging.path(), name, label: label(&config) };
    let provisioning = Provisioning::new(env, &config, staging.path(), login);
    let room = space::free(&containers)?;
    job::run(env, watcher, &mut |reporter| {
        let most = size.map_or(room, |size| size.saturating_mul(SURPLUS).saturating_add(OVERHEAD));
        vessel.fill(reporter, &mut |root, reporter| {
            let packed = unpack_all(source, most, form, root, &config.container.init, reporter)?;
            ensure!(packed || !packed_only, NOT_EXPORTED);
            provisioning.set_up_accounts(root, reporter)?;
            provisioning.seed(root, reporter)
        })?;
        Ok(Value::Null)
    })?;
    new.publish(env, staging)
}

/// Creates the container `name` with a root file system that is used in place, and sets up its accounts.
///
/// # Errors
/// If the name is taken, a setting is invalid, or its accounts cannot be changed: there is then no container.
pub fn in_place_with(
    env: &Env,
    name: &Name,
    settings: &[(&str, &str)],
    login: &Login,
    watcher: Watcher<'_>,
) -> Result<()> {
    let new = NewName::take(env, name, "made")?;
    let staging = Staging::for_new(&env.paths, name)?;
    let config = Config::create(&staging.join("container.ini"), name, settings)?;
    network::check(&config, None, &env.paths)?;
    let held = Reservation::of_new(new, config);
    inside(env, &held, staging.path(), Access::ReadWrite, watcher, &mut |root, reporter| {
        set_up_accounts(root, login, env.host.android, reporter)?;
        Ok(Value::Null)
    })?;
    held.publish(env, staging)
}

/// Creates the container `name` with a root file system that is used in place.
///
/// # Errors
/// If the name is taken or a setting is invalid: there is then no container.
pub fn in_place(env: &Env, name: &Name, settings: &[(&str, &str)]) -> Result<()> {
    let _lock = Lock::take_for(&env.paths, &env.client, name)?;
    occupied::refuse(&env.paths, name)?;
    if env.paths.container(name).symlink_metadata().is_ok() {
        bail!(
            "a container with this name exists; choose another name, or change the container with 'ds set'"
        );
    }
    let staging = Staging::for_new(&env.paths, name)?;
    fault::point("create-begun")?;
    let config = Config::create(&staging.join("container.ini"), name, settings)?;
    network::check(&config, None, &env.paths)?;
    fault::point("create-written")?;
    staging.publish(&env.paths, name)?;
    fault::point("create-done")
}

/// Unpacks a root file system and warns about what is unusual; returns whether it was in an image or a backup of LXD,
/// Incus or LXC.
///
/// # Errors
/// If the source is invalid or the space is insufficient.
pub(super) fn unpack_all(
    source: &ArchiveSource,
    most: u64,
    form: Form,
    root: &Root,
    init: &ContainerPath,
    reporter: &mut Reporter,
) -> Result<bool> {
    reporter.step("unpack", source.length)?;
    let mut incoming = source.stream(Some(most))?;
    let compression = incoming.compression();
    // Damage of the archive is reported together with the rest.
    let problem = incoming.front().ok().and_then(|front| diagnosis::of_front(front, compression));
    if let Some(problem) = problem {
        return Err(incoming
            .failure()
            .map_or_else(|| Error::msg(format!("{}: {problem}", source.name)), Error::msg));
    }
    let unpacked = {
        let shared = RefCell::new(&mut incoming);
        let mut reading = Shared(&shared);
        unpack(&mut reading, root, &Rules::default(), &mut |_| {
            let done = shared.borrow_mut().progress();
            reporter.progress(done);
        })
    };
    let unpacked = match unpacked {
        Ok(unpacked) => unpacked,
        Err(error) if errno_of(&error) != Some(Errno::ENOSPC) && !incoming.exceeded() => {
            return Err(incoming.failure().map_or_else(|| blame(error, source), Error::msg));
        }
        Err(error) => return refuse(error, &mut incoming, form, root).map(|()| false),
    };
    for warning in &unpacked.warnings {
        reporter.warn(warning.as_str())?;
    }
    reporter.finish(incoming.progress())?;
    incoming.finish().with_context(|| source.name.clone())?;
    fault::point("job-unpacked")?;
    if unpacked.entries == 0 {
        bail!("{}: the archive is empty", source.name);
    }
    let packed = tell_hoisted(hoist(root).with_context(|| source.name.clone())?.as_ref(), reporter)?;
    diagnosis::refuse(root, init).with_context(|| source.name.clone())?;
    if root.resolve(init.as_str().as_ref()).is_err_and(|errno| errno == Errno::ENOENT) {
        reporter.warn(format!(
            "no init system found: {init} does not exist; install an init system, or set 'init'"
        ))?;
    }
    Ok(packed)
}

fn tell_hoisted(hoisted: Option<&Hoisted>, reporter: &mut Reporter) -> Result<bool> {
    let Some(Hoisted { path, packed, owner }) = hoisted else { return Ok(false) };
    let what = if *packed {
        format!(
            "it is an image or a backup of LXD, Incus or LXC: the content of {path}/ became the root directory, and templates were not run"
        )
    } else {
        format!("everything in the archive is below {path}/, which became the root directory")
    };
    reporter.warn(what)?;
    if *packed && *owner != 0 {
        reporter.warn(format!(
            "its files belong to user {owner}, as in an unprivileged container; programs that need root will fail"
        ))?;
    }
    Ok(*packed)
}

/// Adds the archive's name to errors about its content; a failed system call already names its arguments.
fn blame(error: Error, source: &ArchiveSource) -> Error {
    if errno_of(&error).is_none() { error.context(source.name.clone()) } else { error }
}

fn refuse(error: Error, incoming: &mut Incoming, form: Form, root: &Root) -> Result<()> {
    if incoming.exceeded() {
        return match form {
            Form::Directory => Err(error.context("there is not enough space; free some space first")),
            Form::Image { size, .. } => {
                bail!("the archive contains far more data than fits in an image of {}", size_rounded_up(size))
            }
        };
    }
    let most = match form {
        Form::Directory => 0,
        Form::Image { size, .. } => size.saturating_mul(MAX_TIMES),
    };
    explain(error, form, root, &mut || incoming.drain(most).map(|total| size_rounded_up(needed(total))))
}

/// The size of an image for an archive of this length: the content, a quarter for partly filled blocks, and the
/// overhead of the file system.
fn needed(total: u64) -> u64 {
    (total + total / 4 + OVERHEAD).div_ceil(ROUND) * ROUND
}
