//! Rules about several arguments of one verb.
//!
//! Owns which options exclude or need each other, and the messages about it. The type of an argument checks the
//! argument alone; `table` has the number of operands. It never looks at configuration keys.

use super::{Command, Create, Form, Import, Pull, Start, SupervisorAction, normalise::shown, table};
use crate::config::value::{AccountName, Name, UserSpec};
use crate::nearest::nearest;
use std::path::Path;

/// Checks a command that argh has parsed.
///
/// # Errors
/// The error message, without the leading `ds: VERB: `.
pub fn check(command: &Command) -> Result<(), String> {
    for name in names(command) {
        name.parse::<Name>().map_err(|fault| fault.to_string())?;
    }
    match command {
        Command::Create(create) => check_create(create),
        Command::Start(start) => check_start(start),
        Command::Stop(stop) => exclusive(&[("--kill", stop.kill), ("--timeout", stop.timeout.is_some())]),
        Command::Web(web) => exclusive(&[("--stop", web.stop), ("--open", web.open), ("--json", web.json)]),
        Command::List(list) => exclusive(&[("--json", list.json), ("--names", list.names)]),
        Command::Get(get) => {
            exclusive(&[("KEY", get.key.is_some()), ("--json", get.json), ("--file", get.file)])
        }
        Command::Set(set) => {
            exclusive(&[("KEY=VALUE", !set.assignments.is_empty()), ("--file", set.file.is_some())])
        }
        Command::Info(info) => exclusive(&[("--json", info.json), ("--pid", info.pid)]),
        Command::Convert(convert) if convert.size.is_some() && convert.form == Form::Directory => {
            Err("--size is only valid with image; a directory has no fixed size".to_owned())
        }
        Command::Export(export) => {
            let to_stdout = export.output.as_ref().is_some_and(|file| file.as_os_str() == "-");
            exclusive(&[("--json", export.json), ("--output -", to_stdout)])
        }
        Command::Import(import) => check_import(import),
        Command::Run(run) => check_session(run.user.as_deref(), run.workdir.as_deref()),
        Command::Enter(enter) => check_session(enter.user.as_deref(), None),
        Command::Shell(shell) => check_session(shell.user.as_deref(), shell.workdir.as_deref()),
        Command::Pull(pull) => check_pull(pull),
        Command::Supervisor(supervisor)
            if supervisor.json && supervisor.action != SupervisorAction::Status =>
        {
            Err("--json is only valid with status".to_owned())
        }
        Command::Supervisor(supervisor)
            if supervisor.binary.is_some() && supervisor.action != SupervisorAction::Reload =>
        {
            Err("--binary is only valid with reload".to_owned())
        }
        Command::Help(help) => help.verb.as_deref().map_or(Ok(()), check_verb),
        _ => Ok(()),
    }
}

/// The names of containers on a command line.
fn names(command: &Command) -> Vec<&str> {
    match command {
        Command::Start(start) => start.names.iter().map(String::as_str).collect(),
        Command::Stop(stop) => stop.names.iter().map(String::as_str).collect(),
        Command::Restart(restart) => restart.names.iter().map(String::as_str).collect(),
        Command::Freeze(freeze) => freeze.names.iter().map(String::as_str).collect(),
        Command::Thaw(thaw) => thaw.names.iter().map(String::as_str).collect(),
        Command::Stats(stats) => stats.name.as_deref().into_iter().collect(),
        Command::Rename(rename) => vec![&rename.name, &rename.new_name],
        Command::Copy(copy) => vec![&copy.name, &copy.new_name],
        Command::Create(create) => vec![&create.name],
        Command::Info(info) => vec![&info.name],
        Command::Get(get) => vec![&get.name],
        Command::Set(set) => vec![&set.name],
        Command::Run(run) => vec![&run.name],
        Command::Enter(enter) => vec![&enter.name],
        Command::Console(console) => vec![&console.name],
        Command::Logs(logs) => vec![&logs.name],
        Command::Remove(remove) => vec![&remove.name],
        Command::Export(export) => vec![&export.name],
        Command::Import(import) => vec![&import.name],
        Command::Resize(resize) => vec![&resize.name],
        Command::Convert(convert) => vec![&convert.name],
        Command::Seed(seed) => vec![&seed.name],
        _ => Vec::new(),
    }
}

fn check_session(user: Option<&str>, workdir: Option<&Path>) -> Result<(), String> {
    if let Some(Err(fault)) = user.map(str::parse::<UserSpec>) {
        return Err(format!("--user: {fault}"));
    }
    match workdir {
        Some(path) if !path.is_absolute() => Err(format!(
            "--workdir: {} is not an absolute path of the container",
            shown(&path.to_string_lossy())
        )),
        _ => Ok(()),
    }
}

/// The source of a download, and its checksum.
fn check_download(source: &str, sha256: Option<&str>) -> Result<(), String> {
    if let Some((scheme, _)) = source.split_once("://")
        && !matches!(scheme, "https" | "http")
    {
        return Err(format!(
            "{}: ds downloads only from https addresses; for a file, give its path",
            shown(source)
        ));
    }
    match sha256 {
        Some(digits) if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Err(format!("--sha256: {} is not a SHA-256; it has 64 hexadecimal digits", shown(digits)))
        }
        _ => Ok(()),
    }
}

fn check_pull(pull: &Pull) -> Result<(), String> {
    check_download(&pull.source, pull.sha256.as_deref())?;
    exclusive(&[("--output", pull.output.is_some()), ("--unpack", pull.unpack)])?;
    let unpacks = pull.output.is_some() || pull.unpack;
    let for_a_tree = [
        ("--password", pull.password.is_some()),
        ("--password-file", pull.password_file.is_some()),
        ("--ssh-key", !pull.ssh_key.is_empty()),
        ("--user", pull.user.is_some()),
        ("--dns", pull.dns.is_some()),
    ];
    if let Some((option, _)) = for_a_tree.iter().find(|(_, given)| *given && !unpacks) {
        return Err(format!("{option} is only valid with --output or --unpack"));
    }
    let Pull { password, password_file, user, .. } = pull;
    check_login(password.as_deref(), password_file.as_deref(), user.as_deref(), false)
}

fn check_import(import: &Import) -> Result<(), String> {
    let Import { file, password, password_file, user, .. } = import;
    let from_input = file.as_os_str() == "-";
    check_login(password.as_deref(), password_file.as_deref(), user.as_deref(), from_input)
}

/// What is said of who may log in; `from_input` when standard input is an archive.
fn check_login(
    password: Option<&str>,
    file: Option<&Path>,
    user: Option<&str>,
    from_input: bool,
) -> Result<(), String> {
    exclusive(&[("--password", password.is_some()), ("--password-file", file.is_some())])?;
    if from_input && file.is_some_and(|file| file.as_os_str() == "-") {
        return Err("the archive is read from stdin; --password-file must be a file".to_owned());
    }
    match user {
        Some("root") => Err("--user: root exists in every system; name an ordinary user".to_owned()),
        Some(user) if user.contains(['$', '.']) => {
            Err(format!("--user: {} is not a name for a user; use letters, digits, '_' and '-'", shown(user)))
        }
        Some(user) => user.parse::<AccountName>().map(drop).map_err(|fault| format!("--user: {fault}")),
        None => Ok(()),
    }
}

/// Refuses an unknown verb and suggests the nearest one.
pub fn check_verb(name: &str) -> Result<(), String> {
    let verbs = table::verbs();
    if verbs.iter().any(|verb| verb.name == name) {
        return Ok(());
    }
    let typed = shown(name);
    if let Some(verb) = verb_elsewhere(name) {
        return Err(format!("unknown verb {typed}; did you mean {verb}?"));
    }
    Err(match nearest(name, verbs.iter().map(|verb| verb.name)) {
        Some(found) if found.is_typo_of(name) => {
            format!("unknown verb {typed}; did you mean {}?", found.word)
        }
        Some(found) => format!("unknown verb {typed}; nearest is {}; see 'ds help'", found.word),
        None => format!("unknown verb {typed}; see 'ds help'"),
    })
}

/// Names that other container tools use for our verbs, where the spelling does not lead to the right one.
fn verb_elsewhere(name: &str) -> Option<&'static str> {
    Some(match name {
        "attach" => "console",
        "boot" | "up" => "start",
        "cp" | "clone" => "copy",
        "delete" | "destroy" | "remove" => "rm",
        "exec" => "run",
        "inspect" | "show" | "status" => "info",
        "kill" | "down" | "poweroff" | "shutdown" => "stop",
        "log" => "logs",
        "login" => "enter",
        "ls" | "ps" => "list",
        "mv" => "rename",
        "new" => "create",
        "pause" | "suspend" => "freeze",
        "reboot" => "restart",
        "search" => "images",
        "top" | "usage" => "stats",
        "unpause" | "resume" | "unfreeze" => "thaw",
        _ => return None,
    })
}

fn exclusive(options: &[(&str, bool)]) -> Result<(), String> {
    let mut given = options.iter().filter(|(_, given)| *given).map(|(name, _)| name);
    match (given.next(), given.next()) {
        (Some(one), Some(other)) => Err(format!("{one} and {other} exclude each other; give one of them")),
        _ => Ok(()),
    }
}

fn check_sources(rootfs: bool, image: bool, from: bool, size: bool) -> Result<(), String> {
    exclusive(&[("--rootfs", rootfs), ("--image", image), ("--from", from)])?;
    if size && !from {
        return Err(
            "--size is only valid with --from; to resize an existing image, use 'ds resize'".to_owned()
        );
    }
    Ok(())
}

fn check_create(create: &Create) -> Result<(), String> {
    let Create { rootfs, image, from, size, .. } = create;
    check_sources(rootfs.is_some(), image.is_some(), from.is_some(), size.is_some())?;
    for (option, given) in [("--arch", create.arch.is_some()), ("--sha256", create.sha256.is_some())] {
        if given && from.is_none() {
            return Err(format!("{option} is only valid with --from"));
        }
    }
    check_download(from.as_deref().unwrap_or_default(), create.sha256.as_deref())?;
    let Create { password, password_file, user, .. } = create;
    let from_input = from.as_deref() == Some("-");
    check_login(password.as_deref(), password_file.as_deref(), user.as_deref(), from_input)?;
    match create.source() {
        Some(_) => Ok(()),
        None => Err("no root file system; give --rootfs DIR, --image FILE or --from SRC".to_owned()),
    }
}

fn check_start(start: &Start) -> Result<(), String> {
    let Start { rootfs, image, from, size, .. } = start;
    check_sources(rootfs.is_some(), image.is_some(), from.is_some(), size.is_some())?;
    check_download(from.as_deref().unwrap_or_default(), None)?;
    if start.names.len() == 1 {
        return Ok(());
    }
    let for_one = [
        ("--rootfs", rootfs.is_some()),
        ("--image", image.is_some()),
        ("--from", from.is_some()),
        ("--volatile", start.volatile),
        ("--set", !start.set.is_empty()),
        ("--foreground", start.foreground),
    ];
    match for_one.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(format!("{option} needs exactly one NAME")),
        None => Ok(()),
    }
}
