//! The program of a session, and its execution in a new process.
//!
//! [`Program::prepare`] makes all decisions while the host's /proc is available: user, environment, candidate files.
//! [`Program::execute`] runs in the child, for a running container and for a temporary one: it only makes system calls,
//! and drops privileges in an order in which every step is still permitted. execve(2), credentials(7), environ(7).

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Error, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, stat, umask};
use nix::unistd::{Pid, Uid, chdir, execve, setgroups, setresgid, setresuid, setsid};

use super::refusal;
use super::user::{Identity, look_up};
use super::wire::Wire;
use crate::cgroup::Joining;
use crate::cli::bytes::decode;
use crate::cli::value::Assignment;
use crate::config::value::UserSpec;
use crate::exit::ExitCode;
use crate::privilege::Filters;
use crate::pty::Pty;
use crate::rootfs::root::Root;
use crate::sys::{descriptor, process, signal, terminal};
use crate::{call, privilege};

/// The default search path.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Shells for a user whose own shell does not exist.
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];
/// Variables that describe the client's terminal.
const OF_CLIENT: [&str; 3] = ["TERM", "COLORTERM", "NO_COLOR"];

/// The requested program.
#[derive(Debug)]
pub struct Wish<'a> {
    /// Program and arguments; a login shell if empty.
    pub words: &'a [String],
    /// The user; root if absent.
    pub user: Option<&'a UserSpec>,
    /// The working directory in the container.
    pub directory: Option<&'a Path>,
    /// Additional variables.
    pub variables: &'a [Assignment],
    /// Variables of the container.
    pub configured: &'a [(String, String)],
    /// Variables of the client.
    pub client: &'a BTreeMap<String, String>,
}

/// A program ready to be executed.
#[derive(Debug)]
pub struct Program {
    identity: Identity,
    arguments: Vec<CString>,
    /// Candidate files, in this order.
    files: Vec<CString>,
    /// The requested name; `None` for a login shell.
    name: Option<String>,
    environment: Vec<CString>,
    directory: Directory,
    filters: Filters,
}

#[derive(Debug)]
enum Directory {
    /// A missing directory is an error.
    Required(String),
    /// A missing directory is replaced by the root directory.
    Home(String),
}

/// A running program.
#[derive(Debug)]
pub struct Running {
    /// The process to wait for; it leads its own session once the program runs.
    pub child: Pid,
    /// Its wire, for errors before the program is executed.
    pub wire: OwnedFd,
    /// Its terminal, if it has one.
    pub terminal: Option<Pty>,
    /// Whether the child first reports that it runs.
    pub says_begun: bool,
    /// The container's control groups that it is in, if any.
    pub groups: Option<Joining>,
}

/// Why the program does not run, and the exit code for that.
#[derive(Debug)]
pub struct Failure {
    /// 125, 126 or 127.
    pub code: ExitCode,
    /// The message.
    pub error: Error,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { code: ExitCode::RunFailed, error }
    }
}

impl Program {
    /// Makes all decisions before the process exists. `root` is the container's tree.
    ///
    /// # Errors
    /// A user that does not exist in the container, or must not log in.
    pub fn prepare(root: &Root, wish: &Wish<'_>, filters: Filters) -> Result<Self> {
        let identity = look_up(root, wish.user)?;
        if let Some(bad) = wish.variables.iter().find(|variable| variable.key.contains('\0')) {
            bail!("{}: not a valid name of a variable", bad.key.escape_debug());
        }
        let login = wish.words.is_empty();
        if login && identity.may_not_log_in() {
            let name = identity.name.as_deref().unwrap_or_default();
            bail!(
                "the login shell of {name} is {}, which refuses logins; give a command instead",
                identity.shell
            );
        }
        let environment = environment(&identity, wish);
        let directory = match wish.directory {
            Some(path) => Directory::Required(path.to_string_lossy().into_owned()),
            None if login => Directory::Home(identity.home.clone()),
            None => Directory::Home("/".into()),
        };
        let (files, arguments) = match wish.words.split_first() {
            Some((name, _)) => (candidates(name, &environment), wish.words.to_vec()),
            None => (login_shells(&identity), Vec::new()),
        };
        let environment = environment.iter().map(|(name, value)| format!("{name}={value}"));
        Ok(Self {
            arguments: strings(arguments)?,
            files: strings(files)?,
            name: wish.words.first().cloned(),
            environment: strings(environment)?,
            identity,
            directory,
            filters,
        })
    }

    /// Uses the user's home directory, or / if it does not exist, as the working directory.
    #[must_use]
    pub fn at_home(mut self) -> Self {
        if matches!(self.directory, Directory::Home(_)) {
            self.directory = Directory::Home(self.identity.home.clone());
        }
        self
    }

    /// Whether another process answers its calls.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.filters.answered
    }

    /// The user of the program.
    #[must_use]
    pub fn user(&self) -> Uid {
        self.identity.user
    }

    /// Executes the program. The calling process is in the container and has no other task. `terminal` becomes its
    /// controlling terminal and its standard streams; without one, they are unchanged. If another process answers its
    /// calls, `hand_over` sends it the descriptor for that.
    pub fn execute(
        &self,
        terminal: Option<BorrowedFd<'_>>,
        proc: BorrowedFd<'_>,
        wire: &Wire,
        hand_over: &dyn Fn(&OwnedFd) -> Result<()>,
    ) -> Failure {
        match self.prepare_process(terminal, proc, wire, hand_over) {
            Ok(()) => self.try_files(),
            Err(error) => error.into(),
        }
    }

    fn prepare_process(
        &self,
        terminal: Option<BorrowedFd<'_>>,
        proc: BorrowedFd<'_>,
        wire: &Wire,
        hand_over: &dyn Fn(&OwnedFd) -> Result<()>,
    ) -> Result<()> {
        call!(setsid(), "setsid")?;
        if let Some(terminal) = terminal {
            call!(terminal::make_controlling(terminal), "ioctl(terminal, TIOCSCTTY)")?;
            for number in 0..=2 {
                call!(descriptor::make_standard(terminal, number), "dup2(terminal, {number})")?;
            }
        }
        call!(descriptor::close_on_exec_from(3, proc), "close_range(3, CLOEXEC)")?;
        call!(signal::reset_all(), "sigaction")?;
        umask(Mode::from_bits_truncate(0o022));
        // While this process is still root: a filter without no_new_privs needs CAP_SYS_ADMIN.
        if let Some(listener) = privilege::install(&self.filters)? {
            hand_over(&listener)?;
        }
        let Identity { user, group, groups, .. } = &self.identity;
        call!(setgroups(groups), "setgroups")?;
        call!(setresgid(*group, *group, *group), "setresgid({group})")?;
        call!(setresuid(*user, *user, *user), "setresuid({user})")?;
        // Not earlier, because changing the user clears it.
        call!(process::set_parent_death_signal(Signal::SIGKILL), "prctl(PR_SET_PDEATHSIG)")?;
        if wire.is_abandoned() {
            bail!("the client has ended");
        }
        self.enter_directory()
    }

    fn enter_directory(&self) -> Result<()> {
        match &self.directory {
            Directory::Required(path) => {
                call!(chdir(path.as_str()), "chdir({path})")
                    .with_context(|| format!("cannot change to the directory {path}"))?;
            }
            Directory::Home(path) => {
                if chdir(path.as_str()).is_err() {
                    call!(chdir("/"), "chdir(/)")?;
                }
            }
        }
        // A path such as /proc/self/fd/7 may lead out of the container (CVE-2024-21626).
        if !call!(process::working_directory_is_inside(), "getcwd")? {
            bail!("the working directory is outside the container");
        }
        Ok(())
    }

    /// Like execvp(3): executes the first candidate that can be executed. An error about an existing file takes
    /// precedence over one about a missing file.
    fn try_files(&self) -> Failure {
        let mut refused = None;
        for file in &self.files {
            let arguments = if self.name.is_none() { &login_arguments(file)[..] } else { &self.arguments };
            let Err(errno) = execve(file, arguments, &self.environment);
            match errno {
                Errno::ENOENT | Errno::ENOTDIR => {}
                Errno::EACCES if self.files.len() > 1 => refused = refused.or(Some((file, errno))),
                _ => {
                    refused = Some((file, errno));
                    break;
                }
            }
        }
        // A script whose interpreter is missing causes the same error as a missing script.
        let there = || self.files.iter().find(|file| stat(file.as_c_str()).is_ok());
        match refused.or_else(|| there().map(|file| (file, Errno::ENOENT))) {
            Some((file, errno)) => {
                Failure { code: ExitCode::NotExecutable, error: refusal::explain(file, errno) }
            }
            None => self.not_found(),
        }
    }

    fn not_found(&self) -> Failure {
        let error = match &self.name {
            Some(name) if name.contains('/') => anyhow!("{name}: no such file in the container"),
            Some(name) => anyhow!("{name}: command not found in the container; see its PATH"),
            None => {
                let files: Vec<_> = self.files.iter().map(|file| file.to_string_lossy()).collect();
                anyhow!("the container has no shell: none of {} exists", files.join(", "))
            }
        };
        Failure { code: ExitCode::NotFound, error }
    }
}

/// The variables in increasing precedence: the container's, the user's, those of the client's terminal, and the
/// requested ones.
fn environment(identity: &Identity, wish: &Wish<'_>) -> Vec<(String, String)> {
    let mut environment: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| {
        environment.retain(|(other, _)| other != name);
        environment.push((name.to_owned(), value.to_owned()));
    };
    wish.configured.iter().for_each(|(name, value)| set(name, value));
    set("HOME", &identity.home);
    if let Some(name) = &identity.name {
        set("USER", name);
        set("LOGNAME", name);
    }
    set("SHELL", if identity.shell.is_empty() { "/bin/sh" } else { &identity.shell });
    for name in OF_CLIENT {
        if let Some(value) = wish.client.get(name) {
            set(name, value);
        }
    }
    wish.variables.iter().for_each(|variable| set(&variable.key, &variable.value));
    environment
}

/// The files that a command name may refer to: itself if it contains a `/`, otherwise one in each directory of PATH.
fn candidates(name: &str, environment: &[(String, String)]) -> Vec<String> {
    if name.contains('/') {
        return vec![name.to_owned()];
    }
    let path = environment.iter().find(|(variable, _)| variable == "PATH").map_or(PATH, |(_, path)| path);
    path.split(':')
        // POSIX: an empty entry is the working directory.
        .map(
            |directory| {
                if directory.is_empty() { format!("./{name}") } else { format!("{directory}/{name}") }
            },
        )
        .filter(|_| !name.is_empty())
        .collect()
}

/// The user's own shell, then common ones.
fn login_shells(identity: &Identity) -> Vec<String> {
    let own = Some(identity.shell.as_str()).filter(|shell| shell.starts_with('/'));
    own.into_iter().chain(SHELLS.into_iter().filter(|shell| own != Some(shell))).map(str::to_owned).collect()
}

/// The sign of a login shell: a name with a leading `-`.
fn login_arguments(file: &CString) -> [CString; 1] {
    let name = file.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    // A part of a string without NUL contains none.
    [CString::new([b"-", name].concat()).unwrap_or_default()]
}

/// Arguments and variables for execve(2).
///
/// # Errors
/// If one contains a NUL character.
pub fn strings(texts: impl IntoIterator<Item = String>) -> Result<Vec<CString>> {
    texts
        .into_iter()
        .map(|text| {
            CString::new(decode(&text)).context("the command or the environment contains a NUL character")
        })
        .collect()
}

#[cfg(test)]
#[path = "program_tests.rs"]
mod tests;
