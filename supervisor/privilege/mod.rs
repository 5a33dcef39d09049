//! Drops privileges, in the last steps before a container's program is executed.
//!
//! Owns the order: first the bounding set, then the filters, since installing a filter without no_new_privs needs
//! CAP_SYS_ADMIN, which the container keeps. It never sets no_new_privs, which would break sudo and every set-user-ID
//! program.

mod abi;
pub mod answered;
mod condition;
mod filter;

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use nix::errno::Errno;
use seccompiler::BpfProgram;

use crate::call;
use crate::plan::privileges::{Capability, Filter};
use crate::sys::{capability, seccomp};

/// Compiled filters: at most one program.
#[derive(Debug, Default)]
pub struct Filters {
    program: Option<BpfProgram>,
    /// It passes calls on, so another process must answer them.
    pub answered: bool,
}

/// Compiles filters before the fork.
///
/// # Errors
/// If this machine's architecture is not supported.
pub fn compile(filters: &[Filter]) -> Result<Filters> {
    if filters.is_empty() {
        return Ok(Filters::default());
    }
    let program = filter::assemble(filters, abi::of(std::env::consts::ARCH))?;
    Ok(Filters { program: Some(program), answered: filters.contains(&Filter::Processes) })
}

/// Drops capabilities permanently and installs the filters.
///
/// # Errors
/// If the kernel refuses: a container never runs with more privileges than planned.
pub fn give_up(dropped: &[Capability], filters: &Filters) -> Result<Option<OwnedFd>> {
    drop_capabilities(dropped)?;
    install(filters)
}

/// Drops capabilities permanently: from the bounding set and from the caller's own sets.
///
/// # Errors
/// If the kernel refuses.
pub fn drop_capabilities(dropped: &[Capability]) -> Result<()> {
    for capability in dropped {
        match capability::drop_bounding(capability.number) {
            // This kernel does not have the capability.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => call!(Err(errno), "prctl(PR_CAPBSET_DROP, {})", capability.name)?,
        }
    }
    let bits = dropped.iter().fold(0, |bits, capability| bits | 1_u64 << capability.number);
    Ok(call!(capability::reduce(bits), "capset")?)
}

/// Installs the filters; the caller still has CAP_SYS_ADMIN. Returns the descriptor on which passed calls are answered,
/// if there are any; the caller must then make no such call before another process has the descriptor.
///
/// # Errors
/// If the kernel refuses.
pub fn install(filters: &Filters) -> Result<Option<OwnedFd>> {
    const WHY: &str = "install the system call filter; the kernel may lack CONFIG_SECCOMP_FILTER";
    let Some(program) = &filters.program else { return Ok(None) };
    if filters.answered {
        let listener = seccomp::install_with_listener(program);
        return Ok(Some(call!(listener, "seccomp(SECCOMP_SET_MODE_FILTER, NEW_LISTENER)").context(WHY)?));
    }
    call!(seccomp::install(program), "seccomp(SECCOMP_SET_MODE_FILTER)").context(WHY)?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_become_one_program_and_none_becomes_none() {
        assert!(compile(&[]).unwrap().program.is_none());
        let all = [Filter::Machine, Filter::KernelLog, Filter::Keyring, Filter::UserNamespaces];
        let compiled = compile(&all).unwrap();
        assert!(compiled.program.is_some() && !compiled.answered);
        assert!(compile(&[Filter::Processes]).unwrap().answered);
    }
}
