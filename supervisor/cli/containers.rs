//! Verbs that create, boot, stop, show and configure containers.
//!
//! Owns the argument structs of these verbs and nothing else. The help text is the documentation of each field;
//! completions, usage lines and the spelling of options are derived from the structs (see `table`). Rules about
//! several fields are in `rules`.

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

/// Create a container. Exactly one of --rootfs, --image and --from selects its root file system.
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
    /// use this directory as the root file system, without a copy
    #[argh(option, arg_name = "DIR")]
    pub rootfs: Option<PathBuf>,
    /// use this file system image or block device, without a copy
    #[argh(option, arg_name = "FILE")]
    pub image: Option<PathBuf>,
    /// unpack a tarball, an https address of one, or a system of the catalogue (debian:13)
    #[argh(option, arg_name = "SRC")]
    pub from: Option<String>,
    /// with --from and an address: the expected SHA-256 checksum of the file
    #[argh(option, arg_name = "DIGITS")]
    pub sha256: Option<String>,
    /// with --from and a system of the catalogue: the architecture; the default is this machine's
    #[argh(option, arg_name = "ARCH")]
    pub arch: Option<String>,
    /// with --from: unpack into a new ext4 image of this size instead of a directory
    #[argh(option, arg_name = "SIZE", from_str_fn(size))]
    pub size: Option<u64>,
    /// set this key in the container's configuration; may be repeated
    #[argh(option, arg_name = "KEY=VALUE")]
    pub set: Vec<Assignment>,
    /// the password of root and of the user; without it, the password of root is locked
    #[argh(option, arg_name = "PASSWORD")]
    pub password: Option<String>,
    /// read the password from this file, or from stdin if it is '-'
    #[argh(option, arg_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// permit this SSH key, or the keys in this file; may be repeated
    #[argh(option, arg_name = "KEY|FILE")]
    pub ssh_key: Vec<String>,
    /// create an ordinary user who may become root with sudo or doas
    #[argh(option, arg_name = "NAME")]
    pub user: Option<String>,
    /// print progress as JSON, one event per line
    #[argh(switch)]
    pub json: bool,
}

/// Boot containers. Does nothing if a container is already running. With --rootfs, --image or --from, the container is
/// created first if it does not exist.
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
    /// wait until the init system reports that it is up; fail after this timeout (default 120)
    #[argh(option, arg_name = "[=SECONDS]")]
    pub wait: Option<Wait>,
    /// stay in the foreground, attached to the console; for one container only
    #[argh(switch, short = 'f')]
    pub foreground: bool,
    /// print the steps of the start and change nothing
    #[argh(switch)]
    pub dry_run: bool,
    /// create the container with this directory as the root file system
    #[argh(option, arg_name = "DIR")]
    pub rootfs: Option<PathBuf>,
    /// create the container with this file system image or block device
    #[argh(option, arg_name = "FILE")]
    pub image: Option<PathBuf>,
    /// create the container from this tarball or system of the catalogue
    #[argh(option, arg_name = "SRC")]
    pub from: Option<String>,
    /// with --from: unpack into a new ext4 image of this size
    #[argh(option, arg_name = "SIZE", from_str_fn(size))]
    pub size: Option<u64>,
    /// keep changes to the root file system in memory and discard them at the stop, for this start only; to make it
    /// permanent, use --set volatile=yes
    #[argh(switch)]
    pub volatile: bool,
    /// set this key in the container's configuration before the start; may be repeated
    #[argh(option, arg_name = "KEY=VALUE")]
    pub set: Vec<Assignment>,
    /// acknowledge for good that hardware.access=full can destroy data and devices of the host
    #[argh(switch)]
    pub yes: bool,
}

impl Create {
    /// Where the root file system comes from. `None` only for a struct that no command line can produce.
    #[must_use]
    pub fn source(&self) -> Option<RootOption> {
        source(self.rootfs.as_ref(), self.image.as_ref(), self.from.as_ref())
    }
}

impl Start {
    /// The `create` to perform if the container does not exist. `None` if the command line names no root file system:
    /// then the container must exist, and `set` applies to it.
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
            password: None,
            password_file: None,
            ssh_key: Vec::new(),
            user: None,
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

/// Shut containers down. ds requests a clean shutdown from the init system and kills the container after a timeout.
/// Does nothing if a container is already stopped.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "stop", example = "ds stop web", example = "ds stop --all --timeout 5")]
pub struct Stop {
    /// the containers to shut down
    #[argh(positional, arg_name = "NAME")]
    pub names: Vec<String>,
    /// every running container
    #[argh(switch)]
    pub all: bool,
    /// kill the container after this timeout instead of the configured stop-timeout
    #[argh(option, arg_name = "SECONDS", from_str_fn(seconds))]
    pub timeout: Option<Duration>,
    /// kill the container at once, without a clean shutdown
    #[argh(switch)]
    pub kill: bool,
}

/// Shut containers down and boot them again. A stopped container is started.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "restart", example = "ds restart web", example = "ds restart web --wait")]
pub struct Restart {
    /// the containers to restart
    #[argh(positional, arg_name = "NAME")]
    pub names: Vec<String>,
    /// wait until the init system reports that it is up; fail after this timeout (default 120)
    #[argh(option, arg_name = "[=SECONDS]")]
    pub wait: Option<Wait>,
}

/// Suspend all processes of containers. Frozen processes keep their memory and use no processor time. Does nothing if
/// a container is already frozen.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "freeze", example = "ds freeze web", example = "ds freeze web db")]
pub struct Freeze {
    /// the containers to freeze
    #[argh(positional, arg_name = "NAME")]
    pub names: Vec<String>,
}

/// Resume all processes of frozen containers. Does nothing if a container is not frozen.
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
    /// print only the names, one per line
    #[argh(switch)]
    pub names: bool,
}

/// Show one container. Prints its state, PID 1, init system, root file system, network and last exit.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "info", example = "ds info web", example = "ds info web --pid")]
pub struct Info {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// print one JSON document
    #[argh(switch)]
    pub json: bool,
    /// print only the host's PID of the container's init; if it is not running, print NONE and exit with code 1
    #[argh(switch)]
    pub pid: bool,
}

/// Show the resource usage of running containers. Prints processor, memory, processes, disk and uptime.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "stats", example = "ds stats", example = "ds stats web --json")]
pub struct Stats {
    /// only this container
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
    /// section.key; the prefix 'container.' is optional
    #[argh(positional, arg_name = "KEY")]
    pub key: Option<String>,
    /// print one JSON document: every key with its value, its default, description and form
    #[argh(switch)]
    pub json: bool,
    /// print container.ini as it is, comments included
    #[argh(switch)]
    pub file: bool,
}

/// Change a container's configuration. Comments and order in the file are kept. For a running container, the change
/// takes effect at its next start.
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
    /// section.key=value; the prefix 'container.' is optional
    #[argh(positional, arg_name = "KEY=VALUE")]
    pub assignments: Vec<Assignment>,
    /// take the whole container.ini from this file, or from stdin if it is '-'
    #[argh(option, arg_name = "FILE")]
    pub file: Option<PathBuf>,
    /// check the new values, and change nothing
    #[argh(switch)]
    pub dry_run: bool,
}
