//! Verbs that run a command in a container, or show its console.
//!
//! Owns the argument structs of these verbs and nothing else. The help text is the documentation of each field;
//! completions, usage lines and the spelling of options are derived from the structs (see `table`). A greedy positional
//! is a command: its words are never read as options.

use super::value::{Assignment, lines};
use argh::{ArgsInfo, FromArgs};
use std::path::PathBuf;

/// Run one command in a running container. The command starts at the first word after NAME that is not an option, or
/// after '--'. All words from there on belong to the command.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "run",
    example = "ds run web -- systemctl is-system-running",
    example = "ds run web -u www-data -w /var/www -e LANG=C.UTF-8 ls -l",
    note = "Exit code: the command's own; 128+N if signal N killed it; 125 if ds failed; 126 if the command is not executable; 127 if it was not found."
)]
pub struct Run {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// the command and its arguments
    #[argh(positional, greedy, arg_name = "CMD")]
    pub command: Vec<String>,
    /// the user in the container: a name or a number
    #[argh(option, short = 'u', arg_name = "USER")]
    pub user: Option<String>,
    /// the working directory in the container
    #[argh(option, short = 'w', arg_name = "WORKDIR")]
    pub workdir: Option<PathBuf>,
    /// set an environment variable; may be repeated
    #[argh(option, short = 'e', arg_name = "VAR=VALUE")]
    pub env: Vec<Assignment>,
    /// allocate a terminal for the command
    #[argh(switch, short = 't')]
    pub tty: bool,
}

/// Open a login shell in a running container. Allocates a terminal in the container.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "enter", example = "ds enter web", example = "ds enter web -u alice")]
pub struct Enter {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// the user in the container: a name or a number
    #[argh(option, short = 'u', arg_name = "USER")]
    pub user: Option<String>,
}

/// Run a shell on a root file system, without an init system. The container ends with the shell, or with the command
/// given instead. Changes to the directory are kept.
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
    /// the command and its arguments; the default is a login shell
    #[argh(positional, greedy, arg_name = "[CMD]")]
    pub command: Vec<String>,
    /// the user in the container: a name or a number
    #[argh(option, short = 'u', arg_name = "USER")]
    pub user: Option<String>,
    /// the working directory in the container
    #[argh(option, short = 'w', arg_name = "WORKDIR")]
    pub workdir: Option<PathBuf>,
    /// set an environment variable; may be repeated
    #[argh(option, short = 'e', arg_name = "VAR=VALUE")]
    pub env: Vec<Assignment>,
    /// set this key of container.ini for this container; may be repeated
    #[argh(option, arg_name = "KEY=VALUE")]
    pub set: Vec<Assignment>,
}

/// Attach to the console of a running container. To detach, press Ctrl-] twice.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "console", example = "ds console web")]
pub struct Console {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
}

/// Print the console log of a container.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "logs", example = "ds logs web -n 50", example = "ds logs web -f")]
pub struct Logs {
    /// the container
    #[argh(positional, arg_name = "NAME")]
    pub name: String,
    /// follow: print new lines as they appear
    #[argh(switch, short = 'f')]
    pub follow: bool,
    /// print only this number of lines, from the end
    #[argh(option, short = 'n', arg_name = "LINES", from_str_fn(lines))]
    pub lines: Option<u32>,
    /// also on a terminal, print all bytes unchanged, including escape sequences
    #[argh(switch)]
    pub raw: bool,
}
