//! `ds run`: runs one command in a running container. `session` transfers its input and output.

use std::path::Path;

use anyhow::Result;

use super::complain;
use crate::child::program::{Program, Wish};
use crate::cli;
use crate::cli::value::Assignment;
use crate::config::Config;
use crate::config::value::{Name, UserSpec};
use crate::container::attach::{Attachment, Target};
use crate::exit::ExitCode;
use crate::plan::terms::Terms;
use crate::privilege;
use crate::session::{self, SessionEnd};
use crate::worker::Env;

/// Runs the command and returns its exit code.
///
/// # Errors
/// If the command was not started.
pub fn run(arguments: &cli::Run, env: &Env) -> Result<ExitCode> {
    let visit = Visit {
        verb: "run",
        name: arguments.name.parse()?,
        words: &arguments.command,
        user: arguments.user.as_deref(),
        directory: arguments.workdir.as_deref(),
        variables: &arguments.env,
        terminal: arguments.tty,
    };
    visit.run(env)
}

/// A program for a running container.
#[derive(Debug)]
pub(super) struct Visit<'a> {
    /// The verb, for errors.
    pub verb: &'static str,
    /// The container.
    pub name: Name,
    /// The program and its arguments; a login shell if empty.
    pub words: &'a [String],
    /// The user.
    pub user: Option<&'a str>,
    /// The working directory.
    pub directory: Option<&'a Path>,
    /// Additional environment variables.
    pub variables: &'a [Assignment],
    /// Whether to allocate a terminal.
    pub terminal: bool,
}

impl Visit<'_> {
    /// Runs the program until it ends.
    ///
    /// # Errors
    /// If it was not started. A program that is missing or not executable is reported here instead.
    pub fn run(&self, env: &Env) -> Result<ExitCode> {
        let user = self.user.map(str::parse::<UserSpec>).transpose()?;
        let said = env.knowledge.statuses.get(&self.name).map(Box::as_ref);
        let target = Target::find(&env.paths, &env.client, &self.name, said)?;
        let life = target.life()?;
        // If the container ends, report that as the cause of any failure.
        let mut outcome = self.enter(env, target, user.as_ref()).map_err(|error| life.explain(error))?;
        outcome.failure = outcome.failure.map(|error| life.explain(error));
        Ok(conclude(self.verb, Some(&self.name), outcome))
    }

    fn enter(&self, env: &Env, target: Target, user: Option<&UserSpec>) -> Result<SessionEnd> {
        let terms = match target.terms() {
            Some(terms) => terms.clone(),
            // The monitor is of an older version.
            None => {
                let config = Config::load(&env.paths.container_ini(&self.name), &self.name)?;
                Terms::new(&config, &env.host)
            }
        };
        let wish = Wish {
            words: self.words,
            user,
            directory: self.directory,
            variables: self.variables,
            configured: &terms.environment,
            client: &env.environment,
        };
        let filters = privilege::compile(&terms.filters)?;
        let program = Program::prepare(target.root(), &wish, filters)?;
        let mut attachment = Attachment { target, program: &program, terms: &terms, terminal: self.terminal };
        let running = attachment.start(&env.host, &env.paths, &self.name)?;
        env.supervisor.taken();
        let mut outcome = session::attend(&env.client, running)?;
        if outcome.stillborn {
            let running = attachment.start_again(&env.host, &env.paths, &self.name)?;
            outcome = session::attend(&env.client, running)?;
        }
        Ok(outcome)
    }
}

/// Reports a failure and returns the exit code of the session.
pub(super) fn conclude(verb: &str, name: Option<&Name>, outcome: SessionEnd) -> ExitCode {
    if let Some(failure) = outcome.failure {
        complain(verb, name, &failure);
    }
    outcome.code
}
