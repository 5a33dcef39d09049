//! The catalogue of a server, downloads, and misbehaving servers.

use crate::done::Done;
use crate::root_fs::Tree;
use crate::sandbox::{Sandbox, Setting};
use crate::storage::{archive, assert_tidy, full_tree, text};
use crate::wait_for;
use crate::web::catalogue::{IMAGE, faithful, streams, sum};
use crate::web::{Place, Reply, Server, proxy};
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

impl From<&Sandbox> for Place {
    fn from(sandbox: &Sandbox) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let authority = sandbox.path(&format!("authority.{number}.pem"));
        fs::create_dir_all(authority.parent().expect("a parent")).expect("mkdir");
        let network =
            File::open(format!("/proc/{}/ns/net", sandbox.init_pid())).expect("the network namespace");
        Self { network: Some(network), name: "localhost".to_owned(), authority }
    }
}

/// An archive like those of the real server, with the probe and other files.
pub fn root_file_system(sandbox: &Sandbox) -> Vec<u8> {
    let tree = Tree::with_probe(&sandbox.path("model"));
    tree.write("etc/shadow", "root:*:19000:0:99999:7:::\ndaemon:*:19000::::::\n");
    tree.write("etc/hostname", "LXC_NAME\n");
    fs::read(archive(sandbox, &tree, "rootfs.tar.xz", &["-J"])).expect("read")
}

/// A sandbox whose mirror is the server.
pub fn configure(sandbox: &Sandbox, mirrors: &str) {
    let path = sandbox.data("supervisor.ini");
    fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
    fs::write(path, format!("[images]\nmirror = {mirrors}\n")).expect("write");
}

pub fn ds(sandbox: &Sandbox, server: &Server, words: &[&str]) -> Done {
    let binary = sandbox.binary();
    let line = [&[text(&binary)], words].concat();
    let output = sandbox.command(&line).env("SSL_CERT_FILE", &server.authority).output().expect("run");
    Done::new(format!("ds {}", words.join(" ")), output)
}

pub fn prepared(setting: Setting) -> (Sandbox, Server, Arc<Vec<u8>>) {
    let sandbox = Sandbox::with(setting);
    let image = Arc::new(root_file_system(&sandbox));
    let server = Server::start(&sandbox, faithful(&image));
    configure(&sandbox, &server.address());
    (sandbox, server, image)
}

pub fn cached(sandbox: &Sandbox) -> Vec<String> {
    let entries = fs::read_dir(sandbox.data("cache")).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

#[test]
fn a_name_of_the_catalogue_becomes_a_container_that_boots() {
    let (sandbox, server, image) = prepared(Setting::default());
    let done =
        ds(&sandbox, &server, &["create", "web", "--from", "debian:13", "--arch", "amd64", "--size", "64M"]);
    assert_eq!(done.succeeds(), "web created\n");
    sandbox.ds(&["start", "web"]).succeeds();
    sandbox.ds(&["stop", "web"]).succeeds();
    assert_tidy(&sandbox);
    // The second one needs no network.
    drop(server);
    let server = Server::start(&sandbox, |_| Reply::status(500));
    ds(&sandbox, &server, &["create", "again", "--from", "debian", "--arch", "amd64"]).succeeds();
    assert_eq!(server.count(IMAGE), 0);
    let listed = sandbox.ds(&["cache", "list", "--json"]).json();
    assert_eq!(listed["files"][0]["sha256"], sum(&image));
    assert_eq!(listed["files"][0]["source"], "debian:trixie (20260821_05:24)");
    sandbox.ds(&["cache", "prune"]).succeeds();
    assert_eq!(cached(&sandbox), Vec::<String>::new());
}

#[test]
fn a_file_or_directory_with_the_name_of_an_image_is_reported() {
    let (sandbox, server, _) = prepared(Setting::default());
    let here = sandbox.path("here");
    fs::create_dir_all(here.join("debian")).expect("mkdir");
    let from = |container: &str, source: &str, more: &[&str]| {
        let binary = sandbox.binary();
        let line = ["env", "-C", text(&here), text(&binary), "create", container, "--from", source];
        let line = [&line[..], more].concat();
        let output = sandbox.command(&line).env("SSL_CERT_FILE", &server.authority).output().expect("run");
        Done::new(line.join(" "), output)
    };
    let note = "debian: an image of the catalogue, not the directory; for that, write --rootfs debian";
    let made = from("one", "debian", &["--arch", "amd64"]);
    assert!(made.errors.contains(note), "{made:?}");
    assert_eq!(made.succeeds(), "one created\n");
    fs::remove_dir(here.join("debian")).expect("rmdir");
    fs::write(here.join("debian"), "").expect("write");
    let note = "debian: the file, not an image of the catalogue; for that, write debian:default";
    let made = from("two", "debian", &[]);
    assert!(made.errors.contains(note) && made.errors.contains("empty"), "{made:?}");
    made.ends_with(1);
    let made = from("two", "debian:default", &["--arch", "amd64"]);
    assert_eq!(made.errors, "");
    assert_eq!(made.succeeds(), "two created\n");
    from("three", "./debian", &[]).fails(1, &["empty"]);
    from("three", "debian/13", &[]).fails(1, &["no such file; a name of the catalogue has colons"]);
    assert_tidy(&sandbox);
}

#[test]
fn the_catalogue_is_listed_and_searched() {
    let (sandbox, server, _) = prepared(Setting::default());
    let done = ds(&sandbox, &server, &["images", "debian", "--arch", "amd64"]).succeeds();
    let names: Vec<&str> = done.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["NAME", "debian:forky", "debian:trixie", "debian:trixie:cloud"], "{done}");
    let json = ds(&sandbox, &server, &["images", "--arch", "all", "--json"]).json();
    assert_eq!(json["images"].as_array().map(Vec::len), Some(6));
    assert_eq!(server.count("/streams/v1/images.json"), 1, "the list is kept");
    let done = ds(&sandbox, &server, &["images", "plan9"]);
    done.fails(1, &["no image for"]);
    let done = ds(&sandbox, &server, &["images", "debian:forky", "--arch", "riscv64"]);
    done.fails(1, &["no image for riscv64 matches 'debian:forky', only for amd64; use --arch"]);
    let done = ds(&sandbox, &server, &["images", "debian:13:cloud", "--arch", "amd64"]).succeeds();
    assert!(done.contains("debian:trixie:cloud  debian:13:cloud  amd64"), "{done}");
    let done = ds(&sandbox, &server, &["create", "web", "--from", "debian:99", "--arch", "amd64"]);
    done.fails(1, &["ds: create web: debian has no release '99'; available: forky/14, trixie/13"]);
    ds(&sandbox, &server, &["pull", "debain"]).fails(1, &["did you mean 'debian'?"]);
    assert_tidy(&sandbox);
}

#[test]
fn getroot_leaves_a_directory_with_a_password_and_a_name_server() {
    let (sandbox, server, _) = prepared(Setting::default());
    let link = sandbox.path("getroot");
    std::os::unix::fs::symlink(sandbox.binary(), &link).expect("symlink");
    let mut command = sandbox.command(&[text(&link), "-a", "amd64", "debian:13"]);
    command.env("SSL_CERT_FILE", &server.authority).current_dir(sandbox.path(""));
    let done = Done::new("getroot".into(), command.output().expect("run"));
    assert!(done.errors.contains("root's password is '1'; change it"), "{}", done.errors);
    done.succeeds();
    let tree = sandbox.path("debian_trixie");
    let shadow = fs::read_to_string(tree.join("etc/shadow")).expect("shadow");
    assert!(shadow.starts_with("root:$") && shadow.contains("\ndaemon:*:"), "{shadow}");
    assert_eq!(fs::read_to_string(tree.join("etc/resolv.conf")).expect("read"), "nameserver 1.1.1.1\n");
}

#[test]
fn an_address_can_replace_a_name() {
    let (sandbox, server, image) = prepared(Setting::default());
    let address = format!("{}{IMAGE}", server.address());
    let wrong = "1".repeat(64);
    let done = ds(&sandbox, &server, &["create", "web", "--from", &address, "--sha256", &wrong]);
    let expected = format!("the checksum is wrong (expected {wrong}, received {})", sum(&image));
    done.fails(1, &[&expected]);
    assert_tidy(&sandbox);
    assert_eq!(cached(&sandbox), Vec::<String>::new());
    ds(&sandbox, &server, &["create", "web", "--from", &address, "--sha256", &sum(&image)]).succeeds();
    let done = ds(&sandbox, &server, &["create", "db", "--from", &address]);
    assert!(done.errors.contains("without a checksum"), "{}", done.errors);
    done.succeeds();
    let done = ds(&sandbox, &server, &["create", "x", "--from", "http://example.org/rootfs.tar.xz"]);
    done.fails(1, &["is not encrypted; use https"]);
    // A certificate of an unknown authority.
    let done = sandbox.ds(&["create", "x", "--from", &address, "--sha256", &wrong]);
    done.fails(1, &["the certificate of localhost is not trusted"]);
    assert_tidy(&sandbox);
}

#[test]
fn a_broken_download_is_resumed() {
    let sandbox = Sandbox::new();
    let image = Arc::new(root_file_system(&sandbox));
    let (served, index) = (Arc::clone(&image), streams(&image));
    let server = Server::start(&sandbox, move |request| match (request.path.as_str(), request.before) {
        ("/streams/v1/images.json", _) => Reply::body(index.clone()),
        (IMAGE, 0) => Reply::file(&served, request).cut(100_000),
        (IMAGE, 1) => Reply::status(503),
        // This time the server cannot resume.
        (IMAGE, 2) => Reply::body(served.as_slice()).cut(200_000),
        (IMAGE, _) => Reply::file(&served, request),
        _ => Reply::status(404),
    });
    configure(&sandbox, &server.address());
    ds(&sandbox, &server, &["create", "web", "--from", "debian:13", "--arch", "amd64"]).succeeds();
    let ranges = server.ranges(IMAGE);
    assert_eq!(ranges, [None, Some(100_000), Some(100_000), Some(200_000)]);
    assert_tidy(&sandbox);
}

/// Errors of a server, their messages, and whether the downloaded part is kept.
#[test]
fn errors_of_servers_are_one_line_and_leave_nothing() {
    let sandbox = Sandbox::new();
    let image = Arc::new(root_file_system(&sandbox));
    let cases: Vec<(&str, Reply, &str)> = vec![
        ("not there", Reply::status(404), "the server does not have the file (404)"),
        ("forbidden", Reply::status(403), "the server answered with 403"),
        (
            "a login page",
            Reply::body("<html>").header("Content-Type", "text/html"),
            "the network may require a login",
        ),
        ("another file", Reply::body(vec![7; image.len()]), "the checksum is wrong"),
        ("another length", Reply::body(vec![7; 1000]), "the file has 1000 bytes on the server, but"),
        (
            "encoded",
            Reply::body(image.as_slice()).header("Content-Encoding", "gzip"),
            "encoded the file as gzip",
        ),
        (
            "plain",
            Reply::status(302).header("Location", "http://example.org/x"),
            "which is not encrypted; refused",
        ),
        ("endless", Reply::status(302).header("Location", "/again"), "redirects more than 5 times"),
        ("nowhere", Reply::status(302), "redirects without a target"),
        (
            "other range",
            Reply { status: 206, ..Reply::body("x") }.header("Content-Range", "bytes 5-5/9"),
            "another range",
        ),
    ];
    for (number, (what, reply, expected)) in cases.into_iter().enumerate() {
        let index = streams(&image);
        let server = Server::start(&sandbox, move |request| match request.path.as_str() {
            "/streams/v1/images.json" => Reply::body(index.clone()),
            IMAGE | "/again" => reply.clone(),
            _ => Reply::status(404),
        });
        configure(&sandbox, &server.address());
        let name = format!("c{number}");
        let done = ds(&sandbox, &server, &["create", &name, "--from", "debian:13", "--arch", "amd64"]);
        println!("{what}");
        done.fails(1, &[expected]);
        assert_tidy(&sandbox);
        assert!(!cached(&sandbox).iter().any(|file| file.len() == 64), "{what}: {:?}", cached(&sandbox));
        sandbox.ds(&["cache", "prune"]).succeeds();
    }
}

#[test]
fn an_invalid_index_is_refused_and_another_mirror_used() {
    let (sandbox, server, _) = prepared(Setting::default());
    let captive =
        Server::start(&sandbox, |_| Reply::body("<html>log in</html>").header("Content-Type", "text/html"));
    configure(&sandbox, &captive.address());
    let done = ds(&sandbox, &captive, &["pull", "debian:13"]);
    done.fails(1, &["cannot download the list of images: "]);
    // Both authorities in one file.
    let both =
        [fs::read(&server.authority).expect("read"), fs::read(&captive.authority).expect("read")].concat();
    fs::write(&server.authority, both).expect("write");
    configure(&sandbox, &format!("{},{}", captive.address(), server.address()));
    let done = ds(&sandbox, &server, &["pull", "debian:13", "--arch", "amd64"]);
    assert_eq!(done.succeeds(), "debian:trixie (20260821_05:24) is in the cache\n");
}

#[test]
fn a_text_index_with_checksums_also_works() {
    let sandbox = Sandbox::new();
    let image = Arc::new(root_file_system(&sandbox));
    let (served, directory) = (Arc::clone(&image), IMAGE.trim_end_matches("rootfs.tar.xz"));
    let index = format!(
        "debian;trixie;amd64;cloud;20260821_05:24;/nowhere/\r\ndebian;trixie;amd64;default;20260821_05:24;{directory}\n;;;\n"
    );
    let sums = format!("{}  meta.tar.xz\n{}  rootfs.tar.xz\n", "0".repeat(64), sum(&image));
    let server = Server::start(&sandbox, move |request| match request.path.as_str() {
        "/meta/1.0/index-system" => Reply::body(index.clone()),
        IMAGE => Reply::file(&served, request),
        path if path.ends_with("/default/20260821_05:24/SHA256SUMS") => Reply::body(sums.clone()),
        _ => Reply::status(404),
    });
    configure(&sandbox, &server.address());
    ds(&sandbox, &server, &["create", "web", "--from", "debian:trixie", "--arch", "amd64"]).succeeds();
    assert_tidy(&sandbox);
}

#[test]
fn an_index_that_is_older_than_the_server_is_fetched_again() {
    let sandbox = Sandbox::new();
    let image = Arc::new(root_file_system(&sandbox));
    let (served, index) = (Arc::clone(&image), streams(&image));
    let server = Server::start(&sandbox, move |request| match (request.path.as_str(), request.before) {
        ("/streams/v1/images.json", 0) => Reply::body(index.replace("default/20260821", "default/20250101")),
        ("/streams/v1/images.json", _) => Reply::body(index.clone()),
        (IMAGE, _) => Reply::file(&served, request),
        _ => Reply::status(404),
    });
    configure(&sandbox, &server.address());
    ds(&sandbox, &server, &["create", "web", "--from", "debian:13", "--arch", "amd64"]).succeeds();
    assert_eq!(server.count("/streams/v1/images.json"), 2);
}

#[test]
fn an_interrupted_download_ends_immediately_and_continues_later() {
    let sandbox = Sandbox::new();
    let image = Arc::new(root_file_system(&sandbox));
    let (served, index) = (Arc::clone(&image), streams(&image));
    let server = Server::start(&sandbox, move |request| match (request.path.as_str(), request.before) {
        ("/streams/v1/images.json", _) => Reply::body(index.clone()),
        (IMAGE, 0) => {
            Reply { drip: Some((50_000, Duration::from_millis(300))), ..Reply::file(&served, request) }
        }
        (IMAGE, _) => Reply::file(&served, request),
        _ => Reply::status(404),
    });
    configure(&sandbox, &server.address());
    let trust = format!("SSL_CERT_FILE={}", server.authority.display());
    let binary = sandbox.binary();
    let mut terminal = sandbox.on_terminal(&[
        "env",
        &trust,
        text(&binary),
        "create",
        "web",
        "--from",
        "debian:13",
        "--arch",
        "amd64",
    ]);
    let part = sandbox.data(&format!("cache/{}.part", sum(&image)));
    wait_for("a beginning", || fs::metadata(&part).ok().filter(|about| about.len() > 60_000));
    terminal.expect("of ");
    terminal.send(b"\x03");
    terminal.expect("interrupted");
    assert_eq!(terminal.wait(), 1);
    assert_tidy(&sandbox);
    let kept = fs::metadata(&part).expect("the downloaded part is kept").len();
    ds(&sandbox, &server, &["create", "web", "--from", "debian:13", "--arch", "amd64"]).succeeds();
    let resumed = server.ranges(IMAGE)[1].expect("a range");
    assert!(u64::try_from(resumed).expect("a length") >= kept.min(50_000), "{resumed} of {kept}");
}

#[test]
fn a_process_killed_at_any_stage_of_a_pull_leaves_the_cache_complete_or_empty() {
    for stage in ["pull-begun", "pull-chunk", "pull-verified", "pull-described", "pull-kept"] {
        let fault = Some(format!("{stage}:kill"));
        let (mut sandbox, server, image) = prepared(Setting { fault, ..Setting::default() });
        let done = ds(&sandbox, &server, &["pull", "debian:13", "--arch", "amd64"]);
        assert_ne!(done.code, 0);
        for name in cached(&sandbox).iter().filter(|name| name.len() == 64) {
            assert_eq!(
                sum(&fs::read(sandbox.data(&format!("cache/{name}"))).expect("read")),
                *name,
                "{stage}"
            );
        }
        sandbox.ds(&["supervisor", "stop"]).succeeds();
        sandbox.forget_fault();
        ds(&sandbox, &server, &["pull", "debian:13", "--arch", "amd64"]).succeeds();
        assert!(Path::new(&sandbox.data(&format!("cache/{}", sum(&image)))).is_file(), "{stage}");
        // The downloaded part is not downloaded again.
        match (stage, &server.ranges(IMAGE)[..]) {
            ("pull-begun", [None, None]) | ("pull-verified" | "pull-described" | "pull-kept", [None]) => {}
            ("pull-chunk", [None, Some(from)]) if *from > 0 => {}
            (_, ranges) => panic!("{stage}: {ranges:?}"),
        }
        let part = |name: &String| name.ends_with(".part") || name.ends_with(".tag");
        assert!(!cached(&sandbox).iter().any(part), "{stage}: {:?}", cached(&sandbox));
    }
}

#[test]
fn the_proxy_of_the_environment_is_used() {
    let (sandbox, server, image) = prepared(Setting::default());
    let (port, hosts) = proxy::serve(&sandbox);
    let pull = |variables: &[(&str, &str)], words: &[&str]| {
        let binary = sandbox.binary();
        let mut command = sandbox.command(&[&[text(&binary)], words].concat());
        command.env("SSL_CERT_FILE", &server.authority).envs(variables.iter().copied());
        Done::new(words.join(" "), command.output().expect("run"))
    };
    let address = format!("http://127.0.0.1:{port}");
    let words = ["pull", "debian:13", "--arch", "amd64"];
    pull(&[("https_proxy", &address)], &words).succeeds();
    let wanted = format!("localhost:{}", server.port);
    assert_eq!(*hosts.lock().expect("lock"), [wanted.as_str(); 2], "the index and the image");
    sandbox.ds(&["cache", "prune"]).succeeds();
    pull(&[("https_proxy", &address), ("no_proxy", "localhost")], &words).succeeds();
    assert_eq!(hosts.lock().expect("lock").len(), 2, "no_proxy excludes the server");
    sandbox.ds(&["cache", "prune"]).succeeds();
    let url = format!("{}{IMAGE}", server.address());
    let words = ["pull", &url, "--sha256", &sum(&image)];
    pull(&[("https_proxy", "gopher://x")], &words).fails(1, &["is not the address of a proxy"]);
}

/// As a power cut leaves it where the file system does not order its writes.
#[test]
fn a_damaged_incomplete_download_is_fetched_again() {
    let (sandbox, server, image) = prepared(Setting::default());
    let path = sandbox.data(&format!("cache/{}.part", sum(&image)));
    fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
    fs::write(&path, [0; 1000]).expect("write");
    ds(&sandbox, &server, &["pull", "debian:13", "--arch", "amd64"]).succeeds();
    assert_eq!(server.ranges(IMAGE), [Some(1000), None]);
    sandbox.ds(&["cache", "prune"]).succeeds();
    fs::write(&path, [0; 1000]).expect("write");
    let create = ["create", "web", "--from", "debian:13", "--arch", "amd64"];
    ds(&sandbox, &server, &create).fails(1, &["the incomplete download in the cache was damaged"]);
    assert_tidy(&sandbox);
    ds(&sandbox, &server, &create).succeeds();
}

#[test]
fn a_download_that_was_killed_before_its_last_step_is_completed() {
    let sandbox = Sandbox::new();
    let image = Arc::new(root_file_system(&sandbox));
    let served = Arc::clone(&image);
    let server = Server::start(&sandbox, move |request| match request.from {
        Some(from) if from >= served.len() => {
            Reply::status(416).header("Content-Range", format!("bytes */{}", served.len()))
        }
        _ => Reply::file(&served, request),
    });
    let sha256 = sum(&image);
    let path = sandbox.data(&format!("cache/{sha256}.part"));
    fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
    let address = format!("{}/rootfs.tar.xz", server.address());
    fs::write(&path, image.as_slice()).expect("write");
    ds(&sandbox, &server, &["create", "web", "--from", &address, "--sha256", &sha256]).succeeds();
    assert_eq!(server.ranges("/rootfs.tar.xz"), [Some(image.len())]);
    sandbox.ds(&["cache", "prune"]).succeeds();
    fs::write(&path, [image.as_slice(), b"more"].concat()).expect("write");
    ds(&sandbox, &server, &["pull", &address, "--sha256", &sha256]).succeeds();
    assert_eq!(server.ranges("/rootfs.tar.xz")[1..], [Some(image.len() + 4), None]);
}

#[test]
fn a_damaged_copy_in_the_cache_is_found_and_fetched_again() {
    let (sandbox, server, image) = prepared(Setting::default());
    ds(&sandbox, &server, &["pull", "debian:13", "--arch", "amd64"]).succeeds();
    let path = sandbox.data(&format!("cache/{}", sum(&image)));
    let mut damaged = image.as_slice().to_vec();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&path, damaged).expect("write");
    ds(&sandbox, &server, &["create", "web", "--from", "debian:13", "--arch", "amd64"])
        .fails(1, &["has been removed; try again"]);
    assert_tidy(&sandbox);
    ds(&sandbox, &server, &["create", "web", "--from", "debian:13", "--arch", "amd64"]).succeeds();
}

#[test]
fn archives_with_every_kind_of_member_are_unpacked_unchanged() {
    let sandbox = Sandbox::new();
    let tree = full_tree(&sandbox.path("model"));
    let image = Arc::new(fs::read(archive(&sandbox, &tree, "rootfs.tar.xz", &["-J"])).expect("read"));
    let server = Server::start(&sandbox, faithful(&image));
    configure(&sandbox, &server.address());
    let target = sandbox.path("out");
    ds(&sandbox, &server, &["pull", "debian:13", "--arch", "amd64", "-o", text(&target)]).succeeds();
    assert_eq!(fs::read_to_string(target.join("etc/motd.again")).expect("read"), "hello\n");
    let done = ds(&sandbox, &server, &["pull", "debian:13", "--arch", "amd64", "-o", text(&target)]);
    done.fails(1, &["already exists"]);
    ds(&sandbox, &server, &["pull", "images:debian/13", "--arch", "amd64"]).succeeds();
}
