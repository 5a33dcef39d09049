//! `ds rpc` with a running container: its log, its terminal, and hostile text.

use crate::sandbox::Sandbox;
use crate::{skip, wait_for};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout};

fn encoded(request: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(request.to_string())
}

fn ask(sandbox: &Sandbox, request: &Value) -> Vec<Value> {
    let text = sandbox.ds(&["rpc", &encoded(request)]).succeeds();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

struct Stream {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// Output of a terminal that was read but not matched yet, and its end position.
    unseen: String,
    to: u64,
}

impl Stream {
    fn new(sandbox: &Sandbox, request: &Value) -> Self {
        let mut child = sandbox.spawn_ds(&["rpc", &encoded(request)]);
        let lines = BufReader::new(child.stdout.take().expect("stdout"));
        Self { child, lines, unseen: String::new(), to: 0 }
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "the stream ended");
        serde_json::from_str(&line).unwrap()
    }

    /// Output of a terminal until it has `wanted`. What follows in the same event is kept for the next call.
    fn until(&mut self, wanted: &str) -> u64 {
        loop {
            if let Some(at) = self.unseen.find(wanted) {
                self.unseen.drain(..at + wanted.len());
                return self.to;
            }
            let event = self.next();
            let data = BASE64_STANDARD.decode(event["data"].as_str().unwrap_or_default()).unwrap();
            self.unseen.push_str(&String::from_utf8_lossy(&data));
            self.to = event["to"].as_u64().unwrap_or(self.to);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn booted(sandbox: &mut Sandbox) {
    sandbox.distribution("web", "busybox", &[]);
    sandbox.ds(&["start", "web", "--wait"]).succeeds();
}

#[test]
fn a_terminal_accepts_input_and_outlives_its_page() {
    let mut sandbox = Sandbox::new();
    booted(&mut sandbox);
    let open = json!({ "terminal": { "action": "open", "name": "web", "columns": 100, "rows": 30 } });
    let mut page = Stream::new(&sandbox, &open);
    let id = page.next()["id"].as_str().unwrap().to_owned();
    let types = |text: &str| {
        let data = BASE64_STANDARD.encode(text);
        ask(&sandbox, &json!({ "terminal": { "action": "input", "id": id, "data": data } }));
    };
    // A shell discards what was typed before its prompt.
    page.until("# ");
    types("echo a$((1+1))b; stty size\n");
    page.until("a2b");
    let known = page.until("30 100");
    drop(page);
    types("echo c$((2+2))d\n");
    let mut again =
        Stream::new(&sandbox, &json!({ "terminal": { "action": "attach", "id": id, "from": known } }));
    again.until("c4d");
    ask(&sandbox, &json!({ "terminal": { "action": "resize", "id": id, "columns": 61, "rows": 17 } }));
    types("stty size; seq 100000; echo e$((3+3))f\n");
    again.until("17 61");
    again.until("e6f");
    assert_eq!(ask(&sandbox, &json!({ "terminal": { "action": "list" } }))[0]["terminals"][0]["name"], "web");
    types("exit\n");
    while again.next()["event"] != "end" {}
    wait_for("the end of the terminal", || {
        let list = ask(&sandbox, &json!({ "terminal": { "action": "list" } }));
        (list[0]["terminals"] == json!([])).then_some(())
    });
    let open = json!({ "terminal": { "action": "open", "name": "web" } });
    let mut closed = Stream::new(&sandbox, &open);
    let id = closed.next()["id"].clone();
    ask(&sandbox, &json!({ "terminal": { "action": "close", "id": id } }));
    while closed.next()["event"] != "end" {}
    sandbox.ds(&["stop", "web"]).succeeds();
}

#[test]
fn hostile_log_lines_and_output_arrive_as_text() {
    let mut sandbox = Sandbox::new();
    booted(&mut sandbox);
    let mut log = Stream::new(&sandbox, &json!({ "subscribe": ["log"], "name": "web", "lines": 1 }));
    let hostile = "<script>alert(1)</script> %22 $(reboot) \u{202e}\u{1b}]52;c;aGk=\u{7}";
    let script = format!("printf '%s\\n' '{hostile}' > /dev/console");
    let lines = ask(&sandbox, &json!({ "argv": ["run", "web", "--", "sh", "-c", script] }));
    assert_eq!(lines.last(), Some(&json!({ "done": true, "code": 0 })));
    let mut seen = String::new();
    while !seen.contains(hostile) {
        seen.push_str(log.next()["text"].as_str().unwrap());
    }
    let lines = ask(&sandbox, &json!({ "argv": ["run", "web", "--", "printf", "%s", hostile] }));
    assert_eq!(lines[0], json!({ "event": "output", "text": hostile }));
    drop(log);
    sandbox.ds(&["stop", "web"]).succeeds();
}

#[test]
fn a_subscriber_is_notified_immediately_of_a_frozen_container() {
    let mut sandbox = Sandbox::new();
    booted(&mut sandbox);
    // Without 'stats', nothing is polled.
    let mut states = Stream::new(&sandbox, &json!({ "subscribe": ["state"] }));
    let mut until = |wanted: &str| while states.next()["containers"][0]["state"] != wanted {};
    until("running");
    sandbox.ds(&["freeze", "web"]).succeeds();
    until("frozen");
    sandbox.ds(&["thaw", "web"]).succeeds();
    until("running");
    sandbox.ds(&["stop", "web"]).succeeds();
}

#[test]
fn a_subscriber_hears_at_once_of_a_container_that_another_program_freezes() {
    let mut sandbox = Sandbox::new();
    booted(&mut sandbox);
    let groups = sandbox.group_directories().into_iter().map(|top| top.join("web/cgroup.freeze"));
    let Some(freezer) = groups.into_iter().find(|file| file.exists()) else {
        let name = "rpc::a_subscriber_hears_at_once_of_a_container_that_another_program_freezes";
        skip(name, "version 2 of control groups has no freezer");
        return;
    };
    // Without 'stats' nothing is measured by the clock.
    let mut states = Stream::new(&sandbox, &json!({ "subscribe": ["state"] }));
    let mut until = |wanted: &str| while states.next()["containers"][0]["state"] != wanted {};
    until("running");
    for round in 0..2 {
        // Also in a group below, which root in the container owns.
        let file = if round == 0 { freezer.clone() } else { freezer.with_file_name("payload/cgroup.freeze") };
        std::fs::write(&file, "1").unwrap();
        until("frozen");
        std::fs::write(&file, "0").unwrap();
        until("running");
    }
    sandbox.ds(&["stop", "web"]).succeeds();
}
