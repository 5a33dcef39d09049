//! Enforces a device policy on a group: with a program for version 2, with a list for version 1.
//!
//! Both apply to the directory with the limits, above the root of the container's cgroup namespace: root in the
//! container can restrict its groups further, and cannot change the policy above.
//! Documentation/admin-guide/cgroup-v2.rst, "Device controller"; cgroup-v1/devices.rst; bpf(2);
//! Documentation/bpf/standardization/instruction-set.rst.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::group::{Group, PAYLOAD, children};
use crate::call;
use crate::plan::devices::{Kind, Rule};
use crate::sys::bpf::{self, Instruction};

// linux/bpf.h: class, size and mode, or operation and source.
const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbf;
const MOVE: u8 = 0xb7;
const OR_REGISTER: u8 = 0x4f;
const AND: u8 = 0x57;
const SHIFT_LEFT: u8 = 0x67;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP: u8 = 0x05;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

// Registers: the result, the context, and temporary values.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const NUMBER: u8 = 5;

/// `struct bpf_cgroup_dev_ctx`: access in the upper half and kind in the lower half of a word, major, minor.
const OF_ACCESS: i16 = 0;
const OF_MAJOR: i16 = 4;
const OF_MINOR: i16 = 8;
/// Bits of a minor number.
const MINOR_BITS: u32 = 20;

const fn step(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: source << 4 | destination, offset, immediate }
}

/// Restricts a version 2 group to the devices that the rules permit.
///
/// # Errors
/// If the kernel has no such programs (before 4.15, or without CONFIG_CGROUP_BPF), or refuses this one.
pub(super) fn attach(group: &Group, rules: &[Rule]) -> Result<OwnedFd> {
    let instructions = assemble(rules)?;
    let program = match bpf::load_device_program(&instructions) {
        // Before 5.11 programs count against the memory that this user may lock.
        Err(Errno::EPERM) => load_without_limit(&instructions),
        other => other,
    };
    let program = call!(program, "bpf(BPF_PROG_LOAD, cgroup device)")?;
    let attached = bpf::attach_device_program(group.as_fd(), program.as_fd());
    call!(attached, "bpf(BPF_PROG_ATTACH, {})", group.path.display())?;
    Ok(program)
}

/// Replaces the rules of a version 2 group. The new program is attached before the previous one is detached, so that
/// never more is permitted than by one of them.
///
/// # Errors
/// As for [`attach`]; the previous program then remains.
pub(super) fn replace(group: &Group, previous: &OwnedFd, rules: &[Rule]) -> Result<OwnedFd> {
    let program = attach(group, rules)?;
    let detached = bpf::detach_device_program(group.as_fd(), previous.as_fd());
    call!(detached, "bpf(BPF_PROG_DETACH, {})", group.path.display())?;
    Ok(program)
}

fn load_without_limit(instructions: &[Instruction]) -> Result<OwnedFd, Errno> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    setrlimit(Resource::RLIMIT_MEMLOCK, libc::RLIM_INFINITY, libc::RLIM_INFINITY)?;
    let loaded = bpf::load_device_program(instructions);
    setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard)?;
    loaded
}

/// Restricts a version 1 group to the devices that the rules permit.
///
/// # Errors
/// If the kernel refuses, as it does while the group has children.
pub(super) fn list(group: &Group, rules: &[Rule]) -> Result<()> {
    if let Some(left) = group.child(PAYLOAD)? {
        let _ = left.remove();
    }
    group.write("devices.deny", "a")?;
    rules.iter().try_for_each(|rule| group.write("devices.allow", &rule.to_string()))
}

/// The number of levels that [`change`] follows; a service of systemd is three levels down.
const DEEPEST: u32 = 12;

/// Changes the rules of a version 1 group and of the groups below it. The kernel propagates only removed permissions; a
/// new permission must be added to each group below, unless it was restricted further.
///
/// # Errors
/// The error of the kernel for the group itself.
pub(super) fn change(group: &Group, old: &[Rule], new: &[Rule]) -> Result<()> {
    for gone in old.iter().filter(|rule| !new.contains(rule)) {
        group.write("devices.deny", &gone.to_string())?;
    }
    let added: Vec<String> = new.iter().filter(|rule| !old.contains(rule)).map(Rule::to_string).collect();
    let kept: Vec<String> = old.iter().filter(|rule| new.contains(rule)).map(Rule::to_string).collect();
    allow(group, &added)?;
    allow_below(group, &added, &kept, 0);
    Ok(())
}

fn allow(group: &Group, lines: &[String]) -> Result<()> {
    lines.iter().try_for_each(|line| group.write("devices.allow", line))
}

fn allow_below(group: &Group, added: &[String], kept: &[String], depth: u32) {
    if added.is_empty() || depth == DEEPEST {
        return;
    }
    for name in children(group).unwrap_or_default() {
        let Some(below) = name.to_str().ok().and_then(|name| group.child(name).ok().flatten()) else {
            continue;
        };
        let list = below.read("devices.list").unwrap_or_default();
        let has_all = kept.iter().all(|line| list.lines().any(|one| one == line));
        // A group may be removed in the meantime.
        if has_all && allow(&below, added).is_ok() {
            allow_below(&below, added, kept, depth + 1);
        }
    }
}

/// The target of a jump before it becomes an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// Only the next instruction.
    Next,
    /// The end of the rules of one kind and access.
    EndOfGroup,
    /// Permit the access.
    Allow,
}

/// The program. Rules of the same kind and access form a group with one comparison for each rule, because the kernel
/// takes time to verify and compile every instruction.
fn assemble(rules: &[Rule]) -> Result<Vec<Instruction>> {
    let mut program = vec![
        (step(LOAD_WORD, KIND, CONTEXT, OF_ACCESS, 0), To::Next),
        (step(MOVE_REGISTER, ACCESS, KIND, 0, 0), To::Next),
        (step(AND, KIND, 0, 0, 0xffff), To::Next),
        (step(SHIFT_RIGHT, ACCESS, 0, 0, 16), To::Next),
        (step(LOAD_WORD, MAJOR, CONTEXT, OF_MAJOR, 0), To::Next),
        (step(LOAD_WORD, NUMBER, CONTEXT, OF_MINOR, 0), To::Next),
        (step(MOVE_REGISTER, ANSWER, MAJOR, 0, 0), To::Next),
        (step(SHIFT_LEFT, ANSWER, 0, 0, MINOR_BITS.cast_signed()), To::Next),
        (step(OR_REGISTER, NUMBER, ANSWER, 0, 0), To::Next),
    ];
    let mut groups: Vec<_> = rules.iter().map(|rule| (rule.kind, rule.access)).collect();
    groups.sort_unstable();
    groups.dedup();
    for (kind, access) in groups {
        let mut members: Vec<_> =
            rules.iter().filter(|rule| (rule.kind, rule.access) == (kind, access)).collect();
        if let Some(every) = members.iter().find(|rule| rule.major.is_none()) {
            // The kernel refuses a program with unreachable instructions.
            members = vec![every];
        }
        let mut section = vec![
            (step(JUMP_NOT_EQUAL, KIND, 0, 0, number_of(kind)), To::EndOfGroup),
            (step(MOVE_REGISTER, ANSWER, ACCESS, 0, 0), To::Next),
            (step(AND, ANSWER, 0, 0, i32::from(!access.bits() & 7)), To::Next),
            (step(JUMP_NOT_EQUAL, ANSWER, 0, 0, 0), To::EndOfGroup),
        ];
        for rule in members {
            section.push((comparison(rule)?, To::Allow));
        }
        let length = section.len();
        for (index, (mut instruction, to)) in section.into_iter().enumerate() {
            if to == To::EndOfGroup {
                instruction.offset = i16::try_from(length - index - 1)?;
            }
            program.push((instruction, if to == To::Allow { to } else { To::Next }));
        }
    }
    program.push((step(MOVE, ANSWER, 0, 0, 0), To::Next));
    program.push((step(EXIT, 0, 0, 0, 0), To::Next));
    let allow = program.len();
    let mut finished = Vec::with_capacity(allow + 2);
    for (index, (mut instruction, to)) in program.into_iter().enumerate() {
        if to == To::Allow {
            instruction.offset =
                i16::try_from(allow - index - 1).context("the device program is too long")?;
        }
        finished.push(instruction);
    }
    if rules.is_empty() {
        // The kernel refuses unreachable instructions.
        return Ok(finished);
    }
    finished.extend([step(MOVE, ANSWER, 0, 0, 1), step(EXIT, 0, 0, 0, 0)]);
    Ok(finished)
}

/// `BPF_DEVCG_DEV_*`.
fn number_of(kind: Kind) -> i32 {
    match kind {
        Kind::Block => 1,
        Kind::Character => 2,
    }
}

fn comparison(rule: &Rule) -> Result<Instruction> {
    Ok(match (rule.major, rule.minor) {
        (None, _) => step(JUMP, 0, 0, 0, 0),
        (Some(major), None) => step(JUMP_EQUAL, MAJOR, 0, 0, i32::try_from(major)?),
        (Some(major), Some(minor)) => {
            // The kernel sign-extends the value to 64 bits; no driver has a major number above 511.
            ensure!(major < 1 << 11 && minor < 1 << MINOR_BITS, "{rule}: no such device");
            step(JUMP_EQUAL, NUMBER, 0, 0, i32::try_from(major << MINOR_BITS | minor)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::devices::{Access, Policy};
    use proptest::prelude::*;

    /// Interprets a program as the kernel does; every jump must lead forwards and stay in the program.
    fn run(program: &[Instruction], kind: i32, access: u8, major: u32, minor: u32) -> bool {
        let context = [u64::from(access) << 16 | u64::from(kind.unsigned_abs()), major.into(), minor.into()];
        let (mut registers, mut at) = ([0_u64; 11], 0_usize);
        loop {
            let Instruction { code, registers: both, offset, immediate } = program[at];
            let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
            let operand = i64::from(immediate).cast_unsigned();
            at += 1;
            let jumps = match code {
                EXIT => return registers[0] == 1,
                LOAD_WORD => {
                    registers[to] = context[usize::try_from(offset / 4).unwrap()];
                    continue;
                }
                JUMP => true,
                JUMP_EQUAL => registers[to] == operand,
                JUMP_NOT_EQUAL => registers[to] != operand,
                MOVE => {
                    registers[to] = operand;
                    false
                }
                MOVE_REGISTER => {
                    registers[to] = registers[from];
                    false
                }
                OR_REGISTER => {
                    registers[to] |= registers[from];
                    false
                }
                AND => {
                    registers[to] &= operand;
                    false
                }
                SHIFT_LEFT => {
                    registers[to] <<= operand;
                    false
                }
                SHIFT_RIGHT => {
                    registers[to] >>= operand;
                    false
                }
                other => panic!("instruction {other:#x}"),
            };
            if jumps {
                at += usize::try_from(offset).unwrap();
            }
        }
    }

    fn plainly(rules: &[Rule], kind: Kind, access: u8, major: u32, minor: u32) -> bool {
        rules.iter().any(|rule| {
            rule.kind == kind
                && access & !rule.access.bits() == 0
                && rule.major.is_none_or(|number| number == major)
                && (rule.major.is_none() || rule.minor.is_none_or(|number| number == minor))
        })
    }

    fn default_rules() -> Vec<Rule> {
        let name = "web".parse().unwrap();
        let config = crate::config::Config::transient(&name, &[("rootfs", "/srv/web")]).unwrap();
        let Policy::Only(rules) = Policy::new(&config, []) else { panic!() };
        rules
    }

    #[test]
    fn the_table_can_be_opened_and_nothing_else() {
        let program = assemble(&default_rules()).unwrap();
        assert!(program.len() < 40, "{} instructions", program.len());
        let opens = |kind, major, minor| run(&program, number_of(kind), 6, major, minor);
        assert!(opens(Kind::Character, 1, 3), "null");
        assert!(opens(Kind::Character, 136, 77), "a terminal");
        assert!(!opens(Kind::Character, 1, 1), "mem");
        assert!(!opens(Kind::Character, 5, 1), "the machine's console");
        assert!(!opens(Kind::Block, 1, 3), "a RAM disk has the numbers of null");
        assert!(run(&program, number_of(Kind::Block), 1, 8, 0), "a node may be made");
        assert!(!run(&program, number_of(Kind::Block), 2, 8, 0));
        assert!(!run(&assemble(&[]).unwrap(), 2, 2, 1, 3));
    }

    proptest! {
        #[test]
        fn a_program_decides_as_its_rules_do(
            rules in prop::collection::vec((any::<bool>(), 0_u32..4, 0_u32..4, 1_u8..8), 0..12),
            block: bool, access in 0_u8..8, major in 1_u32..4, minor in 1_u32..4,
        ) {
            let kind = |block| if block { Kind::Block } else { Kind::Character };
            let access_of = |bits| [Access::MAKE, Access::READ, Access::WRITE, Access::ALL][usize::from(bits % 4)];
            let rules: Vec<Rule> = rules.into_iter().map(|(block, major, minor, bits)| Rule {
                kind: kind(block),
                major: (major > 0).then_some(major),
                minor: (minor > 0).then_some(minor),
                access: access_of(bits),
            }).collect();
            let program = assemble(&rules).unwrap();
            let kind = kind(block);
            prop_assert_eq!(
                run(&program, number_of(kind), access, major, minor),
                plainly(&rules, kind, access, major, minor)
            );
        }
    }
}
