//! The result of a command line that runs no verb: the text, its stream and the exit code. Owns nothing else; never
//! prints.

use crate::exit::ExitCode;
use crate::screen;

/// A command line that requests help or is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The text to print, ending in a newline. It has one line if the command line is wrong.
    pub text: String,
    /// True for requested help, which goes to stdout; everything else goes to stderr.
    pub to_stdout: bool,
}

impl Usage {
    /// 0 for requested help, 2 for a wrong command line.
    #[must_use]
    pub const fn exit_code(&self) -> ExitCode {
        if self.to_stdout { ExitCode::Done } else { ExitCode::Usage }
    }
}

impl Usage {
    /// The requested help.
    #[must_use]
    pub fn help(text: impl Into<String>) -> Self {
        Self { text: text.into(), to_stdout: true }
    }

    /// A usage error: one line that begins with `who`.
    #[must_use]
    pub fn mistake(who: &str, what: &str) -> Self {
        Self { text: screen::line(&format!("{who}: {what}")).into_owned() + "\n", to_stdout: false }
    }
}
