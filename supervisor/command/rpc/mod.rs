//! `ds rpc REQUEST`: one request of a program, answered with JSON documents, one a line.
//!
//! A request is a command line of `ds` ([`request::Call::Command`]), read by the parser of the command line and run by
//! the table of verbs, or something that only a page needs: a subscription, a terminal, a directory, the cancellation
//! of a job. docs/rpc.md is the contract. Text of a caller never reaches a shell. Every fault is one line with a code
//! and a sentence.

mod context;
mod directory;
mod interactive;
mod jobs;
mod machine;
mod relay;
mod request;
mod subscription;
mod terminal;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use serde_json::json;

pub use self::context::Verbs;
use self::context::emit;
use self::relay::Relay;
use self::request::{Call, CommandLine, Fault};
pub use self::terminal::deliver;
use super::{output, print};
use crate::cli::usage::Usage;
use crate::cli::{self, Command, parse, table};
use crate::exit::ExitCode;
use crate::log::{self as sinks, Role};
use crate::worker::Env;

/// Answers one request.
///
/// # Errors
/// If standard output is not available. The answer to an invalid request is an error document.
pub fn run(arguments: &cli::Rpc, env: &Env, verbs: Verbs<'_>) -> Result<ExitCode> {
    let answers = io::stdout().as_fd().try_clone_to_owned().context("dup(stdout)")?;
    sinks::send_events_to(Some(File::from(answers)));
    sinks::take_role(Role::Events);
    let answered = request::decode(&arguments.request).and_then(|call| answer(call, env, verbs));
    Ok(answered.unwrap_or_else(|fault| {
        let _ = sinks::tell(&fault.document());
        fault.exit_code()
    }))
}

fn answer(call: Call, env: &Env, verbs: Verbs<'_>) -> Result<ExitCode, Fault> {
    match call {
        Call::Command(line) => command(&line, env, verbs),
        Call::Subscribe(wish) => Ok(subscription::run(&wish, env)?),
        Call::Terminal(wish) => Ok(terminal::run(wish, env)?),
        Call::Directory(path) => Ok(directory::run(&path)?),
        Call::Cancel(id) => done(jobs::cancel(&env.paths, &id)),
        Call::Forget(id) => done(jobs::forget(&env.paths, &id)),
    }
}

fn done(result: Result<()>) -> Result<ExitCode, Fault> {
    result?;
    Ok(output::json(&json!({ "done": true, "code": 0 }))?)
}

/// Runs a command line: with `--json` where the verb has that, otherwise with its text as events.
fn command(line: &CommandLine, env: &Env, verbs: Verbs<'_>) -> Result<ExitCode, Fault> {
    let (command, speaks_json) = match parsed(&line.argv) {
        Ok(parsed) => parsed,
        Err(usage) if usage.to_stdout => {
            output::json(&json!({ "event": "output", "text": usage.text }))?;
            return done(Ok(()));
        }
        Err(usage) => return Err(Fault::new("usage", usage.text.trim_end().trim_start_matches("ds: "))),
    };
    interactive::refuse(&command)?;
    if let Some(input) = &line.input {
        relay::give_input(input)?;
    }
    if line.job {
        return Ok(jobs::run(&command, line.input.is_some(), env, verbs)?);
    }
    if speaks_json {
        return Ok((verbs.perform)(&command));
    }
    let relay = Relay::begin()?;
    let code = (verbs.perform)(&command);
    relay.end()?;
    emit(&json!({ "done": true, "code": code.number() }))?;
    Ok(code)
}

/// The command, and whether its output is JSON.
fn parsed(words: &[String]) -> Result<(Command, bool), Usage> {
    let read = |words: &[String]| parse::command_line("ds", words).map(|invocation| invocation.command);
    let plain = read(words)?;
    let has_json =
        words.first().and_then(|name| table::verb(name)).is_some_and(|verb| verb.long("json").is_some());
    if !has_json {
        return Ok((plain, false));
    }
    let mut with_json = words.to_vec();
    if with_json.iter().take_while(|word| *word != "--").any(|word| word == "--json") {
        return Ok((plain, true));
    }
    with_json.insert(1, "--json".to_owned());
    // Some options exclude JSON: their output is text.
    Ok(read(&with_json).map_or((plain, false), |command| (command, true)))
}

/// The answer if no supervisor is available.
///
/// # Errors
/// If standard output cannot be written.
pub fn unavailable(sentence: &str, output: &mut impl Write) -> Result<ExitCode> {
    let document = Fault::new("unavailable", sentence).document().to_string();
    print(output, &format!("{}\n", crate::screen::json(&document)))?;
    Ok(ExitCode::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_verb_with_json_answers_in_json_unless_its_options_say_otherwise() {
        for (line, json) in [
            ("list", true),
            ("list --json", true),
            ("list --names", false),
            ("info web", true),
            ("info web --pid", false),
            ("get web hostname", false),
            ("start web", false),
            ("run web -- ls --json", false),
            ("supervisor status", true),
            ("supervisor reload", false),
            ("check", true),
        ] {
            let (_, speaks) = parsed(&words(line)).unwrap();
            assert_eq!(speaks, json, "{line}");
        }
        assert!(parsed(&words("lst")).is_err());
    }
}
