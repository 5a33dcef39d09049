//! A command that has ended, and assertions about it.

use std::process::Output;

use serde_json::Value;

/// A finished command.
#[derive(Debug)]
pub struct Done {
    pub shown: String,
    pub code: i32,
    pub output: Vec<u8>,
    pub errors: String,
}

impl Done {
    pub fn new(shown: String, output: Output) -> Self {
        Self {
            shown,
            code: output.status.code().unwrap_or(-1),
            output: output.stdout,
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// Asserts exit code 0; returns its output.
    #[track_caller]
    pub fn succeeds(self) -> String {
        self.ends_with(0)
    }

    /// Asserts this exit code; returns its output.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}: {}{}", self.shown, self.text(), self.errors);
        self.text()
    }

    /// Asserts this exit code and one error line that contains all these words.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) -> String {
        assert_eq!(self.code, code, "{}: {}{}", self.shown, self.text(), self.errors);
        assert_eq!(self.errors.matches('\n').count(), 1, "{}: not one line: {}", self.shown, self.errors);
        assert!(self.errors.starts_with("ds: "), "{}: {}", self.shown, self.errors);
        for word in words {
            assert!(self.errors.contains(word), "{}: no '{word}' in: {}", self.shown, self.errors);
        }
        self.errors
    }

    /// Asserts exit code 0; returns the JSON document.
    #[track_caller]
    pub fn json(self) -> Value {
        assert_eq!(self.code, 0, "{}: {}{}", self.shown, self.text(), self.errors);
        let document = serde_json::from_slice(&self.output);
        document.unwrap_or_else(|error| panic!("{}: {error}: {}", self.shown, self.text()))
    }
}
