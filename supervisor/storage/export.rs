//! `ds export`: exports a stopped container to one file.
//!
//! The file is written under a temporary name in its directory and renamed when it is complete on disk. The remains of
//! a killed export are removed after its death, or by the next export into the same directory. Standard output is
//! written directly.

use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::copy::LARGEST_CONFIGURATION;
use super::format::{COMPLETE, CONFIGURATION, Form, MANIFEST, Manifest, Summing, TREE, VERSION};
use super::job::{self, Reporter, Watcher};
use super::mounted::{Mounting, label, mount};
use super::reservation::Reservation;
use super::staging::{Staging, rename_to_free, sync_directory};
use super::sweep;
use crate::archive::compress;
use crate::archive::pack::pack;
use crate::archive::writer::Writer;
use crate::call;
use crate::config::value::Name;
use crate::config::{Config, RootSource};
use crate::durable::{self, Temporary};
use crate::fault;
use crate::rootfs::image::{Access, Fsck};
use crate::rootfs::root::Root;
use crate::rootfs::size::measure;
use crate::seed::ledger::Ledger;
use crate::worker::Env;

/// The target of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A file; an existing one is replaced only on request.
    File {
        /// Its path.
        path: PathBuf,
        /// Whether to replace an existing file.
        replace: bool,
    },
    /// Standard output.
    Output,
}

/// What is exported beside the tree.
struct Beside {
    /// The configuration.
    text: String,
    /// The record of seeding.
    seed: Option<Ledger>,
}

/// Exports a stopped container.
///
/// # Errors
/// If it cannot be read or the file cannot be written: there is then no file, or the previous one.
pub fn export(env: &Env, name: &Name, target: &Target, watcher: Watcher<'_>) -> Result<()> {
    match target {
        Target::Output => refuse_terminal()?,
        Target::File { path, replace } => refuse_existing(path, *replace)?,
    }
    let held = Reservation::take(env, name, "exported")?;
    let tree = held.tree()?;
    // For the mount point of an image.
    let staging = Staging::beside(&env.paths.container(name))?;
    let mut writing = match target {
        Target::Output => None,
        Target::File { path, replace } => Some(Writing::begin(path, *replace, &staging)?),
    };
    let text =
        durable::read(&env.paths.container_ini(name), LARGEST_CONFIGURATION).context("read container.ini")?;
    let text = Config::portable(&text, &env.paths.container_ini(name), name)?;
    let record = Ledger::load(&env.paths.seed_ledger(name))?;
    let beside = Beside { text, seed: Some(record).filter(|record| !record.files.is_empty()) };
    let output: OwnedFd = match &mut writing {
        Some(writing) => writing.temporary.file().as_fd().try_clone_to_owned().context("dup")?,
        None => io::stdout().as_fd().try_clone_to_owned().context("dup")?,
    };
    job::run(env, watcher, &mut |reporter| {
        match &tree {
            Some(tree) => write(&tree.root, &held, None, &beside, &output, reporter)?,
            None => write_image(&held, &staging, &beside, &output, reporter)?,
        }
        Ok(Value::Null)
    })?;
    fault::point("job-done")?;
    writing.map_or(Ok(()), Writing::finish)
}

fn write_image(
    held: &Reservation,
    staging: &Staging,
    beside: &Beside,
    output: &OwnedFd,
    reporter: &mut Reporter,
) -> Result<()> {
    let image = held.config.container.root.path().as_path();
    let mounting = Mounting {
        image,
        partition: held.config.container.image_partition,
        staging: staging.path(),
        access: Access::ReadOnly,
        fsck: Fsck::Auto,
        label: label(&held.config),
    };
    let attached = mount(&mounting, reporter)?;
    // A device has no size that a file could have; it becomes an image of the size of its file system.
    let about = call!(nix::sys::statvfs::fstatvfs(&File::open(attached.mount_point())?), "fstatvfs")?;
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_fallible_conversions,
        reason = "the C library's types differ between processors"
    )]
    let blocks = u64::try_from(about.blocks())?.saturating_mul(u64::try_from(about.fragment_size())?);
    let whole = || fs::metadata(image).map_or(0, |about| about.len());
    let size = attached.partition_size().unwrap_or_else(whole);
    write(attached.root(), held, Some(if size > 0 { size } else { blocks }), beside, output, reporter)?;
    attached.detach()
}

fn write(
    root: &Root,
    held: &Reservation,
    size: Option<u64>,
    beside: &Beside,
    output: &OwnedFd,
    reporter: &mut Reporter,
) -> Result<()> {
    let usage = measure(root.directory()).context("measure the tree")?;
    let form = match held.config.container.root {
        RootSource::Image(_) => Form::Image,
        RootSource::Directory(_) => Form::Directory,
    };
    let manifest = Manifest {
        format: VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        name: held.name.clone(),
        form,
        size,
        bytes: usage.bytes,
        files: usage.files,
        seed: beside.seed.clone(),
    };
    reporter.step("export", Some(usage.bytes))?;
    let mut out = Summing::new(compress::open(output)?);
    let mut writer = Writer::new(&mut out);
    writer.file(MANIFEST, &serde_json::to_vec(&manifest).context("encode the manifest")?, 0)?;
    writer.file(CONFIGURATION, beside.text.as_bytes(), 0)?;
    writer.flush()?;
    fault::point("job-begun-writing")?;
    let packed = pack(root, TREE, &mut out, &mut |done| reporter.progress(done))?;
    for line in &packed.skipped {
        reporter.warn(line.as_str())?;
    }
    let complete = out.complete(packed.entries).to_bytes()?;
    let mut writer = Writer::new(&mut out);
    writer.file(COMPLETE, &complete, 0)?;
    writer.end()?;
    out.into_inner().finish()?;
    reporter.finish(packed.bytes)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Refuses to write binary data to a terminal.
///
/// # Errors
/// If standard output is a terminal.
pub fn refuse_terminal() -> Result<()> {
    ensure!(!io::stdout().is_terminal(), "standard output is a terminal; use -o FILE, or a pipe");
    Ok(())
}

/// Refuses a path where no file may be written: a device in its place, such as /dev/null, belongs to the machine.
///
/// # Errors
/// What is there.
pub fn refuse_existing(path: &Path, replace: bool) -> Result<()> {
    let directory = directory_of(path);
    fs::metadata(directory).with_context(|| format!("write {}: {}", path.display(), directory.display()))?;
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => bail!("{} is a directory; name a file", path.display()),
        Ok(_) if fs::metadata(path).is_ok_and(|target| !target.is_file()) => {
            bail!("{} is not a regular file; name another one", path.display())
        }
        Ok(_) if !replace => bail!("{} already exists; use --force to overwrite it", path.display()),
        _ => Ok(()),
    }
}

/// The file in progress.
#[derive(Debug)]
struct Writing {
    temporary: Temporary,
    directory: PathBuf,
    path: PathBuf,
    replace: bool,
}

impl Writing {
    fn begin(path: &Path, replace: bool, staging: &Staging) -> Result<Self> {
        let directory = directory_of(path);
        // Remains of a killed export.
        let _ = durable::remove_stale_temporaries(directory);
        // Recorded before the file exists, so that it is found whenever this process is killed.
        sweep::writes_in(staging.path(), directory)?;
        let temporary = File::open(directory).and_then(|opened| Temporary::create(opened.into()));
        let temporary = temporary.with_context(|| format!("write {}", path.display()))?;
        Ok(Self { temporary, directory: directory.to_owned(), path: path.to_owned(), replace })
    }

    fn finish(mut self) -> Result<()> {
        self.temporary.file().sync_all().with_context(|| format!("write {}", self.path.display()))?;
        let temporary = self.directory.join(self.temporary.name());
        if self.replace {
            fs::rename(temporary, &self.path)
                .with_context(|| format!("rename to {}", self.path.display()))?;
        } else {
            rename_to_free(&temporary, &self.path)?;
        }
        self.temporary.keep();
        sync_directory(&self.directory)
    }
}
