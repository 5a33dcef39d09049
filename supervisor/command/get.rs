//! `ds get`: prints a container's configuration as of its next start, including defaults. Changes nothing.

use std::collections::BTreeMap;
use std::io;

use anyhow::{Context, Result};
use serde::Serialize;

use super::state::existing;
use super::{output, print};
use crate::cli;
use crate::config::{Config, Form, KEYS, Key};
use crate::durable;
use crate::exit::ExitCode;
use crate::worker::Env;

/// Maximum size of a configuration file, in bytes.
const LONGEST: u64 = 1 << 20;

/// The document of `--json`.
#[derive(Serialize)]
struct Document {
    settings: Vec<Setting>,
    environment: BTreeMap<String, String>,
}

/// One key, from the table of the configuration.
#[derive(Serialize)]
struct Setting {
    key: String,
    section: &'static str,
    name: &'static str,
    value: String,
    default: &'static str,
    /// `choice`, `choices` or `text`.
    form: &'static str,
    /// The words of a choice.
    words: &'static [&'static str],
    /// The form of a text: a word in capitals.
    kind: Option<&'static str>,
    about: &'static str,
    example: &'static str,
}

/// Prints one value, or all keys with their values.
///
/// # Errors
/// If there is no such container or key, or the configuration is not valid.
pub fn run(arguments: &cli::Get, env: &Env) -> Result<ExitCode> {
    let name = existing(env, &arguments.name)?;
    let file = env.paths.container_ini(&name);
    if arguments.file {
        let text = durable::read(&file, LONGEST).with_context(|| format!("read {}", file.display()))?;
        return print(&mut io::stdout(), &String::from_utf8_lossy(&text));
    }
    let config = Config::load(&file, &name)?;
    if arguments.json {
        return output::json(&document(&config));
    }
    let text = match &arguments.key {
        Some(key) => format!("{}\n", config.get(key)?),
        None => config.settings().iter().map(|(key, value)| format!("{key} = {value}\n")).collect(),
    };
    print(&mut io::stdout(), &text)
}

fn document(config: &Config) -> Document {
    let mut values: BTreeMap<String, String> = config.settings().into_iter().collect();
    let settings = KEYS.iter().map(|key| setting(key, values.remove(&key.full_name()))).collect();
    let free = |(key, value): (String, String)| Some((key.strip_prefix("environment.")?.to_owned(), value));
    Document { settings, environment: values.into_iter().filter_map(free).collect() }
}

fn setting(key: &Key, value: Option<String>) -> Setting {
    let (form, words, kind) = match key.form {
        Form::OneOf(words) => ("choice", words, None),
        Form::SomeOf(words) => ("choices", words, None),
        Form::Text(kind) => ("text", &[][..], Some(kind)),
    };
    Setting {
        key: key.full_name(),
        section: key.section,
        name: key.name,
        value: value.unwrap_or_default(),
        default: key.default,
        form,
        words,
        kind,
        about: key.about,
        example: key.example,
    }
}
