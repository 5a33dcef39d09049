//! Verbs about the data of stopped containers, and about the catalogue they come from.
//!
//! Argument structs only: one doc line each is the help text, and completions, usage lines and option spelling are
//! derived from them (see `table`).

use super::value::size;
use argh::{ArgsInfo, FromArgValue, FromArgs};
use std::net::IpAddr;
use std::path::PathBuf;

/// Delete a container. Its configuration, its logs and the root file system it owns go; a root file system used in
/// place stays, and nothing is ever deleted across a mount point.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "rm", example = "ds rm test")]
pub struct Remove {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// kill it first if it runs
    #[argh(switch)]
    pub force: bool,
}

/// Give a stopped container another name.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "rename", example = "ds rename test web")]
pub struct Rename {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// its new name
    #[argh(positional, arg_name = "NEW_NAME")]
    pub new_name: String,
}

/// Make a second container out of a stopped one.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "copy", example = "ds copy web web-before-upgrade")]
pub struct Copy {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// the name of the copy
    #[argh(positional, arg_name = "NEW_NAME")]
    pub new_name: String,
    /// print progress as one JSON event a line
    #[argh(switch)]
    pub json: bool,
}

/// Write a stopped container into one file. Configuration and root file system are both in it.
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
    /// write to this file, or to stdout if it is '-', instead of NAME.tar.zst
    #[argh(option, short = 'o', arg_name = "FILE")]
    pub output: Option<PathBuf>,
    /// overwrite a file that is there
    #[argh(switch)]
    pub force: bool,
    /// print progress as one JSON event a line
    #[argh(switch)]
    pub json: bool,
}

/// Make a container from a file that 'ds export' wrote.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "import", example = "ds import web.tar.zst web")]
pub struct Import {
    /// the file, or '-' for stdin
    #[argh(positional, arg_name = "FILE")]
    pub file: PathBuf,
    /// the new container's name
    #[argh(positional, arg_name = "NEW_NAME")]
    pub name: String,
    /// root's password inside, and the user's
    #[argh(option, arg_name = "PASSWORD")]
    pub password: Option<String>,
    /// read the password from this file, or from stdin if it is '-'
    #[argh(option, arg_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// let this key in over SSH, or those in this file; may be repeated
    #[argh(option, arg_name = "KEY|FILE")]
    pub ssh_key: Vec<String>,
    /// make an ordinary user who may become root with sudo or doas
    #[argh(option, arg_name = "NAME")]
    pub user: Option<String>,
    /// print progress as one JSON event a line
    #[argh(switch)]
    pub json: bool,
}

/// Grow or shrink the image of a stopped container. The file system in it is resized too.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "resize", example = "ds resize web 16G")]
pub struct Resize {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// the new size: bytes, or a number with K, M, G or T
    #[argh(positional, arg_name = "SIZE", from_str_fn(size))]
    pub size: u64,
    /// print progress as one JSON event a line
    #[argh(switch)]
    pub json: bool,
}

/// What a container's root file system is kept in.
#[derive(FromArgValue, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An ext4 image.
    #[argh(name = "image")]
    Image,
    /// A plain directory.
    #[argh(name = "dir")]
    Directory,
}

/// Turn a container's directory into an image, or back. The container must be stopped; the old root file system is let
/// go only when the new one has been compared with it.
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
    /// what it shall become
    #[argh(positional, arg_name = "image|dir")]
    pub form: Form,
    /// size of the image: bytes, or a number with K, M, G or T, instead of what is used, 30 % more and 512M
    #[argh(option, arg_name = "SIZE", from_str_fn(size))]
    pub size: Option<u64>,
    /// print progress as one JSON event a line
    #[argh(switch)]
    pub json: bool,
}

/// Make a distribution at home in a container. Its root file system gets what a start would change there: its own name,
/// a safe udev trigger and, on Android, network groups. The container must be stopped.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "seed", example = "ds seed web --dry-run", example = "ds seed web --undo")]
pub struct Seed {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// print what would be changed and change nothing
    #[argh(switch)]
    pub dry_run: bool,
    /// give back what was there before, byte for byte
    #[argh(switch)]
    pub undo: bool,
}

/// List the systems of the catalogue. Only those for this machine's architecture are shown.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "images", example = "ds images", example = "ds images debian")]
pub struct Images {
    /// only those whose name contains this
    #[argh(positional, arg_name = "SEARCH")]
    pub search: Option<String>,
    /// for this architecture (arm64, amd64, armhf, riscv64), or 'all'
    #[argh(option, arg_name = "ARCH")]
    pub arch: Option<String>,
    /// print one JSON document
    #[argh(switch)]
    pub json: bool,
}

/// Fetch a system of the catalogue into the cache and verify it. An https address of an archive does as well.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "pull", example = "ds pull debian:13", example = "ds pull alpine:edge -o ./alpine")]
pub struct Pull {
    /// the system: distribution[:release[:variant]], as 'ds images' lists them, or an address
    #[argh(positional, arg_name = "SRC")]
    pub source: String,
    /// for this architecture instead of this machine's
    #[argh(option, arg_name = "ARCH")]
    pub arch: Option<String>,
    /// with an address: what the file's checksum must be
    #[argh(option, arg_name = "DIGITS")]
    pub sha256: Option<String>,
    /// unpack it into this directory too, which must not exist yet
    #[argh(option, short = 'o', arg_name = "DIR")]
    pub output: Option<PathBuf>,
    /// unpack it into ./DISTRIBUTION_RELEASE too
    #[argh(switch)]
    pub unpack: bool,
    /// with -o or --unpack: root's password inside, and the user's
    #[argh(option, arg_name = "PASSWORD")]
    pub password: Option<String>,
    /// with -o or --unpack: read the password from this file, or from stdin if it is '-'
    #[argh(option, arg_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// with -o or --unpack: let this key in over SSH, or those in this file; may be repeated
    #[argh(option, arg_name = "KEY|FILE")]
    pub ssh_key: Vec<String>,
    /// with -o or --unpack: make an ordinary user who may become root with sudo or doas
    #[argh(option, arg_name = "NAME")]
    pub user: Option<String>,
    /// with -o or --unpack: the name server for /etc/resolv.conf inside
    #[argh(option, arg_name = "ADDRESS")]
    pub dns: Option<IpAddr>,
    /// print progress as one JSON event a line
    #[argh(switch)]
    pub json: bool,
}

/// What is done with the cache.
#[derive(FromArgValue, Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheAction {
    /// Show what is kept.
    #[argh(name = "list")]
    List,
    /// Remove all of it.
    #[argh(name = "prune")]
    Prune,
}

/// List what was downloaded, or remove it. What another command is downloading now stays.
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
