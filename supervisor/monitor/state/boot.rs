//! One boot: clones the child, receives its reports on the wire, and returns when PID 1 runs. Never changes the root
//! file system itself.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail};
use nix::mount::MsFlags;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::{Monitor, Phase, STOPPED};
use crate::call;
use crate::child::android;
use crate::child::clocks::Clocks;
use crate::child::init::{self, Prepared};
use crate::child::name_servers;
use crate::child::program::strings;
use crate::child::wire::{FromChild, Wire};
use crate::config::value::{HardwareAccess, NetworkMode, Uuid};
use crate::config::{RootSource, Seeding};
use crate::fault;
use crate::host::namespace::NEW_TIME;
use crate::monitor::firmware;
use crate::monitor::part::{Part, Ready};
use crate::monitor::protocol::Report;
use crate::mount::op::Operation;
use crate::network::Attachment;
use crate::plan::mounts::NOTIFY_SOCKET;
use crate::plan::seed;
use crate::poll::{PollSet, timeout_until};
use crate::pty::Pty;
use crate::seed::Facts;
use crate::socket;
use crate::sys::process::{self, Fork};

/// The timeout for the child to execute the init program. It only mounts file systems, so it exceeds the timeout only
/// if the host hangs or a process has frozen it.
const BOOTING: Duration = Duration::from_secs(60);

impl Monitor {
    /// Starts PID 1 and returns once it was executed. If `report` is closed, no one waits for the boot any more, and it
    /// is cancelled.
    pub(super) fn boot(&mut self, report: Option<&OwnedFd>) -> Result<()> {
        let joining = self.cgroup.joining_payload()?;
        let mut operations: Vec<Operation> = self.notification().into_iter().collect();
        operations.extend(seed::boot_id(&Uuid::random().context("generate a boot id")?));
        self.join_network(report)?;
        let own = android::operations(&self.config, &self.host, &self.paths, self.tree.root())?;
        self.name_servers = name_servers::following(&self.config, &own);
        self.follow_routes();
        operations.extend(own);
        let command = strings(self.plan.command.iter().cloned())?;
        let environment =
            strings(self.plan.environment.iter().map(|(name, value)| format!("{name}={value}")))?;
        self.lend_firmware(report)?;
        let names = self.network.as_mut().map(Attachment::first_names).unwrap_or_default();
        let (ours, theirs) = socket::pair()?;
        // The child joins its cgroup before it makes that namespace, and it is created in its time namespace.
        let mut flags = self.plan.namespaces & !(libc::CLONE_NEWCGROUP | NEW_TIME);
        let clocks = Clocks::begin(self.proc.as_fd(), self.plan.namespaces)?;
        let inside = self.network.as_ref().map(Attachment::enter).transpose()?;
        if inside.is_some() {
            // The child is created in the prepared namespace.
            flags &= !libc::CLONE_NEWNET;
        }
        let cloned = call!(process::clone(flags, joining.directory()), "clone({flags:#x})");
        if let (Some(clocks), false) = (clocks, matches!(&cloned, Ok(cloned) if cloned.side == Fork::Child)) {
            clocks.end()?;
        }
        let cloned = cloned?;
        let pid = match cloned.side {
            Fork::Parent(pid) => {
                drop(inside);
                pid
            }
            Fork::Child => {
                drop(ours);
                let seeding = Seeding::load_or_default(&self.paths.supervisor_ini());
                let facts = Facts::new(&self.config, self.host.android, &seeding);
                let ledger = self.paths.seed_ledger(&self.config.name);
                let prepared = Prepared {
                    seed: (&facts, &ledger),
                    names: &names,
                    plan: &self.plan,
                    operations: &operations,
                    root_path: self.tree.path(),
                    root: self.tree.root().directory(),
                    proc: self.proc.as_fd(),
                    joining: &joining,
                    filters: &self.filters,
                    command: &command,
                    environment: &environment,
                };
                init::run(&prepared, &Wire::new(theirs), cloned.in_cgroup)
            }
        };
        drop(theirs);
        if let Err(error) = fault::point("cloned").and_then(|()| self.hear(&ours, report, pid)) {
            let _ = process::kill(pid, libc::SIGKILL);
            let _ = waitpid(pid, None);
            return Err(error);
        }
        self.runs(pid);
        Ok(())
    }

    /// PID 1 has executed its program.
    fn runs(&mut self, pid: Pid) {
        self.init.runs(pid);
        self.follow_name_servers();
        self.hotplug.iter_mut().for_each(|hotplug| hotplug.booted(pid));
        self.phase = Phase::Running;
        self.readiness.reset();
        self.boots += 1;
    }

    /// Attaches the container to its network again, because the configuration may have changed.
    fn join_network(&mut self, report: Option<&OwnedFd>) -> Result<()> {
        self.network = None;
        if !matches!(self.config.network.mode, NetworkMode::Nat | NetworkMode::Gateway) {
            return Ok(());
        }
        let mut warnings = Vec::new();
        let servers = name_servers::servers(&self.config, &self.host);
        let asked = (&self.config, servers.as_slice());
        let network = Attachment::make(asked, &self.paths, &self.host, &mut warnings)?;
        network.point_name_servers(&mut self.config);
        self.network = Some(network);
        warnings.into_iter().try_for_each(|text| self.warn(report, text))
    }

    /// Lets the kernel load the firmware of a container with full access to the hardware.
    fn lend_firmware(&mut self, report: Option<&OwnedFd>) -> Result<()> {
        if self.config.hardware.access != HardwareAccess::Full {
            return Ok(());
        }
        let given = match self.config.container.root {
            RootSource::Directory(_) => firmware::give(&self.paths, &self.config.name, self.tree.root()),
            // It is mounted in a namespace that the kernel does not search.
            RootSource::Image(_) => Err(Error::msg("it is in an image")),
        };
        match given {
            Ok(_) => Ok(()),
            Err(error) => {
                self.warn(report, format!("the kernel does not load firmware of the container: {error:#}"))
            }
        }
    }

    /// Keeps a warning for `ds info`, and reports it to the worker that waits for the boot, or else to the log.
    fn warn(&mut self, report: Option<&OwnedFd>, text: String) -> Result<()> {
        self.warnings.push(text.clone());
        match report {
            Some(report) => socket::send(report, &Report::Warning(text), &[]),
            None => {
                log::warn!("{}: {text}", self.config.name);
                Ok(())
            }
        }
    }

    fn notification(&self) -> Option<Operation> {
        let socket = self.readiness.is_notified().then(|| self.paths.notify(&self.config.name))?;
        Some(Operation::Bind {
            source: socket.to_string_lossy().into_owned(),
            target: NOTIFY_SOCKET.into(),
            flags: MsFlags::empty(),
            required: true,
        })
    }

    /// Receives messages of the child until it has executed the program; then begins to answer its calls, if it has
    /// sent a listener. Clients are served in the meantime.
    fn hear(&mut self, wire: &OwnedFd, report: Option<&OwnedFd>, pid: Pid) -> Result<()> {
        let (mut ready, mut listener) = (false, None);
        let deadline = Instant::now() + BOOTING;
        loop {
            self.wait_for_child(wire, report, deadline)?;
            let Some(received) = socket::receive::<FromChild>(wire)? else {
                if ready {
                    return fault::point("executed").and_then(|()| self.begin_answers(listener, pid));
                }
                bail!("the new process died before it could execute {}", self.config.container.init);
            };
            match received.message {
                FromChild::Console => {
                    let mut sides = received.descriptors.into_iter();
                    let (Some(master), Some(peer)) = (sides.next(), sides.next()) else {
                        bail!("the new process sent no console");
                    };
                    self.silent = sides.next();
                    self.console.connect(Pty { master, peer })?;
                    fault::point("connected")?;
                }
                FromChild::Listener => listener = received.descriptors.into_iter().next(),
                FromChild::Warning(text) => self.warn(report, text)?,
                FromChild::Begun => {}
                FromChild::Ready => ready = true,
                FromChild::Failed(failed) => return Err(Error::from(failed).context("in the container")),
            }
        }
    }

    /// Waits for a message of the child. The end of the process that requested the boot, or a stop request, ends the
    /// wait.
    fn wait_for_child(&mut self, wire: &OwnedFd, report: Option<&OwnedFd>, deadline: Instant) -> Result<()> {
        loop {
            let mut set = PollSet::default();
            set.input(Ready::Child, wire.as_fd());
            if let Some(report) = report {
                set.input(Ready::Worker, report.as_fd());
            }
            self.clients.watch(&mut set);
            let ready = call!(set.wait(timeout_until(Some(deadline))), "poll")?;
            for ready in ready {
                match ready {
                    Ready::Child => return Ok(()),
                    Ready::Worker => bail!("interrupted"),
                    ready => self.serve_client(ready),
                }
            }
            if Instant::now() >= deadline {
                bail!("PID 1 did not start within {} s", BOOTING.as_secs());
            }
            if self.phase == (Phase::Stopping { restart: false }) {
                bail!(STOPPED);
            }
        }
    }
}
