//! `ds import`: creates a container from a file that `ds export` wrote.
//!
//! Owns which settings are imported. The container gets its own identity, autostart is turned off, and directories of
//! the other host are removed; each change is reported.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::copy::{LARGEST_CONFIGURATION, warn_about_network};
use super::diagnosis::{is_tar, of_front};
use super::fill::{self, Vessel, explain};
use super::format::{COMPLETE, CONFIGURATION, Checking, Complete, Form, MANIFEST, Manifest, TREE};
use super::identity;
use super::job::{self, Reporter, Watcher};
use super::mounted::label;
use super::provision::{Provisioning, set_up_accounts};
use super::reservation::NewName;
use super::source::{ArchiveSource, Incoming, Shared};
use super::space;
use super::staging::Staging;
use crate::archive::reader::{Kind, Member, Reader};
use crate::archive::unpack::{Rules, Unpacker};
use crate::config::Config;
use crate::config::value::Name;
use crate::fault;
use crate::rootfs::login::Login;
use crate::rootfs::root::Root;
use crate::worker::Env;
use crate::worker::client::Client;

/// Maximum size of a manifest, in bytes.
const LARGEST_MANIFEST: u64 = 16 << 20;
/// Maximum size of the last member, in bytes.
const LARGEST_COMPLETE: u64 = 64 << 10;
/// The default ratio of an image: one inode for this number of bytes.
const BYTES_FOR_AN_INODE: u64 = 16 << 10;

/// The error for a file of another kind.
pub(super) const NOT_EXPORTED: &str =
    "'ds export' did not write it; for an ordinary archive use 'ds create NAME --from FILE'";

/// Whether an archive begins like one of `ds export`; also true if its beginning cannot be decompressed.
///
/// # Errors
/// If it cannot be read, or the client interrupts it.
pub fn is_exported(client: &Client, source: &mut ArchiveSource) -> Result<bool> {
    let front = source.peek(client)?;
    Ok(front.starts_with(MANIFEST.as_bytes()) || !is_tar(&front))
}

/// Creates the container `name` from `source`.
///
/// # Errors
/// If the file is damaged, truncated, or of another format; there is then no container.
pub fn import(
    env: &Env,
    source: &ArchiveSource,
    name: &Name,
    login: &Login,
    watcher: Watcher<'_>,
) -> Result<()> {
    let new = NewName::take(env, name, "made")?;
    space::require(&env.paths.containers(), source.length.unwrap_or(0))?;
    let staging = Staging::for_new(&env.paths, name)?;
    job::run(env, watcher, &mut |reporter| {
        let mut incoming = source.stream(None)?;
        let compression = incoming.compression();
        // Damage of the archive is reported by its reader.
        let front = incoming.front().unwrap_or_default();
        if !front.starts_with(MANIFEST.as_bytes())
            && let Some(problem) = of_front(front, compression)
        {
            bail!("{problem}; see 'ds help create'");
        }
        let mut checking = Checking::new(incoming);
        let (complete, entries) = read(env, &mut checking, source.length, (&staging, name, login), reporter)?;
        checking.finish(&complete, entries)?.finish()?;
        Ok(Value::Null)
    })?;
    new.publish(env, staging)
}

/// Reads the archive up to its last member.
fn read(
    env: &Env,
    checking: &mut Checking<Incoming>,
    length: Option<u64>,
    (staging, name, login): (&Staging, &Name, &Login),
    reporter: &mut Reporter,
) -> Result<(Complete, u64)> {
    let shared = std::cell::RefCell::new(checking);
    let mut reading = Shared(&shared);
    let mut members = Reader::new(&mut reading);
    let manifest = small(&mut members, MANIFEST, LARGEST_MANIFEST)?;
    let manifest = Manifest::parse(&manifest)?;
    let text = small(&mut members, CONFIGURATION, LARGEST_CONFIGURATION)?;
    let form = form(&manifest)?;
    let config = configure(&text, form, staging, name, reporter)?;
    warn_about_network(&config, &env.paths, reporter)?;
    if form == fill::Form::Directory {
        space::require(staging.path(), manifest.bytes)?;
    }
    let most = match form {
        fill::Form::Directory => space::free(staging.path())?,
        fill::Form::Image { size, .. } => size.saturating_mul(2),
    };
    shared.borrow_mut().get_mut().limit(most);
    let vessel = Vessel { form, staging: staging.path(), name, label: label(&config) };
    let provisioning = Provisioning::new(env, &config, staging.path(), login);
    let mut last = None;
    vessel.fill(reporter, &mut |root, reporter| {
        reporter.step("import", length)?;
        let mut progress = |_| reporter.progress(shared.borrow_mut().get_mut().progress());
        last = Some(match unpack(&mut members, root, &mut progress) {
            Ok(last) => last,
            Err(error) => return explain(error, form, root, &mut || None),
        });
        identity::renew(root)?;
        set_up_accounts(root, login, env.host.android, reporter)?;
        if let Some(record) = &manifest.seed {
            provisioning.adopt(record)?;
        }
        provisioning.seed(root, reporter)
    })?;
    let (complete, entries, warnings) = last.context("nothing was unpacked")?;
    for warning in &warnings {
        reporter.warn(warning.as_str())?;
    }
    Ok((complete, entries))
}

fn unpack(
    members: &mut Reader<'_>,
    root: &Root,
    progress: &mut dyn FnMut(u64),
) -> Result<(Complete, u64, Vec<String>)> {
    let mut unpacker = Unpacker::new(root, Rules { strip_prefix: Some(TREE), ..Rules::default() })?;
    loop {
        let Some(member) = members.next()? else { bail!("it is truncated: its last part is missing") };
        if member.name == COMPLETE.as_bytes() {
            let complete = content(members, &member, LARGEST_COMPLETE)?;
            let complete: Complete =
                serde_json::from_slice(&complete).context("its last part cannot be read")?;
            let mut unpacked = unpacker.finish()?;
            unpacked.warnings.extend(members.warnings());
            fault::point("job-unpacked")?;
            return Ok((complete, unpacked.entries, unpacked.warnings));
        }
        unpacker.add(&member, members, progress)?;
    }
}

/// The image has the original size, and at least as many inodes as files.
fn form(manifest: &Manifest) -> Result<fill::Form> {
    match manifest.form {
        Form::Directory => Ok(fill::Form::Directory),
        Form::Image => {
            let size = manifest.size.context("its manifest does not contain the size of the image")?;
            let files = manifest.files.saturating_add(manifest.files / 4);
            let files = Some(files).filter(|files| *files > size / BYTES_FOR_AN_INODE);
            Ok(fill::Form::Image { size, files })
        }
    }
}

/// Writes the configuration and reports removed settings.
fn configure(
    text: &[u8],
    form: fill::Form,
    staging: &Staging,
    name: &Name,
    reporter: &mut Reporter,
) -> Result<Config> {
    let root = form.own_path();
    let (key, other) = form.keys();
    let mut changes = vec![(other, ""), ("image-partition", ""), (key, root.as_str())];
    let file = staging.join("container.ini");
    let before = Config::derive(text, &file, name, &changes).context("its configuration")?;
    if before.container.autostart {
        changes.push(("autostart", "no"));
        reporter
            .warn(format!("autostart is disabled for it; to enable it, run 'ds set {name} autostart=yes'"))?;
    }
    if !before.mounts.bind.is_empty() {
        changes.push(("mounts.bind", ""));
        let binds: Vec<String> = before.mounts.bind.iter().map(ToString::to_string).collect();
        reporter.warn(format!(
            "mounts.bind was left out, because it refers to directories of another host: {}",
            binds.join(",")
        ))?;
    }
    // The author of the archive cannot acknowledge anything for this machine.
    changes.push(("hardware.acknowledged", ""));
    for (key, harmless) in
        [("security.privileged", "no"), ("hardware.access", "none"), ("hardware.devices", "")]
    {
        let value = before.get(key).unwrap_or_default();
        if !value.is_empty() && value != harmless {
            reporter.warn(format!(
                "its configuration sets {key}={value}; to reset that, run 'ds set {name} {key}={harmless}'"
            ))?;
        }
    }
    std::fs::remove_file(&file).context("replace the configuration")?;
    Ok(Config::derive(text, &file, name, &changes)?)
}

/// The content of the next member, which must have this name.
fn small(members: &mut Reader<'_>, name: &str, most: u64) -> Result<Vec<u8>> {
    let Some(member) = members.next()? else { bail!("it is empty") };
    if member.name != name.as_bytes() {
        bail!(NOT_EXPORTED);
    }
    content(members, &member, most)
}

fn content(members: &mut Reader<'_>, member: &Member, most: u64) -> Result<Vec<u8>> {
    let shown = String::from_utf8_lossy(&member.name);
    ensure!(member.kind == Kind::File && member.map.is_none(), "{shown} in it is not a file");
    members.all_data(most)
}
