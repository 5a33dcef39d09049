//! A command line that ends here: what is printed, where, and with which exit code.

use crate::exit::ExitCode;

/// A command line that ends here: it asked for help, or it is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// What to print, ending in a newline. One line when the command line is wrong.
    pub text: String,
    /// Help that was asked for goes to stdout; everything else to stderr.
    pub to_stdout: bool,
}

impl Usage {
    /// 0 when help was asked for, 2 when the command line is wrong.
    #[must_use]
    pub const fn exit_code(&self) -> ExitCode {
        if self.to_stdout { ExitCode::Done } else { ExitCode::Usage }
    }
}

impl Usage {
    /// Help that was asked for.
    #[must_use]
    pub fn help(text: impl Into<String>) -> Self {
        Self { text: text.into(), to_stdout: true }
    }

    /// A mistake: one line, with what made it in front.
    #[must_use]
    pub fn mistake(who: &str, what: &str) -> Self {
        Self { text: format!("{who}: {what}\n"), to_stdout: false }
    }
}
