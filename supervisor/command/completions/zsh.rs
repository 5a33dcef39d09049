//! The completion script for zsh: one `_arguments` call for each verb, generated from `cli::table`.
//!
//! It works both as a file `_ds` in a directory of `$fpath` and when it is sourced. See zshcompsys(1), `_arguments`.

use super::kind::{Kind, keys, quoted};
use crate::cli::table::{Arity, Flag, FlagValue, Operand, Placeholder, Verb};
use std::fmt::Write;

const HEAD: &str = r#"#compdef ds
# zsh completion for ds, written by 'ds completions zsh'

_ds_names() {
    local -a names
    names=(${(f)"$(command ds list --names 2>/dev/null)"})
    compadd -a names
}

_ds_keys() {
    compadd "$@" -- KEYS
}

_ds_settings() {
    _ds_keys -S =
}

_ds_verbs() {
    local -a verbs
    verbs=(
"#;

const MIDDLE: &str = "    )
    _describe -t verbs verb verbs
}

_ds() {
    if ((CURRENT == 2)); then
        _ds_verbs
        return
    fi
    shift words
    ((CURRENT--))
    case $words[1] in
";

const TAIL: &str = r#"    esac
}

if [[ $funcstack[1] == _ds ]]; then
    _ds "$@"
else
    compdef _ds ds
fi
"#;

/// Writes the script.
pub(super) fn script(verbs: &[Verb]) -> String {
    let mut text = HEAD.replace("KEYS", &keys().join(" "));
    for verb in verbs {
        let _ = writeln!(text, "        {}", quoted(&format!("{}:{}", verb.name, escaped(verb.summary()))));
    }
    text.push_str(MIDDLE);
    for verb in verbs {
        let _ = write!(text, "        {})\n            _arguments -S", verb.name);
        let places = verb.operands.iter().enumerate().map(|(index, operand)| place(index + 1, operand));
        for argument in verb.options.iter().map(option).chain(places) {
            let _ = write!(text, " \\\n                {argument}");
        }
        text.push_str("\n            ;;\n");
    }
    text.push_str(TAIL);
    text
}

/// One option in the syntax of `_arguments`.
fn option(option: &Flag) -> String {
    let long = format!("--{}", option.long);
    let (long_mark, short_mark, value) = match option.value {
        FlagValue::None => ("", "", String::new()),
        FlagValue::Required(name) => ("=", "+", format!(":{}:{}", name.0, action(name))),
        FlagValue::Optional(name) => ("=-", "-", format!("::{}:{}", name.0, action(name))),
    };
    let rest = format!("[{}]{value}", escaped(option.description));
    let star = if option.repeats { "*" } else { "" };
    match option.short {
        None => quoted(&format!("{star}{long}{long_mark}{rest}")),
        Some(letter) => {
            let excluded = if option.repeats { star.to_owned() } else { format!("(-{letter} {long})") };
            format!("{}{{-{letter}{short_mark},{long}{long_mark}}}{}", quoted(&excluded), quoted(&rest))
        }
    }
}

/// One operand in the syntax of `_arguments`; `number` counts from 1.
fn place(number: usize, operand: &Operand) -> String {
    let name = escaped(operand.placeholder.0);
    let what = action(operand.placeholder);
    quoted(&match operand.arity {
        Arity::One => format!("{number}:{name}:{what}"),
        Arity::Optional => format!("{number}::{name}:{what}"),
        Arity::Many => format!("*:{name}:{what}"),
        // Not `*:::`: with it, zsh offers no options between NAME and the command.
        Arity::Command | Arity::OptionalCommand => format!("*:{name}: "),
    })
}

/// The action that offers the candidates.
fn action(placeholder: Placeholder) -> String {
    match Kind::of(placeholder) {
        Kind::Containers => "_ds_names".to_owned(),
        Kind::Verbs => "_ds_verbs".to_owned(),
        Kind::Files => "_files".to_owned(),
        Kind::Directories => "_files -/".to_owned(),
        Kind::Words(words) => format!("({})", words.join(" ")),
        Kind::Keys => "_ds_keys".to_owned(),
        Kind::Settings => "_ds_settings".to_owned(),
        Kind::Anything => " ".to_owned(),
    }
}

/// Characters with a meaning for `_arguments` and `_describe`.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '[' | ']' | ':' | '\\') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}
