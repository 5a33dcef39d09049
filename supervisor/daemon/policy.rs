//! The supervisor's decisions: which container is started when. Events in, actions out.
//!
//! Owns autostart by priority, restarts with exponential back-off, and repeated cleanups. Pure: it makes no system call
//! and reads no clock; `now` is the time since boot, CLOCK_BOOTTIME of clock_gettime(2).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::value::{Name, RestartPolicy};
use crate::monitor::protocol::{Exit, ExitReason, State};

/// The first delay before a restart; each further one is twice as long.
pub const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// The maximum delay before a restart.
pub const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// A container with this uptime counts as healthy: its next delay is the minimum again.
pub const HEALTHY: Duration = Duration::from_secs(600);
/// How often a cleanup is tried while the kernel still tears the container down; delays double, 6 s in total.
const SWEEPS: u32 = 8;
const SWEEP_WAIT: Duration = Duration::from_millis(50);
/// The time of a cleanup that is in progress.
const UNDER_WAY: Duration = Duration::MAX;

/// An input.
#[derive(Debug, Clone)]
pub enum PolicyEvent {
    /// Start these containers automatically.
    Autostart(Vec<Candidate>),
    /// The monitor of a container answers.
    Watched(Name),
    /// The monitor reports a status.
    Status(Name, State),
    /// The monitor has ended.
    Gone(Name, Exit, RestartPolicy),
    /// A start was killed before it had a monitor.
    Stale(Name),
    /// A cleanup has ended; whether it is complete.
    Swept(Name, bool),
    /// A start from [`Action::Start`] has ended; whether the container runs, and its restart policy.
    StartEnded(Name, bool, RestartPolicy),
    /// The user stops, deletes or renames the container: cancels all planned starts.
    Cancelled(Name),
    /// A deadline has expired.
    Tick,
}

/// A container to start at boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name.
    pub name: Name,
    /// Lower numbers start first, equal ones in parallel.
    pub priority: i32,
}

/// An output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start the container, then report [`PolicyEvent::StartEnded`].
    Start(Name),
    /// Remove the remains of the container on the host, then report [`PolicyEvent::Swept`].
    Sweep(Name),
}

/// The complete state; in the form for another program.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    containers: BTreeMap<Name, Entry>,
    groups: VecDeque<VecDeque<Name>>,
    /// Members of the current group whose start has not ended.
    group: BTreeSet<Name>,
    /// How many members of a group may start in parallel.
    limit: Option<usize>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Entry {
    /// The monitor answers.
    watched: bool,
    /// It has been running since this start.
    ran: bool,
    /// A stop was requested.
    stopping: bool,
    /// A start by the policy is in progress.
    starting: bool,
    /// The policy began the current start or run.
    ours: bool,
    /// The start in progress was cancelled.
    cancelled: bool,
    /// How the last run ended, until the decision about it.
    ended: Option<(Exit, RestartPolicy)>,
    sweep: Option<Sweep>,
    restart_at: Option<Duration>,
    /// Delay before the next restart; `None` means the minimum.
    wait: Option<Duration>,
}

/// The removal of a monitor's remains. At most one is in progress for each container.
#[derive(Debug, Serialize, Deserialize)]
struct Sweep {
    /// When the next one begins; [`UNDER_WAY`] while one is in progress.
    at: Duration,
    /// The number of incomplete cleanups.
    done: u32,
    /// What follows the one in progress.
    #[serde(default)]
    then: Then,
}

/// What follows a cleanup that is in progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Then {
    /// Another one if it is incomplete.
    #[default]
    Repeat,
    /// Another one in any case: another monitor has ended since it began.
    Again,
    /// None: the container runs again.
    Nothing,
}

/// The cleanup of a container, if one begins.
fn sweep(begins: bool, name: Name) -> Vec<Action> {
    begins.then_some(Action::Sweep(name)).into_iter().collect()
}

impl Sweep {
    fn is_under_way(&self) -> bool {
        self.at == UNDER_WAY
    }

    /// When the next one is due; `None` while one is in progress.
    fn due(&self) -> Option<Duration> {
        (!self.is_under_way()).then_some(self.at)
    }
}

impl Policy {
    /// With a limit for parallel starts, or without one.
    #[must_use]
    pub fn new(limit: Option<u32>) -> Self {
        let mut policy = Self::default();
        policy.limit(limit);
        policy
    }

    /// Changes the limit for parallel starts.
    pub fn limit(&mut self, limit: Option<u32>) {
        self.limit = limit.and_then(|limit| limit.try_into().ok());
    }

    /// Processes one event and returns the actions.
    pub fn on(&mut self, now: Duration, event: PolicyEvent) -> Vec<Action> {
        match event {
            PolicyEvent::Autostart(candidates) => self.autostart(candidates),
            PolicyEvent::Watched(name) => {
                self.entry(name).watched();
                Vec::new()
            }
            PolicyEvent::Status(name, state) => {
                self.entry(name).status(state);
                Vec::new()
            }
            PolicyEvent::Gone(name, exit, restart) => {
                sweep(self.entry(name.clone()).gone(exit, restart), name)
            }
            PolicyEvent::Stale(name) => sweep(self.entry(name.clone()).sweep(), name),
            PolicyEvent::Swept(name, clean) => {
                let begins = self.entry(name.clone()).swept(now, clean);
                self.decide(now, &name);
                sweep(begins, name)
            }
            PolicyEvent::StartEnded(name, running, restart) => {
                self.entry(name.clone()).start_ended(running, restart);
                self.decide(now, &name);
                self.group.remove(&name);
                self.next_group()
            }
            PolicyEvent::Cancelled(name) => self.cancelled(&name),
            PolicyEvent::Tick => self.tick(now),
        }
    }

    /// When the next [`PolicyEvent::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let entries = self.containers.values();
        entries
            .flat_map(|entry| [entry.restart_at, entry.sweep.as_ref().and_then(Sweep::due)])
            .flatten()
            .min()
    }

    /// The containers with a pending restart, and its time.
    #[must_use]
    pub fn restarts(&self) -> BTreeMap<Name, Duration> {
        let waiting = |(name, entry): (&Name, &Entry)| Some((name.clone(), entry.restart_at?));
        self.containers.iter().filter_map(waiting).collect()
    }

    /// Whether this container is next, or has just been started.
    #[must_use]
    pub fn is_pending(&self, name: &Name) -> bool {
        self.is_starting(name) || self.groups.iter().any(|group| group.contains(name))
    }

    /// The containers with a running monitor.
    #[must_use]
    pub fn watched(&self) -> Vec<Name> {
        let watched = self.containers.iter().filter(|(_, entry)| entry.watched);
        watched.map(|(name, _)| name.clone()).collect()
    }

    /// Whether the policy has a start of this container in progress.
    #[must_use]
    pub fn is_starting(&self, name: &Name) -> bool {
        self.containers.get(name).is_some_and(|entry| entry.starting)
    }

    fn entry(&mut self, name: Name) -> &mut Entry {
        self.containers.entry(name).or_default()
    }

    fn autostart(&mut self, mut candidates: Vec<Candidate>) -> Vec<Action> {
        candidates.sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
        let groups = candidates.chunk_by(|a, b| a.priority == b.priority);
        // New containers with lower priority are queued after those that already wait.
        self.groups.extend(groups.map(|group| group.iter().map(|member| member.name.clone()).collect()));
        self.next_group()
    }

    /// Starts as many members of the current group as the limit allows. When the group is empty, continues with the
    /// next one.
    fn next_group(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(group) = self.groups.front_mut() {
            if self.limit.is_some_and(|limit| self.group.len() >= limit) {
                break;
            }
            let Some(name) = group.pop_front() else {
                if !self.group.is_empty() {
                    break;
                }
                self.groups.pop_front();
                continue;
            };
            if self.containers.get(&name).is_some_and(|entry| entry.watched || entry.starting) {
                continue;
            }
            self.entry(name.clone()).start();
            self.group.insert(name.clone());
            actions.push(Action::Start(name));
        }
        actions
    }

    fn cancelled(&mut self, name: &Name) -> Vec<Action> {
        for group in &mut self.groups {
            group.retain(|member| member != name);
        }
        if let Some(entry) = self.containers.get_mut(name) {
            entry.restart_at = None;
            entry.ended = None;
            entry.cancelled = entry.starting;
            self.forget_if_idle(name);
        }
        Vec::new()
    }

    fn tick(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        for (name, entry) in &mut self.containers {
            if let Some(sweep) = entry.sweep.as_mut().filter(|sweep| sweep.at <= now) {
                sweep.at = UNDER_WAY;
                actions.push(Action::Sweep(name.clone()));
            }
            if entry.restart_at.is_some_and(|at| at <= now) {
                entry.start();
                actions.push(Action::Start(name.clone()));
            }
        }
        actions
    }

    /// Decides what follows the exit of a container, once its remains are removed.
    fn decide(&mut self, now: Duration, name: &Name) {
        let Some(entry) = self.containers.get_mut(name) else { return };
        if entry.watched || entry.starting || entry.sweep.is_some() {
            return;
        }
        if let Some((exit, restart)) = entry.ended.take() {
            if Duration::from_secs(exit.uptime_s) >= HEALTHY {
                entry.wait = None;
            }
            if entry.wants_restart(&exit, restart) {
                let wait = entry.wait.unwrap_or(SHORTEST_WAIT);
                entry.restart_at = Some(now + wait);
                entry.wait = Some((wait * 2).min(LONGEST_WAIT));
            }
        }
        self.forget_if_idle(name);
    }

    fn forget_if_idle(&mut self, name: &Name) {
        let idle = |entry: &Entry| {
            !entry.watched && !entry.starting && entry.sweep.is_none() && entry.restart_at.is_none()
        };
        if self.containers.get(name).is_some_and(idle) {
            self.containers.remove(name);
        }
    }
}

impl Entry {
    fn start(&mut self) {
        self.restart_at = None;
        self.starting = true;
        self.ours = true;
        self.ran = false;
        self.cancelled = false;
    }

    fn watched(&mut self) {
        if !self.starting {
            // A start by a user: a new run without failures.
            self.ours = false;
            self.wait = None;
        }
        self.watched = true;
        self.ran = false;
        self.stopping = false;
        self.ended = None;
        // A cleanup in progress is remembered until its end, so that no second one begins in parallel.
        self.sweep = self.sweep.take().filter(Sweep::is_under_way);
        if let Some(sweep) = &mut self.sweep {
            sweep.then = Then::Nothing;
        }
        self.restart_at = None;
    }

    fn status(&mut self, state: State) {
        match state {
            State::Running | State::Frozen => {
                self.ran = true;
                self.stopping = false;
            }
            State::Stopping => self.stopping = true,
            State::Starting | State::Restarting | State::Stopped | State::Failed => {}
        }
    }

    /// Decides whether to begin a cleanup.
    fn gone(&mut self, exit: Exit, restart: RestartPolicy) -> bool {
        // If a monitor is killed while it stops its container, the user's request is still fulfilled.
        let asked_for = self.cancelled || (self.stopping && exit.reason == ExitReason::Lost);
        self.ended = (!asked_for).then_some((exit, restart));
        self.watched = false;
        self.sweep()
    }

    /// Begins a cleanup, or lets another one follow the one in progress; returns whether to begin now.
    fn sweep(&mut self) -> bool {
        if let Some(sweep) = self.sweep.as_mut().filter(|sweep| sweep.is_under_way()) {
            sweep.then = Then::Again;
            return false;
        }
        self.sweep = Some(Sweep { at: UNDER_WAY, done: 0, then: Then::Repeat });
        true
    }

    /// Decides whether to repeat a cleanup.
    fn swept(&mut self, now: Duration, clean: bool) -> bool {
        let Some(sweep) = self.sweep.as_mut().filter(|sweep| sweep.is_under_way()) else { return false };
        if sweep.then == Then::Again {
            *sweep = Sweep { at: UNDER_WAY, done: 0, then: Then::Repeat };
            return true;
        }
        sweep.done += 1;
        if clean || sweep.then == Then::Nothing || sweep.done >= SWEEPS {
            self.sweep = None;
        } else {
            sweep.at = now + SWEEP_WAIT * 2_u32.pow(sweep.done - 1);
        }
        false
    }

    fn start_ended(&mut self, running: bool, restart: RestartPolicy) {
        self.starting = false;
        let cancelled = std::mem::take(&mut self.cancelled);
        if cancelled {
            self.ended = None;
        } else if !running && !self.watched && self.ended.is_none() {
            // It failed before a monitor existed.
            let exit = Exit {
                reason: ExitReason::StartFailed,
                code: None,
                signal: None,
                message: None,
                at: 0,
                uptime_s: 0,
            };
            self.ended = Some((exit, restart));
        }
    }

    fn wants_restart(&self, exit: &Exit, restart: RestartPolicy) -> bool {
        // A user who runs `ds start` sees the error, and the policy does not retry.
        if exit.reason == ExitReason::StartFailed && !self.ours && !self.ran {
            return false;
        }
        match restart {
            RestartPolicy::No => false,
            RestartPolicy::OnFailure => exit.is_failure(),
            RestartPolicy::Always => exit.reason != ExitReason::Stopped,
        }
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
