//! `ds list`: all containers and their states.

use std::io;

use anyhow::Result;
use serde::Serialize;

use super::state::{Summary, known, names};
use super::{Env, output, print};
use crate::cli;
use crate::config::value::Name;
use crate::exit::ExitCode;

#[derive(Serialize)]
struct Document {
    containers: Vec<Summary>,
}

/// Prints the list.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(arguments: &cli::List, env: &Env) -> Result<ExitCode> {
    let names = names(env);
    if arguments.names {
        let text: String = names.iter().map(|name| format!("{name}\n")).collect();
        return print(&mut io::stdout(), &text);
    }
    // One that was deleted between the two looks is no container any more.
    let find = |name: &Name| known(env, name).ok().map(|known| known.summary);
    let containers: Vec<Summary> = names.iter().filter_map(find).collect();
    if arguments.json {
        return output::json(&Document { containers });
    }
    let heading = ["NAME", "STATE", "PID", "AUTOSTART", "PRIORITY", "UPTIME", ""].map(str::to_owned);
    let rows: Vec<_> = [heading].into_iter().chain(containers.iter().map(row)).collect();
    output::table(&rows)
}

fn row(container: &Summary) -> [String; 7] {
    let dash = || "-".to_owned();
    let note = match (&container.problem, container.restart_in_s) {
        (Some(problem), _) => problem.clone(),
        (None, Some(seconds)) => format!("restarts in {}", output::duration(seconds)),
        (None, None) => String::new(),
    };
    [
        container.name.to_string(),
        container.state.as_str().to_owned(),
        container.pid.map_or_else(dash, |pid| pid.to_string()),
        if container.autostart { "yes" } else { "no" }.to_owned(),
        container.priority.to_string(),
        container.uptime_s.map_or_else(dash, output::duration),
        note,
    ]
}
