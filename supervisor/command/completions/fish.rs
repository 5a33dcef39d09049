//! The completion script for fish: one `complete` line for each verb, option and operand, generated from `cli::table`.
//!
//! See complete(1) of fish. Conditions check the first word after `ds` and no other word, so that a container may have
//! the name of a verb.

use super::kind::{Kind, is_last, keys};
use crate::cli::table::{Arity, Flag, FlagValue, Operand, Placeholder, Verb};
use std::fmt::Write;

const HEAD: &str = "\
# fish completion for ds, written by 'ds completions fish'

function __ds_names
    command ds list --names 2>/dev/null
end

function __ds_needs_verb
    test (count (commandline -opc)) -eq 1
end

function __ds_verb
    set -l words (commandline -opc)
    test (count $words) -gt 1; and test $words[2] = $argv[1]
end

# Whether the next operand of verb $argv[1] is number $argv[2].
function __ds_operand
    __ds_verb $argv[1]; or return
    set -l words (commandline -opc)
    test (count (string match -v -- '-*' $words[3..-1])) -eq (math $argv[2] - 1)
end

complete -c ds -f
";

/// Writes the script.
pub(super) fn script(verbs: &[Verb]) -> String {
    let mut text = String::from(HEAD);
    for verb in verbs {
        let summary = quoted(verb.summary());
        let _ = writeln!(text, "complete -c ds -n __ds_needs_verb -a {} -d {summary}", verb.name);
    }
    let names: Vec<&str> = verbs.iter().map(|verb| verb.name).collect();
    for verb in verbs {
        for option in &verb.options {
            let _ = writeln!(text, "{}", option_line(verb, option, &names));
        }
        for (index, operand) in verb.operands.iter().enumerate() {
            if let Some(line) = operand_line(verb, index + 1, operand, &names) {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    text
}

fn option_line(verb: &Verb, option: &Flag, verbs: &[&str]) -> String {
    let mut line = format!("complete -c ds -n '__ds_verb {}' -l {}", verb.name, option.long);
    if let Some(letter) = option.short {
        let _ = write!(line, " -s {letter}");
    }
    if let FlagValue::Required(placeholder) = option.value {
        let _ = write!(line, " -r {}", offer(placeholder, verbs).unwrap_or_else(|| "-f".to_owned()));
    }
    let _ = write!(line, " -d {}", quoted(option.description));
    line
}

fn operand_line(verb: &Verb, number: usize, operand: &Operand, verbs: &[&str]) -> Option<String> {
    if matches!(operand.arity, Arity::Command | Arity::OptionalCommand) {
        return None;
    }
    let condition = if is_last(operand.arity) {
        format!("__ds_verb {}", verb.name)
    } else {
        format!("__ds_operand {} {number}", verb.name)
    };
    Some(format!("complete -c ds -n '{condition}' {}", offer(operand.placeholder, verbs)?))
}

/// The options of `complete` that offer the candidates; `None` if there are none.
fn offer(placeholder: Placeholder, verbs: &[&str]) -> Option<String> {
    Some(match Kind::of(placeholder) {
        Kind::Containers => "-f -a '(__ds_names)'".to_owned(),
        Kind::Verbs => format!("-f -a '{}'", verbs.join(" ")),
        Kind::Files => "-F".to_owned(),
        Kind::Directories => "-f -a '(__fish_complete_directories)'".to_owned(),
        Kind::Words(words) => format!("-f -a '{}'", words.join(" ")),
        Kind::Keys => format!("-f -a '{}'", keys().join(" ")),
        Kind::Settings => format!("-f -a '{}='", keys().join("= ")),
        Kind::Anything => return None,
    })
}

/// Text in single quotes, in which fish interprets `\'` and `\\`.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}
