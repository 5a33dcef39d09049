//! Settings of the kernel in /proc/sys/net: ip-sysctl.rst of the kernel's documentation.
//!
//! Owns forwarding: records the previous values before it is switched on, and restores them after the last stop.
//! Settings of interfaces of ds end with the interfaces. All settings are those of the caller's network namespace.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::identity::OWN;
use crate::tool::{Invocation, Tool};

/// Whether IPv4 packets are forwarded.
const FORWARD: &str = "ipv4/ip_forward";
/// The settings of all interfaces for IPv6.
const SIX: &str = "ipv6/conf";
/// The name of ds for Android's netd.
const REQUESTER: &str = "droidspaces";

/// The changed settings of the host with their previous values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarding {
    /// Paths below /proc/sys/net.
    before: BTreeMap<String, String>,
    /// Whether netd enabled forwarding.
    netd: bool,
}

fn path(name: &str) -> String {
    format!("/proc/sys/net/{name}")
}

/// The value of a setting, if the kernel has it.
#[must_use]
pub fn get(name: &str) -> Option<String> {
    fs::read_to_string(path(name)).ok().map(|text| text.trim().to_owned())
}

/// Changes a setting.
///
/// # Errors
/// If the kernel does not have it, or refuses the value.
pub fn set(name: &str, value: &str) -> Result<()> {
    fs::write(path(name), value).with_context(|| format!("write {value} to {}", path(name)))
}

/// Changes a setting that older kernels lack.
pub fn try_set(name: &str, value: &str) {
    if let Err(error) = set(name, value) {
        log::debug!("{error:#}");
    }
}

impl Forwarding {
    /// Records the values that forwarding will change, for IPv6 if requested; returns the settings to make.
    ///
    /// # Errors
    /// If the kernel has no forwarding.
    pub fn record(&mut self, android: bool, ipv6: bool) -> Result<Vec<(String, &'static str)>> {
        self.netd |= android;
        let mut list = Vec::new();
        self.note(&mut list, FORWARD, "1")?;
        let all = format!("{SIX}/all/forwarding");
        if !ipv6 || get(&all).as_deref() == Some("1") {
            return Ok(list);
        }
        for name in interfaces() {
            // By default, a router ignores router advertisements; interfaces that accepted them must continue to.
            let setting = format!("{SIX}/{name}/accept_ra");
            if get(&setting).as_deref() == Some("1") {
                self.note(&mut list, &setting, "2")?;
            }
            // Switching it on for `all` overwrites the setting of each interface.
            let setting = format!("{SIX}/{name}/forwarding");
            if let Some(value) = get(&setting) {
                self.before.entry(setting).or_insert(value);
            }
        }
        self.note(&mut list, &all, "1")?;
        Ok(list)
    }

    fn note(
        &mut self,
        list: &mut Vec<(String, &'static str)>,
        name: &str,
        value: &'static str,
    ) -> Result<()> {
        let old = get(name).with_context(|| format!("the kernel has no {}", path(name)))?;
        if old != value {
            // The first recorded value is kept: a later one may be from ds or from another program.
            self.before.entry(name.to_owned()).or_insert(old);
            list.push((name.to_owned(), value));
        }
        Ok(())
    }

    /// Makes the recorded settings.
    ///
    /// # Errors
    /// If the kernel refuses one.
    pub fn enable(&self, settings: &[(String, &'static str)]) -> Result<()> {
        if self.netd {
            ndc("enable");
        }
        settings.iter().try_for_each(|(name, value)| set(name, value))
    }

    /// Switches on again what another program has switched off, as netd does when tethering ends.
    pub fn renew(&self) {
        let is_off = |name: &String| {
            let needed = name == FORWARD || *name == format!("{SIX}/all/forwarding");
            needed && get(name).is_some_and(|value| value == "0")
        };
        // A setting that was on before is not changed by ds.
        for name in self.before.keys().filter(|name| is_off(name)) {
            if self.netd {
                ndc("enable");
            }
            try_set(name, "1");
        }
    }

    /// Restores the settings that still have the value that ds set.
    pub fn restore(&self) {
        let all = format!("{SIX}/all/forwarding");
        let mut overwritten = false;
        if let Some(value) = self.before.get(&all).filter(|_| get(&all).as_deref() == Some("1")) {
            overwritten = true;
            try_set(&all, value);
        }
        for (name, value) in self.before.iter().filter(|(name, _)| **name != all) {
            let ours = match name.rsplit('/').next() {
                Some("accept_ra") => get(name).as_deref() == Some("2"),
                Some("forwarding") => overwritten && get(name).is_some_and(|now| now != *value),
                _ => get(name).as_deref() == Some("1"),
            };
            if ours {
                try_set(name, value);
            }
        }
        if self.netd {
            ndc("disable");
        }
    }
}

fn interfaces() -> Vec<String> {
    let entries = fs::read_dir(path(SIX)).into_iter().flatten().filter_map(Result::ok);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name != "all" && !name.starts_with(OWN)).collect()
}

/// Registers with netd, which enables forwarding while any program requests it.
fn ndc(verb: &str) {
    let arguments = ["ipfwd", verb, REQUESTER].map(OsStr::new);
    match Tool::find("ndc").map(|ndc| ndc.run(&mut Invocation::new(&arguments))) {
        Some(Ok(outcome)) if outcome.is_success() => {}
        Some(Ok(outcome)) => log::warn!("ndc ipfwd {verb}: {}", outcome.last_words()),
        Some(Err(error)) => log::warn!("ndc ipfwd {verb}: {error:#}"),
        None => log::debug!("ndc is missing"),
    }
}
