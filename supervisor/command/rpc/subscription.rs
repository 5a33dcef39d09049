//! `subscribe`: reports states, usage, jobs and log lines as they change.
//!
//! All changes are reported by events: monitors report theirs, and inotify(7) reports those of containers,
//! configurations, jobs, logs and freezes by other programs (version 2 of control groups). Only data without events is
//! polled, and only while a client subscribes: the usage of containers, freezes by version 1, and the readiness of init
//! systems without notification. poll(2).

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde_json::{Value, json};

use super::context::emit;
use super::jobs;
use super::machine;
use super::relay::Text;
use super::request::Subscription;
use crate::call;
use crate::cgroup::Cgroup;
use crate::command::info;
use crate::command::logs::Follower;
use crate::command::state::{Summary, known, names};
use crate::command::stats::{Meter, Reading};
use crate::config::value::Name;
use crate::container::{monitor, occupied};
use crate::exit::ExitCode;
use crate::monitor::protocol::{Answer, ControlRequest, State};
use crate::paths::create_private;
use crate::poll::{PollSet, timeout};
use crate::socket;
use crate::worker::Env;

/// The interval at which usage is measured.
const INTERVAL: Duration = Duration::from_secs(2);
/// Changes within this interval are reported together.
const TOGETHER: Duration = Duration::from_millis(30);
/// The delay of another check after a change, because the supervisor may have made a decision in between.
const AGAIN: Duration = Duration::from_millis(600);
/// The time for which an init system without notification is polled.
const COMING_UP: u64 = 120;
/// Maximum number of characters of a log in one event.
const PIECE: usize = 16 * 1024;

/// Reports the requested changes until the client disconnects or its time is over.
///
/// # Errors
/// If the machine runs out of a resource.
pub(super) fn run(wish: &Subscription, env: &Env) -> Result<ExitCode> {
    let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
    let mut subscriber = Subscriber {
        env,
        wish,
        inotify: call!(Inotify::init(flags), "inotify_init1")?,
        containers: BTreeMap::new(),
        held_back: None,
        told_state: false,
        jobs: None,
        measured: None,
        look: Some(Instant::now()),
        logs: Vec::new(),
        until: wish.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds.into())),
    };
    subscriber.begin_logs()?;
    subscriber.follow()
}

/// The last reported state of a container.
struct Container {
    summary: Summary,
    document: Value,
    monitor: Option<OwnedFd>,
}

/// A followed log.
struct Tail {
    /// `None` once the log's directory has been deleted.
    follower: Option<Follower>,
    text: Text,
    /// The event for its text.
    event: Value,
}

/// The last measurement.
struct Measured {
    at: Instant,
    machine: machine::Reading,
    containers: BTreeMap<Name, Option<Reading>>,
}

struct Subscriber<'a> {
    env: &'a Env,
    wish: &'a Subscription,
    inotify: Inotify,
    containers: BTreeMap<Name, Container>,
    held_back: Option<String>,
    told_state: bool,
    jobs: Option<Vec<Value>>,
    measured: Option<Measured>,
    /// When to check everything again.
    look: Option<Instant>,
    logs: Vec<Tail>,
    until: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
enum Ready {
    Client,
    Supervisor,
    Files,
    Monitor(Name),
    Log(usize),
}

impl Subscriber<'_> {
    fn follow(&mut self) -> Result<ExitCode> {
        loop {
            let now = Instant::now();
            if self.until.is_some_and(|until| until <= now) {
                return end("over");
            }
            if self.look.is_some_and(|look| look <= now) {
                self.look = None;
                self.look_at_all()?;
            }
            if self.wish.stats && self.measured.as_ref().is_none_or(|last| last.at + INTERVAL <= now) {
                self.measure()?;
            }
            for ready in self.wait()? {
                match ready {
                    // A signal, or the client has disconnected.
                    Ready::Client => return Ok(ExitCode::Done),
                    Ready::Supervisor => return end("supervisor"),
                    Ready::Files => self.files_changed()?,
                    Ready::Monitor(name) => self.hear(&name),
                    Ready::Log(number) => self.logs[number].read()?,
                }
            }
        }
    }

    fn wait(&self) -> Result<Vec<Ready>> {
        let mut set = PollSet::default();
        if let Some(client) = self.env.client.fd() {
            set.input(Ready::Client, client);
        }
        set.input(Ready::Supervisor, self.env.supervisor.fd());
        set.input(Ready::Files, self.inotify.as_fd());
        for (name, container) in &self.containers {
            if let Some(monitor) = &container.monitor {
                set.input(Ready::Monitor(name.clone()), monitor.as_fd());
            }
        }
        for (number, log) in self.logs.iter().enumerate() {
            if let Some(follower) = &log.follower {
                set.input(Ready::Log(number), follower.fd());
            }
        }
        let measure = self.measured.as_ref().filter(|_| self.wish.stats).map(|last| last.at + INTERVAL);
        let next = [self.look, measure, self.until].into_iter().flatten().min();
        let left = next.map(|next| next.saturating_duration_since(Instant::now()));
        Ok(call!(set.wait(timeout(left)), "poll")?)
    }

    fn look_soon(&mut self, after: Duration) {
        let soon = Instant::now() + after;
        self.look = Some(self.look.map_or(soon, |look| look.min(soon)));
    }

    fn files_changed(&mut self) -> Result<()> {
        match self.inotify.read_events() {
            Ok(_) => self.look_soon(TOGETHER),
            Err(Errno::EAGAIN) => {}
            Err(errno) => call!(Err(errno), "read(inotify)")?,
        }
        Ok(())
    }

    /// A monitor has sent a message, or has ended.
    fn hear(&mut self, name: &Name) {
        if let Some(container) = self.containers.get_mut(name)
            && let Some(monitor) = &container.monitor
            && !matches!(socket::receive::<Answer>(monitor), Ok(Some(_)))
        {
            container.monitor = None;
        }
        self.look_soon(TOGETHER);
    }

    fn look_at_all(&mut self) -> Result<()> {
        // The containers first: a page shows them first.
        if self.wish.state || self.wish.stats {
            self.look_at_containers()?;
        }
        if self.wish.jobs {
            create_private(&self.env.paths.jobs())?;
            self.watch(&self.env.paths.jobs());
            let jobs = jobs::list(&self.env.paths);
            if self.jobs.as_ref() != Some(&jobs) {
                emit(&json!({ "event": "jobs", "jobs": jobs }))?;
                self.jobs = Some(jobs);
            }
        }
        Ok(())
    }

    /// Watches a directory. A check of its parent detects its deletion.
    fn watch(&self, directory: &Path) {
        let changes = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CLOSE_WRITE;
        let _ = self.inotify.add_watch(directory, changes | AddWatchFlags::IN_ONLYDIR);
    }

    /// Hears of other programs that freeze or thaw a container with version 2 of control groups.
    fn watch_freezing(&self, summary: &Summary) {
        if summary.pid.is_some() {
            self.groups(summary).each_report_of_freezing(|file| {
                let _ = self.inotify.add_watch(file, AddWatchFlags::IN_MODIFY);
            });
        }
    }

    fn groups(&self, summary: &Summary) -> Cgroup {
        Cgroup::existing(&self.env.host.cgroups, &self.env.paths.cgroup, summary.name.as_str())
    }

    fn look_at_containers(&mut self) -> Result<()> {
        let paths = &self.env.paths;
        // Watched before it is read, so that no change is lost in between.
        [paths.containers(), paths.run_containers()].iter().for_each(|directory| self.watch(directory));
        self.env.supervisor.forget();
        let there = names(self.env);
        for name in &there {
            self.watch(&paths.container(name));
            self.watch(&paths.run_container(name));
        }
        let held_back = self.env.supervisor.containers().held_back.clone();
        let gone = self.containers.len();
        self.containers.retain(|name, _| there.contains(name));
        let mut is_new = gone != self.containers.len() || held_back != self.held_back || !self.told_state;
        for name in &there {
            is_new |= self.look_at(name);
        }
        if is_new && self.wish.state {
            let documents: Vec<&Value> = self.containers.values().map(|one| &one.document).collect();
            emit(&json!({ "event": "state", "containers": documents, "held_back": held_back }))?;
            self.told_state = true;
        }
        if is_new {
            self.look_soon(AGAIN);
        }
        self.held_back = held_back;
        Ok(())
    }

    /// Whether a container has changed.
    fn look_at(&mut self, name: &Name) -> bool {
        let Ok(known) = known(self.env, name) else { return self.containers.remove(name).is_some() };
        let summary = known.summary.clone();
        let before = self.containers.remove(name);
        let busy = occupied::is_occupied(&self.env.paths, name);
        let limits = known.config.as_ref().map(|config| &config.limits);
        let extra = json!({
            "busy": busy,
            "memory_limit": limits.and_then(|limits| limits.memory.map(|size| size.bytes())),
            "ports": known.config.as_ref().and_then(|config| config.get("network.ports").ok()),
        });
        let same = |before: &Container| {
            let timeless =
                |summary: &Summary| Summary { uptime_s: None, restart_in_s: None, ..summary.clone() };
            timeless(&before.summary) == timeless(&summary) && before.document["extra"] == extra
        };
        let monitor = before.as_ref().is_some_and(|before| before.monitor.is_some());
        let (unchanged, document, connection) = match before {
            Some(before) if same(&before) => (true, before.document, before.monitor),
            other => {
                self.watch_freezing(&summary);
                let mut document = serde_json::to_value(info::document(known, self.env)).unwrap_or_default();
                document["extra"] = extra;
                (false, document, other.and_then(|before| before.monitor))
            }
        };
        let connection = if monitor { connection } else { self.connect(name) };
        self.containers.insert(name.clone(), Container { summary, document, monitor: connection });
        !unchanged
    }

    /// Subscribes to a container's monitor, if it runs.
    fn connect(&self, name: &Name) -> Option<OwnedFd> {
        let connection = monitor(&self.env.paths, name).ok()??;
        socket::send(&connection, &ControlRequest::Watch, &[]).ok()?;
        Some(connection)
    }

    fn measure(&mut self) -> Result<()> {
        let running = self.containers.values().filter(|container| container.summary.pid.is_some());
        let meters: Vec<_> =
            running.map(|container| (&container.summary, Meter::new(self.env, &container.summary))).collect();
        let readings: BTreeMap<Name, Option<Reading>> =
            meters.iter().map(|(summary, meter)| (summary.name.clone(), meter.read())).collect();
        let machine = machine::Reading::now();
        if let Some(last) = &self.measured {
            let rows: Vec<_> = meters
                .iter()
                .map(|(summary, meter)| {
                    let first = last.containers.get(&summary.name).and_then(Option::as_ref);
                    meter.row_at(summary, first, readings[&summary.name].as_ref(), None)
                })
                .collect();
            let load = machine.since(&last.machine);
            emit(&json!({ "event": "stats", "containers": rows, "machine": load }))?;
        }
        let comes_up =
            |summary: &Summary| !summary.ready && summary.uptime_s.is_some_and(|up| up < COMING_UP);
        // Version 1 of control groups reports no freeze.
        let turned = |summary: &Summary| {
            matches!(summary.state, State::Running | State::Frozen)
                && self.groups(summary).frozen() != (summary.state == State::Frozen)
        };
        let is_due = meters.iter().any(|(summary, _)| comes_up(summary) || turned(summary));
        drop(meters);
        self.measured = Some(Measured { at: Instant::now(), machine, containers: readings });
        if is_due {
            // A monitor checks readiness when it receives a query.
            self.look_soon(Duration::ZERO);
        }
        Ok(())
    }

    fn begin_logs(&mut self) -> Result<()> {
        let paths = &self.env.paths;
        if let Some((name, lines)) = &self.wish.log {
            let name = crate::command::state::existing(self.env, name.as_str())?;
            let event = json!({ "event": "log", "name": name });
            self.logs.push(Tail::begin(paths.console_log(&name), *lines, event)?);
        }
        if let Some(lines) = self.wish.supervisor {
            let event = json!({ "event": "supervisor" });
            self.logs.push(Tail::begin(paths.supervisor_log(), lines, event)?);
        }
        Ok(())
    }
}

impl Tail {
    /// Reports the last lines of a log.
    fn begin(path: PathBuf, lines: u32, event: Value) -> Result<Self> {
        let mut bytes = Vec::new();
        let follower = Some(Follower::begin(path, Some(lines), &mut bytes)?);
        let mut tail = Self { follower, text: Text::default(), event };
        tail.tell(&bytes)?;
        Ok(tail)
    }

    fn read(&mut self) -> Result<()> {
        let mut bytes = Vec::new();
        if let Some(follower) = &mut self.follower
            && !follower.goes_on(&mut bytes)?
        {
            self.follower = None;
        }
        self.tell(&bytes)
    }

    fn tell(&mut self, bytes: &[u8]) -> Result<()> {
        let text = self.text.push(bytes);
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let end = (0..=rest.len().min(PIECE)).rev().find(|end| rest.is_char_boundary(*end));
            let (piece, after) = rest.split_at(end.filter(|end| *end > 0).unwrap_or(rest.len()));
            self.event["text"] = json!(piece);
            emit(&self.event)?;
            rest = after;
        }
        Ok(())
    }
}

/// The last event: the subscriber may subscribe again.
fn end(reason: &str) -> Result<ExitCode> {
    emit(&json!({ "event": "end", "reason": reason }))?;
    Ok(ExitCode::Done)
}
