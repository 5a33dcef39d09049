//! `ds stats`: what containers use now.
use super::Env;
use crate::{cli, exit::ExitCode};
use anyhow::Result;
/// a
/// # Errors
/// b
pub fn run(_a: &cli::Stats, _e: &Env) -> Result<ExitCode> {
    super::not_yet::run()
}
