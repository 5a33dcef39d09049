//! Autostart: which containers start after a boot of the machine, their conditions, and the boot-loop guard.
//!
//! Owns the list of waiting containers (`conditions`), the guard's records (`guard`) and their files. Starts nothing:
//! it returns candidates, which `policy` starts in order.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::conditions::{Conditions, Pending, needed};
use super::guard::{self, Guard};
use super::policy::Candidate;
use crate::android::{property, storage};
use crate::clock::now;
use crate::config::value::{Name, StartAfter};
use crate::config::{Config, Supervisor as Settings};
use crate::durable;
use crate::monitor::protocol::ExitReason;
use crate::paths::{Paths, names_in};
use crate::platform::is_android;

/// Maximum size of the file with the waiting containers, in bytes.
const LARGEST_LIST: u64 = 1 << 20;

/// A due action.
#[derive(Debug)]
pub enum AutostartEvent {
    /// The condition of these containers is met.
    Ready(Vec<Candidate>),
    /// The phone's lock must be checked.
    LookAtLock,
}

/// Which containers start automatically, and when.
#[derive(Debug)]
pub struct Autostart {
    paths: Paths,
    settings: Settings,
    /// The conditions of waiting containers.
    conditions: Conditions,
    /// The content of the file.
    remembered: String,
    /// Starts that the machine has yet to survive.
    guard: Guard,
    /// Containers whose autostart the guard has turned off.
    left_out: BTreeSet<Name>,
}

impl Autostart {
    /// Without waiting containers.
    #[must_use]
    pub fn new(paths: Paths, settings: Settings) -> Self {
        Self {
            paths,
            settings,
            conditions: Conditions::default(),
            remembered: String::new(),
            guard: Guard::default(),
            left_out: BTreeSet::new(),
        }
    }

    /// Applies changed settings.
    pub fn configure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Takes over the state of the previous program.
    pub fn resume(&mut self, pending: Pending, guard: Guard) {
        self.conditions = Conditions::of(pending);
        self.guard = guard;
    }

    /// Returns the state for the next program; [`Autostart::resume`] restores it.
    #[must_use]
    pub fn hand_over(&mut self) -> (Pending, Guard) {
        (std::mem::take(&mut self.conditions).into_pending(), std::mem::take(&mut self.guard))
    }

    /// Puts the containers with autostart in the queues of their conditions; once after each boot of the machine.
    /// Returns those that can start immediately: none if `module_disabled` or Android is in safe mode.
    pub fn begin(&mut self, module_disabled: bool) -> Vec<Candidate> {
        if let Some(reason) = reason_to_hold_back(module_disabled) {
            log::warn!("autostart is off: {reason}");
            self.conditions.hold_back(reason);
            return Vec::new();
        }
        let orderly = is_android() && property::was_rebooted_by_user();
        let (mut ready, mut network, mut unlock) = (Vec::new(), Vec::new(), Vec::new());
        for (candidate, condition) in self.candidates() {
            if !self.guard_is_on() || self.guard.admits(&self.paths, &candidate.name, orderly) {
                match condition {
                    StartAfter::Network => network.push(candidate),
                    StartAfter::Unlock if is_android() => unlock.push(candidate),
                    _ => ready.push(candidate),
                }
            }
        }
        self.conditions.wait(network, now() + Duration::from(self.settings.network_wait), unlock);
        ready.extend(self.take_network());
        ready
    }

    /// The containers with autostart, and their conditions.
    fn candidates(&self) -> Vec<(Candidate, StartAfter)> {
        let mut found = Vec::new();
        for name in names_in(&self.paths.containers()) {
            match Config::load(&self.paths.container_ini(&name), &name) {
                Ok(config) if config.container.autostart => {
                    let priority = config.container.priority.get();
                    found.push((Candidate { priority, name }, needed(&config)));
                }
                Ok(_) => {}
                Err(error) => log::error!("{name}: {error}"),
            }
        }
        found
    }

    fn guard_is_on(&self) -> bool {
        self.settings.guard_time.get() > 0
    }

    fn survived_at(&self) -> Duration {
        now() + Duration::from(self.settings.guard_time)
    }

    /// Writes the list of waiting containers, for the next supervisor if this one is killed.
    pub fn remember(&mut self) {
        let Ok(text) = serde_json::to_string(self.conditions.pending()) else { return };
        if text == self.remembered {
            return;
        }
        if let Err(error) = durable::replace(&self.paths.waiting(), text.as_bytes(), 0o600) {
            log::warn!("write {}: {error}", self.paths.waiting().display());
        }
        self.remembered = text;
    }

    /// Reads the list of waiting containers if a previous supervisor was killed in the same boot of the machine.
    pub fn recall(&mut self) {
        let text = durable::read(&self.paths.waiting(), LARGEST_LIST).unwrap_or_default();
        if let Ok(pending) = serde_json::from_slice(&text) {
            self.conditions = Conditions::of(pending);
        }
    }

    /// Removes and returns the containers whose wait for the network is over.
    pub fn take_network(&mut self) -> Vec<Candidate> {
        let ready = self.conditions.take_network(now());
        self.conditions.listen(now());
        ready
    }

    /// The actions that are due without an event.
    pub fn tick(&mut self) -> Vec<AutostartEvent> {
        let now = now();
        let mut events = Vec::new();
        if self.conditions.is_network_overdue(now) {
            events.push(AutostartEvent::Ready(self.take_network()));
        }
        if self.conditions.waits_for_user() && self.conditions.is_look_due(now) {
            events.push(AutostartEvent::LookAtLock);
        }
        self.guard.tick(&self.paths, now);
        events
    }

    /// The user has unlocked the phone: removes and returns the containers that waited for it.
    pub fn unlocked(&mut self) -> Vec<Candidate> {
        let ready = self.conditions.take_unlock();
        self.conditions.listen(now());
        ready
    }

    /// When the next action is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        [self.conditions.deadline(), self.guard.deadline()].into_iter().flatten().min()
    }

    /// Readable when routes have changed.
    #[must_use]
    pub fn routes(&self) -> Option<BorrowedFd<'_>> {
        self.conditions.routes()
    }

    /// Reports POLLPRI when mounts have changed, see poll(2).
    #[must_use]
    pub fn mounts(&self) -> Option<BorrowedFd<'_>> {
        self.conditions.mounts()
    }

    /// Mounts have changed: schedules a check of the lock.
    pub fn mounts_changed(&mut self) {
        self.conditions.mounts_changed(now());
    }

    /// The policy is about to start a container.
    pub fn starts(&mut self, name: &Name) {
        self.guard.starts(&self.paths, name, self.survived_at());
    }

    /// The monitor of a container answers.
    pub fn is_there(&mut self, name: &Name) {
        self.conditions.forget(name);
        if self.guard_is_on() {
            self.guard.watch(&self.paths, name, self.survived_at());
        }
        self.conditions.listen(now());
    }

    /// A container is running or starting: it may have a mount point for shared storage that is not mounted yet.
    pub fn look_for_storage(&mut self) {
        self.conditions.storage_pending(storage::is_pending(&self.paths));
        self.conditions.listen(now());
    }

    /// A container has ended.
    pub fn is_gone(&mut self, name: &Name, reason: ExitReason) {
        match reason {
            ExitReason::Stopped | ExitReason::PoweredOff | ExitReason::Rebooted | ExitReason::Restarted => {
                self.guard.ended_well(&self.paths, name);
            }
            _ => self.guard.ended(&self.paths, name),
        }
    }

    /// The user stops or deletes a container.
    pub fn is_unwanted(&mut self, name: &Name) {
        self.conditions.forget(name);
        self.conditions.listen(now());
        self.guard.ended_well(&self.paths, name);
    }

    /// The waiting containers and their conditions.
    #[must_use]
    pub fn waiting(&self) -> Vec<(Name, &'static str)> {
        self.conditions.waiting()
    }

    /// Why autostart is off in this boot.
    #[must_use]
    pub fn held_back(&self) -> Option<&String> {
        self.conditions.pending().held_back.as_ref()
    }

    /// The containers whose autostart the guard has turned off, as of the last [`Autostart::look_for_left_out`].
    #[must_use]
    pub fn left_out(&self) -> &BTreeSet<Name> {
        &self.left_out
    }

    /// Determines the containers whose autostart the guard has turned off, if that may have changed.
    pub fn look_for_left_out(&mut self) {
        let is_off = |name: &Name| guard::recall(&self.paths, name).is_some_and(|record| record.is_off());
        self.left_out = names_in(&self.paths.containers()).into_iter().filter(is_off).collect();
    }

    /// The machine has yet to survive the starts that the previous program began before it was killed.
    pub fn look_for_attempts(&mut self) {
        let boot = guard::this_boot();
        for name in names_in(&self.paths.containers()) {
            if guard::recall(&self.paths, &name).is_some_and(|record| !record.is_off() && record.boot == boot)
            {
                self.guard.watch(&self.paths, &name, self.survived_at());
            }
        }
    }

    /// The supervisor ends without a successor: the guard cannot observe any longer.
    pub fn end(&mut self) {
        self.guard.end(&self.paths);
    }
}

/// Why the user has turned autostart off.
fn reason_to_hold_back(module_disabled: bool) -> Option<String> {
    if module_disabled {
        return Some("the module is disabled".to_owned());
    }
    (is_android() && property::is_safe_mode()).then(|| "Android is in safe mode".to_owned())
}
