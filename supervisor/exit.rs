//! Exit codes: the documented codes of a `ds` command.
//!
//! Owns the meaning of each number. It neither ends the process nor selects the code for an error. 125, 126 and 127
//! follow env(1) and timeout(1); 128+N is what POSIX shells report for a command that signal N killed.

use std::{fmt, process};

/// The exit code of a process after a panic, as in Rust.
pub const FAULT: i32 = 101;

/// The result of a `ds` command for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// 0: success, or nothing to do.
    Done,
    /// 1: failure.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 125: `ds run` failed; the command was not started.
    RunFailed,
    /// 126: the command is not executable.
    NotExecutable,
    /// 127: the command was not found.
    NotFound,
    /// The own exit code of the command of `ds run`.
    Command(u8),
    /// 128+N: signal N killed the command of `ds run`.
    Signal(u8),
}

impl ExitCode {
    /// Converts an exit code from a socket or from waitpid(2); every number is valid.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Done,
            number => Self::Command(number),
        }
    }

    /// The exit code of the process. Signal numbers on Linux are at most 64, so 128+N always fits.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::RunFailed => 125,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
            Self::Command(code) => code,
            Self::Signal(signal) => 128u8.saturating_add(signal),
        }
    }
}

impl From<ExitCode> for u8 {
    fn from(code: ExitCode) -> Self {
        code.number()
    }
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

impl fmt::Display for ExitCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_documented_ones() {
        let documented = [
            (ExitCode::Done, 0),
            (ExitCode::Failed, 1),
            (ExitCode::Usage, 2),
            (ExitCode::RunFailed, 125),
            (ExitCode::NotExecutable, 126),
            (ExitCode::NotFound, 127),
            (ExitCode::Command(42), 42),
            (ExitCode::Signal(15), 143),
            (ExitCode::Signal(64), 192),
        ];
        for (code, number) in documented {
            assert_eq!(u8::from(code), number, "{code:?}");
        }
    }

    #[test]
    fn a_number_survives_the_way_there_and_back() {
        for number in 0..=u8::MAX {
            assert_eq!(ExitCode::from_number(number).number(), number);
        }
    }
}
