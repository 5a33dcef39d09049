//! One boot: clone the child, hear its report on the wire, and know that PID 1 runs.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail};
use nix::sys::wait::waitpid;

use super::{Monitor, Phase, STOPPED};
use crate::call;
use crate::child::android;
use crate::child::init::{self, Prepared};
use crate::child::wire::{FromChild, Wire};
use crate::config::Seeding;
use crate::config::value::Uuid;
use crate::fault;
use crate::monitor::name_servers::Follower;
use crate::monitor::protocol::Report;
use crate::mount::op::Operation;
use crate::plan::mounts::NOTIFY_SOCKET;
use crate::plan::seed;
use crate::poll::{PollSet, timeout_until};
use crate::pty::Pty;
use crate::seed::Facts;
use crate::socket;
use crate::sys::process::{self, Fork};

/// How long the child may take to execute the init program. It mounts and nothing else; only a host that hangs, or
/// somebody who froze it, keeps it.
const BOOTING: Duration = Duration::from_secs(60);

/// What poll(2) has found something for.
#[derive(Debug)]
enum Ready {
    Child,
    Worker,
    Listener,
    Client(u64),
}

impl Monitor {
    /// Starts PID 1 and returns once it was executed. With `report`, its end means that nobody waits any more, and
    /// the boot is given up.
    pub(super) fn boot(&mut self, report: Option<&OwnedFd>) -> Result<()> {
        let joining = self.cgroup.joining_payload()?;
        let mut operations: Vec<Operation> = self.notification().into_iter().collect();
        operations.extend(seed::boot_id(&Uuid::random().context("make a boot id")?));
        let own = android::operations(&self.config, &self.host, &self.paths, self.tree.root())?;
        self.follower = Follower::begin(&self.config, &self.host, &own);
        operations.extend(own);
        let command = strings(self.plan.command.iter().cloned())?;
        let environment =
            strings(self.plan.environment.iter().map(|(name, value)| format!("{name}={value}")))?;
        let (ours, theirs) = socket::pair()?;
        let flags = self.plan.namespaces & !libc::CLONE_NEWCGROUP;
        let cloned = call!(process::clone(flags, joining.directory()), "clone({flags:#x})")?;
        let pid = match cloned.side {
            Fork::Parent(pid) => pid,
            Fork::Child => {
                drop(ours);
                let seeding = Seeding::load_or_default(&self.paths.supervisor_ini());
                let facts = Facts::new(&self.config, self.host.android, &seeding);
                let ledger = self.paths.seed_ledger(&self.config.name);
                let prepared = Prepared {
                    seed: (&facts, &ledger),
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
        if let Err(error) = fault::point("cloned").and_then(|()| self.hear(&ours, report)) {
            let _ = process::kill(pid, libc::SIGKILL);
            let _ = waitpid(pid, None);
            return Err(error);
        }
        self.init.runs(pid);
        self.phase = Phase::Running;
        self.readiness.reset(None);
        self.boots += 1;
        Ok(())
    }

    fn notification(&self) -> Option<Operation> {
        let socket = self.readiness.notify().is_some().then(|| self.paths.notify(&self.config.name))?;
        Some(Operation::Bind {
            source: socket.to_string_lossy().into_owned(),
            target: NOTIFY_SOCKET.into(),
            read_only: false,
            required: true,
        })
    }

    /// Listens to the child until the program was executed. Clients are served meanwhile.
    fn hear(&mut self, wire: &OwnedFd, report: Option<&OwnedFd>) -> Result<()> {
        let mut ready = false;
        let deadline = Instant::now() + BOOTING;
        loop {
            self.wait_for_child(wire, report, deadline)?;
            let Some(received) = socket::receive::<FromChild>(wire)? else {
                if ready {
                    return fault::point("executed");
                }
                bail!("the new process died before it could execute {}", self.config.container.init);
            };
            match received.message {
                FromChild::Console => {
                    let mut sides = received.descriptors.into_iter();
                    let (Some(master), Some(peer)) = (sides.next(), sides.next()) else {
                        bail!("no console came along");
                    };
                    self.silent = sides.next();
                    self.console.connect(Pty { master, peer })?;
                    fault::point("connected")?;
                }
                FromChild::Warning(text) => match report {
                    Some(report) => socket::send(report, &Report::Warning(text), &[])?,
                    None => log::warn!("{}: {text}", self.config.name),
                },
                FromChild::Begun => {}
                FromChild::Ready => ready = true,
                FromChild::Failed(failed) => return Err(Error::from(failed).context("in the container")),
            }
        }
    }

    /// Waits until the child says something; whoever asked for the boot and is gone, or asks for the end, ends the wait.
    fn wait_for_child(&mut self, wire: &OwnedFd, report: Option<&OwnedFd>, deadline: Instant) -> Result<()> {
        loop {
            let mut set = PollSet::default();
            set.input(Ready::Child, wire.as_fd());
            if let Some(report) = report {
                set.input(Ready::Worker, report.as_fd());
            }
            set.input(Ready::Listener, self.clients.listener());
            for (id, connection) in self.clients.connections() {
                set.input(Ready::Client(id), connection);
            }
            let ready = call!(set.wait(timeout_until(Some(deadline))), "poll")?;
            for ready in ready {
                match ready {
                    Ready::Child => return Ok(()),
                    Ready::Worker => bail!("interrupted"),
                    Ready::Listener => drop(self.clients.accept()),
                    Ready::Client(id) => self.hear_client(id),
                }
            }
            if Instant::now() >= deadline {
                bail!("its first process did not come to run within {} s", BOOTING.as_secs());
            }
            if self.phase == (Phase::Stopping { restart: false }) {
                bail!(STOPPED);
            }
        }
    }
}

fn strings(texts: impl Iterator<Item = String>) -> Result<Vec<CString>> {
    texts.map(|text| CString::new(text).context("a NUL in the command or environment")).collect()
}
