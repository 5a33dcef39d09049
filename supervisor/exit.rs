//! Exit codes: the documented numbers a `ds` command ends with, and nothing else.
//!
//! Owns the meaning of each number. It does not end the process and does not decide which code an error deserves.
//! 125, 126 and 127 follow env(1) and timeout(1); 128+N is what POSIX shells report for a command ended by signal N.

use std::{fmt, process};

/// What a process of ours ends with that found a fault in its program, as Rust has it.
pub const FAULT: i32 = 101;

/// How a `ds` command ended, as its caller sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// 0: done, or it was already so.
    Done,
    /// 1: failed.
    Failed,
    /// 2: the command line is wrong.
    Usage,
    /// 125: `ds run` itself failed; the command was never started.
    RunFailed,
    /// 126: the command was found but cannot be executed.
    NotExecutable,
    /// 127: there is no such command.
    NotFound,
    /// The command of `ds run` ended with this code of its own.
    Command(u8),
    /// 128+N: the command of `ds run` was ended by signal N.
    Signal(u8),
}

impl ExitCode {
    /// Translates an exit code that came back over a socket or from waitpid(2); every number has a meaning.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Done,
            number => Self::Command(number),
        }
    }

    /// The number the process ends with. Signal numbers end at 64 on Linux, so 128+N always fits.
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
