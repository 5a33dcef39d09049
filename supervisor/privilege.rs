//! Giving up privileges, in the last steps before a container's program runs.
//!
//! Bounding set first, then the filters: installing a filter without no_new_privs needs CAP_SYS_ADMIN, which the
//! container keeps. no_new_privs is not used: it would break sudo and every set-user-ID program.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use crate::call;
use crate::plan::privileges::{Capability, Filter};
use crate::sys::{capability, seccomp};

/// All flags of unshare(2) and clone(2) that make a namespace.
const NAMESPACES: u64 = 0x7e02_0080;
const NEW_USER: u64 = 0x1000_0000;

/// Compiles filters, before the fork.
///
/// # Errors
/// When this machine has no known filter architecture.
pub fn compile(filters: &[Filter]) -> Result<Vec<BpfProgram>> {
    if filters.is_empty() {
        return Ok(Vec::new());
    }
    let mut programs = Vec::new();
    for filter in filters {
        for (action, rules) in rules(*filter)? {
            programs.push(program(rules, action)?);
        }
    }
    Ok(programs)
}

/// Drops capabilities for good and installs the filters.
///
/// # Errors
/// When the kernel refuses: a container never runs with more than its plan says.
pub fn give_up(dropped: &[Capability], programs: &[BpfProgram]) -> Result<()> {
    for capability in dropped {
        match capability::drop_bounding(capability.number) {
            // A capability that this kernel does not know is not there to be dropped.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => call!(Err(errno), "prctl(PR_CAPBSET_DROP, {})", capability.name)?,
        }
    }
    call!(capability::clear_inheritable(), "capset(inheritable)")?;
    for program in programs {
        call!(seccomp::install(program), "seccomp(SECCOMP_SET_MODE_FILTER)")
            .context("install the system call filter; the kernel may lack CONFIG_SECCOMP_FILTER")?;
    }
    Ok(())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn rules(filter: Filter) -> Result<Vec<(libc::c_int, Rules)>> {
    let whole =
        |calls: &[libc::c_long]| -> Rules { calls.iter().map(|nr| (number(*nr), Vec::new())).collect() };
    Ok(match filter {
        Filter::Machine => {
            let mut rules = whole(&[
                libc::SYS_kexec_load,
                libc::SYS_init_module,
                libc::SYS_finit_module,
                libc::SYS_delete_module,
            ]);
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            rules.insert(number(libc::SYS_kexec_file_load), Vec::new());
            rules.insert(number(libc::SYS_reboot), vec![kernelsu_grant()?]);
            vec![(libc::EPERM, rules)]
        }
        Filter::Keyring => {
            vec![(libc::ENOSYS, whole(&[libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key]))]
        }
        Filter::Namespaces => vec![
            (libc::EPERM, flag_rules(NAMESPACES)?),
            (libc::EPERM, whole(&[libc::SYS_setns])),
            (libc::ENOSYS, whole(&[libc::SYS_clone3])),
        ],
        // The flags of clone3(2) are in memory, out of a filter's sight; C libraries fall back to clone(2).
        Filter::UserNamespaces => {
            vec![(libc::EPERM, flag_rules(NEW_USER)?), (libc::ENOSYS, whole(&[libc::SYS_clone3]))]
        }
    })
}

#[cfg_attr(target_pointer_width = "64", expect(clippy::useless_conversion, reason = "32 bits elsewhere"))]
fn number(call: libc::c_long) -> i64 {
    i64::from(call)
}

/// KernelSU hands its control descriptor to any root process that calls reboot(2) with these two numbers.
fn kernelsu_grant() -> Result<SeccompRule> {
    let equal = |index, value| SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
    Ok(SeccompRule::new(vec![equal(0, 0xdead_beef)?, equal(1, 0xcafe_babe)?])?)
}

/// unshare(2) and clone(2) with any of these flags.
fn flag_rules(flags: u64) -> Result<Rules> {
    let mut conditions = Vec::new();
    for bit in (0..32).map(|shift| 1_u64 << shift).filter(|bit| flags & bit != 0) {
        let masked = SeccompCmpOp::MaskedEq(bit);
        conditions.push(SeccompRule::new(vec![SeccompCondition::new(
            0,
            SeccompCmpArgLen::Dword,
            masked,
            bit,
        )?])?);
    }
    Ok([libc::SYS_unshare, libc::SYS_clone].map(|nr| (number(nr), conditions.clone())).into())
}

fn program(rules: Rules, errno: libc::c_int) -> Result<BpfProgram> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|_| anyhow!("no system call filter for {}", std::env::consts::ARCH))?;
    let action = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, architecture)?;
    Ok(for_native_calls_only(BpfProgram::try_from(filter)?))
}

/// seccompiler's programs end a process that uses another architecture's calls, such as a 32-bit program on a
/// 64-bit phone. Its first three instructions are that check: load the architecture, compare, kill. The kill
/// becomes an allow.
fn for_native_calls_only(mut program: BpfProgram) -> BpfProgram {
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    if let Some(kill) = program.get_mut(2).filter(|instruction| instruction.code == RETURN) {
        kill.k = ALLOW;
    }
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_compiles_and_lets_foreign_programs_live() {
        let all = [Filter::Machine, Filter::Keyring, Filter::Namespaces, Filter::UserNamespaces];
        let programs = compile(&all).unwrap();
        assert_eq!(programs.len(), 7);
        for program in programs {
            assert_eq!(program[2].code, 0x06);
            assert_eq!(program[2].k, 0x7fff_0000, "a foreign architecture is allowed");
            assert!(program.len() > 4);
        }
    }
}
