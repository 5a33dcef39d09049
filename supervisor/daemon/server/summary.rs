//! The supervisor's view of all containers: for the root manager's list, and for workers. Changes nothing.

use super::Server;
use crate::config::value::Name;
use crate::worker::protocol::Containers;

impl Server {
    /// The state of all containers in a few words; empty without a module.
    pub(super) fn summary(&self) -> String {
        if !self.module.is_there() {
            return String::new();
        }
        let names = |names: Vec<&Name>| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        let running: Vec<&Name> = self.monitors.connections().map(|(name, _)| name).collect();
        let mut parts = vec![match running.as_slice() {
            [] => "no container is running".to_owned(),
            _ => format!("running: {}", names(running)),
        }];
        let waiting = self.autostart.waiting();
        if !waiting.is_empty() {
            parts.push(format!("waiting: {}", names(waiting.iter().map(|(name, _)| name).collect())));
        }
        if !self.autostart.left_out().is_empty() {
            parts.push(format!("boot-loop guard: {}", names(self.autostart.left_out().iter().collect())));
        }
        parts.extend(self.autostart.held_back().cloned());
        parts.join("; ")
    }

    /// The state of the containers for a worker.
    pub(super) fn containers(&self) -> Containers {
        let waiting = self.autostart.waiting().into_iter();
        Containers {
            watched: self.monitors.connections().map(|(name, _)| name.clone()).collect(),
            restarts: self.policy.restarts(),
            waiting: waiting.map(|(name, what)| (name, what.to_owned())).collect(),
            held_back: self.autostart.held_back().cloned(),
        }
    }
}
