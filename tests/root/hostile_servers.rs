//! Errors and attacks of servers: slow, silent, endless and false answers, and archives that lead out of their tree.
//! Each causes one error line and leaves nothing behind. `catalogue` tests answers with an invalid header.

use crate::archives::{member, strange_archive};
use crate::catalogue::{cached, configure, ds, root_file_system};
use crate::sandbox::Sandbox;
use crate::storage::{assert_tidy, text};
use crate::web::catalogue::{IMAGE, streams, sum};
use crate::web::{Reply, Request, Server};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const INDEX: &str = "/streams/v1/images.json";

/// A machine with a timeout of one second for servers.
fn impatient(server: &Server, sandbox: &Sandbox) {
    configure(sandbox, &format!("{}\ntimeout = 1", server.address()));
}

fn create(sandbox: &Sandbox, server: &Server) -> crate::done::Done {
    ds(sandbox, server, &["create", "web", "--from", "debian:13", "--arch", "amd64"])
}

/// Asserts that nothing is left: no container, no complete file, and no incomplete one after `ds cache prune`.
#[track_caller]
fn nothing_is_left(sandbox: &Sandbox) {
    assert_tidy(sandbox);
    assert!(!sandbox.data("containers/web").exists());
    assert!(!cached(sandbox).iter().any(|file| file.len() == 64), "{:?}", cached(sandbox));
    // An incomplete file is kept only if a later download can resume there.
    assert!(!sandbox.ds(&["cache", "list"]).succeeds().contains(" 0 B "));
    sandbox.ds(&["cache", "prune"]).succeeds();
    assert_eq!(cached(sandbox), [""; 0]);
}

fn slowly(reply: Reply, bytes: usize, pause: u64) -> Reply {
    Reply { drip: Some((bytes, Duration::from_millis(pause))), ..reply }
}

/// A server that makes no progress, and the error for it.
fn is_given_up(
    what: &str,
    expected: &str,
    answer: impl Fn(&Request, &[u8]) -> Option<Reply> + Send + Sync + 'static,
) {
    let sandbox = Sandbox::new();
    let image = Arc::new(root_file_system(&sandbox));
    let (served, index) = (Arc::clone(&image), streams(&image));
    let server = Server::start(&sandbox, move |request| {
        answer(request, &served).unwrap_or_else(|| match request.path.as_str() {
            INDEX => Reply::body(index.clone()),
            _ => Reply::status(404),
        })
    });
    impatient(&server, &sandbox);
    let done = create(&sandbox, &server);
    assert!(done.errors.contains(expected), "{what}: {}", done.errors);
    done.fails(1, &["ds: create web: "]);
    nothing_is_left(&sandbox);
}

#[test]
fn a_server_without_progress_is_an_error() {
    let of_image = |request: &Request| request.path == IMAGE;
    thread::scope(|scope| {
        scope.spawn(|| {
            is_given_up("drips", "sends too slowly", move |request, image| {
                of_image(request).then(|| slowly(Reply::file(image, request), 100, 50))
            });
        });
        scope.spawn(|| {
            is_given_up("pauses for ever", "giving up after 5 attempts", move |request, image| {
                of_image(request).then(|| slowly(Reply::file(image, request), 1, 3000))
            });
        });
        scope.spawn(|| {
            is_given_up("does not answer", "did not answer in time", move |request, _| {
                of_image(request).then(|| {
                    thread::sleep(Duration::from_secs(3));
                    Reply::status(404)
                })
            });
        });
        scope.spawn(|| {
            is_given_up("a byte for each connection", "giving up after 5 attempts", move |request, image| {
                of_image(request).then(|| Reply::file(image, request).cut(1))
            });
        });
        scope.spawn(|| {
            is_given_up("an index that drips", "sends too slowly", |request, _| {
                Some(slowly(Reply::body(vec![b' '; 1 << 20]), 100, 50)).filter(|_| request.path == INDEX)
            });
        });
    });
}

#[test]
fn an_answer_of_another_length_is_refused() {
    let of_image = |request: &Request| request.path == IMAGE;
    let no_length = |body: &[u8]| Reply::body(body).header("No-Length", "x");
    thread::scope(|scope| {
        scope.spawn(|| {
            is_given_up("more than in the index", "the file is larger than", move |request, image| {
                of_image(request).then(|| no_length(&[image, b"more"].concat()))
            });
        });
        scope.spawn(|| {
            is_given_up("less, and no length", "closed the connection too early", move |request, image| {
                of_image(request).then(|| no_length(&image[..1000]))
            });
        });
        scope.spawn(|| {
            is_given_up("a length that is a lie", "bytes on the server, but", move |request, image| {
                of_image(request).then(|| Reply::body(image).header("Content-Length", "99999999999"))
            });
        });
        scope.spawn(|| {
            is_given_up("a range beyond the file", "invalid range", move |request, _| {
                let reply = Reply { status: 206, ..Reply::body("x") };
                of_image(request).then(|| reply.header("Content-Range", "bytes 0-18446744073709551615/9"))
            });
        });
        scope.spawn(|| {
            is_given_up("a login page behind a redirect", "require a login", move |request, _| {
                let page = || Reply::body("<html>").header("Content-Type", "text/html; charset=utf-8");
                match request.path.as_str() {
                    IMAGE => Some(Reply::status(302).header("Location", "/login")),
                    "/login" => Some(page()),
                    _ => None,
                }
            });
        });
        scope.spawn(|| {
            is_given_up("a page that is called a file", "bytes on the server, but", move |request, _| {
                of_image(request).then(|| Reply::body("<html>log in</html>"))
            });
        });
    });
}

#[test]
fn a_hostile_index_is_refused() {
    let of_index = |reply: Reply| move |request: &Request| (request.path == INDEX).then(|| reply.clone());
    for (what, reply, expected) in [
        ("endless", Reply::body(vec![b' '; 33 << 20]), "is larger than 33554432 bytes; refused"),
        ("deep", Reply::body("[".repeat(1 << 20)), "the index is not valid JSON"),
        ("empty", Reply::body(r#"{"products":{}}"#), "the index lists no root file system"),
        ("plain", Reply::status(301).header("Location", "http://example.org/"), "not encrypted; refused"),
        ("encoded", Reply::body("x").header("Content-Encoding", "gzip"), "encoded the file as gzip"),
        ("paths", Reply::body(streams(b"x").replace("images/", "../../etc/")), "lists no root file system"),
    ] {
        let answer = of_index(reply);
        is_given_up(what, expected, move |request, _| answer(request));
    }
}

#[test]
fn a_temporary_error_of_a_server_is_retried() {
    let sandbox = Sandbox::new();
    let image = Arc::new(root_file_system(&sandbox));
    let (served, index) = (Arc::clone(&image), streams(&image));
    let server = Server::start(&sandbox, move |request| match (request.path.as_str(), request.before) {
        (INDEX | IMAGE, 0) => Reply::status(500),
        (INDEX | IMAGE, 1) => Reply::status(502),
        (INDEX, _) => Reply::body(index.clone()),
        // The file is being replaced.
        (IMAGE, 2) => Reply::status(404),
        (IMAGE, _) => Reply::file(&served, request),
        _ => Reply::status(404),
    });
    configure(&sandbox, &format!("{}/", server.address()));
    create(&sandbox, &server).succeeds();
    assert_eq!((server.count(INDEX), server.count(IMAGE)), (4, 4));
    assert_tidy(&sandbox);
}

#[test]
fn a_file_that_changes_while_it_is_downloaded_is_named() {
    let sandbox = Sandbox::new();
    let image = root_file_system(&sandbox);
    let server = Server::start(&sandbox, move |request| match request.before {
        0 => Reply::body(&image[..]).header("ETag", "\"one\"").cut(100_000),
        _ => Reply::body(&image[..]).header("ETag", "\"two\""),
    });
    let address = format!("{}/rootfs.tar.xz", server.address());
    let done = ds(&sandbox, &server, &["pull", &address]);
    assert!(done.errors.contains("the file has changed on the server; try again"), "{}", done.errors);
    assert_eq!(done.code, 1);
    nothing_is_left(&sandbox);
}

#[test]
fn a_full_disk_cancels_the_job() {
    let mut sandbox = Sandbox::new();
    let own = sandbox.path("zeros");
    fs::create_dir_all(own.join("etc")).expect("mkdir");
    fs::write(own.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").expect("write");
    let zeros = fs::File::create(own.join("bomb")).expect("create");
    zeros.set_len(100 << 20).expect("truncate");
    let script = format!("cd {} && tar -c . | xz -0 -T1 >../bomb.tar.xz", text(&own));
    sandbox.run(&["sh", "-c", &script]).succeeds();
    let bomb = fs::read(own.with_file_name("bomb.tar.xz")).expect("the bomb");
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    let digits = sum(&bomb);
    let server = Server::start(&sandbox, move |request| match request.path.as_str() {
        "/bomb.tar.xz" => Reply::file(&bomb, request),
        _ => Reply::body(vec![7; 20 << 20]).header("No-Length", "x"),
    });
    let address = |name: &str| format!("{}/{name}", server.address());
    let small = ["create", "web", "--size", "64M", "--sha256", &digits, "--from", &address("bomb.tar.xz")];
    ds(&sandbox, &server, &small).fails(1, &["ds: create web: ", "an image of 64 MiB is too small"]);
    assert_tidy(&sandbox);
    fs::create_dir_all(sandbox.data("containers")).expect("mkdir");
    for directory in ["containers", "cache"] {
        let target = sandbox.data(directory);
        fs::create_dir_all(&target).expect("mkdir");
        sandbox.mount(&["-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs", text(&target)]);
    }
    let large = ["create", "web", "--sha256", &digits, "--from", &address("bomb.tar.xz")];
    ds(&sandbox, &server, &large).fails(1, &["ds: create web: ", "space"]);
    // The length of this one is unknown, and only the cache has space for it.
    let done = ds(&sandbox, &server, &["pull", &address("endless")]);
    assert!(done.code == 1 && done.errors.contains("No space left"), "{}", done.errors);
    let inside = |directory: &str| sandbox.run(&["ls", "-A", text(&sandbox.data(directory))]).succeeds();
    assert_eq!(inside("containers"), "");
    assert!(!inside("cache").contains(".part"), "{}", inside("cache"));
}

#[test]
fn no_archive_from_a_server_leads_out_of_its_tree() {
    let sandbox = Sandbox::new();
    let outside = sandbox.path("outside");
    fs::create_dir_all(&outside).expect("mkdir");
    fs::write(outside.join("bait"), "untouched").expect("write");
    let bait = text(&outside.join("bait")).to_owned();
    let up = format!("{}{}", "../".repeat(20), bait.trim_start_matches('/'));
    let capability = [("SCHILY.xattr.security.capability", "nonsense")];
    let archives = [
        strange_archive(&sandbox, &[member(b'0', &up, 0o644, "", &[])]),
        strange_archive(&sandbox, &[member(b'0', "x", 0o644, "", &[("path", &bait)])]),
        strange_archive(
            &sandbox,
            &[member(b'2', "way", 0o777, text(&outside), &[]), member(b'0', "way/bait", 0o644, "", &[])],
        ),
        strange_archive(&sandbox, &[member(b'1', "x", 0o644, "", &[("linkpath", &bait)])]),
        strange_archive(&sandbox, &[member(b'1', "x", 0o644, "", &[("linkpath", &up)])]),
        strange_archive(&sandbox, &[member(b'0', "x", 0o6755, "", &capability)]),
        Vec::new(),
        vec![0; 1024],
        b"<html>log in</html>".to_vec(),
    ];
    let served: Vec<Arc<Vec<u8>>> = archives.into_iter().map(Arc::new).collect();
    let files = served.clone();
    let server = Server::start(&sandbox, move |request| {
        let number = request.path.trim_start_matches('/').parse().ok();
        number
            .and_then(|number: usize| files.get(number))
            .map_or_else(|| Reply::status(404), |file| Reply::file(file, request))
    });
    for (number, archive) in served.iter().enumerate() {
        let (address, digits) = (format!("{}/{number}", server.address()), sum(archive));
        let done = ds(&sandbox, &server, &["create", "web", "--from", &address, "--sha256", &digits]);
        println!("{number}: {} {}", done.code, done.errors);
        assert!(done.code == 0 && number < 6 || done.errors.lines().count() == 1, "{}", done.errors);
        assert_eq!(fs::read_to_string(outside.join("bait")).expect("the bait"), "untouched", "{number}");
        assert_eq!(fs::read_dir(&outside).expect("outside").count(), 1, "{number}");
        assert_tidy(&sandbox);
        if Path::new(&sandbox.data("containers/web")).exists() {
            sandbox.ds(&["rm", "web"]).succeeds();
        }
    }
}
