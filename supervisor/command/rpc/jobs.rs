//! Verbs that continue when the page that started them is closed.
//!
//! The worker releases its client and does the work. A second process, the keeper, records the progress of each job in
//! a small file in the run directory. The keeper also notices if the worker is killed. Subscribers read the files after
//! an event of inotify(7). Words of the command line are not recorded, because they may be secrets.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid};
use serde_json::{Map, Value, json};

use super::context::{Verbs, emit};
use super::relay::read_document;
use crate::call;
use crate::cli::Command;
use crate::clock::unix_s;
use crate::config::value::Uuid;
use crate::durable;
use crate::exit::ExitCode;
use crate::log as sinks;
use crate::paths::{Paths, create_private};
use crate::proc_stat::start_time;
use crate::subprocess;
use crate::sys::descriptor::make_standard;
use crate::sys::process::{Fork, exit_immediately, fork, kill};
use crate::worker::Env;

/// The interval at which a record is written while its job makes progress.
const INTERVAL: Duration = Duration::from_millis(250);
/// Maximum number of ended jobs in the list.
const MAX_ENDED: usize = 20;
/// Maximum number of recorded warnings of a job.
const MAX_WARNINGS: usize = 20;
/// The fields of a record with the process ID of the worker and its start time, because process IDs are reused.
const WORKER: [&str; 2] = ["pid", "pid_started"];
/// The same for the keeper, which ends later.
const KEEPER: [&str; 2] = ["keeper", "keeper_started"];
/// Maximum size of a record, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Runs a verb without its client. Its standard input is that of the request if it `has_input`, else empty.
///
/// # Errors
/// If the job cannot be recorded; nothing is then done.
pub(super) fn run(command: &Command, has_input: bool, env: &Env, verbs: Verbs<'_>) -> Result<ExitCode> {
    create_private(&env.paths.jobs())?;
    prune(&env.paths);
    let id = Uuid::random().context("read /dev/urandom")?.to_string();
    let (verb, name) = (verbs.subject)(command);
    let mut record = Record { path: path(&env.paths, &id)?, fields: Map::new() };
    record.set("id", id.as_str());
    record.set("verb", verb);
    record.set("name", name);
    record.set("state", "running");
    record.set("started", unix_s());
    record.set_process(WORKER, getpid());
    let null = subprocess::null()?;
    let (lines, end) = pipe().context("pipe")?;
    match call!(fork(), "fork")? {
        Fork::Child => {
            drop(end);
            let _ = prctl::set_name(c"ds:keeper");
            // The caller waits for the end of its output: neither the streams nor their copy for events may stay open.
            let _ = subprocess::release_streams();
            sinks::send_events_to(None);
            record.set_process(KEEPER, getpid());
            record.keep(File::from(OwnedFd::from(lines)));
            exit_immediately(0)
        }
        Fork::Parent(keeper) => {
            drop(lines);
            record.set_process(KEEPER, keeper);
        }
    }
    record.write()?;
    emit(&json!({ "job": id }))?;
    sinks::send_events_to(None);
    for number in i32::from(has_input)..3 {
        call!(make_standard(null.as_fd(), number), "dup2({number})")?;
    }
    let end = OwnedFd::from(end);
    call!(make_standard(end.as_fd(), 1), "dup2(1)")?;
    sinks::send_events_to(Some(File::from(end)));
    env.client.leave(0);
    let code = (verbs.perform)(command);
    emit(&json!({ "done": true, "code": code.number() }))?;
    Ok(code)
}

/// The file of a job.
fn path(paths: &Paths, id: &str) -> Result<PathBuf> {
    if id.is_empty() || !id.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        bail!("there is no such job");
    }
    Ok(paths.jobs().join(format!("{id}.json")))
}

/// All running jobs and the last ended ones, the newest first.
#[must_use]
pub(super) fn list(paths: &Paths) -> Vec<Value> {
    let entries = fs::read_dir(paths.jobs()).into_iter().flatten().filter_map(Result::ok);
    let files =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "json"));
    let mut jobs: Vec<Value> = files.filter_map(|path| read_document(&path, LONGEST)).map(checked).collect();
    jobs.sort_by_key(|job| std::cmp::Reverse(job["started"].as_u64()));
    jobs
}

/// If worker and keeper have both ended, the record states it.
fn checked(mut job: Value) -> Value {
    if job["state"] == "running" && process(&job, WORKER).or_else(|| process(&job, KEEPER)).is_none() {
        job["state"] = json!("failed");
        job["error"] = json!({ "code": "failed", "message": "it ended before it was complete" });
    }
    job
}

/// A process of a job, if it lives.
fn process(job: &Value, [pid, started]: [&str; 2]) -> Option<Pid> {
    let pid = Pid::from_raw(i32::try_from(job[pid].as_i64()?).ok()?);
    let start = start_of(pid)?;
    (Some(start) == job[started].as_u64()).then_some(pid)
}

fn start_of(pid: Pid) -> Option<u64> {
    start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Cancels a job. It is undone as if its client had interrupted it.
///
/// # Errors
/// If there is no such job.
pub(super) fn cancel(paths: &Paths, id: &str) -> Result<()> {
    let job = read_document(&path(paths, id)?, LONGEST).context("there is no such job")?;
    if let Some(pid) = process(&job, WORKER).filter(|_| job["state"] == "running") {
        call!(kill(pid, Signal::SIGTERM as i32), "kill({pid})")?;
    }
    Ok(())
}

/// Removes the record of a job that has ended.
///
/// # Errors
/// If it is running.
pub(super) fn forget(paths: &Paths, id: &str) -> Result<()> {
    let path = path(paths, id)?;
    match read_document(&path, LONGEST).map(checked) {
        Some(job) if job["state"] == "running" => bail!("the job is running; cancel it first"),
        _ => drop(fs::remove_file(path)),
    }
    Ok(())
}

fn prune(paths: &Paths) {
    let ended = list(paths).into_iter().filter(|job| job["state"] != "running").skip(MAX_ENDED);
    for id in ended.filter_map(|job| job["id"].as_str().map(str::to_owned)) {
        let _ = forget(paths, &id);
    }
}

/// The record of a job.
struct Record {
    path: PathBuf,
    fields: Map<String, Value>,
}

impl Record {
    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.fields.insert(key.to_owned(), value.into());
    }

    fn set_process(&mut self, [key, started]: [&str; 2], pid: Pid) {
        self.set(key, pid.as_raw());
        self.set(started, start_of(pid));
    }

    fn write(&self) -> Result<()> {
        let text = Value::Object(self.fields.clone()).to_string();
        durable::replace(&self.path, text.as_bytes(), 0o600).context("write the record of the job")
    }

    /// The main function of the keeper: receives the worker's events until it ends.
    fn keep(mut self, lines: File) {
        let mut written = Instant::now();
        let mut ended = false;
        for line in BufReader::new(lines).lines() {
            let Ok(line) = line else { break };
            let Ok(Value::Object(event)) = serde_json::from_str(&line) else { continue };
            ended |= event.contains_key("done");
            if self.take(event) || written.elapsed() >= INTERVAL {
                let _ = self.write();
                written = Instant::now();
            }
        }
        if !ended {
            self.set("state", "failed");
            self.set(
                "error",
                json!({ "code": "interrupted", "message": "interrupted; nothing has changed" }),
            );
            let _ = self.write();
        }
    }

    /// Whether the event is more than progress.
    fn take(&mut self, mut event: Map<String, Value>) -> bool {
        if let Some(error) = event.remove("error") {
            self.set("error", error);
            return true;
        }
        if event.contains_key("done") && event.contains_key("code") {
            let state = if event["code"] == 0 { "done" } else { "failed" };
            self.set("state", state);
            self.set("ended", unix_s());
            return true;
        }
        match event.get("event").and_then(Value::as_str) {
            Some("progress") => {
                let is_new = self.fields.get("step") != event.get("step");
                for key in ["step", "done", "total"] {
                    self.set(key, event.remove(key).unwrap_or_default());
                }
                is_new
            }
            Some("warning") => {
                let warnings = self.fields.entry("warnings").or_insert_with(|| json!([]));
                if let Some(warnings) = warnings.as_array_mut().filter(|list| list.len() < MAX_WARNINGS) {
                    warnings.push(event.remove("text").unwrap_or_default());
                }
                true
            }
            _ => {
                self.set("result", event);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_follows_what_its_worker_says() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::below(directory.path());
        fs::create_dir_all(paths.jobs()).unwrap();
        let mut record = Record { path: path(&paths, "a1").unwrap(), fields: Map::new() };
        record.set("id", "a1");
        let mut take = |json: Value| record.take(json.as_object().unwrap().clone());
        assert!(take(json!({ "event": "progress", "step": "unpack", "done": 0, "total": 9 })));
        assert!(!take(json!({ "event": "progress", "step": "unpack", "done": 4, "total": 9 })));
        assert!(take(json!({ "event": "warning", "text": "slow" })));
        assert!(take(json!({ "error": { "code": "failed", "message": "no" } })));
        assert!(take(json!({ "done": true, "code": 1 })));
        record.write().unwrap();
        let jobs = list(&paths);
        assert_eq!((jobs[0]["done"].as_u64(), &jobs[0]["state"]), (Some(4), &json!("failed")));
        assert_eq!((&jobs[0]["warnings"], &jobs[0]["error"]["message"]), (&json!(["slow"]), &json!("no")));
        forget(&paths, "a1").unwrap();
        assert!(list(&paths).is_empty());
    }

    #[test]
    fn no_path_is_the_name_of_a_job() {
        let paths = Paths::below(std::path::Path::new("/nowhere"));
        for id in ["", "..", "a/b", "../../etc/passwd", "a.json"] {
            assert!(path(&paths, id).is_err() && cancel(&paths, id).is_err() && forget(&paths, id).is_err());
        }
    }
}
