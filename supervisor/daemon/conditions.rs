//! The conditions of autostart: the network, and that the user has unlocked the phone.
//!
//! Owns the list of waiting containers, and the descriptors that report changes, which are open only while a container
//! waits. [`uplink`] checks the network. A worker checks the lock, since reading a property runs a program; unlocking
//! changes the mounts, which triggers the check. rtnetlink(7), proc_pid_mountinfo(5).

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::policy::Candidate;
use crate::config::Config;
use crate::config::value::{Name, NetworkMode, StartAfter};
use crate::host::uplink;
use crate::netlink::Subscription;

/// The interval at which the lock is checked while a container waits for it and no mount changes.
const LOOK: Duration = Duration::from_secs(30);

/// The waiting containers, in the form for another program.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Pending {
    /// For the network.
    pub network: Vec<Candidate>,
    /// The deadline.
    pub network_until: Option<Duration>,
    /// For the user to unlock the phone.
    pub unlock: Vec<Candidate>,
    /// Why autostart is off in this boot.
    pub held_back: Option<String>,
}

/// The waiting containers, and the sources of events.
#[derive(Debug, Default)]
pub struct Conditions {
    pending: Pending,
    uplink: Option<Subscription>,
    /// /proc/self/mountinfo, while a container waits for the user.
    mounts: Option<File>,
    next_look: Option<Duration>,
    /// Running containers wait for shared storage.
    storage: bool,
}

/// A condition of a container.
#[must_use]
pub fn needed(config: &Config) -> StartAfter {
    match config.container.start_after {
        StartAfter::Auto if config.network.mode == NetworkMode::None => StartAfter::Boot,
        StartAfter::Auto => StartAfter::Network,
        other => other,
    }
}

impl Conditions {
    /// Restores the waiting containers.
    #[must_use]
    pub fn of(pending: Pending) -> Self {
        Self { pending, ..Self::default() }
    }

    /// The waiting containers.
    #[must_use]
    pub fn pending(&self) -> &Pending {
        &self.pending
    }

    /// Returns the waiting containers.
    #[must_use]
    pub fn into_pending(self) -> Pending {
        self.pending
    }

    /// Turns autostart off in this boot, for this reason.
    pub fn hold_back(&mut self, reason: String) {
        self.pending.held_back = Some(reason);
    }

    /// Adds containers that wait for the network until the deadline, and containers that wait for the user.
    pub fn wait(&mut self, network: Vec<Candidate>, until: Duration, unlock: Vec<Candidate>) {
        self.pending.network.extend(network);
        self.pending.network_until = Some(until);
        self.pending.unlock.extend(unlock);
    }

    /// Whether the wait for the network is over in any case.
    #[must_use]
    pub fn is_network_overdue(&self, now: Duration) -> bool {
        self.pending.network_until.is_some_and(|until| until <= now)
    }

    /// The word for a container's condition.
    #[must_use]
    pub fn waiting(&self) -> Vec<(Name, &'static str)> {
        let all = [(&self.pending.network, "network"), (&self.pending.unlock, "unlock")];
        all.iter().flat_map(|(list, word)| list.iter().map(|one| (one.name.clone(), *word))).collect()
    }

    /// Opens or closes the sources of events. Must be called after every change of the waiting containers.
    pub fn listen(&mut self, now: Duration) {
        if self.pending.network.is_empty() {
            (self.uplink, self.pending.network_until) = (None, None);
        } else if self.uplink.is_none() {
            self.uplink = uplink::watch().map_err(|error| log::warn!("{error:#}")).ok();
        }
        if !self.waits_for_user() {
            (self.mounts, self.next_look) = (None, None);
        } else if self.mounts.is_none() {
            self.mounts =
                File::open("/proc/self/mountinfo").map_err(|error| log::warn!("mounts: {error}")).ok();
            self.next_look = Some(now);
        }
    }

    /// Whether a container waits for the user: one that must start, or a running one that waits for storage.
    #[must_use]
    pub fn waits_for_user(&self) -> bool {
        self.storage || !self.pending.unlock.is_empty()
    }

    /// Sets whether running containers wait for shared storage.
    pub fn storage_pending(&mut self, pending: bool) {
        self.storage = pending;
    }

    /// Readable when routes have changed.
    #[must_use]
    pub fn routes(&self) -> Option<BorrowedFd<'_>> {
        self.uplink.as_ref().map(Subscription::fd)
    }

    /// Reports POLLPRI when mounts have changed, see poll(2).
    #[must_use]
    pub fn mounts(&self) -> Option<BorrowedFd<'_>> {
        self.mounts.as_ref().map(AsFd::as_fd)
    }

    /// When the next check is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        [self.pending.network_until, self.next_look].into_iter().flatten().min()
    }

    /// Mounts have changed: schedules a check of the lock.
    pub fn mounts_changed(&mut self, now: Duration) {
        self.next_look = Some(now);
    }

    /// Whether a check of the lock is due; schedules the next one.
    pub fn is_look_due(&mut self, now: Duration) -> bool {
        let due = self.next_look.is_some_and(|at| at <= now);
        if due {
            self.next_look = Some(now + LOOK);
        }
        due
    }

    /// Removes and returns the containers whose wait for the network is over.
    pub fn take_network(&mut self, now: Duration) -> Vec<Candidate> {
        if self.pending.network.is_empty() {
            return Vec::new();
        }
        if let Some(uplink) = &self.uplink {
            uplink.drain();
        }
        let up = uplink::is_up().unwrap_or_else(|error| {
            log::warn!("cannot check whether the network is up: {error:#}");
            true
        });
        if !up {
            if self.pending.network_until.is_some_and(|until| until > now) {
                return Vec::new();
            }
            log::warn!(
                "the network is not up after the timeout; starting the containers that wait for it anyway"
            );
        }
        std::mem::take(&mut self.pending.network)
    }

    /// Removes and returns the containers whose wait for the user is over.
    pub fn take_unlock(&mut self) -> Vec<Candidate> {
        self.storage = false;
        std::mem::take(&mut self.pending.unlock)
    }

    /// The user stops or starts a container.
    pub fn forget(&mut self, name: &Name) {
        for list in [&mut self.pending.network, &mut self.pending.unlock] {
            list.retain(|candidate| candidate.name != *name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_a_container_waits_for_follows_from_its_network() {
        for (text, expected) in [
            ("", StartAfter::Network),
            ("[network]\nmode=none\n", StartAfter::Boot),
            ("[network]\nmode=nat\n", StartAfter::Network),
            ("start-after=boot\n", StartAfter::Boot),
            ("start-after=unlock\n[network]\nmode=none\n", StartAfter::Unlock),
        ] {
            let text = format!("[container]\nrootfs=/r\n{text}");
            let config = Config::parse(text.as_bytes(), Path::new("f"), &"web".parse().unwrap()).unwrap();
            assert_eq!(needed(&config), expected, "{text}");
        }
    }

    #[test]
    fn descriptors_are_open_only_while_a_container_waits() {
        let candidate = |name: &str| Candidate { name: name.parse().unwrap(), priority: 0 };
        let now = Duration::from_secs(100);
        let mut conditions = Conditions::default();
        conditions.listen(now);
        assert!(
            conditions.routes().is_none() && conditions.mounts().is_none() && conditions.deadline().is_none()
        );
        conditions.pending.network.push(candidate("web"));
        conditions.pending.network_until = Some(now);
        conditions.pending.unlock.push(candidate("db"));
        conditions.listen(now);
        assert!(conditions.routes().is_some() && conditions.mounts().is_some());
        assert!(conditions.is_look_due(now) && !conditions.is_look_due(now));
        // Their timeout has expired, with or without a network.
        assert_eq!(conditions.take_network(now).len(), 1);
        conditions.forget(&"db".parse().unwrap());
        conditions.listen(now);
        assert!(
            conditions.routes().is_none() && conditions.mounts().is_none() && conditions.deadline().is_none()
        );
    }
}
