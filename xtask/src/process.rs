//! Runs other programs, and describes their failures.
//!
//! Owns the error message of a failed command and the low priority of long work. The caller selects the program.
//! waitpid(2).

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Output, Stdio};

/// The number of lines of a quiet command's output that are shown if it fails.
const LINES_SHOWN: usize = 30;

/// A command that runs at a low priority, so that the machine remains responsive.
pub fn nice(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nice");
    command.arg(program);
    command
}

/// Runs `command` on the terminal of the caller.
///
/// # Errors
/// If it cannot be started or does not end with exit code 0.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", name(command)))?;
    if !status.success() {
        bail!("{} {}", name(command), ending(status));
    }
    Ok(())
}

/// Runs `command` without output, and shows the end of its output if it fails.
///
/// # Errors
/// If it cannot be started or does not end with exit code 0.
pub fn run_quietly(command: &mut Command) -> Result<Output> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", name(command)))?;
    if !output.status.success() {
        bail!("{} {}\n{}", name(command), ending(output.status), last_lines(&output));
    }
    Ok(output)
}

/// Runs `command` and returns its stdout; stderr goes to the terminal.
///
/// # Errors
/// If it cannot be started, does not end with exit code 0, or writes something that is not UTF-8.
pub fn read(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", name(command)))?;
    if !output.status.success() {
        bail!("{} {}", name(command), ending(output.status));
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("{} wrote bytes that are not UTF-8", name(command)))
}

/// The end of a process, as the rest of a sentence: `exited with code 3`, `was ended by signal 9`.
pub fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended without an exit status".to_owned(),
    }
}

/// The program and first arguments of a command, short enough for an error message.
fn name(command: &Command) -> String {
    let mut words: Vec<_> = vec![command.get_program()];
    words.extend(command.get_args());
    let start = usize::from(words.len() > 1 && words.first().is_some_and(|word| *word == "nice"));
    let shown: Vec<_> = words.iter().skip(start).take(3).map(|word| word.to_string_lossy()).collect();
    format!("`{}{}`", shown.join(" "), if words.len() > start + 3 { " …" } else { "" })
}

/// The end of a command's output.
fn last_lines(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(LINES_SHOWN)).map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::{nice, read, run, run_quietly};
    use std::process::Command;

    #[test]
    fn output_is_read_whole() {
        assert_eq!(read(Command::new("echo").arg("one two")).unwrap(), "one two\n");
    }

    #[test]
    fn a_failure_names_the_command_and_its_end() {
        let error = run(nice("sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c exit 3` exited with code 3");
        let error = run(Command::new("sh").args(["-c", "kill -9 $$", "a", "b"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c kill -9 $$ …` was ended by signal 9");
    }

    #[test]
    fn a_quiet_failure_shows_what_was_printed() {
        let error = run_quietly(Command::new("sh").args(["-c", "echo because >&2; exit 1"])).unwrap_err();
        assert!(error.to_string().ends_with("  because\n"), "{error}");
    }
}
