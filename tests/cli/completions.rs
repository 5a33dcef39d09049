//! The completion scripts, run by the shells they are for.
//!
//! bash is always there. zsh and fish check the syntax of theirs where they are installed; what else can be said about
//! those two scripts is said by the tests beside the code that writes them.

use crate::{binary, ds as run};
use ds::cli::table;
use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// A directory with a `ds` that knows three containers, a script to source, and a few files.
static STAGE: LazyLock<PathBuf> = LazyLock::new(|| {
    let stage = Path::new(env!("CARGO_TARGET_TMPDIR")).join("completions");
    let _ = fs::remove_dir_all(&stage);
    fs::create_dir_all(stage.join("work/a directory")).expect("directories");
    fs::write(stage.join("work/an image.img"), "").expect("a file");
    let fake = "#!/bin/sh\n[ \"$*\" = 'list --names' ] && printf '%s\\n' web web-db start\n";
    fs::write(stage.join("ds"), fake).expect("a ds");
    fs::set_permissions(stage.join("ds"), fs::Permissions::from_mode(0o755)).expect("an executable ds");
    fs::write(stage.join("ds.bash"), run(&["completions", "bash"]).stdout).expect("the script");
    stage
});

/// What bash offers with the cursor at the end of the last word. `=` is a word of its own, as readline splits.
#[track_caller]
fn bash(words: &[&str]) -> Vec<String> {
    const ASK: &str = "source \"$1/ds.bash\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _ds; \
                       [ ${#COMPREPLY[@]} -eq 0 ] || printf '%s\\n' \"${COMPREPLY[@]}\"";
    let path = format!("{}:{}", STAGE.display(), env::var("PATH").unwrap_or_default());
    let output = Command::new("bash")
        .args(["--norc", "-uc", ASK, "bash"])
        .arg(&*STAGE)
        .args(words)
        .env("PATH", path)
        .current_dir(STAGE.join("work"))
        .output()
        .expect("bash runs");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}");
    assert!(output.status.success(), "{words:?}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_verbs() {
    assert_eq!(bash(&["ds", "sta"]), ["start", "stats"]);
    assert_eq!(bash(&["ds", "help", "conv"]), ["convert"]);
    assert_eq!(bash(&["ds", ""]).len(), table::verbs().len());
}

#[test]
fn bash_completes_container_names() {
    for words in [
        &["ds", "start", "we"][..],
        &["ds", "start", "start", "we"],
        &["ds", "start", "--wait", "we"],
        &["ds", "start", "--wait", "=", "30", "we"],
        &["ds", "logs", "-n", "20", "we"],
        &["ds", "run", "-u", "root", "we"],
        &["ds", "set", "we"],
        &["ds", "info", "--", "we"],
    ] {
        assert_eq!(bash(words), ["web", "web-db"], "{words:?}");
    }
    assert_eq!(bash(&["ds", "rm", ""]), ["web", "web-db", "start"]);
}

#[test]
fn bash_completes_options() {
    assert_eq!(bash(&["ds", "stop", "web", "--"]), ["--all", "--timeout", "--kill", "--help"]);
    assert_eq!(bash(&["ds", "start", "--w"]), ["--wait"]);
    assert_eq!(bash(&["ds", "run", "web", "--w"]), ["--workdir"]);
}

#[test]
fn bash_completes_fixed_words() {
    assert_eq!(bash(&["ds", "convert", "web", ""]), ["image", "dir"]);
    assert_eq!(bash(&["ds", "supervisor", "st"]), ["stop", "status"]);
}

#[test]
fn bash_completes_keys() {
    assert_eq!(bash(&["ds", "get", "web", "limits.m"]), ["limits.memory"]);
    assert_eq!(bash(&["ds", "set", "web", "vol"]), ["volatile=", "volatile-size="]);
    assert_eq!(bash(&["ds", "set", "web", "priority", "=", "1", "autos"]), ["autostart="]);
    assert_eq!(bash(&["ds", "start", "web", "--set", "network.m"]), ["network.mode="]);
    assert_eq!(bash(&["ds", "start", "--set", "=", "init", "=", "/init", "we"]), ["web", "web-db"]);
}

#[test]
fn bash_completes_paths_with_spaces() {
    for words in [
        &["ds", "create", "new", "--rootfs", "a"][..],
        &["ds", "create", "new", "--rootfs", "=", "a"],
        &["ds", "shell", "a"],
    ] {
        assert_eq!(bash(words), ["a directory"], "{words:?}");
    }
    let mut paths = bash(&["ds", "create", "new", "--image", "a"]);
    paths.sort();
    assert_eq!(paths, ["a directory", "an image.img"]);
    assert_eq!(bash(&["ds", "create", "new", "--image", "="]).len(), 2);
}

#[test]
fn bash_offers_nothing_where_nothing_can_be_known() {
    for words in [
        &["ds", "run", "web", "we"][..],
        &["ds", "run", "web", "ls", "--w"],
        &["ds", "run", "web", "--", "--w"],
        &["ds", "rename", "web", "we"],
        &["ds", "info", "web", "we"],
        &["ds", "stop", "--timeout", ""],
        &["ds", "start", "--wait", "="],
        &["ds", "set", "web", "init", "="],
        &["ds", "set", "web", "init", "=", "a"],
        &["ds", "run", "web", "-e", "HOME", "=", "a"],
        &["ds", "nonsense", ""],
        &["ds", "info", "--", "--"],
    ] {
        assert_eq!(bash(words), [""; 0], "{words:?}");
    }
}

/// Whether the shell takes the script; true where the shell is not installed.
fn accepts(shell: &str, script: &Path) -> bool {
    match Command::new(shell).arg("-n").arg(script).output() {
        Ok(output) => output.status.success() && output.stderr.is_empty(),
        Err(error) => {
            eprintln!("{shell}: {error}; the syntax of its script is not checked");
            true
        }
    }
}

#[test]
fn each_shell_takes_its_script() {
    for shell in ["bash", "zsh", "fish"] {
        let script = STAGE.join(format!("syntax.{shell}"));
        let output = Command::new(binary()).args(["completions", shell]).output().expect("the binary runs");
        fs::write(&script, output.stdout).expect("the script");
        assert!(accepts(shell, &script), "{shell}");
    }
}
