//! From the words of a command line to one typed verb.
//!
//! Owns the order: `compat` translates the words of older tools, `normalise` prepares them for argh, and `rules` checks
//! the result. Reads nothing but its arguments.

use std::ffi::OsString;
use std::path::Path;

use argh::{EarlyExit, FromArgs};

use super::normalise::{Normalised, normalise, shown};
use super::usage::Usage;
use super::{Command, bytes, compat, help, rules, table};

/// A valid command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The verb and its arguments.
    pub command: Command,
}

/// Splits the arguments of the process into argv[0] and the rest, as text.
pub fn arguments(argv: impl IntoIterator<Item = OsString>) -> (String, Vec<String>) {
    let mut argv = argv.into_iter();
    let program = argv.next().map_or_else(|| "ds".to_owned(), |name| name.to_string_lossy().into_owned());
    (program, argv.map(|word| bytes::encode(&word)).collect())
}

/// Refuses a word that is not UTF-8: names, keys and JSON are UTF-8, and a message cannot show any other path. Only the
/// command of a container may have such words.
fn check_text(words: &[String], parsed: &Result<Command, Usage>) -> Result<(), Usage> {
    let Some(index) = words.iter().position(|word| !bytes::is_text(word)) else { return Ok(()) };
    let command = match parsed {
        Ok(Command::Run(run)) => run.command.len(),
        Ok(Command::Shell(shell)) => shell.command.len(),
        _ => 0,
    };
    if index >= words.len() - command {
        return Ok(());
    }
    let word = bytes::decode(&words[index]);
    let what = format!("argument {} is not UTF-8: {}", index + 1, shown(&String::from_utf8_lossy(&word)));
    Err(Usage::mistake("ds", &what))
}

/// Parses a command line. `program` is argv[0], whose last component selects the grammar: that of an older tool that
/// `compat` knows, or that of `ds`. `words` are the arguments after it.
///
/// # Errors
/// The help, if it was requested, or a usage error of one line.
pub fn command_line(program: &str, words: &[String]) -> Result<Invocation, Usage> {
    let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or("ds");
    let parsed = match compat::Tool::named(name) {
        Some(tool) => compat::translate(tool, words).and_then(|words| parse_ds(&words)),
        None => parse_ds(words),
    };
    check_text(words, &parsed)?;
    Ok(Invocation { command: parsed? })
}

/// Parses the words after `ds`.
fn parse_ds(words: &[String]) -> Result<Command, Usage> {
    let Some((first, rest)) = words.split_first() else {
        return Err(Usage::help(help::overview()));
    };
    match first.as_str() {
        "--help" | "-h" => build("help", rest),
        "--version" | "-V" => build("version", rest),
        "--" => parse_ds(rest),
        option if option.starts_with('-') => {
            let what =
                format!("unknown option {}; options come after the verb; see 'ds help'", shown(option));
            Err(Usage::mistake("ds", &what))
        }
        name => build(name, rest),
    }
}

/// Builds the command of the verb `name` from the words after it.
fn build(name: &str, words: &[String]) -> Result<Command, Usage> {
    let Some(verb) = table::verb(name) else {
        let what = rules::check_verb(name).err().unwrap_or_default();
        return Err(Usage::mistake("ds", &what));
    };
    let mistake = |what: String| Usage::mistake(&format!("ds: {name}"), &what);
    let words = match normalise(&verb, words).map_err(mistake)? {
        Normalised::Help => return Err(Usage::help(help::verb(&verb))),
        Normalised::Words(words) => words,
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let command = Command::from_args(&["ds", name], &words).map_err(|exit| mistake(explain(&exit)))?;
    rules::check(&command).map_err(mistake)?;
    Ok(command)
}

/// Rephrases argh's message about an invalid value. Puts any other message on one line.
fn explain(exit: &EarlyExit) -> String {
    let text = exit.output.trim();
    let parts = text.split_once("' with value '");
    match parts.and_then(|(what, rest)| Some((what, rest.rsplit_once("': ")?))) {
        Some((what, (value, why))) => match what.strip_prefix("Error parsing option '") {
            Some(option) => format!("{option}: {} {why}", shown(value)),
            None => format!("{} {why}", shown(value)),
        },
        None => text.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}
