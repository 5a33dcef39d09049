//! The completion script for bash: tables generated from `cli::table`, and one fixed function that walks the words.
//!
//! The function needs only bash 4, not the bash-completion package, which phones lack. See bash(1), "Programmable
//! Completion".

use super::kind::{Kind, is_last, keys};
use crate::cli::table::{Arity, Flag, FlagValue, Operand, Placeholder, Verb};
use std::fmt::Write;

/// The part that does not depend on the verbs.
const WALK: &str = r#"
_ds() {
    local current=${COMP_WORDS[COMP_CWORD]} word kind='' verb='' ended='' index count=0
    COMPREPLY=()
    # What stands before the cursor: the verb, the number of operands, an option that wants a value.
    for ((index = 1; index < COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        if [[ $word == = ]]; then
            # readline splits at equals signs: --option=value, or the middle of key=value.
            if [[ -z $kind ]]; then
                index=$((index + 1))
            fi
        elif [[ -n $kind ]]; then
            kind=''
        elif [[ -z $verb ]]; then
            verb=$word
        elif [[ -z $ended && $word == -- ]]; then
            ended=yes
        elif [[ -z $ended && $word == -?* ]]; then
            _ds_value "$verb $word"
            # An optional value is there only behind an equals sign.
            if [[ $kind == optional && ${COMP_WORDS[index + 1]} != = ]]; then
                kind=''
            fi
        else
            count=$((count + 1))
            _ds_operand "$verb" "$count"
            if [[ $kind == command ]]; then
                return
            fi
            kind=''
        fi
    done
    if [[ $current == = ]]; then
        current=''
        [[ -n $kind ]] || return
    elif ((index > COMP_CWORD)); then
        return
    fi
    if [[ -z $verb ]]; then
        kind="words $_ds_verbs"
    elif [[ -z $kind && -z $ended && $current == -* ]]; then
        _ds_options "$verb"
    elif [[ -z $kind ]]; then
        _ds_operand "$verb" "$((count + 1))"
    fi
    case $kind in
        keys) kind="words $_ds_keys" ;;
        settings) compopt -o nospace 2>/dev/null; kind="words ${_ds_keys// /= }=" ;;
        names) kind="words $(command ds list --names 2>/dev/null)" ;;
        files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
        directories) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
    esac
    if [[ $kind == words\ * ]]; then
        mapfile -t COMPREPLY < <(compgen -W "${kind#words }" -- "$current")
    fi
}
complete -F _ds ds
"#;

/// Writes the script.
pub(super) fn script(verbs: &[Verb]) -> String {
    let names: Vec<&str> = verbs.iter().map(|verb| verb.name).collect();
    let mut text = String::from("# bash completion for ds, written by 'ds completions bash'\n\n");
    let _ = writeln!(text, "_ds_verbs='{}'", names.join(" "));
    let _ = writeln!(text, "_ds_keys='{}'", keys().join(" "));
    text.push_str(&function("_ds_options", "$1", verbs.iter().map(options)));
    text.push_str(&function("_ds_value", "$1", verbs.iter().flat_map(values)));
    text.push_str(&function("_ds_operand", "$1 $2", verbs.iter().flat_map(operands)));
    text.push_str(WALK);
    text
}

/// A shell function that looks up its argument and sets `kind`.
fn function(name: &str, subject: &str, cases: impl Iterator<Item = (String, String)>) -> String {
    let mut text = format!("\n{name}() {{\n    case \"{subject}\" in\n");
    for (pattern, kind) in cases {
        let _ = writeln!(text, "        {pattern}) kind='{kind}' ;;");
    }
    text.push_str("        *) kind='' ;;\n    esac\n}\n");
    text
}

fn options(verb: &Verb) -> (String, String) {
    let words: Vec<String> = verb.options.iter().map(|option| format!("--{}", option.long)).collect();
    (verb.name.to_owned(), format!("words {}", words.join(" ")))
}

fn values(verb: &Verb) -> impl Iterator<Item = (String, String)> {
    verb.options.iter().filter_map(|option| {
        let kind = match option.value {
            FlagValue::None => return None,
            FlagValue::Required(placeholder) => word(placeholder),
            FlagValue::Optional(_) => "optional".to_owned(),
        };
        Some((pattern(verb, option), kind))
    })
}

fn pattern(verb: &Verb, option: &Flag) -> String {
    let long = format!("'{} --{}'", verb.name, option.long);
    option.short.map_or_else(|| long.clone(), |letter| format!("{long} | '{} -{letter}'", verb.name))
}

fn operands(verb: &Verb) -> impl Iterator<Item = (String, String)> {
    verb.operands.iter().enumerate().map(|(index, operand)| {
        let place = if is_last(operand.arity) { "*".to_owned() } else { (index + 1).to_string() };
        (format!("'{} '{place}", verb.name), operand_kind(operand))
    })
}

fn operand_kind(operand: &Operand) -> String {
    match operand.arity {
        Arity::Command | Arity::OptionalCommand => "command".to_owned(),
        Arity::One | Arity::Optional | Arity::Many => word(operand.placeholder),
    }
}

/// The value of `kind` for this operand or option value.
fn word(placeholder: Placeholder) -> String {
    match Kind::of(placeholder) {
        Kind::Containers => "names".to_owned(),
        Kind::Verbs => "words '\"$_ds_verbs\"'".to_owned(),
        Kind::Files => "files".to_owned(),
        Kind::Directories => "directories".to_owned(),
        Kind::Words(words) => format!("words {}", words.join(" ")),
        Kind::Keys => "keys".to_owned(),
        Kind::Settings => "settings".to_owned(),
        Kind::Anything => "anything".to_owned(),
    }
}
