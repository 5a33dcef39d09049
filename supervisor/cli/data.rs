//! Verbs for the data of stopped containers, and for the catalogue.
//!
//! Owns the argument structs of these verbs and nothing else. The help text is the documentation of each field;
//! completions, usage lines and the spelling of options are derived from the structs (see `table`).

use super::value::{address, size};
use argh::{ArgsInfo, FromArgValue, FromArgs};
use std::net::IpAddr;
use std::path::PathBuf;

/// Delete a container. Removes its configuration, its logs and its own root file system. Keeps a root file system given
/// with --rootfs or --image, and never deletes across a mount point.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "rm", example = "ds rm test")]
pub struct Remove {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// if the container is running, kill it first
    #[argh(switch)]
    pub force: bool,
}

/// Rename a stopped container.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "rename", example = "ds rename test web")]
pub struct Rename {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// the new name
    #[argh(positional, arg_name = "NEW_NAME")]
    pub new_name: String,
}

/// Copy a stopped container to a new one.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "copy", example = "ds copy web web-before-upgrade")]
pub struct Copy {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// the name of the copy
    #[argh(positional, arg_name = "NEW_NAME")]
    pub new_name: String,
    /// print progress as JSON, one event per line
    #[argh(switch)]
    pub json: bool,
}

/// Export a stopped container to a file. The file contains the configuration and the root file system.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "export",
    example = "ds export web",
    example = "ds export web -o - | ssh host ds import - web"
)]
pub struct Export {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// the file to write, or '-' for stdout; the default is NAME.tar.zst
    #[argh(option, short = 'o', arg_name = "FILE")]
    pub output: Option<PathBuf>,
    /// overwrite an existing file
    #[argh(switch)]
    pub force: bool,
    /// print progress as JSON, one event per line
    #[argh(switch)]
    pub json: bool,
}

/// Create a container from a file that 'ds export' wrote.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "import", example = "ds import web.tar.zst web")]
pub struct Import {
    /// the file, or '-' for stdin
    #[argh(positional, arg_name = "FILE")]
    pub file: PathBuf,
    /// the new container's name
    #[argh(positional, arg_name = "NEW_NAME")]
    pub name: String,
    /// the password of root and of the user
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

/// Grow or shrink the image of a stopped container. Also resizes the file system in the image.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "resize", example = "ds resize web 16G")]
pub struct Resize {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// the new size, in bytes or with K, M, G or T
    #[argh(positional, arg_name = "SIZE", from_str_fn(size))]
    pub size: u64,
    /// print progress as JSON, one event per line
    #[argh(switch)]
    pub json: bool,
}

/// The form of a container's root file system.
#[derive(FromArgValue, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An ext4 image.
    #[argh(name = "image")]
    Image,
    /// A plain directory.
    #[argh(name = "dir")]
    Directory,
}

/// Convert a container's directory into an image, or back. The container must be stopped. ds compares the new root file
/// system with the old one before it deletes the old one.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "convert",
    example = "ds convert web image",
    example = "ds convert web image --size 8G"
)]
pub struct Convert {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// the new form
    #[argh(positional, arg_name = "image|dir")]
    pub form: Form,
    /// size of the image, in bytes or with K, M, G or T; the default is 130 % of the used space plus 512M
    #[argh(option, arg_name = "SIZE", from_str_fn(size))]
    pub size: Option<u64>,
    /// print progress as JSON, one event per line
    #[argh(switch)]
    pub json: bool,
}

/// Adapt a root file system to run in a container. Makes the same changes as a start: the host name, a safe udev trigger
/// and, on Android, network groups. The container must be stopped.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "seed", example = "ds seed web --dry-run", example = "ds seed web --undo")]
pub struct Seed {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// print the changes and make none
    #[argh(switch)]
    pub dry_run: bool,
    /// restore the original files
    #[argh(switch)]
    pub undo: bool,
}

/// List the systems in the catalogue. By default, lists only those for this machine's architecture.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "images", example = "ds images", example = "ds images debian")]
pub struct Images {
    /// only systems with this text in their name
    #[argh(positional, arg_name = "SEARCH")]
    pub search: Option<String>,
    /// the architecture: arm64, amd64, armhf, riscv64, or 'all'
    #[argh(option, arg_name = "ARCH")]
    pub arch: Option<String>,
    /// print one JSON document
    #[argh(switch)]
    pub json: bool,
}

/// Download a system of the catalogue into the cache and verify it. Also downloads an archive from an https address.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "pull", example = "ds pull debian:13", example = "ds pull alpine:edge -o ./alpine")]
pub struct Pull {
    /// distribution[:release[:variant]] as listed by 'ds images', or an address
    #[argh(positional, arg_name = "SRC")]
    pub source: String,
    /// the architecture; the default is this machine's
    #[argh(option, arg_name = "ARCH")]
    pub arch: Option<String>,
    /// with an address: the expected SHA-256 checksum of the file
    #[argh(option, arg_name = "DIGITS")]
    pub sha256: Option<String>,
    /// unpack the system into this directory, which must not exist
    #[argh(option, short = 'o', arg_name = "DIR")]
    pub output: Option<PathBuf>,
    /// unpack the system into ./DISTRIBUTION_RELEASE
    #[argh(switch)]
    pub unpack: bool,
    /// with -o or --unpack: the password of root and of the user
    #[argh(option, arg_name = "PASSWORD")]
    pub password: Option<String>,
    /// with -o or --unpack: read the password from this file, or from stdin if it is '-'
    #[argh(option, arg_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// with -o or --unpack: permit this SSH key, or the keys in this file; may be repeated
    #[argh(option, arg_name = "KEY|FILE")]
    pub ssh_key: Vec<String>,
    /// with -o or --unpack: create an ordinary user who may become root with sudo or doas
    #[argh(option, arg_name = "NAME")]
    pub user: Option<String>,
    /// with -o or --unpack: write this name server to /etc/resolv.conf
    #[argh(option, arg_name = "ADDRESS", from_str_fn(address))]
    pub dns: Option<IpAddr>,
    /// print progress as JSON, one event per line
    #[argh(switch)]
    pub json: bool,
}

/// What to do with the cache.
#[derive(FromArgValue, Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheAction {
    /// List the downloads in it.
    #[argh(name = "list")]
    List,
    /// Remove all downloads from it.
    #[argh(name = "prune")]
    Prune,
}

/// List or remove the downloads in the cache. Keeps downloads that are in progress.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "cache", example = "ds cache list", example = "ds cache prune")]
pub struct Cache {
    /// what to do
    #[argh(positional, arg_name = "list|prune")]
    pub action: CacheAction,
    /// print one JSON document
    #[argh(switch)]
    pub json: bool,
}
