//! Verbs that make, boot, stop, show and configure containers.
//!
//! Argument structs only: one doc line each is the help text, and completions, usage lines and option spelling are
//! derived from them (see `table`). Rules that span several fields are in `rules`.

use super::value::{Assignment, Wait, seconds, size};
use argh::{ArgsInfo, FromArgs};
use std::{path::PathBuf, time::Duration};

/// Where the root file system of a new container comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootOption {
    /// A directory, used in place.
    Directory(PathBuf),
    /// A file system image or block device, used in place.
    Image(PathBuf),
    /// A tarball, or a catalogue name such as `debian:13`, unpacked into a root file system of the container's own.
    Archive(String),
}

/// Make a new container. Say where its root file system comes from with exactly one of --rootfs, --image and --from.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "create",
    example = "ds create web --rootfs /srv/debian",
    example = "ds create web --from debian:13 --size 8G --set autostart=yes"
)]
pub struct Create {
    /// the new container's name: letters, digits, '_', '.' and '-', at most 64
    #[argh(positional, arg_name = "NEW_NAME")]
    pub name: String,
    /// use this directory in place
    #[argh(option, arg_name = "DIR")]
    pub rootfs: Option<PathBuf>,
    /// use this file system image or block device in place
    #[argh(option, arg_name = "FILE")]
    pub image: Option<PathBuf>,
    /// unpack this tarball, the one at this https address, or this system from the catalogue (debian:13)
    #[argh(option, arg_name = "SRC")]
    pub from: Option<String>,
    /// with --from and an address: what the file's checksum must be
    #[argh(option, arg_name = "DIGITS")]
    pub sha256: Option<String>,
    /// with --from and a system of the catalogue: its architecture, if not this machine's
    #[argh(option, arg_name = "ARCH")]
    pub arch: Option<String>,
    /// with --from: unpack into a fresh ext4 image of this size, not into a directory
    #[argh(option, arg_name = "SIZE", from_str_fn(size))]
    pub size: Option<u64>,
    /// write this into the container's configuration; may be repeated
    #[argh(option, arg_name = "KEY=VALUE")]
    pub set: Vec<Assignment>,
    /// print progress as one JSON event a line
    #[argh(switch)]
    pub json: bool,
}

/// Boot containers. Starting one that runs already is no error. With --rootfs, --image or --from the container is
/// made first if there is none of that name.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "start",
    example = "ds start web",
    example = "ds start web db --wait=60",
    example = "ds start test --rootfs /srv/debian --volatile --foreground"
)]
pub struct Start {
    /// the containers to boot
    #[argh(positional, arg_name = "NAME")]
    pub names: Vec<String>,
    /// every container
    #[argh(switch)]
    pub all: bool,
    /// return when the init system says it is up, or fail after so many seconds
    #[argh(option, arg_name = "[=SECONDS]")]
    pub wait: Option<Wait>,
    /// stay attached to the console; one container only
    #[argh(switch, short = 'f')]
    pub foreground: bool,
    /// print what would be done and change nothing
    #[argh(switch)]
    pub dry_run: bool,
    /// make the container from this directory, used in place
    #[argh(option, arg_name = "DIR")]
    pub rootfs: Option<PathBuf>,
    /// make the container from this file system image or block device
    #[argh(option, arg_name = "FILE")]
    pub image: Option<PathBuf>,
    /// make the container from this tarball or catalogue system
    #[argh(option, arg_name = "SRC")]
    pub from: Option<String>,
    /// with --from: unpack into a fresh ext4 image of this size
    #[argh(option, arg_name = "SIZE", from_str_fn(size))]
    pub size: Option<u64>,
    /// keep every change of this start in memory and lose it at the stop; --set volatile=yes does so for good
    #[argh(switch)]
    pub volatile: bool,
    /// write this into the container's configuration first; may be repeated
    #[argh(option, arg_name = "KEY=VALUE")]
    pub set: Vec<Assignment>,
}

impl Create {
    /// Where the root file system comes from. `None` only for a struct that no command line could have produced.
    #[must_use]
    pub fn source(&self) -> Option<RootOption> {
        source(self.rootfs.as_ref(), self.image.as_ref(), self.from.as_ref())
    }
}

impl Start {
    /// The `create` this command line asks for, if its container does not exist yet. `None` when it names no root
    /// file system: then `set` applies to a container that must be there.
    #[must_use]
    pub fn creation(&self) -> Option<Create> {
        source(self.rootfs.as_ref(), self.image.as_ref(), self.from.as_ref())?;
        Some(Create {
            name: self.names.first()?.clone(),
            rootfs: self.rootfs.clone(),
            image: self.image.clone(),
            from: self.from.clone(),
            sha256: None,
            arch: None,
            size: self.size,
            set: self.set.clone(),
            json: false,
        })
    }
}

fn source(rootfs: Option<&PathBuf>, image: Option<&PathBuf>, from: Option<&String>) -> Option<RootOption> {
    rootfs
        .map(|path| RootOption::Directory(path.clone()))
        .or_else(|| image.map(|path| RootOption::Image(path.clone())))
        .or_else(|| from.map(|name| RootOption::Archive(name.clone())))
}

/// Shut containers down. Their init system is asked first, and killed when it takes too long. Stopping one that is
/// stopped is no error.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "stop", example = "ds stop web", example = "ds stop --all --timeout 5")]
pub struct Stop {
    /// the containers to shut down
    #[argh(positional, arg_name = "NAME")]
    pub names: Vec<String>,
    /// every running container
    #[argh(switch)]
    pub all: bool,
    /// kill what is left after so many seconds, instead of the configured stop-timeout
    #[argh(option, arg_name = "SECONDS", from_str_fn(seconds))]
    pub timeout: Option<Duration>,
    /// kill at once, without asking the init system
    #[argh(switch)]
    pub kill: bool,
}

/// Shut containers down and boot them again. A container that is stopped is booted.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "restart", example = "ds restart web", example = "ds restart web --wait")]
pub struct Restart {
    /// the containers to restart
    #[argh(positional, arg_name = "NAME")]
    pub names: Vec<String>,
    /// return when the init system says it is up, or fail after so many seconds
    #[argh(option, arg_name = "[=SECONDS]")]
    pub wait: Option<Wait>,
}

/// Stop containers where they are, until they are thawed. Their processes keep their memory and use no processor.
/// Freezing one that is frozen is no error.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "freeze", example = "ds freeze web", example = "ds freeze web db")]
pub struct Freeze {
    /// the containers to freeze
    #[argh(positional, arg_name = "NAME")]
    pub names: Vec<String>,
}

/// Let frozen containers go on. Thawing one that is not frozen is no error.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "thaw", example = "ds thaw web")]
pub struct Thaw {
    /// the containers to thaw
    #[argh(positional, arg_name = "NAME")]
    pub names: Vec<String>,
}

/// List the containers and their states.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "list", example = "ds list", example = "ds list --json")]
pub struct List {
    /// print one JSON document
    #[argh(switch)]
    pub json: bool,
    /// print the names alone, one a line
    #[argh(switch)]
    pub names: bool,
}

/// Show one container. Its state, PID 1, init system, root file system, network and last exit.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "info", example = "ds info web", example = "ds info web --pid")]
pub struct Info {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// print one JSON document
    #[argh(switch)]
    pub json: bool,
    /// print only the PID, as the host sees it, of the container's PID 1; NONE, and exit code 1, when it does not run
    #[argh(switch)]
    pub pid: bool,
}

/// Show what running containers use. Processor, memory, processes, disk and uptime.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "stats", example = "ds stats", example = "ds stats web --json")]
pub struct Stats {
    /// this container only
    #[argh(positional, arg_name = "NAME")]
    pub name: Option<String>,
    /// print one JSON document
    #[argh(switch)]
    pub json: bool,
}

/// Print a container's configuration, or the value of one key.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "get", example = "ds get web", example = "ds get web limits.memory")]
pub struct Get {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// section.key; 'container.' may be left out
    #[argh(positional, arg_name = "KEY")]
    pub key: Option<String>,
}

/// Change a container's configuration. Comments and order are kept. A running container sees the change at its next
/// start.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "set",
    example = "ds set web autostart=yes priority=10",
    example = "ds set web mounts.bind=/srv/www:/var/www:ro limits.memory=512M"
)]
pub struct Set {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// section.key=value; 'container.' may be left out
    #[argh(positional, arg_name = "KEY=VALUE")]
    pub assignments: Vec<Assignment>,
}
