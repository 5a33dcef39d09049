//! Runs programs of the host that know a file system in depth: e2fsck(8), mke2fs(8), resize2fs(8), tune2fs(8).
//!
//! Owns how they are found and run: without input, in the C locale, with descriptors instead of paths that could
//! change, and never longer than this process. The caller interprets their exit codes.

use std::env;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use nix::sys::signal::Signal;
use nix::unistd::{AccessFlags, Pid, access, pipe2};

use crate::call;
use crate::poll::PollSet;
use crate::subprocess;
use crate::sys::process::{self, Ended, kill};
use crate::sys::spawn::{Execution, spawn};

/// Directories that may not be in PATH: Android's first, then those of system programs.
const PLACES: [&str; 6] = ["/system/bin", "/vendor/bin", "/sbin", "/usr/sbin", "/bin", "/usr/bin"];
/// How long a program may be silent before the listener is called, in milliseconds.
const PULSE: u16 = 250;
/// The size of the kept output, in bytes: its end explains a failure.
const KEPT: usize = 4 << 10;

/// A program that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    path: PathBuf,
}

/// How a program is run.
pub struct Invocation<'a> {
    /// Its arguments, without the name.
    pub arguments: &'a [&'a OsStr],
    /// Descriptors that it gets under their numbers; [`crate::sys::descriptor::path`] is how an argument names one.
    pub inherited: &'a [BorrowedFd<'a>],
    /// Called for each line of its output and errors; carriage returns also end a line. Backspaces are kept. With
    /// `interrupt`, also called periodically with an empty line while the program is silent.
    pub lines: Option<&'a mut dyn FnMut(&str)>,
    /// The signal that it receives when this process ends.
    pub death_signal: Signal,
    /// A socket; when its other end is closed, the program is ended with SIGTERM.
    pub interrupt: Option<BorrowedFd<'a>>,
}

impl std::fmt::Debug for Invocation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invocation").field("arguments", &self.arguments).finish_non_exhaustive()
    }
}

impl<'a> Invocation<'a> {
    /// Only arguments: no descriptor, no listener, SIGKILL when this process ends.
    #[must_use]
    pub fn new(arguments: &'a [&'a OsStr]) -> Self {
        Self { arguments, inherited: &[], lines: None, death_signal: Signal::SIGKILL, interrupt: None }
    }
}

/// The result of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// Its exit code, or the signal that ended it.
    pub ended: Ended,
    /// The end of its output and errors, in the order of writing.
    pub said: String,
    /// It was ended because the caller's client had ended.
    pub interrupted: bool,
}

impl ToolResult {
    /// Whether its exit code is 0.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.ended == Ended::Exited(0)
    }

    /// Its last line of output, for an error message.
    #[must_use]
    pub fn last_words(&self) -> &str {
        self.said.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it printed nothing")
    }
}

impl Tool {
    /// The program in this file.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Searches for a program in PATH, then in the usual directories.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let places = env::split_paths(&path).filter(|place| place.is_absolute());
        Self::find_in(name, places.chain(PLACES.map(PathBuf::from)))
    }

    fn find_in(name: &str, places: impl Iterator<Item = PathBuf>) -> Option<Self> {
        let mut candidates = places.map(|place| place.join(name));
        candidates
            .find(|path| path.is_file() && access(path, AccessFlags::X_OK).is_ok())
            .map(|path| Self { path })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs it and waits for its end. It has no input, and its environment is PATH and the C locale.
    ///
    /// # Errors
    /// If it cannot be started. Its exit code and output are in the [`ToolResult`].
    pub fn run(&self, invocation: &mut Invocation<'_>) -> Result<ToolResult> {
        self.run_with(invocation, &[])
    }

    /// The same with more variables, `NAME=value`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn run_with(&self, invocation: &mut Invocation<'_>, variables: &[&str]) -> Result<ToolResult> {
        let shown = self.path.display();
        let path = CString::new(self.path.as_os_str().as_bytes()).context("the program's name")?;
        let words = [self.path.as_os_str()];
        let words = words.iter().chain(invocation.arguments);
        let arguments: Vec<CString> = words
            .map(|word| CString::new(word.as_bytes()))
            .collect::<Result<_, _>>()
            .context("an argument")?;
        let places = env::var("PATH").unwrap_or_default();
        let places =
            if places.is_empty() { PLACES.join(":") } else { format!("{places}:{}", PLACES.join(":")) };
        let mut environment =
            vec![CString::new(format!("PATH={places}")).context("PATH")?, c"LC_ALL=C".into()];
        for variable in variables {
            environment.push(CString::new(*variable).context("a variable")?);
        }
        let null = subprocess::null()?;
        let (input, output) = call!(pipe2(OFlag::O_CLOEXEC), "pipe2")?;
        let program = Execution {
            path: &path,
            arguments: &arguments,
            environment: &environment,
            streams: [null.as_fd(), output.as_fd(), output.as_fd()],
            inherited: invocation.inherited,
            death_signal: invocation.death_signal,
        };
        let pid = call!(spawn(&program), "execve({shown})")?;
        drop(output);
        let (said, line) = (Vec::new(), Vec::new());
        let mut speech = Speech { interrupt: invocation.interrupt, pid, interrupted: false, said, line };
        speech.listen(&mut File::from(input), &mut invocation.lines);
        let ended = call!(process::wait(pid), "waitpid({shown})")?;
        Ok(ToolResult { ended, said: speech.said(), interrupted: speech.interrupted })
    }
}

#[derive(PartialEq)]
enum Ready {
    Interrupt,
    Output,
}

/// The output of a running program.
struct Speech<'a> {
    interrupt: Option<BorrowedFd<'a>>,
    pid: Pid,
    interrupted: bool,
    said: Vec<u8>,
    line: Vec<u8>,
}

impl Speech<'_> {
    /// Reads the output to its end, line by line, and keeps its last part.
    fn listen(&mut self, input: &mut File, lines: &mut Option<&mut dyn FnMut(&str)>) {
        let mut buffer = [0_u8; 4096];
        loop {
            self.wait(input, lines);
            let received = match input.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => break,
                Ok(count) => &buffer[..count],
            };
            self.said.extend_from_slice(received);
            if self.said.len() > 2 * KEPT {
                self.said.drain(..self.said.len() - KEPT);
            }
            let Some(tell) = lines.as_deref_mut() else { continue };
            for byte in received {
                match byte {
                    b'\n' | b'\r' => {
                        tell(&String::from_utf8_lossy(&self.line));
                        self.line.clear();
                    }
                    byte if self.line.len() < KEPT => self.line.push(*byte),
                    _ => {}
                }
            }
        }
        if let Some(tell) = lines.as_deref_mut().filter(|_| !self.line.is_empty()) {
            tell(&String::from_utf8_lossy(&self.line));
        }
    }

    /// Waits for output. If the client has ended, ends the program and reads its remaining output.
    fn wait(&mut self, input: &File, lines: &mut Option<&mut dyn FnMut(&str)>) {
        while let Some(interrupt) = self.interrupt {
            let mut set = PollSet::default();
            set.add(Ready::Interrupt, interrupt, PollFlags::empty());
            set.input(Ready::Output, input.as_fd());
            let Ok(ready) = set.wait(PULSE.into()) else { continue };
            if ready.is_empty() {
                lines.iter_mut().for_each(|tell| tell(""));
            }
            if ready.contains(&Ready::Interrupt) {
                self.interrupt = None;
                self.interrupted = true;
                let _ = kill(self.pid, libc::SIGTERM);
            }
            if ready.contains(&Ready::Output) {
                return;
            }
        }
    }

    fn said(&self) -> String {
        let kept = self.said.len().saturating_sub(KEPT);
        String::from_utf8_lossy(&self.said[kept..]).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::descriptor;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    fn script(text: &str) -> (Tool, Vec<&OsStr>) {
        (Tool::find("sh").unwrap(), vec![OsStr::new("-c"), OsStr::new(text)])
    }

    #[test]
    fn a_program_is_an_executable_file_in_the_first_place_that_has_one() {
        let directory = tempfile::tempdir().unwrap();
        let places = ["folder", "plain", "good", "late"].map(|place| directory.path().join(place));
        for place in &places {
            fs::create_dir(place).unwrap();
        }
        fs::create_dir(places[0].join("mke2fs")).unwrap();
        for (place, mode) in [(1, 0o644), (2, 0o755), (3, 0o755)] {
            fs::write(places[place].join("mke2fs"), "").unwrap();
            fs::set_permissions(places[place].join("mke2fs"), fs::Permissions::from_mode(mode)).unwrap();
        }
        let found = Tool::find_in("mke2fs", places.clone().into_iter()).unwrap();
        assert_eq!(found.path(), places[2].join("mke2fs"));
        assert_eq!(Tool::find_in("e2fsck", places.into_iter()), None);
    }

    #[test]
    fn code_signal_output_and_errors_are_returned_in_order() {
        let (sh, arguments) = script("echo one; echo two >&2; printf 'a\\rb'; exit 3");
        let mut heard = Vec::new();
        let mut lines = |line: &str| heard.push(line.to_owned());
        let outcome =
            sh.run(&mut Invocation { lines: Some(&mut lines), ..Invocation::new(&arguments) }).unwrap();
        assert_eq!(outcome.ended, Ended::Exited(3));
        assert_eq!(heard, ["one", "two", "a", "b"]);
        assert_eq!(outcome.said, "one\ntwo\na\rb");
        let (sh, arguments) = script("kill -9 $$");
        let outcome = sh.run(&mut Invocation::new(&arguments)).unwrap();
        assert_eq!(outcome.ended, Ended::Signalled(9));
        assert_eq!(outcome.last_words(), "it printed nothing");
    }

    #[test]
    fn a_program_has_no_input_the_c_locale_and_only_the_descriptors_it_is_given() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "content").unwrap();
        let file = File::open(&path).unwrap();
        let text = format!(
            "read x || echo empty; echo $LC_ALL; cat {}; ls /proc/self/fd",
            descriptor::path(file.as_fd())
        );
        let (sh, arguments) = script(&text);
        let inherited = [file.as_fd()];
        let outcome =
            sh.run(&mut Invocation { inherited: &inherited, ..Invocation::new(&arguments) }).unwrap();
        assert!(outcome.said.starts_with("empty\nC\ncontent"), "{}", outcome.said);
        let (sh, arguments) = script(&text);
        let outcome = sh.run(&mut Invocation::new(&arguments)).unwrap();
        assert!(!outcome.said.contains("content"), "{}", outcome.said);
    }

    #[test]
    fn the_end_of_a_long_output_is_kept() {
        let (sh, arguments) = script("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done");
        let outcome = sh.run(&mut Invocation::new(&arguments)).unwrap();
        assert!(outcome.said.len() <= KEPT);
        assert_eq!(outcome.last_words(), "line 2999");
    }

    #[test]
    fn a_program_ends_with_its_caller() {
        let (sh, arguments) =
            script("trap 'echo tidied; exit 9' TERM; echo ready; while :; do sleep 0.05; done");
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut theirs = Some(theirs);
        let mut lines = |line: &str| {
            if line == "ready" {
                theirs = None;
            }
        };
        let interrupt = Some(ours.as_fd());
        let lines: Option<&mut dyn FnMut(&str)> = Some(&mut lines);
        let outcome = sh.run(&mut Invocation { lines, interrupt, ..Invocation::new(&arguments) }).unwrap();
        assert!(outcome.interrupted);
        assert_eq!((outcome.ended, outcome.last_words()), (Ended::Exited(9), "tidied"));
        drop(theirs);
    }

    #[test]
    fn what_cannot_be_executed_is_an_error() {
        let missing = Tool { path: "/nonexistent/tool".into() };
        let error = missing.run(&mut Invocation::new(&[])).unwrap_err();
        assert!(error.to_string().contains("execve(/nonexistent/tool)"), "{error:#}");
    }
}
