//! Drops privileges, in the last steps before a container's program is executed.
//!
//! Owns the order: first the bounding set, then the filters, since installing a filter without no_new_privs needs
//! CAP_SYS_ADMIN, which the container keeps. It never sets no_new_privs, which would break sudo and every set-user-ID
//! program.

mod abi;
mod filter;

use anyhow::{Context, Result};
use nix::errno::Errno;
use seccompiler::BpfProgram;

use crate::call;
use crate::plan::privileges::{Capability, Filter};
use crate::sys::{capability, seccomp};

/// Compiles filters before the fork; at most one program.
///
/// # Errors
/// If this machine's architecture is not supported.
pub fn compile(filters: &[Filter]) -> Result<Vec<BpfProgram>> {
    if filters.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![filter::assemble(filters, abi::of(std::env::consts::ARCH))?])
}

/// Drops capabilities permanently and installs the filters.
///
/// # Errors
/// If the kernel refuses: a container never runs with more privileges than planned.
pub fn give_up(dropped: &[Capability], programs: &[BpfProgram]) -> Result<()> {
    drop_capabilities(dropped)?;
    install(programs)
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

/// Installs the filters; the caller still has CAP_SYS_ADMIN.
///
/// # Errors
/// If the kernel refuses.
pub fn install(programs: &[BpfProgram]) -> Result<()> {
    for program in programs {
        call!(seccomp::install(program), "seccomp(SECCOMP_SET_MODE_FILTER)")
            .context("install the system call filter; the kernel may lack CONFIG_SECCOMP_FILTER")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_become_one_program_and_none_becomes_none() {
        assert!(compile(&[]).unwrap().is_empty());
        let all = [Filter::Machine, Filter::KernelLog, Filter::Keyring, Filter::UserNamespaces];
        assert_eq!(compile(&all).unwrap().len(), 1);
    }
}
