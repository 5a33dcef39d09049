//! The verbs, one file each: `pub fn run(arguments, &Env) -> Result<ExitCode>`, which a worker runs.
//!
//! Owns the parts of the output that verbs share. A command writes its result to stdout through `output` and its
//! warnings through `log::warn!`. It returns any other problem as an error, which is printed as one line on stderr.

pub mod cache;
pub mod check;
pub mod completions;
pub mod console;
pub mod convert;
pub mod copy;
pub mod create;
pub mod dispatch;
pub mod doctor;
pub mod enter;
pub mod export;
pub mod freeze;
pub mod get;
pub mod help;
pub mod images;
pub mod import;
pub mod info;
pub mod list;
pub mod login;
mod logs;
pub mod module;
pub mod output;
pub mod progress;
pub mod pull;
pub mod rename;
pub mod resize;
pub mod restart;
pub mod rm;
pub mod rpc;
pub mod run;
pub mod seed;
pub mod set;
pub mod shell;
pub mod start;
pub mod state;
pub mod stats;
pub mod stop;
pub mod supervise;
pub mod supervisor;
pub mod version;
pub mod web;

use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cli::value::Assignment;
use crate::config::{self, value::Name};
use crate::exit::ExitCode;
use crate::log as sinks;
use crate::screen;
use crate::storage::source::Place;
use crate::worker::Env;

/// The containers that a command line names, in the given order.
fn names(env: &Env, given: &[String], all: bool) -> Result<Vec<Name>> {
    if !all {
        let mut names = Vec::with_capacity(given.len());
        for word in given {
            let name: Name = word.parse()?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        return Ok(names);
    }
    let mut names: Vec<Name> = std::fs::read_dir(env.paths.containers())
        .context("list the containers")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        // Other files in the directory are not containers.
        .filter(|name| env.paths.container(name).is_dir())
        .collect();
    names.sort();
    Ok(names)
}

/// A file, or `-` for standard input.
///
/// # Errors
/// A relative path, if the working directory no longer exists.
fn place(env: &Env, file: &Path) -> Result<Place> {
    Ok(if file.as_os_str() == "-" { Place::Input } else { Place::File(env.path(file)?) })
}

/// The keys and values of a command line, in the form that the configuration expects.
fn assignments(given: &[Assignment]) -> Vec<(&str, &str)> {
    given.iter().map(|assignment| (assignment.key.as_str(), assignment.value.as_str())).collect()
}

/// Reports an error in one line, followed by the invalid line of the configuration file if there is one. Without a
/// client, it goes to the log; a program that sent a request gets it as JSON.
pub fn complain(verb: &str, name: Option<&Name>, error: &anyhow::Error) {
    let name = name.map(|name| format!(" {name}")).unwrap_or_default();
    let line = format!("{verb}{name}: {error:#}");
    let line = screen::line(&line);
    if sinks::sends_events() {
        let _ = sinks::tell(&as_event(error, &line));
        return;
    }
    if sinks::is_daemon() {
        log::error!("{line}");
        return;
    }
    let fault = error.chain().find_map(|cause| cause.downcast_ref::<config::Error>());
    let place = fault.map(config::Error::render).unwrap_or_default();
    let place = place.split_once('\n').map(|(_, place)| format!("{place}\n")).unwrap_or_default();
    let _ = write!(std::io::stderr(), "ds: {line}\n{place}");
}

/// An error as one JSON document: a code, a sentence, and the position and reason of a configuration error.
fn as_event(error: &anyhow::Error, sentence: &str) -> Value {
    let Some(fault) = error.chain().find_map(|cause| cause.downcast_ref::<config::Error>()) else {
        return json!({ "error": { "code": "failed", "message": sentence } });
    };
    let (line, column) = fault.position().unzip();
    json!({ "error": {
        "code": "setting", "message": sentence, "key": fault.what(), "line": line, "column": column,
        "reason": fault.reason(),
    } })
}

/// Prints a result. A closed pipe (`ds help | head -1`) is not an error.
fn print(output: &mut impl Write, text: &str) -> Result<ExitCode> {
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write the result"),
        _ => Ok(ExitCode::Done),
    }
}
