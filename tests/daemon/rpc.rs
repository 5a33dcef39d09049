//! `ds rpc`: the requests of a page, and the lines of the answers.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use crate::machine::{Machine, wait_for};
use crate::monitor::Monitor;

fn encoded(request: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(request.to_string())
}

/// The lines of an answer, and the exit code.
pub fn ask(machine: &Machine, request: &Value) -> (Vec<Value>, i32) {
    answer(machine, &encoded(request))
}

fn answer(machine: &Machine, word: &str) -> (Vec<Value>, i32) {
    let output = machine.ds_command(&["rpc", word]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "the output is JSON on stdout");
    assert!(!text.contains('%'), "{text}");
    (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), output.status.code().unwrap())
}

/// A subscription, and its events.
pub struct Subscription {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Subscription {
    pub fn new(machine: &Machine, request: &Value) -> Self {
        let mut command = machine.ds_command(&["rpc", &encoded(request)]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    pub fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the subscription ended");
            let event = serde_json::from_str(&line).unwrap();
            if wanted(&event) {
                return event;
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_request_answers_as_the_command_line_does() {
    let Some(machine) = Machine::new("rpc::a_request_answers_as_the_command_line_does") else { return };
    machine.container("web", &[]);
    for words in [&["list"][..], &["info", "web"], &["get", "web"], &["version"]] {
        let line = [words, &["--json"]].concat();
        let (lines, code) = ask(&machine, &json!({ "v": 1, "argv": words }));
        assert_eq!((lines, code), (vec![machine.json(&line)], 0), "{words:?}");
    }
    let (lines, _) = ask(&machine, &json!({ "argv": ["get", "web", "hostname"] }));
    assert_eq!(lines, [json!({ "event": "output", "text": "web\n" }), json!({ "done": true, "code": 0 })]);
    let (lines, code) = ask(&machine, &json!({ "argv": ["set", "web", "priority=7"] }));
    assert_eq!((lines, code), (vec![json!({ "done": true, "code": 0 })], 0));
    assert_eq!(machine.listed("web")["priority"], 7);
}

#[test]
fn every_answer_is_a_line_with_a_code() {
    let Some(machine) = Machine::new("rpc::every_answer_is_a_line_with_a_code") else {
        return;
    };
    let code = |lines: &[Value]| lines[0]["error"]["code"].as_str().unwrap().to_owned();
    for word in ["x", "%%%", "AAAA", "e30", "WzFd", "____", "\u{202e}", "'; reboot #"] {
        let (lines, exit) = answer(&machine, word);
        assert_eq!((code(&lines), exit), ("malformed".to_owned(), 2), "{word}");
    }
    for (request, expected) in [
        (json!({ "argv": ["lst"] }), "usage"),
        (json!({ "argv": [] }), "malformed"),
        (json!({ "argv": ["rpc", "e30"] }), "unsupported"),
        (json!({ "argv": ["enter", "web"] }), "unsupported"),
        (json!({ "argv": ["start", "$(reboot)"] }), "usage"),
        (json!({ "argv": ["start", "web"] }), "failed"),
        (json!({ "v": 9 }), "version"),
        (json!({ "cancel": "../../x" }), "failed"),
        (json!({ "terminal": { "action": "input", "id": "0", "data": "" } }), "failed"),
        (json!({ "subscribe": ["log"], "name": "web" }), "failed"),
        (json!({ "directory": "/proc/../etc" }), "malformed"),
        (json!({ "directory": "/nowhere" }), "failed"),
    ] {
        let (lines, exit) = ask(&machine, &request);
        assert_eq!(code(&lines), expected, "{request}");
        assert!(exit != 0 && !lines[0]["error"]["message"].as_str().unwrap().is_empty());
    }
}

#[test]
fn settings_are_validated_without_being_written() {
    let Some(machine) = Machine::new("rpc::settings_are_validated_without_being_written") else { return };
    machine.container("web", &[]);
    let before = std::fs::read(machine.paths.containers().join("web/container.ini")).unwrap();
    let (lines, _) = ask(&machine, &json!({ "argv": ["set", "web", "limits.memory=much", "--dry-run"] }));
    assert_eq!(
        (&lines[0]["error"]["code"], &lines[0]["error"]["key"]),
        (&json!("setting"), &json!("limits.memory"))
    );
    assert!(lines[0]["error"]["reason"].as_str().unwrap().contains("512M"));
    let (lines, _) = ask(&machine, &json!({ "argv": ["set", "web", "limits.memory=1G", "--dry-run"] }));
    assert_eq!(lines, [json!({ "done": true, "code": 0 })]);
    let text = "[container]\nrootfs = /nowhere\n[limits]\nmemory = x\n";
    let (lines, _) = ask(&machine, &json!({ "argv": ["set", "web", "--file", "-"], "input": text }));
    assert_eq!((&lines[0]["error"]["line"], &lines[0]["error"]["column"]), (&json!(4), &json!(10)));
    assert_eq!(std::fs::read(machine.paths.containers().join("web/container.ini")).unwrap(), before);
    let text = "# mine\n[container]\nrootfs = /nowhere\npriority = 3\n";
    let (lines, _) = ask(&machine, &json!({ "argv": ["set", "web", "--file", "-"], "input": text }));
    assert_eq!(lines, [json!({ "done": true, "code": 0 })]);
    assert!(machine.ds(&["get", "web", "--file"]).succeeds().starts_with("# mine\n"));
    assert_eq!(machine.listed("web")["priority"], 3);
}

#[test]
fn a_subscriber_receives_every_change() {
    let Some(machine) = Machine::new("rpc::a_subscriber_receives_every_change") else { return };
    machine.container("web", &[]);
    let request = json!({ "subscribe": ["state", "jobs", "stats"] });
    let mut subscription = Subscription::new(&machine, &request);
    let state = |event: &Value, name: &str| {
        let containers = event["containers"].as_array().filter(|_| event["event"] == "state")?.clone();
        containers.into_iter().find(|one| one["name"] == name).map(|one| one["state"].clone())
    };
    subscription.until(|event| state(event, "web") == Some(json!("stopped")));
    machine.container("db", &[]);
    subscription.until(|event| state(event, "db") == Some(json!("stopped")));
    let monitor = Monitor::start(&machine.paths, "web");
    subscription.until(|event| state(event, "web") == Some(json!("running")));
    monitor.die();
    subscription.until(|event| state(event, "web").is_some_and(|state| state != "running"));
    machine.ds(&["rm", "db"]).succeeds();
    subscription.until(|event| event["event"] == "state" && state(event, "db").is_none());
    subscription
        .until(|event| event["event"] == "stats" && event["machine"]["memory_total"].as_u64() > Some(0));
    drop(subscription);
    wait_for("the worker to end", || machine.workers().is_empty().then_some(()));
}

#[test]
fn a_job_outlives_its_client_and_is_listed() {
    let Some(machine) = Machine::new("rpc::a_job_outlives_its_client_and_is_listed") else { return };
    let (lines, code) = ask(&machine, &json!({ "argv": ["convert", "nobody", "image"], "job": true }));
    let id = lines[0]["job"].as_str().unwrap().to_owned();
    assert_eq!(code, 0);
    let mut subscription = Subscription::new(&machine, &json!({ "subscribe": ["jobs"] }));
    let event = subscription.until(|event| event["jobs"][0]["state"] == "failed");
    let job = &event["jobs"][0];
    assert_eq!((&job["id"], &job["verb"], &job["name"]), (&json!(id), &json!("convert"), &json!("nobody")));
    assert!(job["error"]["message"].as_str().unwrap().contains("no such container"));
    assert_eq!(ask(&machine, &json!({ "forget": id })).1, 0);
    subscription.until(|event| event["jobs"] == json!([]));
}

#[test]
fn a_running_job_keeps_no_stream_of_its_client() {
    let Some(machine) = Machine::new("rpc::a_running_job_keeps_no_stream_of_its_client") else { return };
    // Nobody writes into it: the job runs until it is cancelled.
    let archive = machine.path("endless.tar");
    mkfifo(&archive, Mode::S_IRWXU).unwrap();
    let request = json!({ "argv": ["create", "web", "--from", archive], "job": true });
    let mut client = machine.ds_command(&["rpc", &encoded(&request)]);
    let (output, ended) = channel();
    let reader = thread::spawn(move || output.send(client.output().unwrap().stdout));
    // output() returns when both pipes are closed.
    let lines = ended.recv_timeout(Duration::from_secs(10));
    let listed = Subscription::new(&machine, &json!({ "subscribe": ["jobs"] }))
        .until(|event| event["jobs"][0]["state"] == "running");
    let id = &listed["jobs"][0]["id"];
    assert_eq!(ask(&machine, &json!({ "cancel": id })).1, 0);
    reader.join().unwrap().unwrap();
    let answer: Value = serde_json::from_slice(&lines.expect("the pipes of the client are open")).unwrap();
    assert_eq!(&answer["job"], id);
}

#[test]
fn a_job_reads_the_input_of_its_request() {
    let Some(machine) = Machine::new("rpc::a_job_reads_the_input_of_its_request") else { return };
    machine.container("web", &[]);
    let text = machine.ds(&["get", "web", "--file"]).succeeds() + "\n# from a job\n";
    ask(&machine, &json!({ "argv": ["set", "web", "--file", "-"], "input": text, "job": true }));
    Subscription::new(&machine, &json!({ "subscribe": ["jobs"] }))
        .until(|event| event["jobs"][0]["state"] == "done");
    assert_eq!(machine.ds(&["get", "web", "--file"]).succeeds(), text);
}

#[test]
fn a_subscription_ends_when_its_time_is_over() {
    let Some(machine) = Machine::new("rpc::a_subscription_ends_when_its_time_is_over") else { return };
    let (lines, code) = ask(&machine, &json!({ "subscribe": ["jobs"], "seconds": 0 }));
    assert_eq!((lines.last(), code), (Some(&json!({ "event": "end", "reason": "over" })), 0));
}

#[test]
fn a_directory_is_listed_and_nothing_else_of_it() {
    let Some(machine) = Machine::new("rpc::a_directory_is_listed_and_nothing_else_of_it") else { return };
    machine.container("web", &[]);
    let directory = machine.paths.containers();
    let (lines, code) = ask(&machine, &json!({ "directory": directory }));
    assert_eq!((code, &lines[0]["path"]), (0, &json!(directory)));
    assert_eq!(lines[0]["entries"][0]["name"], "web");
    assert_eq!(lines[0]["entries"][0]["kind"], "directory");
    assert!(lines[0]["places"].as_array().unwrap().contains(&json!("/")));
    let (lines, _) = ask(&machine, &json!({ "directory": directory.join("web") }));
    let file = lines[0]["entries"].as_array().unwrap().iter().find(|one| one["name"] == "container.ini");
    assert!(file.unwrap()["size"].as_u64() > Some(0));
    let (lines, code) = ask(&machine, &json!({ "directory": directory.join("web/container.ini") }));
    assert_eq!((&lines[0]["error"]["code"], code), (&json!("failed"), 1));
}

#[test]
fn the_log_of_the_supervisor_is_followed() {
    let Some(machine) = Machine::new("rpc::the_log_of_the_supervisor_is_followed") else { return };
    machine.container("web", &[]);
    let mut log =
        Subscription::new(&machine, &json!({ "subscribe": ["supervisor"], "lines": 5, "seconds": 60 }));
    let says = |event: &Value, words: &str| event["text"].as_str().is_some_and(|text| text.contains(words));
    log.until(|event| event["event"] == "supervisor" && says(event, "started"));
    machine.ds(&["supervisor", "reload"]).succeeds();
    log.until(|event| event["event"] == "end" || event["event"] == "supervisor");
}
