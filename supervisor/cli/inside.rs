//! Verbs that run something inside a container, or listen to it.
//!
//! Argument structs only: one doc line each is the help text, and completions, usage lines and option spelling are
//! derived from them (see `table`). A greedy positional is a command: its words are never read as options.

use super::value::{Assignment, lines};
use argh::{ArgsInfo, FromArgs};
use std::path::PathBuf;

/// Run one command in a running container. The command starts at the first word after NAME that is not an option, or
/// after '--', and everything from there on is its own.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "run",
    example = "ds run web -- systemctl is-system-running",
    example = "ds run web -u www-data -w /var/www -e LANG=C.UTF-8 ls -l",
    note = "Exit code: the command's own; 128+N when signal N ended it; 125 ds itself failed; 126 the command is not executable; 127 there is no such command."
)]
pub struct Run {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// the command and its arguments
    #[argh(positional, greedy, arg_name = "CMD")]
    pub command: Vec<String>,
    /// run as this user of the container: a name or a number
    #[argh(option, short = 'u', arg_name = "USER")]
    pub user: Option<String>,
    /// run in this directory of the container
    #[argh(option, short = 'w', arg_name = "WORKDIR")]
    pub workdir: Option<PathBuf>,
    /// set an environment variable; may be repeated
    #[argh(option, short = 'e', arg_name = "VAR=VALUE")]
    pub env: Vec<Assignment>,
    /// give the command a terminal of its own
    #[argh(switch, short = 't')]
    pub tty: bool,
}

/// Open a login shell in a running container. It gets a terminal of its own.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "enter", example = "ds enter web", example = "ds enter web -u alice")]
pub struct Enter {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// log in as this user of the container: a name or a number
    #[argh(option, short = 'u', arg_name = "USER")]
    pub user: Option<String>,
}

/// Open a shell in a directory, without an init system. The container lives as long as the shell, or as the command
/// given instead; changes to the directory stay.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "shell",
    example = "ds shell /srv/debian",
    example = "ds shell /srv/debian /bin/bash -l",
    note = "Exit code: as for 'ds run'."
)]
pub struct Shell {
    /// the root file system
    #[argh(positional, arg_name = "DIR")]
    pub directory: PathBuf,
    /// the command and its arguments; without one, a login shell
    #[argh(positional, greedy, arg_name = "[CMD]")]
    pub command: Vec<String>,
    /// run as this user of the container: a name or a number
    #[argh(option, short = 'u', arg_name = "USER")]
    pub user: Option<String>,
    /// run in this directory of the container
    #[argh(option, short = 'w', arg_name = "WORKDIR")]
    pub workdir: Option<PathBuf>,
    /// set an environment variable; may be repeated
    #[argh(option, short = 'e', arg_name = "VAR=VALUE")]
    pub env: Vec<Assignment>,
    /// configure the container as in container.ini; may be repeated
    #[argh(option, arg_name = "KEY=VALUE")]
    pub set: Vec<Assignment>,
}

/// Attach to /dev/console of a running container.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "console", example = "ds console web")]
pub struct Console {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
}

/// Print what a container wrote to its console.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "logs", example = "ds logs web -n 50", example = "ds logs web -f")]
pub struct Logs {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// go on printing what comes in
    #[argh(switch, short = 'f')]
    pub follow: bool,
    /// only the last so many lines
    #[argh(option, short = 'n', arg_name = "LINES", from_str_fn(lines))]
    pub lines: Option<u32>,
    /// on a terminal, too, print what the container wrote as it is, terminal queries and all
    #[argh(switch)]
    pub raw: bool,
}
