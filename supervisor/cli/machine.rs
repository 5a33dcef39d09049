//! Verbs for this machine and for ds itself.
//!
//! Owns the argument structs of these verbs and nothing else. The help text is the documentation of each field;
//! completions, usage lines and the spelling of options are derived from the structs (see `table`). `help` implements
//! argh's traits by hand because argh reserves that name.

use argh::{ArgsInfo, CommandInfo, CommandInfoWithArgs, EarlyExit, FromArgValue, FromArgs, SubCommand};
use argh::{Optionality, PositionalInfo};
use std::path::PathBuf;

/// Check the kernel for the features that containers need. Exit code 1 if a required feature is missing.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "check", example = "ds check", example = "ds check --json")]
pub struct Check {
    /// print one JSON document
    #[argh(switch)]
    pub json: bool,
}

/// Collect the data for a bug report in one archive.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "doctor", example = "ds doctor -o /sdcard/Download/ds.tar")]
pub struct Doctor {
    /// the archive to write; '-' is stdout
    #[argh(option, short = 'o', arg_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Run the supervisor. Each machine has one. On Android, service.sh starts it at boot; on other systems, the first
/// command that needs it starts it.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "supervise", example = "ds supervise --foreground")]
pub struct Supervise {
    /// stay in the foreground and also log to stderr
    #[argh(switch, short = 'f')]
    pub foreground: bool,
    /// do not start containers automatically
    #[argh(switch)]
    pub no_autostart: bool,
}

/// The request to the supervisor.
#[derive(FromArgValue, Debug, Clone, Copy, PartialEq, Eq)]
pub enum SupervisorAction {
    /// Stop it; containers keep running.
    #[argh(name = "stop")]
    Stop,
    /// Show its uptime and the containers that it monitors.
    #[argh(name = "status")]
    Status,
    /// Execute the installed program in its place, and read supervisor.ini again.
    #[argh(name = "reload")]
    Reload,
}

/// Control the running supervisor. Containers keep running while it is stopped, and the next supervisor adopts them.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "supervisor", example = "ds supervisor status")]
pub struct Supervisor {
    /// stop the supervisor, show its status, or reload the program and the configuration from disk
    #[argh(positional, arg_name = "stop|status|reload")]
    pub action: SupervisorAction,
    /// with reload: execute this program instead of the installed one
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

/// Serve the WebUI to one browser, and print its address. The address works once. The server listens on 127.0.0.1
/// only and ends after ten idle minutes.
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

/// The calling script of the flashable module.
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

/// Perform the task of one module script. Only the scripts of the module call this.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "module", example = "ds module action")]
pub struct Module {
    /// the script
    #[argh(positional, arg_name = "install|boot|action|uninstall")]
    pub action: ModuleAction,
    /// with boot: the module's directory, if it is not the default one
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

/// A shell with a completion script.
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

/// Print a completion script for a shell. It completes verbs, options and container names.
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

/// Show the help for a verb, or the list of verbs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Help {
    /// The verb; `None` for the overview.
    pub verb: Option<String>,
}

impl Help {
    const DESCRIPTION: &'static str = "Show the help for a verb, or the list of verbs.";
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
                description: "the verb",
                optionality: Optionality::Optional,
                hidden: false,
            }],
            ..CommandInfoWithArgs::default()
        }
    }
}
