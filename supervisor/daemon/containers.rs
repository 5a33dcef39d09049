//! What the supervisor does about containers: watches them, notices their end, and has them started again.
//!
//! The other half of [`Server`]: here a monitor's messages, the files it leaves and the configuration turn into
//! events for the policy.

use std::io::ErrorKind;
use std::ops::ControlFlow;

use super::monitors::Heard;
use super::policy::Event;
use super::server::{Outcome, Server};
use crate::clock::{now, unix_s};
use crate::config::Config;
use crate::config::value::{Name, RestartPolicy};
use crate::durable;
use crate::monitor::protocol::{Exit, ExitReason, Status};
use crate::paths::names_in;

/// Largest record of an end that is read, bytes.
const LARGEST_RECORD: u64 = 64 << 10;

impl Server {
    /// Watches the monitor of a container, if it answers and is not watched yet.
    pub(super) fn watch(&mut self, name: &Name) -> ControlFlow<Outcome> {
        if self.monitors.has(name) {
            return ControlFlow::Continue(());
        }
        match self.monitors.watch(&self.paths, name) {
            Ok(true) => {
                self.container_is_there(name);
                self.decide(Event::Watched(name.clone()))
            }
            Ok(false) => ControlFlow::Continue(()),
            Err(error) => {
                log::error!("{name}: {error:#}");
                ControlFlow::Continue(())
            }
        }
    }

    /// A worker has forked a monitor. One that was killed before it could be watched has left its socket behind: one that
    /// ends in order takes it away first.
    pub(super) fn started(&mut self, name: &Name) -> ControlFlow<Outcome> {
        self.watch(name)?;
        if self.monitors.has(name) || !self.paths.control(name).exists() {
            return ControlFlow::Continue(());
        }
        self.gone(name, None)
    }

    pub(super) fn directories_changed(&mut self) -> ControlFlow<Outcome> {
        let changes = self.monitors.changed();
        let names = if changes.lost { names_in(&self.paths.run_containers()) } else { changes.names };
        for name in names {
            self.watch(&name)?;
        }
        ControlFlow::Continue(())
    }

    pub(super) fn hear_monitor(&mut self, name: &Name) -> ControlFlow<Outcome> {
        match self.monitors.hear(name) {
            Heard::Nothing => ControlFlow::Continue(()),
            Heard::Status(status, changed) => {
                if changed {
                    self.look_for_storage();
                    log::info!("{name}: {}", status.state.as_str());
                    self.standby_is_stale = true;
                }
                self.decide(Event::Status(name.clone(), status.state))
            }
            Heard::Gone(status) => self.gone(name, status.as_deref()),
        }
    }

    /// Takes the end of a monitor, unless the next one of the same container is there already.
    pub(super) fn gone(&mut self, name: &Name, last: Option<&Status>) -> ControlFlow<Outcome> {
        self.watch(name)?;
        if self.monitors.has(name) {
            return ControlFlow::Continue(());
        }
        let exit = self.exit(name, last);
        match &exit.message {
            Some(message) => log::info!("{name}: ended ({:?}): {message}", exit.reason),
            None => log::info!("{name}: ended ({:?})", exit.reason),
        }
        self.container_is_gone(name, exit.reason);
        self.decide(Event::Gone(name.clone(), exit, self.restart_policy(name)))
    }

    /// How a container ended: what its monitor wrote down before it took its socket away, or that it is lost.
    fn exit(&self, name: &Name, last: Option<&Status>) -> Exit {
        let path = self.paths.last_exit(name);
        if !self.paths.control(name).exists() {
            let record = durable::read(&path, LARGEST_RECORD).ok();
            if let Some(exit) = record.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                return exit;
            }
        }
        let started = last.and_then(|status| status.started_s);
        let exit = Exit {
            reason: ExitReason::Lost,
            code: None,
            signal: None,
            message: None,
            at: unix_s(),
            uptime_s: started.map_or(0, |started| now().as_secs().saturating_sub(started)),
        };
        let written = serde_json::to_vec(&exit).map(|text| durable::write(&path, &text, 0o600));
        if let Ok(Err(error)) = written
            && error.kind() != ErrorKind::NotFound
        {
            log::error!("write {}: {error}", path.display());
        }
        exit
    }

    /// A start of the policy's has ended.
    pub(super) fn start_ended(&mut self, name: &Name, done: bool) -> ControlFlow<Outcome> {
        self.watch(name)?;
        if done && !self.monitors.has(name) {
            // It ran, and ended before anybody could watch.
            self.gone(name, None)?;
        }
        let running = self.monitors.has(name);
        self.decide(Event::StartEnded(name.clone(), running, self.restart_policy(name)))
    }

    /// What the configuration says now. One that is gone or broken restarts nothing.
    fn restart_policy(&self, name: &Name) -> RestartPolicy {
        Config::load(&self.paths.container_ini(name), name)
            .map_or(RestartPolicy::No, |config| config.container.restart)
    }
}
