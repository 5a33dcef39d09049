//! Verbs about this machine and about ds itself.
//!
//! Argument structs only: one doc line each is the help text, and completions, usage lines and option spelling are
//! derived from them (see `table`). `help` implements argh's traits by hand because argh keeps that name to itself.

use argh::{ArgsInfo, CommandInfo, CommandInfoWithArgs, EarlyExit, FromArgValue, FromArgs, SubCommand};
use argh::{Optionality, PositionalInfo};
use std::path::PathBuf;

/// Say what this kernel can do for containers. Exit code 1 when something required is missing.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "check", example = "ds check", example = "ds check --json")]
pub struct Check {
    /// print one JSON document
    #[argh(switch)]
    pub json: bool,
}

/// Collect what a bug report needs into one archive.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "doctor", example = "ds doctor -o /sdcard/Download/ds.tar")]
pub struct Doctor {
    /// write the archive to this file
    #[argh(option, short = 'o', arg_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Run the supervisor. There is one per machine; service.sh starts it on Android, and elsewhere the first command
/// that needs it does.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "supervise", example = "ds supervise --foreground")]
pub struct Supervise {
    /// stay attached to this terminal and log to stderr as well
    #[argh(switch, short = 'f')]
    pub foreground: bool,
    /// start no container by itself this time
    #[argh(switch)]
    pub no_autostart: bool,
}

/// What to ask of the supervisor.
#[derive(FromArgValue, Debug, Clone, Copy, PartialEq, Eq)]
pub enum SupervisorAction {
    /// End it; containers keep running.
    #[argh(name = "stop")]
    Stop,
    /// Say whether it runs, since when, and what it watches.
    #[argh(name = "status")]
    Status,
    /// Go on with the program that is on disk now, and read supervisor.ini again.
    #[argh(name = "reload")]
    Reload,
}

/// Control the running supervisor. Containers keep running when it stops, and the next one adopts them.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "supervisor", example = "ds supervisor status")]
pub struct Supervisor {
    /// stop it, show its status, or have it go on with the program and the configuration that are on disk now
    #[argh(positional, arg_name = "stop|status|reload")]
    pub action: SupervisorAction,
    /// with reload: the program, if not the one that was installed
    #[argh(option, arg_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// with status: print one JSON document
    #[argh(switch)]
    pub json: bool,
}

/// Answer one request of a program, such as the WebUI. The answer is JSON, one document a line.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "rpc", example = "ds rpc eyJhcmd2IjpbImxpc3QiXX0")]
pub struct Rpc {
    /// a JSON document in base64url (RFC 4648 section 5)
    #[argh(positional, arg_name = "REQUEST")]
    pub request: String,
}

/// Serve the WebUI to one browser of this machine, and print its address, which works once. The server listens on
/// 127.0.0.1 only and ends after ten idle minutes.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "web", example = "ds web", example = "ds web --stop")]
pub struct Web {
    /// end the server
    #[argh(switch)]
    pub stop: bool,
    /// open the address in the browser; on Android only
    #[argh(switch)]
    pub open: bool,
    /// serve the page in this directory, not the installed one
    #[argh(option, arg_name = "DIR")]
    pub pages: Option<PathBuf>,
    /// print one JSON document
    #[argh(switch)]
    pub json: bool,
}

/// Which script of the flashable module asks.
#[derive(FromArgValue, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleAction {
    /// `customize.sh`, in the installer of a root manager.
    #[argh(name = "install")]
    Install,
    /// `service.sh`, at late_start.
    #[argh(name = "boot")]
    Boot,
    /// `action.sh`, the button in a root manager's app.
    #[argh(name = "action")]
    Action,
    /// `uninstall.sh`, in the first boot after the module was removed.
    #[argh(name = "uninstall")]
    Uninstall,
}

/// Do the work of one script of the flashable module. Only its scripts call this.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "module", example = "ds module action")]
pub struct Module {
    /// what the script is for
    #[argh(positional, arg_name = "install|boot|action|uninstall")]
    pub action: ModuleAction,
    /// with boot: the module's directory, if not the usual one
    #[argh(option, arg_name = "DIRECTORY")]
    pub module: Option<PathBuf>,
}

/// Print the version.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "version", example = "ds version --json")]
pub struct Version {
    /// print one JSON document
    #[argh(switch)]
    pub json: bool,
}

/// A shell that completions can be written for.
#[derive(FromArgValue, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShellKind {
    /// GNU bash.
    #[argh(name = "bash")]
    Bash,
    /// Z shell.
    #[argh(name = "zsh")]
    Zsh,
    /// Friendly interactive shell.
    #[argh(name = "fish")]
    Fish,
}

/// Print a script that completes verbs, options and container names.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "completions",
    example = "ds completions bash > /etc/bash_completion.d/ds",
    example = "ds completions fish > ~/.config/fish/completions/ds.fish"
)]
pub struct Completions {
    /// the shell
    #[argh(positional, arg_name = "bash|zsh|fish")]
    pub shell: ShellKind,
}

/// Explain one verb, or list them all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Help {
    /// The verb to explain; `None` asks for the overview.
    pub verb: Option<String>,
}

impl Help {
    const DESCRIPTION: &'static str = "Explain one verb, or list them all.";
}

impl SubCommand for Help {
    const COMMAND: &'static CommandInfo =
        &CommandInfo { name: "help", short: &'\0', description: Self::DESCRIPTION };
}

impl FromArgs for Help {
    fn from_args(_command_name: &[&str], arguments: &[&str]) -> Result<Self, EarlyExit> {
        Ok(Self { verb: arguments.iter().find(|word| **word != "--").map(|word| (*word).to_owned()) })
    }
}

impl ArgsInfo for Help {
    fn get_args_info() -> CommandInfoWithArgs {
        CommandInfoWithArgs {
            name: Self::COMMAND.name,
            description: Self::DESCRIPTION,
            examples: &["ds help start"],
            positionals: &[PositionalInfo {
                name: "VERB",
                description: "the verb to explain",
                optionality: Optionality::Optional,
                hidden: false,
            }],
            ..CommandInfoWithArgs::default()
        }
    }
}
