//! The namespaces of a container: those that are configured and supported by the kernel. Pure, as all of `plan`.

use anyhow::{Result, bail};

use crate::config::value::NetworkMode;
use crate::host::Host;
use crate::host::namespace::NEW_TIME;

/// The behaviour on a kernel without PID namespaces.
#[derive(Debug, Clone, Copy)]
pub(super) enum WithoutPid<'a> {
    /// The start is refused, for this reason.
    Refuse(&'a str),
    /// This process answers calls about processes instead of the kernel.
    Answer(&'a str),
    /// The container sees the processes of the host.
    Share,
}

/// The `CLONE_NEW*` flags, with a warning for each namespace that the kernel lacks.
///
/// # Errors
/// If the kernel lacks a required namespace.
pub(super) fn available(
    mode: NetworkMode,
    without_pid: WithoutPid<'_>,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<libc::c_int> {
    let mut wanted = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    wanted |= libc::CLONE_NEWCGROUP;
    // Kernels before 5.6 have no time namespaces, and nothing depends on them: 'ds check' reports it.
    wanted |= host.namespaces.0 & NEW_TIME;
    if mode != NetworkMode::Host {
        wanted |= libc::CLONE_NEWNET;
    }
    for kind in host.namespaces.lacking(wanted) {
        match (kind.flag, without_pid) {
            (libc::CLONE_NEWNS, _) => {
                bail!("kernel has no mount namespaces ({}); see 'ds check'", kind.option)
            }
            (libc::CLONE_NEWPID, WithoutPid::Refuse(reason)) => {
                bail!("kernel has no {}, and {reason}", kind.option)
            }
            (libc::CLONE_NEWPID, WithoutPid::Answer(process)) => warnings.push(format!(
                "kernel has no {}: {process} answers in its place; see docs/stock-kernels.md",
                kind.option
            )),
            (libc::CLONE_NEWNET, _) => {
                bail!("kernel has no {}, which network.mode = {mode} needs; use host", kind.option)
            }
            // Nothing to share, as on the kernels of phones.
            (libc::CLONE_NEWIPC, _) if !host.ipc => {}
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
    use crate::host::{Hierarchies, Namespaces};

    /// The warnings on a kernel without IPC namespaces.
    fn warnings(ipc: bool) -> Vec<String> {
        let host = Host {
            android: true,
            release: "5.10.1".into(),
            machine: "aarch64".into(),
            namespaces: Namespaces(!libc::CLONE_NEWIPC),
            answers: true,
            ipc,
            cgroups: Hierarchies::default(),
        };
        let mut warnings = Vec::new();
        let found = available(NetworkMode::Host, WithoutPid::Share, &host, &mut warnings).unwrap();
        assert_eq!(found & libc::CLONE_NEWIPC, 0);
        warnings
    }

    #[test]
    fn without_ipc_namespaces_the_host_is_shared_only_if_it_has_something_to_share() {
        assert!(warnings(true)[0].contains("CONFIG_IPC_NS"));
        assert_eq!(warnings(false), Vec::<String>::new());
    }
}
