//! The monitor's loop, from the first boot to the end. Owns what happens when PID 1 ends, and the cleanup.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use super::{Monitor, Phase, create_cgroup, writers};
use crate::android::wakelock;
use crate::child::android;
use crate::clock::unix_s;
use crate::config::value::WakelockPolicy;
use crate::config::{Config, RootSource, Seeding};
use crate::fault;
use crate::monitor::first_process::Escalation;
use crate::monitor::hotplug::Hotplug;
use crate::monitor::name_servers::Routes;
use crate::monitor::part::{Part, Ready};
use crate::monitor::protocol::{Answer, Exit, ExitReason};
use crate::monitor::readiness::Sign;
use crate::monitor::{firmware, last_exit, name_servers, surroundings};
use crate::network::Attachment;
use crate::plan;
use crate::poll::{PollSet, timeout_until};
use crate::rootfs::guest::Guest;

/// A boot that ended sooner than this, in seconds, counts as failed.
const HASTY_S: u64 = 3;
/// The number of consecutive failed boots after which a container that keeps rebooting is stopped.
const MAX_HASTY: u32 = 5;
/// After this time, the other calls that wait are answered in the next turn of the loop, so that clients do not wait for
/// all of them.
const TURN: Duration = Duration::from_millis(20);

impl Monitor {
    /// Runs until the container has ended for good; returns the exit code of the monitor.
    pub(in crate::monitor) fn live(mut self: Box<Self>) -> i32 {
        self.tree.booted();
        self.booted();
        loop {
            // From the last viewer to the first, so that a removal does not change the indices of the others.
            let ready = self.wait();
            let turn = Instant::now() + TURN;
            for ready in ready.into_iter().rev() {
                if matches!(ready, Ready::Calls(_)) && Instant::now() > turn {
                    continue;
                }
                if let Some(exit) = self.handle(ready) {
                    return self.end(&exit);
                }
            }
            self.calls.end_turn();
            if let Some(exit) = self.take_deadlines() {
                return self.end(&exit);
            }
        }
    }

    /// The parts with descriptors or deadlines. Signals are last here and thus handled first.
    fn parts(&self) -> [&dyn Part; 9] {
        let Self { clients, readiness, routes, hotplug, console, network, calls, init, signals, .. } = self;
        [clients, readiness, routes, hotplug, console, network, calls, init, signals]
    }

    /// Waits for an event of a part.
    fn wait(&self) -> Vec<Ready> {
        let mut set = PollSet::default();
        self.parts().iter().for_each(|part| part.watch(&mut set));
        let next = self.parts().iter().filter_map(|part| part.due()).min();
        set.sleep(timeout_until(next)).unwrap_or_default()
    }

    /// Passes an event to its part; returns how the container ended, if it has.
    fn handle(&mut self, ready: Ready) -> Option<Exit> {
        match ready {
            Ready::Signals => {
                if self.signals.take().contains(&libc::SIGTERM) {
                    self.stop(None, false);
                }
                return self.reap();
            }
            Ready::Listener | Ready::Client(_) => self.serve_client(ready),
            Ready::Notify => self.readiness.read_notification(),
            Ready::Routes => self.routes.iter_mut().for_each(Routes::changed),
            Ready::Devices => self.devices_changed(),
            Ready::Console => {
                if self.console.exchange() {
                    self.readiness.prompted();
                }
            }
            Ready::Viewer(index) => self.console.serve(index),
            Ready::Network => self.network.iter_mut().for_each(Attachment::serve),
            Ready::Calls(index) => self.answer_calls(index),
            Ready::Child | Ready::Worker => {}
        }
        None
    }

    /// Performs the actions that are due, with or without an event; returns how the container ended, if it has.
    fn take_deadlines(&mut self) -> Option<Exit> {
        if self.readiness.take_change() {
            self.announce();
        }
        if self.routes.as_mut().is_some_and(Routes::take_change) {
            self.name_servers_changed = true;
            self.follow_name_servers();
        }
        if let (Some(network), Some(init)) = (&mut self.network, self.init.pid()) {
            network.follow(init);
        }
        match self.init.escalation() {
            Some(Escalation::Ask) => self.ask(),
            Some(Escalation::Kill) => {
                self.kill();
                return self.reap();
            }
            None => {}
        }
        None
    }

    /// Subscribes to changes of the machine's name servers where the supervisor does not.
    pub(super) fn follow_routes(&mut self) {
        let follows = self.host.android && self.name_servers.is_some();
        self.routes = follows
            .then(Routes::begin)
            .transpose()
            .map_err(|error| {
                log::warn!("{}: its name servers will not be updated: {error:#}", self.config.name);
            })
            .ok()
            .flatten();
    }

    /// Updates the name servers in the container after a change of the machine's. Before PID 1 runs, its boot does so.
    pub(super) fn follow_name_servers(&mut self) {
        if let (Some(following), Some(init)) = (&mut self.name_servers, self.init.pid())
            && std::mem::take(&mut self.name_servers_changed)
            && let Err(error) = name_servers::follow(following, self.host.android, init)
        {
            log::warn!("{}: cannot update its name servers: {error:#}", self.config.name);
        }
    }

    /// Devices of the host may have appeared or disappeared.
    fn devices_changed(&mut self) {
        let Some(hotplug) = &mut self.hotplug else { return };
        let (plan, cgroup) = (&mut self.plan, &mut self.cgroup);
        match hotplug.follow(&self.config, plan, cgroup, self.init.pid()) {
            Ok(false) => {}
            Ok(true) => self.announce(),
            Err(error) => log::warn!("{}: its devices are not updated: {error:#}", self.config.name),
        }
    }

    /// A boot has completed: answers the clients that waited for it.
    fn booted(&mut self) {
        self.answer_waiting(&Answer::Done);
        self.announce();
        if self.clients.is_waited_for() {
            // Requested while this boot was in progress, which had already read its configuration.
            let _ = self.restart(None);
        }
    }

    /// Processes the exit of PID 1, if it has ended: boots again, or returns how the container ended.
    fn reap(&mut self) -> Option<Exit> {
        let (status, uptime_s) = self.init.reap()?;
        let status = self.calls.end(status);
        self.readiness.reset();
        self.console.finish();
        self.silent = None;
        let stopping = matches!(self.phase, Phase::Stopping { restart: false });
        let asked_for = matches!(self.phase, Phase::Stopping { restart: true });
        let wants_reboot =
            asked_for || (!stopping && matches!(status, WaitStatus::Signaled(_, Signal::SIGHUP, _)));
        let exit = exit_of(status, self.phase, uptime_s);
        if !wants_reboot {
            return Some(exit);
        }
        // Only reboots by the container itself can form an endless loop.
        self.hasty = if uptime_s < HASTY_S && !asked_for { self.hasty + 1 } else { 0 };
        if self.hasty >= MAX_HASTY {
            let message = format!("it rebooted {MAX_HASTY} times within seconds; see 'ds logs'");
            return Some(Exit { reason: ExitReason::StartFailed, message: Some(message), ..exit });
        }
        self.last_exit = Some(exit.clone());
        self.phase = Phase::Restarting;
        self.announce();
        match self.boot_again() {
            Ok(()) => {
                self.booted();
                None
            }
            Err(error) => {
                if self.phase == (Phase::Stopping { restart: false }) {
                    return Some(Exit { reason: ExitReason::Stopped, ..exit });
                }
                let text = format!("{error:#}");
                self.answer_waiting(&Answer::Failed(text.clone()));
                Some(Exit { reason: ExitReason::StartFailed, message: Some(text), ..exit })
            }
        }
    }

    /// Boots again with the current configuration. If that is invalid, the old one remains in effect.
    fn boot_again(&mut self) -> Result<()> {
        match self.reload() {
            Ok(()) => {}
            Err(error) => {
                log::warn!("{}: the previous configuration remains in effect: {error:#}", self.config.name);
            }
        }
        fault::point("rebooting")?;
        self.kill_groups();
        let mut warnings = self.plan.warnings.clone();
        if let Err(error) = self.cgroup.remove() {
            // Existing control groups are joined unchanged.
            warnings.push(format!("{error:#}"));
        }
        self.cgroup = create_cgroup(&self.config, &self.paths, &self.host, &mut self.plan, &mut warnings)?;
        self.filters = crate::privilege::compile(&self.plan.filters)?;
        for warning in &warnings {
            log::warn!("{}: {warning}", self.config.name);
        }
        self.warnings = warnings;
        self.boot(None)
    }

    fn reload(&mut self) -> Result<()> {
        let name = &self.config.name;
        let mut config = Config::load(&self.paths.container_ini(name), name)?;
        self.once.apply(&mut config);
        android::complete(&mut config, &self.host);
        self.keep_image(&mut config);
        self.tree.renew(&config)?;
        let guest = Guest::inspect(self.tree.root(), config.container.init.as_str().as_ref())?;
        self.readiness.expect(Sign::of(&guest));
        let hotplug = Hotplug::begin(&config, &self.host);
        let around = surroundings::look(&config, Some(self.tree.root()));
        let seeding = Seeding::load_or_default(&self.paths.supervisor_ini());
        let plan = plan::build(&config, &self.host, &guest, &seeding, &around)?;
        self.hotplug = hotplug;
        self.writers = writers(self.tree.root(), &config);
        (self.config, self.plan) = (config, plan);
        Ok(())
    }

    /// An image stays mounted, with the same options, until the container is stopped.
    fn keep_image(&self, config: &mut Config) {
        let (old, new) = (&self.config.container, &mut config.container);
        let directories = [&old.root, &new.root].map(|root| matches!(root, RootSource::Directory(_)));
        if directories == [true, true] || (&old.root, old.volatile) == (&new.root, new.volatile) {
            return;
        }
        log::warn!(
            "{}: the new root file system takes effect at the next start; stop the container first",
            self.config.name
        );
        (new.root, new.volatile) = (old.root.clone(), old.volatile);
    }

    /// Removes everything except the record of the last exit. The connections end last, with the process.
    fn end(mut self: Box<Self>, exit: &Exit) -> i32 {
        let name = self.config.name.clone();
        let _ = fault::point("ended");
        self.kill_groups();
        if let Err(error) = self.cgroup.remove() {
            log::warn!("{name}: {error:#}");
        }
        if let Some(network) = self.network.take() {
            network.end(self.tree.root());
        }
        firmware::take_back(&self.paths, &name);
        if self.config.android.wakelock != WakelockPolicy::No {
            // There may be no supervisor that does it.
            wakelock::released(&self.paths.cgroup, name.as_str());
        }
        let _ = fault::point("emptied");
        // Before any client learns of the end: the image is then free again.
        self.writers.clear();
        if let Err(error) = self.tree.release() {
            log::warn!("{name}: {error:#}");
        }
        let _ = fault::point("released");
        if let Err(error) = last_exit::write(&self.paths, &name, exit) {
            log::warn!("{name}: {error:#}");
        }
        let _ = fault::point("recorded");
        let _ = std::fs::remove_file(self.paths.notify(&name));
        let _ = std::fs::remove_file(self.paths.control(&name));
        i32::from(exit.is_failure())
    }
}

fn exit_of(status: WaitStatus, phase: Phase, uptime_s: u64) -> Exit {
    let (mut reason, mut code, mut signal) = (ExitReason::Killed, None, None);
    match status {
        WaitStatus::Exited(_, number) => (reason, code) = (ExitReason::Exited, Some(number)),
        // reboot(2): in a PID namespace, the kernel ends PID 1 with SIGHUP for a restart, and otherwise with SIGINT.
        WaitStatus::Signaled(_, Signal::SIGINT, _) => reason = ExitReason::PoweredOff,
        WaitStatus::Signaled(_, Signal::SIGHUP, _) => reason = ExitReason::Rebooted,
        WaitStatus::Signaled(_, number, _) => signal = Some(number as i32),
        _ => {}
    }
    if let Phase::Stopping { restart } = phase {
        reason = if restart { ExitReason::Restarted } else { ExitReason::Stopped };
        // For any other signal, the container was shut down by the kernel.
        signal = signal.filter(|signal| *signal == libc::SIGKILL);
    }
    Exit { reason, code, signal, message: None, at: unix_s(), uptime_s }
}
