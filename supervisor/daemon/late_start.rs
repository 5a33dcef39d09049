//! The start of the machine, and what the supervisor does for the machine while containers come and go.
//!
//! The third part of [`Server`]: which containers start by themselves and when, the boot-loop guard's records, wakelocks,
//! and the line in the root manager's list. Each of them follows from what is known; [`Server::settle`] brings
//! them up to date at the end of a turn, and does nothing when nothing has changed.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::conditions::{Conditions, needed, wakes_while_waiting};
use super::guard;
use super::policy::{Candidate, Event};
use super::server::{Outcome, Server};
use super::task::Task;
use crate::android::{manager, property, storage};
use crate::clock::now;
use crate::config::Config;
use crate::config::value::{Name, StartAfter, WakelockPolicy};
use crate::durable;
use crate::monitor::protocol::ExitReason;
use crate::paths::names_in;
use crate::platform::is_android;

/// How often the line in the manager's list changes at most.
const PACE: Duration = Duration::from_secs(2);

/// Largest list of those who wait that is read, bytes.
const LARGEST_LIST: u64 = 1 << 20;

/// The line in the root manager's list.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// The module's directory, if a module is what started us.
    module: Option<PathBuf>,
    /// What was told last.
    told: Option<String>,
    /// Nothing is told before.
    not_before: Option<Duration>,
}

impl Server {
    /// Starts what starts at boot, or has it wait; once after each boot of the machine.
    pub(super) fn start_what_starts_at_boot(&mut self) -> ControlFlow<Outcome> {
        if let Some(reason) = self.reason_to_hold_back() {
            log::warn!("no container starts by itself: {reason}");
            self.conditions.pending.held_back = Some(reason);
            return ControlFlow::Continue(());
        }
        let orderly = is_android() && property::was_rebooted_by_user();
        let mut ready = Vec::new();
        for (candidate, condition) in self.candidates() {
            if !self.guard_is_on() || self.guard.admits(&self.paths, &candidate.name, orderly) {
                match condition {
                    StartAfter::Network => self.conditions.pending.network.push(candidate),
                    StartAfter::Unlock if is_android() => self.conditions.pending.unlock.push(candidate),
                    _ => ready.push(candidate),
                }
            }
        }
        self.conditions.pending.network_until = Some(now() + Duration::from(self.settings.network_wait));
        ready.extend(self.conditions.take_network(now()));
        self.start_all(ready)
    }

    /// Writes down who waits, for a supervisor that comes after this one was killed.
    fn remember_who_waits(&mut self) {
        let Ok(text) = serde_json::to_string(&self.conditions.pending) else { return };
        if text == self.remembered {
            return;
        }
        if let Err(error) = durable::write(&self.paths.waiting(), text.as_bytes(), 0o600) {
            log::warn!("write {}: {error}", self.paths.waiting().display());
        }
        self.remembered = text;
    }

    /// Takes over who waited when a supervisor before this one was killed in the same boot of the machine.
    pub(super) fn recall_who_waits(&mut self) {
        let text = durable::read(&self.paths.waiting(), LARGEST_LIST).unwrap_or_default();
        if let Ok(pending) = serde_json::from_slice(&text) {
            self.conditions = Conditions::of(pending);
        }
    }

    /// What the user has set against containers that start by themselves.
    fn reason_to_hold_back(&self) -> Option<String> {
        if self.line.module.as_deref().is_some_and(manager::is_disabled) {
            return Some("the module is disabled".to_owned());
        }
        if is_android() && property::is_safe_mode() {
            return Some("Android is in safe mode".to_owned());
        }
        None
    }

    fn guard_is_on(&self) -> bool {
        self.settings.guard_time.get() > 0
    }

    /// The containers with autostart, and what each waits for.
    fn candidates(&mut self) -> Vec<(Candidate, StartAfter)> {
        let mut found = Vec::new();
        for name in names_in(&self.paths.containers()) {
            match Config::load(&self.paths.container_ini(&name), &name) {
                Ok(config) if config.container.autostart => {
                    if wakes_while_waiting(&config) {
                        self.wakelocks_wanted.insert(name.clone(), WakelockPolicy::Always);
                    }
                    found.push((
                        Candidate { priority: config.container.priority.get(), name },
                        needed(&config),
                    ));
                }
                Ok(_) => {}
                Err(error) => log::error!("{name}: {error}"),
            }
        }
        found
    }

    fn start_all(&mut self, candidates: Vec<Candidate>) -> ControlFlow<Outcome> {
        self.conditions.listen(now());
        if candidates.is_empty() {
            return ControlFlow::Continue(());
        }
        self.standby_is_stale = true;
        self.decide(Event::Autostart(candidates))
    }

    /// Routes have changed, or the time to wait for them is over.
    pub(super) fn look_for_network(&mut self) -> ControlFlow<Outcome> {
        let candidates = self.conditions.take_network(now());
        self.start_all(candidates)
    }

    /// What is due without any event.
    pub(super) fn take_deadlines(&mut self) -> ControlFlow<Outcome> {
        let now = now();
        if self.conditions.pending.network_until.is_some_and(|until| until <= now) {
            self.look_for_network()?;
        }
        if self.conditions.waits_for_user() && self.conditions.is_look_due(now) {
            self.employ(Task::Unlock)?;
        }
        self.guard.tick(&self.paths, now);
        ControlFlow::Continue(())
    }

    /// A worker has looked whether the user has unlocked, and shown the shared storage if so.
    pub(super) fn looked_at_lock(&mut self, unlocked: bool) -> ControlFlow<Outcome> {
        if !unlocked {
            return ControlFlow::Continue(());
        }
        let candidates = self.conditions.take_unlock();
        self.start_all(candidates)
    }

    /// A container is about to be started by the policy.
    pub(super) fn starts(&mut self, name: &Name) {
        self.guard.starts(&self.paths, name, now() + Duration::from(self.settings.guard_time));
    }

    /// The monitor of a container answers.
    pub(super) fn container_is_there(&mut self, name: &Name) {
        self.conditions.forget(name);
        if self.guard_is_on() {
            self.guard.watch(&self.paths, name, now() + Duration::from(self.settings.guard_time));
        }
        self.conditions.listen(now());
        self.look_for_wish(name);
    }

    /// Finds out whether a container that runs or waits is to keep the machine awake.
    pub(super) fn look_for_wish(&mut self, name: &Name) {
        let config = Config::load(&self.paths.container_ini(name), name);
        let wakelock = config.map_or(WakelockPolicy::No, |config| config.android.wakelock);
        self.wakelocks_wanted.insert(name.clone(), wakelock);
    }

    /// A container has come to run, or begun: it may have a place for storage that is not there yet.
    pub(super) fn look_for_storage(&mut self) {
        self.conditions.storage_pending(storage::is_pending(&self.paths));
        self.conditions.listen(now());
    }

    /// A container has ended.
    pub(super) fn container_is_gone(&mut self, name: &Name, reason: ExitReason) {
        match reason {
            ExitReason::Stopped | ExitReason::PoweredOff | ExitReason::Rebooted | ExitReason::Restarted => {
                self.guard.ended_well(&self.paths, name);
            }
            _ => self.guard.ended(&self.paths, name),
        }
    }

    /// The user has stopped a container, or will delete it.
    pub(super) fn container_is_unwanted(&mut self, name: &Name) {
        self.conditions.forget(name);
        self.conditions.listen(now());
        self.guard.ended_well(&self.paths, name);
    }

    /// When something is due here.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let line = self.line.not_before.filter(|_| self.line_changes());
        [self.conditions.deadline(), self.guard.deadline(), line].into_iter().flatten().min()
    }

    /// Brings wakelocks and the manager's line up to date.
    pub(super) fn settle(&mut self) -> ControlFlow<Outcome> {
        self.remember_who_waits();
        let waiting: BTreeSet<Name> = self.waiting().into_iter().map(|(name, _)| name).collect();
        let restarts = self.policy.restarts();
        let mut wanted = BTreeSet::new();
        self.wakelocks_wanted.retain(|name, policy| {
            let runs = self.monitors.has(name);
            let waits = restarts.contains_key(name) || waiting.contains(name) || self.policy.is_pending(name);
            if (runs && *policy != WakelockPolicy::No) || (waits && *policy == WakelockPolicy::Always) {
                wanted.insert(name.as_str().to_owned());
            }
            runs || waits
        });
        self.wakelocks.hold(&wanted);
        if self.line_changes() && self.line.not_before.is_none_or(|at| at <= now()) {
            self.line.not_before = Some(now() + PACE);
            let text = self.line_text();
            self.line.told = Some(text.clone());
            if let Some(module) = self.line.module.clone() {
                return self.employ(Task::Describe(module, text));
            }
        }
        ControlFlow::Continue(())
    }

    /// The containers that wait for something of the machine, and for what.
    pub(super) fn waiting(&self) -> Vec<(Name, &'static str)> {
        self.conditions.waiting()
    }

    fn line_changes(&self) -> bool {
        self.line.module.is_some() && self.line.told.as_ref() != Some(&self.line_text())
    }

    /// The state of everything in a few words.
    fn line_text(&self) -> String {
        let mut parts = Vec::new();
        let names = |names: Vec<&Name>| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        let running: Vec<&Name> = self.monitors.connections().map(|(name, _)| name).collect();
        if running.is_empty() {
            parts.push("nothing runs".to_owned());
        } else {
            parts.push(format!("running: {}", names(running)));
        }
        let waiting = self.waiting();
        if !waiting.is_empty() {
            parts.push(format!("waiting: {}", names(waiting.iter().map(|(name, _)| name).collect())));
        }
        if !self.off.is_empty() {
            parts.push(format!("boot-loop guard: {}", names(self.off.iter().collect())));
        }
        parts.extend(self.conditions.pending.held_back.clone());
        parts.join("; ")
    }

    /// Which containers' autostart the guard has switched off, looked up when that may have changed.
    pub(super) fn look_for_guarded(&mut self) {
        if self.line.module.is_some() {
            let is_off = |name: &Name| guard::recall(&self.paths, name).is_some_and(|record| record.is_off());
            self.off = names_in(&self.paths.containers()).into_iter().filter(is_off).collect();
        }
    }

    /// Finds out whether a module has started us in this boot.
    pub(super) fn look_for_module(&mut self) {
        let module =
            durable::read(&self.paths.module(), 4096).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        self.line.module = module.filter(|path| Path::new(path).is_absolute()).map(PathBuf::from);
    }

    /// The containers that were about to start when a program before this one was killed have yet to be survived.
    pub(super) fn look_for_attempts(&mut self) {
        let boot = guard::this_boot();
        for name in names_in(&self.paths.containers()) {
            if guard::recall(&self.paths, &name).is_some_and(|record| !record.is_off() && record.boot == boot)
            {
                self.guard.watch(&self.paths, &name, now() + Duration::from(self.settings.guard_time));
            }
        }
    }

    /// The supervisor ends and is not replaced: its line goes, and its guard sees no more.
    pub(super) fn take_leave(&mut self) {
        self.guard.end(&self.paths);
        if let Some(module) = &self.line.module
            && let Err(error) = manager::describe(module, None)
        {
            log::warn!("module.prop: {error:#}");
        }
    }
}
