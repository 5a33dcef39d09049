//! Configuration files on disk: created, changed, refused, and the documentation of their keys.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::{TempDir, tempdir};

use super::*;
use crate::config::schema::{Form, Schema};
use crate::config::supervisor;

const NONE: &[(&str, &str)] = &[];

fn name() -> Name {
    "web".parse().unwrap()
}

fn file() -> (TempDir, PathBuf) {
    let directory = tempdir().unwrap();
    let path = directory.path().join("container.ini");
    (directory, path)
}

#[test]
fn created_files_are_private_ordered_and_complete() {
    let (_directory, path) = file();
    let assignments = [
        ("environment.A", "1"),
        ("limits.memory", "1g"),
        ("image", "/i"),
        ("limits.pids", ""),
        ("hostname", "h"),
    ];
    let config = Config::create(&path, &name(), &assignments).unwrap();
    assert_eq!(config, Config::load(&path, &name()).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    let expected = format!(
        "# 'ds get NAME' shows all settings, 'ds set NAME KEY=VALUE' changes one here.\n\n\
         [container]\nhostname = h\nimage = /i\nuuid = {}\n\n[limits]\nmemory = 1g\n\n[environment]\nA = 1\n",
        config.container.uuid
    );
    assert_eq!(text, expected);
    let error = Config::create(&path, &name(), &assignments).unwrap_err();
    assert_eq!(error.kind(), Kind::Exists);
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
}

#[test]
fn a_faulty_creation_leaves_no_file() {
    let (directory, path) = file();
    for (key, value, message) in [
        ("hostname", "h", "neither rootfs nor image is set; set one of the two"),
        ("rootfs", "r", "container.rootfs: path 'r' is not absolute; begin it with '/'"),
        (
            "rotfs",
            "/r",
            "rotfs: there is no key 'rotfs' in section 'container'; did you mean 'container.rootfs'?",
        ),
        ("rootfs", "/r\nimage=/i", "container.rootfs: control character U+000A in a value; remove it"),
    ] {
        assert_eq!(Config::create(&path, &name(), &[(key, value)]).unwrap_err().to_string(), message);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    let error = Config::create(&path.join("x"), &name(), &[("rootfs", "/r")]).unwrap_err();
    assert_eq!(error.kind(), Kind::Write);
}

#[test]
fn edits_keep_comments_and_validate_the_whole() {
    let (_directory, path) = file();
    let before = "; mine\r\n[container]\r\nrootfs = /r\r\n# more\r\n\r\n[limits]\r\nmemory=1g\r\n";
    fs::write(&path, before).unwrap();
    let config =
        Config::edit(&path, &name(), &[("limits.memory", "512M"), ("limits.pids", "9"), ("rootfs", "/q")])
            .unwrap();
    assert_eq!(config.limits.pids, Some(9));
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        before.replace("1g\r\n", "512M\r\npids=9\r\n").replace("/r", "/q")
    );

    let now = fs::read_to_string(&path).unwrap();
    for (assignments, message) in [
        (
            vec![("limits.pids", "0")],
            "limits.pids: '0' is not a whole number from 1 to 4194304; write one in that range".to_owned(),
        ),
        (
            vec![("image", "/i")],
            "container.image: rootfs is set as well; keep one of the two and empty the other".to_owned(),
        ),
        (
            vec![("hostname", "h"), ("rootfs", "")],
            format!("{}: neither rootfs nor image is set; set one of the two", path.display()),
        ),
    ] {
        let error = Config::edit(&path, &name(), &assignments).unwrap_err();
        assert_eq!((error.to_string(), error.is_of_command_line()), (message, true));
        assert_eq!(fs::read_to_string(&path).unwrap(), now);
    }
    Config::edit(
        &path,
        &name(),
        &[("rootfs", ""), ("image", "/i"), ("limits.memory", ""), ("limits.pids", "")],
    )
    .unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, "; mine\r\n[container]\r\nimage = /i\r\n# more\r\n\r\n[limits]\r\n");
}

#[test]
fn faults_elsewhere_in_the_file_are_where_they_are() {
    let (_directory, path) = file();
    fs::write(&path, "[container]\nrootfs=/r\n[limits]\nmemory=lots\nweight=1\n").unwrap();
    let error = Config::edit(&path, &name(), &[("hostname", "h")]).unwrap_err();
    assert_eq!((error.position(), error.kind()), (Some((5, 1)), Kind::Unknown));
    // Errors can be corrected one key at a time or together.
    let error = Config::edit(&path, &name(), &[("limits.weight", ""), ("hostname", "h")]).unwrap_err();
    assert_eq!((error.what(), error.kind()), ("", Kind::Unknown));
    Config::edit(&path, &name(), &[("limits.weight", ""), ("limits.memory", "1G")]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "[container]\nrootfs=/r\n[limits]\nmemory=1G\n");
}

#[test]
fn unchanged_files_are_not_written() {
    let (directory, path) = file();
    fs::write(&path, "[container]\nrootfs=/r\n").unwrap();
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    Config::edit(&path, &name(), &[("rootfs", "/r"), ("hostname", "")]).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn unreadable_files() {
    let (directory, path) = file();
    assert_eq!(Config::load(&path, &name()).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(Config::edit(&path, &name(), NONE).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(Config::load(directory.path(), &name()).unwrap_err().kind(), Kind::Read);
    fs::write(&path, vec![b'#'; 3 << 20]).unwrap();
    let error = Config::load(&path, &name()).unwrap_err();
    assert_eq!(error.kind(), Kind::Text);
    assert!(error.to_string().ends_with("larger than 1048576 bytes; is this the right file?"), "{error}");
    fs::write(&path, [0; 4096]).unwrap();
    let error = Config::load(&path, &name()).unwrap_err();
    assert!(error.to_string().contains(":1:1: control character U+0000; the file is damaged"), "{error}");
}

#[test]
fn transient_configurations() {
    let config = Config::transient(&name(), &[("rootfs", "/r"), ("environment.A", "b")]).unwrap();
    assert_eq!(config.get("environment.A").unwrap(), "b");
    assert_ne!(
        config.container.uuid,
        Config::transient(&name(), &[("rootfs", "/r")]).unwrap().container.uuid
    );
    let error = Config::transient(&name(), &[("rootfs", "/r"), ("network.mode", "bridge")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "network.mode: 'bridge' is not a known word; use one of host, none, nat, gateway"
    );
}

#[test]
fn values_are_shown_by_key() {
    let config = Config::transient(
        &name(),
        &[("rootfs", "/r"), ("limits.memory", "1536M"), ("volatile", "1"), ("volatile-size", "1.5G")],
    )
    .unwrap();
    for (key, value) in [
        ("limits.memory", "1.5G"),
        ("volatile-size", "1.5G"),
        ("volatile", "yes"),
        ("hostname", "web"),
        ("container.image", ""),
        ("limits.cpus", ""),
    ] {
        assert_eq!(config.get(key).unwrap(), value);
    }
    assert!(config.get("environment.A").is_err());
    assert!(config.get("volatil").unwrap_err().to_string().contains("'container.volatile'"));
    assert_eq!(config.settings().len(), KEYS.len());
}

#[test]
fn assignments() {
    assert_eq!(assignment("a.b=c=d").unwrap(), ("a.b", "c=d"));
    assert_eq!(assignment("a=").unwrap(), ("a", ""));
    assert!(assignment("a").unwrap_err().to_string().starts_with("'a': no '='"));
}

/// The tables in docs/configuration.md are generated from the tables of keys by `UPDATE_DOCS=1 cargo test`.
#[test]
fn documentation_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let found = fs::read_to_string(&path).unwrap();
    let expected =
        documented(&documented(&found, "container.ini", &SCHEMA), "supervisor.ini", &supervisor::SCHEMA);
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    assert!(
        found == expected,
        "docs/configuration.md differs from the tables of keys; run UPDATE_DOCS=1 cargo test"
    );
}

/// The page shows descriptions in the user's language; the English file tells translators what has changed.
#[test]
fn descriptions_of_the_page_are_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("webroot/src/messages/settings/en.json");
    let keys = KEYS.iter().filter(|key| key.name != "uuid");
    let lines: Vec<_> = keys.map(|key| format!("  {:?}: {:?}", key.full_name(), key.about)).collect();
    let expected = format!("{{\n{}\n}}\n", lines.join(",\n"));
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == expected,
        "webroot/src/messages/settings/en.json differs from the table of keys; run UPDATE_DOCS=1 cargo test and \
         translate what has changed in the other files there"
    );
}

/// `text` with the tables of `schema` between the mark of `file` and the end mark after it.
fn documented(text: &str, file: &str, schema: &Schema) -> String {
    let mark = format!("<!-- {file}: written from the table of keys -->\n");
    let (before, rest) = text.split_once(&mark).unwrap();
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    format!("{before}{mark}\n{}<!-- end -->{after}", table(schema))
}

fn table(schema: &Schema) -> String {
    let mut text = String::new();
    for section in schema.sections() {
        writeln!(text, "### Section `{section}`\n").unwrap();
        if schema.environment == Some(section) {
            writeln!(text, "Any name is a key, and becomes an environment variable of the container's init and of every session.\n").unwrap();
            continue;
        }
        writeln!(text, "| key | value | default | what it does | example |\n|---|---|---|---|---|").unwrap();
        for key in schema.keys.iter().filter(|key| key.section == section) {
            let form = match key.form {
                Form::OneOf(words) => format!("`{}`", words.join("` `")),
                Form::SomeOf(words) => format!("`{}`, or several with commas", words.join("` `")),
                Form::Text(kind) => kind.to_owned(),
            };
            let default =
                if key.default.is_empty() { "–".to_owned() } else { format!("`{}`", key.default) };
            writeln!(text, "| `{}` | {form} | {default} | {} | `{}` |", key.name, key.about, key.example)
                .unwrap();
        }
        text.push('\n');
    }
    text
}
