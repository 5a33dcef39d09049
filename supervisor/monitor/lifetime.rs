//! The monitor's loop, from the first boot to the end. Owns what happens when PID 1 ends, and the cleanup.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::last_exit;
use super::name_servers::Follower;
use super::notify::Notify;
use super::protocol::{Answer, Exit, ExitReason};
use super::readiness::Sign;
use super::state::{Monitor, Phase, create_cgroup, writers};
use crate::android::wakelock;
use crate::answer::Answerer;
use crate::child::android;
use crate::clock::{now, unix_s};
use crate::config::value::WakelockPolicy;
use crate::config::{Config, RootSource, Seeding};
use crate::fault;
use crate::network::Attachment;
use crate::plan;
use crate::poll::PollSet;
use crate::poll::timeout_until;
use crate::rootfs::deadline::within;
use crate::rootfs::guest::Guest;
use crate::rootfs::root::Root;

/// The timeout for reading files of the container.
const PATIENCE: Duration = Duration::from_secs(2);
/// A boot that ended sooner than this, in seconds, counts as failed.
const HASTY_S: u64 = 3;
/// The number of consecutive failed boots after which a container that keeps rebooting is stopped.
const MOST_HASTY: u32 = 5;

/// The event that poll(2) reported.
#[derive(Debug, Clone, Copy)]
enum Ready {
    Signals,
    Listener,
    Notify,
    NameServers,
    Console,
    Network,
    Calls(usize),
    Viewer(usize),
    Client(u64),
}

impl Monitor {
    /// Runs until the container has ended for good; returns the exit code of the monitor.
    pub(super) fn live(mut self: Box<Self>) -> i32 {
        self.booted();
        loop {
            // From the last viewer to the first, so that a removal does not change the indices of the others.
            for source in self.wait().into_iter().rev() {
                match source {
                    Ready::Listener => self.accept(),
                    Ready::Notify => self.notified(),
                    Ready::NameServers => {
                        if let Some(follower) = &mut self.follower {
                            follower.heard();
                        }
                    }
                    Ready::Console => self.console_event(),
                    Ready::Calls(index) => self.answer_calls(index),
                    Ready::Network => self.network.iter().for_each(Attachment::serve),
                    Ready::Viewer(index) => {
                        self.console.serve(index);
                    }
                    Ready::Client(id) => self.hear_client(id),
                    Ready::Signals => {
                        if self.signals.take().contains(&libc::SIGTERM) {
                            self.stop(None, false);
                        }
                        if let Some(exit) = self.reap() {
                            return self.end(&exit);
                        }
                    }
                }
            }
            if std::mem::take(&mut self.unannounced) {
                self.announce();
            }
            self.follow_name_servers();
            if self.asking.is_some_and(|asking| asking.at <= Instant::now()) {
                self.ask();
            }
            if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                self.kill();
            }
        }
    }

    /// A boot has completed: answers the clients that waited for it.
    fn booted(&mut self) {
        self.answer_waiting(&Answer::Done);
        self.announce();
        if self.is_waited_for() {
            // Requested while this boot was in progress, which had already read its configuration.
            let _ = self.restart(None);
        }
    }

    fn wait(&self) -> Vec<Ready> {
        let mut set = PollSet::default();
        set.input(Ready::Listener, self.listener.as_fd());
        if let Some(notify) = &self.notify {
            set.input(Ready::Notify, notify.fd());
        }
        if let Some(follower) = &self.follower {
            set.input(Ready::NameServers, follower.fd());
        }
        for client in &self.clients {
            set.input(Ready::Client(client.id), client.fd());
        }
        for (index, (stream, reads, writes)) in self.console.viewers().enumerate() {
            set.add(Ready::Viewer(index), stream, events(reads, writes));
        }
        if let Some((master, writes)) = self.console.master() {
            set.add(Ready::Console, master, events(true, writes));
        }
        if let Some(asked) = self.network.as_ref().and_then(Attachment::fd) {
            set.input(Ready::Network, asked);
        }
        let calls = self.answerer.iter().flat_map(Answerer::descriptors);
        calls.enumerate().for_each(|(index, listener)| set.input(Ready::Calls(index), listener));
        // Signals were received last, but are handled first.
        set.input(Ready::Signals, self.signals.fd());
        let due = self.follower.as_ref().and_then(Follower::due);
        let next = [self.deadline, self.asking.map(|asking| asking.at), due].into_iter().flatten().min();
        set.sleep(timeout_until(next)).unwrap_or_default()
    }

    /// The servers of the machine may have changed.
    fn follow_name_servers(&mut self) {
        let (Some(follower), Some(init)) = (&mut self.follower, self.init) else { return };
        if let Err(error) = follower.follow(self.host.android, init) {
            log::warn!("{}: its name servers stay as they are: {error:#}", self.config.name);
        }
    }

    fn notified(&mut self) {
        if self.notify.as_ref().is_some_and(Notify::is_ready) {
            self.becomes_ready();
        }
    }

    fn console_event(&mut self) {
        self.console.writable();
        if self.console.readable() && self.notify.is_none() {
            self.becomes_ready();
        }
    }

    /// A client wants to know: checks whether the guest is up. A guest that cannot be checked is not checked again.
    pub(super) fn look_for_readiness(&mut self) {
        let (sign, Some(init)) = (self.sign, self.init) else { return };
        if self.ready || sign == Sign::None || self.phase != Phase::Running {
            return;
        }
        let looked = within(PATIENCE, || {
            let root = Root::open(Path::new(&format!("/proc/{init}/root/")))?;
            Ok(vec![u8::from(sign.shows(&root, init).unwrap_or(false))])
        });
        match looked {
            Ok(answer) => {
                self.ready = answer == [1];
                self.unannounced |= self.ready;
            }
            Err(error) => {
                log::warn!("{}: cannot determine whether it is up: {error:#}", self.config.name);
                self.sign = Sign::None;
            }
        }
    }

    fn becomes_ready(&mut self) {
        if !std::mem::replace(&mut self.ready, true) {
            self.announce();
        }
    }

    /// Processes the exit of PID 1, if it has ended: boots again, or returns how the container ended.
    fn reap(&mut self) -> Option<Exit> {
        let init = self.init?;
        let status = match waitpid(init, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => return None,
            Ok(status) => self.explain_end(init, status),
            Err(_) => WaitStatus::Exited(init, 1),
        };
        self.init = None;
        self.pid_started = None;
        self.deadline = None;
        self.asking = None;
        self.ready = false;
        self.console.finish();
        self.silent = None;
        let uptime_s = self.started_s.take().map_or(0, |started| now().as_secs().saturating_sub(started));
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
        if self.hasty >= MOST_HASTY {
            let message = format!("it rebooted {MOST_HASTY} times within seconds; see 'ds logs'");
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
        self.cgroup.kill();
        let mut warnings = Vec::new();
        if let Err(error) = self.cgroup.remove() {
            // Existing control groups are joined unchanged.
            warnings.push(format!("{error:#}"));
        }
        self.cgroup = create_cgroup(&self.config, &self.paths, &self.host, &mut self.plan, &mut warnings)?;
        self.filters = crate::privilege::compile(&self.plan.filters)?;
        for warning in warnings {
            log::warn!("{}: {warning}", self.config.name);
        }
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
        self.sign = Sign::of(&guest);
        let plan = plan::build(
            &config,
            &self.host,
            &guest,
            &Seeding::load_or_default(&self.paths.supervisor_ini()),
        )?;
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
        self.cgroup.kill();
        if let Err(error) = self.cgroup.remove() {
            log::warn!("{name}: {error:#}");
        }
        self.network = None;
        if self.config.android.wakelock != WakelockPolicy::No {
            // There may be no supervisor to do it.
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

fn events(reads: bool, writes: bool) -> PollFlags {
    let mut events = PollFlags::empty();
    events.set(PollFlags::POLLIN, reads);
    events.set(PollFlags::POLLOUT, writes);
    events
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
