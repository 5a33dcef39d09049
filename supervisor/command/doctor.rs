//! `ds doctor`: what containers use now.
use super::Env;
use crate::{cli, exit::ExitCode};
use anyhow::Result;
/// a
/// # Errors
/// b
pub fn run(_a: &cli::Doctor, _e: &Env) -> Result<ExitCode> {
    super::not_yet::run()
}
