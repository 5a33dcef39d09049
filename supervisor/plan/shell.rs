//! The decisions for a temporary container: a shell or one command in a directory, without an init system.
//!
//! Pure, as all of `plan`. It requires only mount namespaces; any other missing feature is a warning. It has no limits,
//! no hardware and no autostart: those parts of the configuration do not apply.

use anyhow::{Result, bail};

use super::devices::Policy;
use super::terms::Terms;
use super::{mounts, privileges};
use crate::config::Config;
use crate::config::value::NetworkMode;
use crate::host::Host;
use crate::host::namespace::NEW_TIME;
use crate::mount::op::Operation;

/// The complete plan of `ds shell`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellPlan {
    /// Host name in the container.
    pub hostname: String,
    /// `CLONE_NEW*` flags.
    pub namespaces: libc::c_int,
    /// Steps that build the file tree.
    pub operations: Vec<Operation>,
    /// Mounts made in the container propagate among its own namespaces.
    pub shared: bool,
    /// The settings for every process in the container.
    pub terms: Terms,
    /// Which devices they may use.
    pub devices: Policy,
    /// Settings without effect, one line each.
    pub warnings: Vec<String>,
}

/// Makes the plan. Nothing has been changed if this fails.
///
/// # Errors
/// If the kernel has no mount namespaces, or the configuration requests a feature that a temporary container lacks.
pub fn build(config: &Config, host: &Host) -> Result<ShellPlan> {
    let own_network = config.network.mode != NetworkMode::Host;
    let mut warnings = privileges::given_up(config);
    let namespaces = namespaces(own_network, host, &mut warnings)?;
    let privileged = config.security.privileged;
    let mut terms = Terms::new(config, host);
    if namespaces & libc::CLONE_NEWPID == 0 && host.answers {
        privileges::answer(config, &mut terms.filters, &mut terms.dropped);
    }
    Ok(ShellPlan {
        hostname: config.hostname().to_string(),
        namespaces,
        operations: mounts::shell(config),
        shared: privileged.shared(),
        terms,
        devices: Policy::new(config, []),
        warnings,
    })
}

fn namespaces(own_network: bool, host: &Host, warnings: &mut Vec<String>) -> Result<libc::c_int> {
    let mut wanted = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    wanted |= libc::CLONE_NEWCGROUP;
    // Kernels before 5.6 have none, and nothing depends on it: 'ds check' says so.
    wanted |= host.namespaces.0 & NEW_TIME;
    if own_network {
        wanted |= libc::CLONE_NEWNET;
    }
    for kind in host.namespaces.lacking(wanted) {
        match kind.flag {
            libc::CLONE_NEWNS => bail!("kernel has no mount namespaces ({}); see 'ds check'", kind.option),
            libc::CLONE_NEWNET => {
                bail!("kernel has no {}, which only network.mode = host does without", kind.option)
            }
            libc::CLONE_NEWPID if host.answers => warnings.push(format!(
                "kernel has no {}: ds answers in its place; see docs/stock-kernels.md",
                kind.option
            )),
            _ => warnings.push(format!(
                "kernel has no {}: the container shares {} with the host",
                kind.option, kind.shares
            )),
        }
        wanted &= !kind.flag;
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::Name;
    use crate::host::{Hierarchies, Namespaces};

    fn plan(set: &[(&str, &str)], namespaces: libc::c_int) -> Result<ShellPlan> {
        let name: Name = "tree".parse().unwrap();
        let config = Config::transient(&name, &[&[("rootfs", "/srv/tree")], set].concat()).unwrap();
        let host = Host {
            android: false,
            release: "6.1.0".into(),
            machine: "x86_64".into(),
            namespaces: Namespaces(namespaces),
            answers: false,
            cgroups: Hierarchies::default(),
        };
        build(&config, &host)
    }

    #[test]
    fn everything_but_mount_namespaces_can_be_done_without() {
        let plan_all = plan(&[], !0).unwrap();
        assert!(plan_all.warnings.is_empty());
        assert_eq!(plan_all.namespaces & libc::CLONE_NEWNET, 0, "the host's network unless asked otherwise");
        assert_ne!(plan_all.namespaces & libc::CLONE_NEWPID, 0);
        let least = plan(&[], libc::CLONE_NEWNS).unwrap();
        assert_eq!(least.namespaces, libc::CLONE_NEWNS);
        assert_eq!(least.warnings.len(), 4);
        assert!(least.warnings[0].contains("CONFIG_PID_NS"), "{:?}", least.warnings);
        assert!(plan(&[], libc::CLONE_NEWPID).unwrap_err().to_string().contains("mount namespaces"));
    }

    #[test]
    fn the_network_is_the_one_asked_for_or_none_at_all() {
        let alone = plan(&[("network.mode", "none")], !0).unwrap();
        assert_ne!(alone.namespaces & libc::CLONE_NEWNET, 0);
        assert!(plan(&[("network.mode", "none")], !libc::CLONE_NEWNET).is_err());
        let translated = plan(&[("network.mode", "nat")], !0).unwrap();
        assert_ne!(translated.namespaces & libc::CLONE_NEWNET, 0);
    }

    #[test]
    fn protections_are_those_of_a_container_unless_taken_away() {
        let plain = plan(&[], !0).unwrap();
        assert!(!plain.terms.dropped.is_empty() && !plain.terms.filters.is_empty() && !plain.shared);
        let masks = |plan: &ShellPlan| {
            plan.operations.iter().filter(|operation| operation.to_string().contains("/proc/sys ")).count()
        };
        assert_eq!(masks(&plain), 1);
        let open = plan(&[("security.privileged", "full")], !0).unwrap();
        assert!(open.terms.dropped.is_empty() && open.terms.filters.is_empty());
        assert_eq!(masks(&open), 0);
    }
}
