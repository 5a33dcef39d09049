//! One static program with every part that the root tests need beside `ds` itself.
//!
//! As PID 1 of a container, it reports its environment and performs the given steps (`init`). As a command in a
//! container, it shows one thing (`command`). Outside, it creates the namespaces of a test (`sandbox`), enters them
//! (`enter`), and runs a program without the system calls that older kernels lack (`deny`) or with unusual inherited
//! attributes (`odd`). It only reports; the tests decide what is correct.

mod command;
mod deny;
mod enter;
mod inherit;
mod init;
mod report;
mod sandbox;
mod sys;

use anyhow::{Result, bail};
use std::env;
use std::io::{Write, stderr};
use std::process::{ExitCode, id};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match role(&words) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(stderr(), "probe: {error:#}");
            ExitCode::from(99)
        }
    }
}

fn role(words: &[&str]) -> Result<u8> {
    // A sandbox's PID 1 never gets here, because it is forked and not executed.
    if id() == 1 && words.len() < 2 {
        return init::run();
    }
    match words {
        [_, "sandbox", rest @ ..] => sandbox::run(rest),
        [_, "enter", rest @ ..] => enter::run(rest),
        [_, "deny", rest @ ..] => deny::run(rest),
        [_, "odd", rest @ ..] => inherit::odd(rest),
        [_, rest @ ..] if !rest.is_empty() => command::run(rest),
        _ => bail!("no command"),
    }
}
