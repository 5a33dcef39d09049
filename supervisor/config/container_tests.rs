//! The table of keys against the reader, and every value through both.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::schema::{Form, Key};
use crate::config::value::{Fsck, NetworkMode, Privileged};

fn parse(text: &str) -> Result<Config, Error> {
    Config::parse(text.as_bytes(), Path::new("container.ini"), &"web_1".parse().unwrap())
}

fn fault(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn defaults() {
    let config = parse("[container]\nrootfs=/r\n").unwrap();
    assert_eq!(config.hostname().as_str(), "web-1");
    assert_eq!(config.container.root.path().as_str(), "/r");
    assert_eq!(config.container.stop_timeout.get(), 15);
    assert_eq!(config.container.init.as_str(), "/sbin/init");
    assert_eq!(config.container.fsck, Fsck::Always);
    assert_eq!(config.network.mode, NetworkMode::Host);
    assert_eq!(config.security.privileged, Privileged::NO);
    assert_eq!((config.limits.memory, config.limits.cpus, config.limits.pids), (None, None, None));
    assert!(!config.container.volatile && !config.container.autostart && config.mounts.bind.is_empty());
    assert_eq!(config, parse("[container]\nrootfs=/r\nhostname=\npriority=\n[limits]\nmemory =\n").unwrap());
    assert_eq!(config.container.uuid, parse("[container]\nrootfs=/other\n").unwrap().container.uuid);
}

#[test]
fn the_table_and_the_reader_have_the_same_keys() {
    let config = parse("[container]\nrootfs=/r\n").unwrap();
    let mut names: Vec<String> = KEYS.iter().map(Key::full_name).collect();
    for key in KEYS {
        assert!(config.text_of(key.section, key.name).is_some(), "{}", key.full_name());
        assert!(!key.about.is_empty() && !key.example.is_empty(), "{}", key.full_name());
        let is_root = key.name == "image" || key.name == "rootfs";
        let text = |value: &str| {
            let root = if is_root { "" } else { "rootfs=/r\n" };
            let section =
                if key.section == "container" { String::new() } else { format!("[{}]\n", key.section) };
            format!("[container]\n{root}{section}{} = {value}\n", key.name)
        };
        let example = parse(&text(key.example)).unwrap_or_else(|error| panic!("{}", error.render()));
        assert_ne!(example.text_of(key.section, key.name), config.text_of(key.section, key.name));
        let default = parse(&text(key.default));
        assert_eq!(default.is_ok(), !is_root, "{}", key.full_name());
        let words = match key.form {
            Form::OneOf(words) | Form::SomeOf(words) => words,
            Form::Text(_) => &[],
        };
        for word in words {
            assert_eq!(parse(&text(word)).unwrap().text_of(key.section, key.name).unwrap(), *word);
        }
        // A value that no type takes is refused under the key's name, so the reader does look at it.
        let error = parse(&text("?")).unwrap_err();
        assert_eq!((error.kind(), error.what()), (Kind::Value, key.full_name().as_str()));
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), KEYS.len());
    assert_eq!(
        SCHEMA.sections(),
        ["container", "mounts", "network", "hardware", "security", "android", "limits", "environment"]
    );
}

#[test]
fn faults_name_key_place_and_way_out() {
    for (text, message) in [
        ("", "container.ini: neither rootfs nor image is set; set one of the two"),
        (
            "[container]\nrootfs=/r\nimage=/i\n",
            "container.ini:3:7: container.image: rootfs is set as well; keep one of the two and empty the other",
        ),
        (
            "[container]\nrootfs = //./\n",
            "container.ini:2:10: container.rootfs: '/' is the host's own root; name a directory or an image below it",
        ),
        (
            "[container]\nrootfs=/r\n hostnam = x\n",
            "container.ini:3:2: there is no key 'hostnam' in section 'container'; did you mean 'container.hostname'?",
        ),
        (
            "[container]\nrootfs=/r\nmemory = 1g\n",
            "container.ini:3:1: there is no key 'memory' in section 'container'; did you mean 'limits.memory'?",
        ),
        ("[limit]\n", "container.ini:1:1: there is no section 'limit'; did you mean 'limits'?"),
        (
            "[container]\nrootfs=/r\n[limits]\nmemory = 1g # enough\n",
            "container.ini:4:10: limits.memory: size '1g # enough' is not a number with an optional unit; put the comment on a line of its own",
        ),
        (
            "[container]\nrootfs=/r\n[limits]\nmemory = 1K\n",
            "container.ini:4:10: limits.memory: 1K is less than 4M; use 4M or more",
        ),
        (
            "[container]\nrootfs=/r\n[mounts]\nbind = /a:/b,/c:d\n",
            "container.ini:4:17: mounts.bind: path 'd' is not absolute; begin it with '/'",
        ),
        (
            "[container]\nrootfs=/r\n[environment]\nA-B=1\n",
            "container.ini:4:1: 'A-B' is not a name for an environment variable; use a letter or '_', then letters, digits and '_'",
        ),
        (
            "[container]\nrootfs=/r\n[environment]\nA=1\t2\n",
            "container.ini:4:4: environment.A: control character U+0009 in a value; remove it",
        ),
    ] {
        assert_eq!(fault(text), message);
    }
}

#[test]
fn environment_is_free() {
    let config =
        parse("[container]\nrootfs=/r\n[environment]\nLANG = C.UTF-8\n_x1=a = b # c\nEMPTY=\n").unwrap();
    let variables: Vec<_> =
        config.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(variables, [("EMPTY", ""), ("LANG", "C.UTF-8"), ("_x1", "a = b # c")]);
}

#[test]
fn keys_are_found_by_what_people_write() {
    assert_eq!(SCHEMA.resolve("hostname").unwrap(), ("container", "hostname"));
    assert_eq!(SCHEMA.resolve("container.hostname").unwrap(), ("container", "hostname"));
    assert_eq!(SCHEMA.resolve("limits.pids").unwrap(), ("limits", "pids"));
    assert_eq!(SCHEMA.resolve("environment.PATH").unwrap(), ("environment", "PATH"));
    for (written, meant) in [
        ("memory", "limits.memory"),
        ("mode", "network.mode"),
        ("stop_timeout", "container.stop-timeout"),
        ("limit.memory", "limits.memory"),
        ("limits.memry", "limits.memory"),
        ("bind", "mounts.bind"),
        ("container.privileged", "security.privileged"),
        ("rootfs_path", "container.rootfs"),
    ] {
        let error = SCHEMA.resolve(written).unwrap_err().to_string();
        assert!(error.ends_with(&format!("did you mean '{meant}'?")), "{error}");
    }
    assert!(!SCHEMA.resolve("a\u{1b}\n").unwrap_err().to_string().contains(char::is_control));
}

/// A valid text for each key of the table that is not part of the root file system.
fn settings() -> impl Strategy<Value = Vec<(&'static str, &'static str, String)>> {
    let number = || (1..5000_u32).prop_map(|number| number.to_string());
    let size = || {
        (4_u64..100_000, prop::sample::select(vec!["M", "m", "G", "g"]))
            .prop_map(|(n, unit)| format!("{n}{unit}"))
    };
    let value = |key: &'static Key| -> BoxedStrategy<String> {
        match (key.form, key.name) {
            (Form::OneOf(words) | Form::SomeOf(words), _) => {
                prop::sample::select(words).prop_map(str::to_owned).boxed()
            }
            (_, "image-partition") => (1..256_u32).prop_map(|number| number.to_string()).boxed(),
            (_, "image-label") => "no|[a-z]{1,3}:[a-z]{1,3}:[a-z_]{1,3}(:s0)?".boxed(),
            (_, "hostname") => "[a-z]{1,9}(\\.[a-z0-9]{1,9})?".boxed(),
            (_, "memory" | "volatile-size") => size().boxed(),
            (_, "init") => "/[a-z .]{1,9}[a-z]".boxed(),
            (_, "uuid") => "[0-9a-f]{31}[1-9a-f]".boxed(),
            (_, "bind") => "/[a-z ]{1,5}[a-z]:/x(\\\\:|\\\\,|[a-z])?(:ro)?,/b:/[a-w]{1,5}é".boxed(),
            (_, "tmpfs") => {
                "/[a-z ]{2,5}t(:size=[1-9]M)?(:mode=7[0-7]{2})?,/t(\\\\:|\\\\,|[a-z])?(:noexec)?".boxed()
            }
            (_, "cpus") => (1..10_000_u32)
                .prop_map(|hundredths| format!("{}.{:02}", hundredths / 100, hundredths % 100))
                .boxed(),
            (_, "devices") => "(kvm(:r)?|/dev/[a-z]{1,5}[*?]?(:r)?)".boxed(),
            (_, "storage") => "(yes|no|/[a-z]{1,5})".boxed(),
            (_, "dns") => "(auto|no|1\\.1\\.1\\.1(,[0-9a-f]{1,4}::1)?)".boxed(),
            (_, "address") => "10\\.1\\.2\\.[1-9][0-9]".boxed(),
            (_, "name") => "[a-z]{1,5}".boxed(),
            (_, "ports") => "8080:80(,127\\.0\\.0\\.1:1-2:3-4/udp)?".boxed(),
            (_, "oom-score") => (-1000..=1000).prop_map(|score: i32| score.to_string()).boxed(),
            _ => number().boxed(),
        }
    };
    let keys = KEYS.iter().filter(|key| key.name != "rootfs" && key.name != "image");
    let all: Vec<_> =
        keys.map(|key| value(key).prop_map(move |value| (key.section, key.name, value))).collect();
    all.prop_flat_map(|all| {
        let length = all.len();
        prop::sample::subsequence(all, 0..=length)
    })
}

proptest! {
    /// What a configuration shows, read again, is the same configuration.
    #[test]
    fn shown_settings_give_the_same_config(settings in settings(), image in any::<bool>(), variables in prop::collection::btree_map("[A-Z_]{1,5}", "[ -~é]{0,9}", 0..4)) {
        let mut document = Document::empty(Path::new("container.ini"));
        document.set("container", if image { "image" } else { "rootfs" }, "/r").unwrap();
        let values = settings.iter().map(|(section, key, value)| (*section, *key, value.as_str()));
        let variables = variables.iter().map(|(name, value)| ("environment", name.as_str(), value.trim()));
        for (section, key, value) in values.chain(variables) {
            if let Err(fault) = document.set(section, key, value) {
                prop_assert!(false, "{}", fault);
            }
        }
        let config = parse(&document.to_string()).map_err(|error| TestCaseError::fail(error.render()))?;
        let mut shown = Document::empty(Path::new("container.ini"));
        for (key, value) in config.settings() {
            let (section, name) = SCHEMA.resolve(&key).unwrap();
            shown.set(section, name, &value).unwrap();
        }
        // An unset host name is shown as the one it becomes; nothing else differs.
        let mut again = parse(&shown.to_string()).unwrap();
        again.container.hostname = again.container.hostname.filter(|_| config.container.hostname.is_some());
        prop_assert_eq!(again, config);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "(\\PC|[\\[\\]=#\n]|container|rootfs|limits|memory|environment|/){0,40}") {
        if let Err(error) = parse(&text) {
            prop_assert!(!error.to_string().contains('\n') && !error.render().is_empty());
        }
    }
}

#[test]
fn an_old_spelling_is_read_and_gives_way() {
    let name: Name = "web".parse().unwrap();
    let parse = |text: &str| Config::parse(text.as_bytes(), Path::new("f"), &name);
    let text = "[container]\nrootfs=/r\n[android]\ndns=9.9.9.9\n";
    let config = parse(text).unwrap();
    assert_eq!(config.get("network.dns").unwrap(), "9.9.9.9");
    assert_eq!(config.get("android.dns").unwrap(), "9.9.9.9");
    let both = parse(&format!("{text}[network]\ndns=no\n")).unwrap();
    assert_eq!(both.get("network.dns").unwrap(), "no", "the new one holds");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("container.ini");
    std::fs::write(&path, text).unwrap();
    let changed = Config::edit(&path, &name, &[("android.dns", "1.1.1.1")]).unwrap();
    assert_eq!(changed.get("network.dns").unwrap(), "1.1.1.1");
    let file = std::fs::read_to_string(&path).unwrap();
    assert!(file.contains("[network]") && !file.contains("9.9.9.9"), "{file}");
    assert_eq!(
        Config::edit(&path, &name, &[("network.dns", "")]).unwrap().get("network.dns").unwrap(),
        "auto"
    );
}
