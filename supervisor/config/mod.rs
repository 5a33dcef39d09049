//! What the user asked for: `container.ini` and `supervisor.ini` as typed values, valid by construction.
//!
//! Owns the structs below and the way from a file's text to them and back. Decides nothing (that is `plan`), probes
//! nothing (that is `host`), and opens no file but the configuration itself. The keys are one table, `keys`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

mod container;
mod error;
mod images;
pub mod ini;
mod once;
mod own;
mod schema;
mod seeding;
mod supervisor;
pub mod value;

pub use container::{KEYS, SCHEMA};
pub use error::{Error, Kind};
pub use images::Images;
pub use once::Once;
pub use schema::{Form, Key, Schema};
pub use seeding::Seeding;
pub use supervisor::Supervisor;

use crate::durable;
use ini::Document;

use value::{
    Bind, CgroupLayout, ContainerPath, Cpus, DeadlockShield, EnvironmentName, Fsck, HardwareAccess, HostPath,
    Hostname, ImageLabel, Invalid, Name, NameServers, NetworkMode, Priority, Privileged, RestartPolicy,
    Seconds, Seed, Size, StartAfter, UserNamespaces, Uuid, WakelockPolicy,
};

/// One container as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The container's name; the name of its directory, not a key of the file.
    pub name: Name,
    /// Section `container`.
    pub container: Container,
    /// Section `mounts`.
    pub mounts: Mounts,
    /// Section `network`.
    pub network: Network,
    /// Section `hardware`.
    pub hardware: Hardware,
    /// Section `security`.
    pub security: Security,
    /// Section `android`: what of the phone it takes part in; without a meaning elsewhere.
    pub android: Android,
    /// Section `limits`.
    pub limits: Limits,
    /// Section `environment`: variables of the container's init and of every session; values have no control characters.
    pub environment: BTreeMap<EnvironmentName, String>,
}

/// What the container is and how its life goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its host name, if one is configured; [`Config::hostname`] is the one to use.
    pub hostname: Option<Hostname>,
    /// Where its root file system comes from.
    pub root: RootSource,
    /// Whether every change is kept in memory and lost at the stop.
    pub volatile: bool,
    /// How much memory those changes may take; half of the machine's when `None`.
    pub volatile_size: Option<Size>,
    /// When an image is checked before it is mounted.
    pub fsck: Fsck,
    /// The partition that holds the root file system, when the image is that of a disk.
    pub image_partition: Option<u32>,
    /// The SELinux label that an image gets before it is used.
    pub image_label: ImageLabel,
    /// Whether the supervisor starts it when it starts itself.
    pub autostart: bool,
    /// What that waits for.
    pub start_after: StartAfter,
    /// Its place among those.
    pub priority: Priority,
    /// Whether it is started again when it ended by itself.
    pub restart: RestartPolicy,
    /// The program that becomes PID 1.
    pub init: ContainerPath,
    /// How long a clean shutdown may take before PID 1 is killed.
    pub stop_timeout: Seconds,
    /// Which cgroup hierarchies it sees.
    pub cgroup: CgroupLayout,
    /// Its identity, the same for life.
    pub uuid: Uuid,
    /// What is put into its root file system and its /run, so that the distribution is at home.
    pub seed: Seed,
    /// The `oom_score_adj` of its processes, −1000 to 1000 (proc_pid_oom_score_adj(5)).
    pub oom_score: i32,
}

/// Where a root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootSource {
    /// A directory of the host.
    Directory(HostPath),
    /// A file system image, or a block device.
    Image(HostPath),
}

/// What else of the host appears in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounts {
    /// Bind mounts in the order written: at most 16, no two with the same target.
    pub bind: Vec<Bind>,
}

/// The container's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// What kind it is.
    pub mode: NetworkMode,
}

/// The hardware the container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardware {
    /// How much of it.
    pub access: HardwareAccess,
}

/// What protects the host from the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Security {
    /// The protections it goes without.
    pub privileged: Privileged,
    /// Whether processes inside may create user namespaces (browsers, Flatpak, rootless containers).
    pub user_namespaces: UserNamespaces,
    /// Whether processes inside are kept from creating any namespace.
    pub deadlock_shield: DeadlockShield,
}

/// What of a phone the container takes part in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Android {
    /// The directory of the host that is shared storage, if it is shown.
    pub storage: Option<HostPath>,
    /// When the phone is kept from suspending.
    pub wakelock: WakelockPolicy,
    /// Whether the container gets the phone's time zone.
    pub timezone: bool,
    /// Its name servers.
    pub dns: NameServers,
}

/// What the container may use at most; no limit where `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory, at least 4 MiB.
    pub memory: Option<Size>,
    /// Processor time.
    pub cpus: Option<Cpus>,
    /// Processes and threads, 1 to 4194304 (`PID_MAX_LIMIT`).
    pub pids: Option<u32>,
}

/// The permission bits of a configuration file: environment variables may be secrets.
const MODE: u32 = 0o600;

impl Config {
    /// Reads the configuration of the container `name` from the file `path`.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is no such file, else the first fault in it.
    pub fn load(path: &Path, name: &Name) -> Result<Self, Error> {
        container::read(&expanded(load_document(path)?, name), name)
    }

    /// Reads the configuration of the container `name` from `text`, the content of `file`.
    ///
    /// # Errors
    /// The first fault in the text, with its place.
    pub fn parse(text: &[u8], file: &Path, name: &Name) -> Result<Self, Error> {
        container::read(&expanded(Document::parse(text, file)?, name), name)
    }

    /// The configuration that `assignments` (keys and values) describe, for a container that has no file.
    ///
    /// # Errors
    /// The first wrong key or value.
    pub fn transient(name: &Name, assignments: &[(impl AsRef<str>, impl AsRef<str>)]) -> Result<Self, Error> {
        let mut document = Document::empty(Path::new(""));
        apply(&mut document, assignments)?;
        complete(&mut document)?;
        container::read(&document, name).map_err(Error::without_place)
    }

    /// Writes the new file `path` with what `assignments` say and a fresh UUID, and returns the configuration it is.
    ///
    /// The caller keeps others from creating the same container meanwhile.
    ///
    /// # Errors
    /// [`Kind::Exists`], the first wrong key or value, or why the file cannot be written; then there is no file.
    pub fn create(
        path: &Path,
        name: &Name,
        assignments: &[(impl AsRef<str>, impl AsRef<str>)],
    ) -> Result<Self, Error> {
        if path.symlink_metadata().is_ok() {
            let fault =
                Invalid::new("the file exists already", "choose another name, or change it with 'ds set'");
            return Err(Error::new(Kind::Exists, "", &fault).of_file(path));
        }
        let mut document = Document::parse(HEADING.as_bytes(), path)?;
        apply(&mut document, &sorted(assignments))?;
        complete(&mut document)?;
        localise(&mut document, name);
        let text = document.to_string();
        let config = Self::parse(text.as_bytes(), path, name).map_err(Error::without_place)?;
        save(path, &text)?;
        Ok(config)
    }

    /// Changes the keys in `assignments` in the file `path`, where an empty value removes a key; everything else in the
    /// file stays as it is. The whole result is validated before it is written.
    ///
    /// # Errors
    /// The first wrong key or value, a fault elsewhere in the file, or why it cannot be read or written; then the file
    /// is unchanged.
    pub fn edit(
        path: &Path,
        name: &Name,
        assignments: &[(impl AsRef<str>, impl AsRef<str>)],
    ) -> Result<Self, Error> {
        let original = load_document(path)?;
        let mut document = original.clone();
        let assigned = apply(&mut document, assignments)?;
        localise(&mut document, name);
        let text = document.to_string();
        let config = Self::parse(text.as_bytes(), path, name).map_err(|error| {
            if assigned.contains(error.what()) {
                return error.without_place();
            }
            // Lines may have moved; a fault that was there before is where the file on disk has it.
            container::read(&expanded(original.clone(), name), name).err().unwrap_or(error)
        })?;
        if document != original {
            save(path, &text)?;
        }
        Ok(config)
    }

    /// Writes the new file `path` with `text`, the content of another container's configuration, changed by
    /// `assignments` and with a UUID of its own; comments are kept, but for the first line of ours.
    ///
    /// # Errors
    /// As for [`Config::create`], and the first fault in the text.
    pub fn derive(
        text: &[u8],
        path: &Path,
        name: &Name,
        assignments: &[(impl AsRef<str>, impl AsRef<str>)],
    ) -> Result<Self, Error> {
        let text = [HEADING.as_bytes(), own::without_heading(text, HEADING)].concat();
        let mut document = Document::parse(&text, path)?;
        document.unset("container", "uuid");
        apply(&mut document, assignments)?;
        complete(&mut document)?;
        localise(&mut document, name);
        let text = document.to_string();
        let config = Self::parse(text.as_bytes(), path, name).map_err(Error::without_place)?;
        save(path, &text)?;
        Ok(config)
    }

    /// The text of the configuration of the container `name` with every path in full, so that it means the same
    /// anywhere on this machine.
    ///
    /// # Errors
    /// A fault in the text.
    pub fn detached(text: &[u8], file: &Path, name: &Name) -> Result<String, Error> {
        Ok(expanded(Document::parse(text, file)?, name).to_string())
    }

    /// The text of a configuration without what belongs to one machine: its UUID and where its root file system is.
    ///
    /// # Errors
    /// A fault in the text.
    pub fn portable(text: &[u8], file: &Path, name: &Name) -> Result<String, Error> {
        let mut document = expanded(Document::parse(text, file)?, name);
        for key in ["uuid", "rootfs", "image", "image-partition"] {
            document.unset("container", key);
        }
        Ok(document.to_string())
    }

    /// What `key` is now, defaults included; empty when it has no value. `container.` may be left out.
    ///
    /// # Errors
    /// When there is no such key, or no such environment variable.
    pub fn get(&self, key: &str) -> Result<String, Error> {
        let (section, name) = SCHEMA.resolve(key)?;
        self.text_of(section, name).ok_or_else(|| {
            let fault = Invalid::new("the variable is not set", "set it with 'ds set'");
            Error::new(Kind::Missing, format!("{section}.{name}"), &fault)
        })
    }

    /// Every key with what it is now, `section.key` and value, in the order of the table; environment variables last.
    pub fn settings(&self) -> Vec<(String, String)> {
        let known =
            KEYS.iter().map(|key| (key.full_name(), self.text_of(key.section, key.name).unwrap_or_default()));
        let free =
            self.environment.iter().map(|(name, value)| (format!("environment.{name}"), value.clone()));
        known.chain(free).collect()
    }

    /// The host name the container gets: the configured one, or one made from its name.
    pub fn hostname(&self) -> Hostname {
        self.container.hostname.clone().unwrap_or_else(|| Hostname::from(&self.name))
    }
}

impl RootSource {
    /// The directory, image or device on the host.
    pub fn path(&self) -> &HostPath {
        match self {
            Self::Directory(path) | Self::Image(path) => path,
        }
    }
}

/// The first line of a new file.
const HEADING: &str = "# 'ds get NAME' shows all settings, 'ds set NAME KEY=VALUE' changes one here.\n";

/// The document with every path in full.
fn expanded(mut document: Document, name: &Name) -> Document {
    if let Some(place) = own::Place::of(document.file(), name) {
        place.expand(&mut document);
    }
    document
}

/// The document as it is to be written: without the name of the container's own directory.
fn localise(document: &mut Document, name: &Name) {
    if let Some(place) = own::Place::of(document.file(), name) {
        place.localise(document);
    }
}

/// The key and the value in `text`, `key=value` from a command line.
///
/// # Errors
/// When there is no `=`.
pub fn assignment(text: &str) -> Result<(&str, &str), Error> {
    text.split_once('=').ok_or_else(|| {
        let fault = Invalid::new("no '=' in it", "write KEY=VALUE, or KEY= to go back to the default");
        Error::new(Kind::Syntax, value::quoted(text), &fault)
    })
}

/// Makes the changes of `assignments` in `document`; returns the full names of the keys they are about.
fn apply(
    document: &mut Document,
    assignments: &[(impl AsRef<str>, impl AsRef<str>)],
) -> Result<BTreeSet<String>, Error> {
    let mut assigned = BTreeSet::new();
    for (key, value) in assignments {
        let (key, value) = (key.as_ref(), value.as_ref());
        let (section, name) = match (SCHEMA.resolve(key), key.split_once('.')) {
            (Ok(found), _) => found,
            // A key the file should not have can be removed, at least.
            (Err(_), Some(written)) if value.is_empty() && document.get(written.0, written.1).is_some() => {
                written
            }
            (Err(error), _) => return Err(error),
        };
        let full_name = format!("{section}.{name}");
        if value.is_empty() {
            document.unset(section, name);
        } else {
            document
                .set(section, name, value)
                .map_err(|fault| Error::new(Kind::Value, &full_name, &fault))?;
        }
        assigned.insert(full_name);
    }
    Ok(assigned)
}

/// `assignments` in the order of the table, so that a new file has each section once and in its usual place.
fn sorted<K: AsRef<str>, V: AsRef<str>>(assignments: &[(K, V)]) -> Vec<(&str, &str)> {
    let mut sorted: Vec<_> = assignments.iter().map(|(key, value)| (key.as_ref(), value.as_ref())).collect();
    sorted.sort_by_key(|(key, _)| {
        let place = |(section, name)| KEYS.iter().position(|key| key.section == section && key.name == name);
        SCHEMA.resolve(key).ok().and_then(place).unwrap_or(KEYS.len())
    });
    sorted
}

/// Gives `document` what every container needs and nobody writes by hand.
fn complete(document: &mut Document) -> Result<(), Error> {
    if document.get("container", "uuid").is_some() {
        return Ok(());
    }
    let failed =
        |why: String| Error::new(Kind::Missing, "container.uuid", &Invalid::new(why, "set it yourself"));
    let uuid = Uuid::random().map_err(|error| failed(format!("/dev/urandom cannot be read: {error}")))?;
    document.set("container", "uuid", &uuid.to_string()).map_err(|fault| failed(fault.why().to_owned()))
}

fn load_document(path: &Path) -> Result<Document, Error> {
    let limit = u64::try_from(ini::LARGEST_FILE).unwrap_or(u64::MAX);
    match durable::read(path, limit) {
        Ok(bytes) => Document::parse(&bytes, path),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(ini::too_large(path)),
        Err(error) => {
            let (kind, hint) = match error.kind() {
                io::ErrorKind::NotFound => (Kind::NotFound, "create the container with 'ds create'"),
                _ => (Kind::Read, "check the file and its permissions"),
            };
            let fault = Invalid::new(format!("cannot be read: {error}"), hint);
            Err(Error::new(kind, "", &fault).of_file(path))
        }
    }
}

fn save(path: &Path, text: &str) -> Result<(), Error> {
    durable::write(path, text.as_bytes(), MODE).map_err(|error| {
        let fault =
            Invalid::new(format!("cannot be written: {error}"), "check the directory and its file system");
        Error::new(Kind::Write, "", &fault).of_file(path)
    })
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
