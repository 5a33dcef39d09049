//! `ds list`: all containers and their states. Changes nothing.

use std::io;

use anyhow::Result;
use serde::Serialize;

use super::state::{Summary, known, names};
use super::{output, print};
use crate::cli;
use crate::config::value::Name;
use crate::exit::ExitCode;
use crate::units;
use crate::worker::Env;

#[derive(Serialize)]
struct Document {
    containers: Vec<Summary>,
}

/// Prints the list.
///
/// # Errors
/// If standard output cannot be written.
pub fn run(arguments: &cli::List, env: &Env) -> Result<ExitCode> {
    let names = names(env);
    if arguments.names {
        let text: String = names.iter().map(|name| format!("{name}\n")).collect();
        return print(&mut io::stdout(), &text);
    }
    // A container that was deleted in the meantime is left out.
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
    let restarts =
        || container.restart_in_s.map(|seconds| format!("restarts in {}", units::duration(seconds)));
    let waits = || container.waits_for.as_ref().map(|what| format!("waits for the {what}"));
    let note = container.problem.clone().or_else(restarts).or_else(waits);
    let note = note.or_else(|| container.autostart_off.clone());
    let privileged = (container.privileged != "no").then(|| format!("privileged: {}", container.privileged));
    let note = privileged.into_iter().chain(note).collect::<Vec<_>>().join("; ");
    let autostart = match (container.autostart, &container.autostart_off) {
        (true, None) => "yes",
        (true, Some(_)) => "off",
        (false, _) => "no",
    };
    [
        container.name.to_string(),
        container.state.as_str().to_owned(),
        container.pid.map_or_else(dash, |pid| pid.to_string()),
        autostart.to_owned(),
        container.priority.to_string(),
        container.uptime_s.map_or_else(dash, units::duration),
        note,
    ]
}
