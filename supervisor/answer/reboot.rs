//! reboot(2) of a container without a PID namespace: its own reboot or power-off.
//!
//! Interprets the arguments. As in a PID namespace, only restart, halt and power-off are supported.

use nix::errno::Errno;

/// How a container ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It boots again.
    Restart,
    /// It stays off.
    PowerOff,
}

/// `LINUX_REBOOT_MAGIC1`, and the values of the second number.
const FIRST: u32 = 0xfee1_dead;
const SECOND: [u32; 4] = [672_274_793, 85_072_278, 369_367_448, 537_993_216];

/// The meaning of a call by a permitted caller.
///
/// # Errors
/// EINVAL for wrong magic numbers and for other commands, as the kernel does in a PID namespace.
pub(super) fn meaning(first: u32, second: u32, command: u32) -> Result<End, Errno> {
    if first != FIRST || !SECOND.contains(&second) {
        return Err(Errno::EINVAL);
    }
    match command {
        // RESTART and RESTART2.
        0x0123_4567 | 0xa1b2_c3d4 => Ok(End::Restart),
        // HALT and POWER_OFF.
        0xcdef_0123 | 0x4321_fedc => Ok(End::PowerOff),
        _ => Err(Errno::EINVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_a_pid_namespace() {
        let meaning = |command: libc::c_int| meaning(FIRST, SECOND[0], command.cast_unsigned());
        assert_eq!(meaning(libc::RB_AUTOBOOT), Ok(End::Restart));
        assert_eq!(meaning(libc::RB_POWER_OFF), Ok(End::PowerOff));
        assert_eq!(meaning(0xcdef_0123_u32.cast_signed()), Ok(End::PowerOff));
        for other in [libc::RB_ENABLE_CAD, libc::RB_DISABLE_CAD, libc::RB_SW_SUSPEND, libc::RB_KEXEC] {
            assert_eq!(meaning(other), Err(Errno::EINVAL), "{other:#x}");
        }
        assert_eq!(super::meaning(0, SECOND[0], 0x0123_4567), Err(Errno::EINVAL));
        assert_eq!(super::meaning(FIRST, 1, 0x0123_4567), Err(Errno::EINVAL));
    }
}
