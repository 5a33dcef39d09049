//! What a new supervisor does first: adopt the containers that run, notice those that ended unwatched, and start those
//! that start at boot.

use std::ops::ControlFlow;

use super::server::{Outcome, Server};
use crate::durable;
use crate::paths::names_in;

impl Server {
    /// The beginning: watches the monitors that are there, takes the end of those that ended unwatched, and starts
    /// what starts at boot.
    pub(super) fn adopt_and_start(&mut self, autostart: bool) -> ControlFlow<Outcome> {
        let is_first = self.is_first_of_this_boot();
        let autostart = autostart && self.settings.autostart;
        if !is_first && autostart && self.asker.is_none() {
            self.recall_who_waits();
        }
        self.take_place()?;
        self.look_for_module();
        self.look_for_attempts();
        for name in self.policy.watched() {
            self.container_is_there(&name);
        }
        for name in self.waiting().into_iter().map(|(name, _)| name).chain(self.policy.restarts().into_keys())
        {
            self.look_for_wish(&name);
        }
        for name in names_in(&self.paths.run_containers()) {
            if self.paths.control(&name).exists() {
                self.watch(&name)?;
                if !self.monitors.has(&name) {
                    self.gone(&name, None)?;
                }
            }
        }
        self.may_be_untidy = true;
        if is_first && autostart {
            self.start_what_starts_at_boot()?;
        }
        self.look_for_guarded();
        self.look_for_storage();
        ControlFlow::Continue(())
    }

    /// Once after each boot of the kernel: a supervisor that comes back later starts nothing that was stopped since.
    fn is_first_of_this_boot(&self) -> bool {
        let Ok(boot) = std::fs::read("/proc/sys/kernel/random/boot_id") else { return false };
        let record = self.paths.autostarted();
        if std::fs::read(&record).is_ok_and(|recorded| recorded == boot) {
            return false;
        }
        if let Err(error) = durable::write(&record, &boot, 0o600) {
            log::error!("write {}: {error}; no container starts by itself", record.display());
            return false;
        }
        true
    }
}
