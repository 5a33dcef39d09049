//! Tests of whole command lines; those of the parts are beside the parts.

use super::*;
use crate::exit::ExitCode;
use crate::screen::is_hidden;
use proptest::prelude::*;
use std::{path::PathBuf, time::Duration};

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[track_caller]
fn command(line: &str) -> Command {
    match parse::command_line("ds", &words(line)) {
        Ok(invocation) => invocation.command,
        Err(usage) => panic!("{line}: {}", usage.text),
    }
}

#[track_caller]
fn mistake(line: &str) -> String {
    match parse::command_line("ds", &words(line)) {
        Ok(invocation) => panic!("{line}: {:?}", invocation.command),
        Err(usage) => {
            assert!(!usage.to_stdout, "{line}: {}", usage.text);
            usage.text
        }
    }
}

#[test]
fn start_takes_everything_create_does() {
    let Command::Start(start) = command("start test --rootfs /srv/debian --set volatile=yes -f --wait=60")
    else {
        panic!("not start");
    };
    assert_eq!(start.names, ["test"]);
    assert_eq!(start.wait, Some(Wait { timeout: Some(Duration::from_secs(60)) }));
    assert!(start.foreground && !start.all && !start.dry_run);
    let expected = command("create test --set volatile=yes --rootfs=/srv/debian");
    assert_eq!(start.creation().map(Command::Create), Some(expected));
}

#[test]
fn start_of_an_existing_container_creates_nothing() {
    let Command::Start(start) = command("start test --set volatile=yes") else { panic!("not start") };
    assert_eq!(start.creation(), None);
    assert_eq!(start.set, [Assignment::new("volatile", "yes")]);
}

#[test]
fn create_knows_where_the_root_file_system_comes_from() {
    let source = |line: &str| match command(line) {
        Command::Create(create) => create.source(),
        other => panic!("{other:?}"),
    };
    assert_eq!(source("create a --rootfs /r"), Some(RootOption::Directory(PathBuf::from("/r"))));
    assert_eq!(source("create a --image /i.img"), Some(RootOption::Image(PathBuf::from("/i.img"))));
    assert_eq!(source("create a --from debian:13"), Some(RootOption::Archive("debian:13".to_owned())));
}

#[test]
fn run_keeps_the_command_whole() {
    let Command::Run(run) = command("run web -e A=b=c --env D= -w /tmp -u 1000:1000 -t -- sh -c exit") else {
        panic!("not run");
    };
    assert_eq!(run.name, "web");
    assert_eq!(run.command, ["sh", "-c", "exit"]);
    assert_eq!(run.env, [Assignment::new("A", "b=c"), Assignment::new("D", "")]);
    assert_eq!(run.workdir, Some(PathBuf::from("/tmp")));
    assert_eq!(run.user.as_deref(), Some("1000:1000"));
    assert!(run.tty);
}

#[test]
fn options_may_stand_anywhere_before_the_command() {
    for line in ["run web -u root id", "run web --user=root -- id", "run -uroot -- web id"] {
        assert_eq!(command(line), command("run -u root web id"));
    }
    assert_eq!(command("stop --kill a b"), command("stop a --kill b"));
}

#[test]
fn values_are_typed() {
    let Command::Stop(stop) = command("stop a b --timeout 5") else { panic!("not stop") };
    assert_eq!((stop.names.len(), stop.timeout), (2, Some(Duration::from_secs(5))));
    let Command::Logs(logs) = command("logs web -fn 20") else { panic!("not logs") };
    assert_eq!((logs.follow, logs.lines), (true, Some(20)));
    let Command::Resize(resize) = command("resize web 16G") else { panic!("not resize") };
    assert_eq!(resize.size, 16 << 30);
    let Command::Convert(convert) = command("convert web dir") else { panic!("not convert") };
    assert_eq!(convert.form, Form::Directory);
    let Command::Set(set) = command("set web a=b mounts.bind=/x:/y:ro") else { panic!("not set") };
    assert_eq!(set.assignments[1], Assignment::new("mounts.bind", "/x:/y:ro"));
}

#[test]
fn a_container_may_be_called_like_a_word_of_ours() {
    // argh would take a bare `help` for a call for help.
    for name in ["help", "start"] {
        let Command::Info(info) = command(&format!("info -- {name}")) else { panic!("not info") };
        assert_eq!(info.name, name);
    }
}

#[test]
fn refused_values_are_shown_with_the_reason() {
    for (line, expected) in [
        (
            "info -- --help",
            "ds: info: name '--help' does not begin with a letter or digit; use a letter or digit, then up to 63 letters, digits, '_', '.' or '-'\n",
        ),
        ("stop web --timeout 5s", "ds: stop: --timeout: 5s is not a whole number of seconds\n"),
        ("start web --wait=soon", "ds: start: --wait: soon is not a whole number of seconds\n"),
        ("logs web -n many", "ds: logs: --lines: many is not a number of lines\n"),
        ("create a --from b --size big", "ds: create: --size: big is not a size; write it like 512M or 8G\n"),
        ("start a --from b --size big", "ds: start: --size: big is not a size; write it like 512M or 8G\n"),
        ("resize web big", "ds: resize: big is not a size; write it like 512M or 8G\n"),
        ("run web -e A id", "ds: run: --env: A has no '='; write key=value\n"),
        ("shell /srv --set A", "ds: shell: --set: A has no '='; write key=value\n"),
        ("set web =b", "ds: set: =b has no key before the '='\n"),
    ] {
        assert_eq!(mistake(line), expected);
    }
}

#[test]
fn every_verb_checks_the_names_of_containers() {
    for verb in table::verbs() {
        for wrong in verb.operands.iter().filter(|operand| operand.placeholder.0.ends_with("NAME")) {
            let words = verb.operands.iter().map(|operand| match operand.placeholder.0 {
                _ if std::ptr::eq(operand, wrong) => "../web",
                "SIZE" => "1G",
                "image|dir" => "image",
                "KEY=VALUE" => "a=b",
                _ => "other",
            });
            let line = format!("{} {}", verb.name, words.collect::<Vec<_>>().join(" "));
            let text = mistake(&line);
            assert!(text.contains("name '../web' does not begin with a letter or digit"), "{line}: {text}");
        }
    }
}

#[test]
fn options_that_exclude_or_need_each_other() {
    for (line, expected) in [
        ("create a", "no root file system; give --rootfs DIR, --image FILE or --from SRC"),
        ("create a --rootfs b --image c", "--rootfs and --image exclude each other; give one of them"),
        (
            "create a --rootfs b --size 1G",
            "--size is only valid with --from; to resize an existing image, use 'ds resize'",
        ),
        ("start a b --rootfs c", "--rootfs needs exactly one NAME"),
        ("start --all --set a=b", "--set needs exactly one NAME"),
        ("start a b -f", "--foreground needs exactly one NAME"),
        ("stop a --kill --timeout 1", "--kill and --timeout exclude each other; give one of them"),
        ("convert a dir --size 1G", "--size is only valid with image; a directory has no fixed size"),
        ("export a -o - --json", "--json and --output - exclude each other; give one of them"),
        ("list --json --names", "--json and --names exclude each other; give one of them"),
        ("info a --pid --json", "--json and --pid exclude each other; give one of them"),
        ("pull a -o b --unpack", "--output and --unpack exclude each other; give one of them"),
        ("supervisor stop --json", "--json is only valid with status"),
        ("help strat", "unknown verb strat; did you mean start?"),
    ] {
        let verb = line.split(' ').next().unwrap_or_default();
        assert_eq!(mistake(line), format!("ds: {verb}: {expected}\n"));
    }
}

#[test]
fn unknown_verbs_name_a_known_one() {
    for (line, expected) in [
        ("strat web", "ds: unknown verb strat; did you mean start?\n"),
        ("exec web ls", "ds: unknown verb exec; did you mean run?\n"),
        ("qqqqqqqqq", "ds: unknown verb qqqqqqqqq; nearest is create; see 'ds help'\n"),
        ("--json list", "ds: unknown option --json; options come after the verb; see 'ds help'\n"),
    ] {
        assert_eq!(mistake(line), expected);
    }
}

#[test]
fn every_verb_elsewhere_leads_to_a_verb_here() {
    for name in ["attach", "cp", "delete", "exec", "inspect", "kill", "ls", "mv", "new", "reboot", "top"] {
        let text = mistake(name);
        let suggested = text.trim_end().trim_end_matches('?').rsplit(' ').next().unwrap_or_default();
        assert!(table::verb(suggested).is_some(), "{text}");
    }
}

#[test]
fn help_goes_to_stdout_with_exit_code_0() {
    let overview = parse::command_line("ds", &[]).expect_err("ds alone is help");
    assert_eq!((overview.to_stdout, overview.exit_code()), (true, ExitCode::Done));
    assert_eq!(overview.text, help::overview());
    for verb in table::verbs() {
        let usage = parse::command_line("ds", &words(&format!("{} --help", verb.name))).expect_err("help");
        assert!(usage.to_stdout);
        assert_eq!(usage.text, help::verb(&verb));
    }
    assert_eq!(command("help"), command("--help"));
    assert_eq!(command("help start"), command("-h start"));
    assert_eq!(command("--version"), command("version"));
}

#[test]
fn every_example_is_a_command_line() {
    for verb in table::verbs() {
        for example in verb.examples {
            // Only the part for ds, without pipes and redirections.
            let own = example.split([';', '|', '>']).next().unwrap_or_default();
            let line = own.strip_prefix("ds ").expect("examples begin with ds");
            parse::command_line("ds", &words(line))
                .unwrap_or_else(|usage| panic!("{example}: {}", usage.text));
        }
    }
}

#[test]
fn the_program_name_chooses_the_grammar() {
    assert!(parse::command_line("/data/adb/ds/bin/ds", &words("list")).is_ok());
    assert!(parse::command_line("", &words("list")).is_ok());
    let old =
        parse::command_line("/system/bin/droidspaces", &words("show")).map(|invocation| invocation.command);
    assert_eq!(old, Ok(command("list")));
}

#[test]
fn argv_must_be_utf8() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let broken = OsString::from_vec(vec![b'a', 0xff]);
    let parsed = |line: &str| {
        let words = line.split(' ').map(|word| if word == "X" { broken.clone() } else { word.into() });
        let (program, words) = parse::arguments(words);
        parse::command_line(&program, &words).map_err(|usage| usage.text)
    };
    for (line, position) in [
        ("ds info X", 2),
        ("ds X", 1),
        ("ds run X -- id", 2),
        ("ds run web -w X -- id", 4),
        ("ds run web -e A=B -u X id X", 6),
        ("ds shell X id", 2),
        ("ds set web X", 3),
    ] {
        let expected = format!("ds: argument {position} is not UTF-8: a\u{fffd}\n");
        assert_eq!(parsed(line).expect_err(line), expected, "{line}");
    }
    for line in ["ds run web -- X X", "ds run web -t X", "ds shell / ls X", "nspawn / ls X"] {
        assert!(parsed(line).is_ok(), "{line}");
    }
    assert_eq!(parse::arguments(["ds".into(), "list".into()]), ("ds".to_owned(), words("list")));
    assert_eq!(parse::arguments([]), ("ds".to_owned(), Vec::new()));
}

/// Words likely to be near the grammar's corners, and some that are far from anything.
fn word() -> impl Strategy<Value = String> {
    let verbs: Vec<String> = table::verbs().iter().map(|verb| verb.name.to_owned()).collect();
    let options: Vec<String> = table::verbs()
        .iter()
        .flat_map(|verb| verb.options.iter().map(|option| format!("--{}", option.long)).collect::<Vec<_>>())
        .collect();
    prop_oneof![
        prop::sample::select(verbs),
        prop::sample::select(options),
        "-[a-zA-Z]{1,3}(=.{0,3})?",
        "--[a-z-]{0,8}(=.{0,3})?",
        "[a-z0-9=:/.]{0,6}",
        "[a-z=/\u{202e}\u{2066}\u{200b}\u{feff}\u{3164}]{1,6}",
        any::<String>(),
    ]
}

proptest! {
    #![proptest_config(crate::cases(2000))]

    #[test]
    fn every_command_line_is_understood_or_refused_in_one_line(
        program in prop::sample::select(vec!["ds", "droidspaces", "nspawn", "getroot"]),
        words in prop::collection::vec(word(), 0..6),
    ) {
        if let Err(usage) = parse::command_line(program, &words) {
            prop_assert!(usage.text.ends_with('\n'));
            prop_assert_eq!(usage.exit_code().number(), if usage.to_stdout { 0 } else { 2 });
            if !usage.to_stdout {
                prop_assert_eq!(usage.text.matches('\n').count(), 1, "{:?}", usage.text);
                prop_assert!(!usage.text.trim_end_matches('\n').contains(is_hidden), "{:?}", usage.text);
            }
        }
    }

    #[test]
    fn no_word_of_a_command_is_lost(words in prop::collection::vec(any::<String>(), 1..6)) {
        let mut line = vec!["run".to_owned(), "web".to_owned(), "--".to_owned()];
        line.extend(words.iter().cloned());
        match parse::command_line("ds", &line).map(|invocation| invocation.command) {
            Ok(Command::Run(run)) => prop_assert_eq!(run.command, words),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}

/// argh cannot share fields between structs, so three verbs declare the options for accounts.
#[test]
fn options_for_accounts_are_the_same_in_every_verb() {
    let option = |verb: &str, long: &str| {
        let options = table::verb(verb).unwrap().options;
        options.into_iter().find(|option| option.long == long).unwrap()
    };
    for long in ["password", "password-file", "ssh-key", "user"] {
        let import = option("import", long);
        for (verb, condition) in [("create", ""), ("pull", "with -o or --unpack: ")] {
            let other = option(verb, long);
            let form = |flag: &table::Flag| (flag.value, flag.short, flag.repeats);
            assert_eq!(form(&other), form(&import), "{verb} --{long}");
            let text = other.description.strip_prefix(condition).unwrap();
            assert!(text.starts_with(import.description), "{verb} --{long}: {text}");
        }
    }
}
