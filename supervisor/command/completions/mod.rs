//! `ds completions SHELL`: a script that completes verbs, options, container names and files.
//!
//! Owns the generation of the scripts. Options come from `cli::table` and keys from `config::SCHEMA`, so a new option
//! is completed automatically. The scripts run `ds list --names` for the names of containers. Needs no supervisor, no
//! root and no data directory.

mod bash;
mod fish;
mod kind;
mod zsh;

use crate::{
    cli::{Completions, ShellKind, table},
    command::print,
    exit::ExitCode,
};
use anyhow::Result;
use std::io::Write;

/// Prints the script for the shell in `arguments`.
///
/// # Errors
/// If `output` cannot be written.
pub fn run(arguments: &Completions, output: &mut impl Write) -> Result<ExitCode> {
    let verbs = table::verbs();
    let script = match arguments.shell {
        ShellKind::Bash => bash::script(&verbs),
        ShellKind::Zsh => zsh::script(&verbs),
        ShellKind::Fish => fish::script(&verbs),
    };
    print(output, &script)
}

#[cfg(test)]
mod tests {
    use super::kind::{keys, quoted};
    use super::*;
    use crate::cli::table::FlagValue;
    use std::collections::BTreeSet;

    #[test]
    fn it_is_known_what_goes_where_every_placeholder_stands() {
        let mut names = BTreeSet::new();
        for verb in table::verbs() {
            names.extend(verb.operands.iter().map(|operand| operand.placeholder.0));
            names.extend(verb.options.iter().filter_map(|option| match option.value {
                FlagValue::None => None,
                FlagValue::Required(name) | FlagValue::Optional(name) => Some(name.0),
            }));
        }
        let without_choices: Vec<&str> = names.into_iter().filter(|name| !name.contains('|')).collect();
        // Before you add a name here, check what `Kind::of` returns for it.
        let decided = [
            "ADDRESS",
            "ARCH",
            "CMD",
            "DIGITS",
            "DIR",
            "FILE",
            "KEY",
            "KEY=VALUE",
            "LINES",
            "NAME",
            "NEW_NAME",
            "PASSWORD",
            "REQUEST",
            "SEARCH",
            "SECONDS",
            "SIZE",
            "SRC",
            "USER",
            "VAR=VALUE",
            "VERB",
            "WORKDIR",
        ];
        assert_eq!(without_choices, decided);
    }

    #[test]
    fn every_script_has_every_verb_and_every_option() {
        let verbs = table::verbs();
        for script in [bash::script(&verbs), zsh::script(&verbs), fish::script(&verbs)] {
            for verb in &verbs {
                assert!(script.contains(verb.name), "{}", verb.name);
                for option in &verb.options {
                    assert!(script.contains(option.long), "{} {}", verb.name, option.long);
                }
            }
            for key in keys() {
                assert!(script.contains(&key), "{key}");
            }
            assert!(script.contains("ds list --names"));
        }
    }

    #[test]
    fn quotes_survive_quoting() {
        assert_eq!(quoted("a'b"), r"'a'\''b'");
    }
}
