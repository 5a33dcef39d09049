//! What is to be done for a throw-away container: a shell or one command in a directory, without an init system.
//!
//! Pure, as all of `plan`. It needs mount namespaces and nothing else of the kernel; whatever is missing is a warning.
//! It has no groups of its own, so it can have no limits.

use anyhow::{Result, bail};

use super::mounts;
use super::privileges::{self, Capability, Filter};
use crate::config::Config;
use crate::config::value::{HardwareAccess, NetworkMode};
use crate::host::Host;
use crate::mount::op::Operation;

/// Everything that `ds shell` does, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellPlan {
    /// Host name inside.
    pub hostname: String,
    /// `CLONE_NEW*` flags.
    pub namespaces: libc::c_int,
    /// Steps that build the file tree.
    pub operations: Vec<Operation>,
    /// Mounts made inside propagate among the container's own namespaces.
    pub shared: bool,
    /// Capabilities that leave the bounding set.
    pub dropped: Vec<Capability>,
    /// System call filters.
    pub filters: Vec<Filter>,
    /// Environment, before it is anybody's in particular.
    pub environment: Vec<(String, String)>,
    /// What will not be as it should, one line each.
    pub warnings: Vec<String>,
}

/// Decides. Nothing has been changed when this fails.
///
/// # Errors
/// When the kernel has no mount namespaces, or the configuration asks for what a throw-away container does not have.
pub fn build(config: &Config, host: &Host) -> Result<ShellPlan> {
    let limits = config.limits;
    if limits.memory.is_some() || limits.cpus.is_some() || limits.pids.is_some() {
        bail!("limits need a container of its own; see 'ds help create'");
    }
    if config.network.mode == NetworkMode::Nat {
        bail!("network.mode = nat is not there yet; use host or none");
    }
    if config.container.volatile || config.hardware.access != HardwareAccess::None {
        bail!("container.volatile and hardware.access are not there yet for 'ds shell'");
    }
    let own_network = config.network.mode == NetworkMode::None;
    let mut warnings = Vec::new();
    let namespaces = namespaces(own_network, host, &mut warnings)?;
    let privileged = config.security.privileged;
    Ok(ShellPlan {
        hostname: config.hostname().to_string(),
        namespaces,
        operations: mounts::shell(config),
        shared: privileged.shared(),
        dropped: privileges::dropped(config),
        filters: privileges::filters(config, host),
        environment: super::session_environment(config),
        warnings,
    })
}

fn namespaces(own_network: bool, host: &Host, warnings: &mut Vec<String>) -> Result<libc::c_int> {
    let mut wanted = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    wanted |= libc::CLONE_NEWCGROUP;
    if own_network {
        wanted |= libc::CLONE_NEWNET;
    }
    for kind in host.namespaces.lacking(wanted) {
        match kind.flag {
            libc::CLONE_NEWNS => bail!("kernel makes no mount namespaces ({}); see 'ds check'", kind.option),
            libc::CLONE_NEWNET => {
                bail!("kernel has no {}, which network.mode = none needs; use host", kind.option)
            }
            _ => warnings.push(format!(
                "kernel has no {}: the container shares {} with the host",
                kind.option, kind.shares
            )),
        }
        wanted &= !kind.flag;
    }
    Ok(wanted)
}
