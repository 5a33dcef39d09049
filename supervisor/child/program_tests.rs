use super::*;

fn identity(shell: &str) -> Identity {
    Identity {
        name: Some("alice".into()),
        user: Uid::from_raw(1000),
        group: nix::unistd::Gid::from_raw(1000),
        groups: vec![nix::unistd::Gid::from_raw(1000)],
        home: "/home/alice".into(),
        shell: shell.into(),
    }
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn environment_of(
    configured: &[(&str, &str)],
    client: &[(&str, &str)],
    asked: &[(&str, &str)],
) -> Vec<String> {
    let variables: Vec<Assignment> =
        asked.iter().map(|(name, value)| Assignment::new(*name, *value)).collect();
    let wish = Wish {
        words: &[],
        user: None,
        directory: None,
        variables: &variables,
        configured: &pairs(configured),
        client: &pairs(client).into_iter().collect(),
    };
    environment(&identity("/bin/zsh"), &wish).iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[test]
fn later_sources_of_variables_win() {
    let found = environment_of(
        &[("PATH", "/bin"), ("TERM", "linux"), ("HOME", "/root"), ("EDITOR", "vi")],
        &[("TERM", "xterm"), ("COLUMNS", "80"), ("NO_COLOR", "1")],
        &[("EDITOR", "ed"), ("EMPTY", ""), ("A", "b=c")],
    );
    let expected = [
        "PATH=/bin",
        "HOME=/home/alice",
        "USER=alice",
        "LOGNAME=alice",
        "SHELL=/bin/zsh",
        "TERM=xterm",
        "NO_COLOR=1",
        "EDITOR=ed",
        "EMPTY=",
        "A=b=c",
    ];
    assert_eq!(found, expected);
    assert!(environment_of(&[("TERM", "linux")], &[], &[]).contains(&"TERM=linux".to_owned()));
    assert!(environment_of(&[], &[], &[("HOME", "/tmp")]).contains(&"HOME=/tmp".to_owned()));
}

#[test]
fn a_name_without_a_slash_is_looked_for_in_path() {
    let path = pairs(&[("PATH", "/a::/b/")]);
    assert_eq!(candidates("x", &path), ["/a/x", "./x", "/b//x"]);
    assert_eq!(candidates("./x", &path), ["./x"]);
    assert_eq!(candidates("/x", &path), ["/x"]);
    assert_eq!(candidates("x", &[]).first().map(String::as_str), Some("/usr/local/sbin/x"));
    assert!(candidates("", &path).is_empty());
}

#[test]
fn shells_are_tried_in_order_as_login_shells() {
    assert_eq!(login_shells(&identity("/bin/zsh")), ["/bin/zsh", "/bin/bash", "/bin/sh"]);
    assert_eq!(login_shells(&identity("/bin/sh")), ["/bin/sh", "/bin/bash"]);
    assert_eq!(login_shells(&identity("")), ["/bin/bash", "/bin/sh"]);
    assert_eq!(login_shells(&identity("relative")), ["/bin/bash", "/bin/sh"]);
    assert_eq!(login_arguments(&CString::new("/bin/bash").unwrap())[0].as_bytes(), b"-bash");
}

fn prepared(words: &[&str], directory: Option<&str>) -> Result<Program> {
    let tree = tempfile::tempdir().unwrap();
    std::fs::create_dir(tree.path().join("etc")).unwrap();
    std::fs::write(tree.path().join("etc/passwd"), "www:x:33:33::/var/www:/usr/sbin/nologin\n").unwrap();
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let user = "www".parse().unwrap();
    let wish = Wish {
        words: &words,
        user: Some(&user),
        directory: directory.map(Path::new),
        variables: &[],
        configured: &[],
        client: &BTreeMap::new(),
    };
    Program::prepare(&Root::open(tree.path()).unwrap(), &wish, Filters::default())
}

#[test]
fn a_user_without_a_shell_may_run_commands_but_not_log_in() {
    assert_eq!(prepared(&["id"], None).unwrap().user(), Uid::from_raw(33));
    let error = prepared(&[], None).unwrap_err().to_string();
    assert!(error.contains("/usr/sbin/nologin"), "{error}");
}

#[test]
fn what_cannot_be_passed_on_is_refused_before_anything_starts() {
    assert!(prepared(&["id", "a\0b"], None).unwrap_err().to_string().contains("NUL"));
}

#[test]
fn codes_distinguish_not_executable_from_not_found() {
    let program = prepared(&["/no/such/file"], None).unwrap();
    let failure = program.try_files();
    assert_eq!(failure.code, ExitCode::NotFound);
    assert!(failure.error.to_string().contains("/no/such/file: no such file in the container"));
    // A file without permission to execute.
    let file = tempfile::NamedTempFile::new().unwrap();
    let failure = prepared(&[file.path().to_str().unwrap()], None).unwrap().try_files();
    assert_eq!(failure.code, ExitCode::NotExecutable);
    assert!(failure.error.to_string().contains("cannot be executed"), "{}", failure.error);
}
