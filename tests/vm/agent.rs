//! The connection to the agent in a machine: sends scripts, receives their exit codes and output.
//!
//! Owns the format, which `guest/agent` implements, and the timeout. Binary data passes unchanged.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A finished script.
#[derive(Debug)]
pub struct Done {
    script: String,
    pub code: i32,
    pub output: Vec<u8>,
    pub errors: String,
}

impl Done {
    /// What it printed.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    pub const fn is_success(&self) -> bool {
        self.code == 0
    }

    /// Asserts exit code 0; returns the output.
    #[track_caller]
    pub fn succeeds(self) -> String {
        assert_eq!(self.code, 0, "{}: {}{}", self.script, self.text(), self.errors);
        self.text()
    }

    /// Asserts exit code 1 and one line of error from `ds` that contains all these words.
    #[track_caller]
    pub fn fails(self, words: &[&str]) -> String {
        assert_eq!(self.code, 1, "{}: {}{}", self.script, self.text(), self.errors);
        assert_eq!(self.errors.matches('\n').count(), 1, "{}: not one line: {}", self.script, self.errors);
        assert!(self.errors.starts_with("ds: "), "{}: {}", self.script, self.errors);
        for word in words {
            assert!(self.errors.contains(word), "{}: no '{word}' in: {}", self.script, self.errors);
        }
        self.errors
    }
}

/// The test's end of the connection.
#[derive(Debug)]
pub struct Agent {
    stream: UnixStream,
    asked: Option<String>,
}

impl Agent {
    pub const fn new(stream: UnixStream) -> Self {
        Self { stream, asked: None }
    }

    /// Waits until the agent is ready.
    ///
    /// # Errors
    /// If the machine ended, or after the timeout.
    pub fn wait_until_ready(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while self.line(deadline)? != "ready" {}
        Ok(())
    }

    /// Starts a script.
    ///
    /// # Errors
    /// If the machine ended.
    pub fn ask(&mut self, script: &str) -> Result<()> {
        assert!(self.asked.is_none(), "one script at a time");
        self.asked = Some(script.to_owned());
        self.stream.write_all(format!("{}\n{script}", script.len()).as_bytes())
    }

    /// Waits for the end of the script.
    ///
    /// # Errors
    /// If the machine ended, or after the timeout.
    pub fn answer(&mut self, patience: Duration) -> Result<Done> {
        let script = self.asked.take().expect("a script was sent");
        let deadline = Instant::now() + patience;
        let line = self.line(deadline)?;
        let numbers: Vec<usize> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [code, output, errors] = numbers[..] else {
            return Err(Error::new(ErrorKind::InvalidData, format!("the agent answered: {line}")));
        };
        Ok(Done {
            script,
            code: i32::try_from(code).expect("an exit code"),
            output: self.bytes(output, deadline)?,
            errors: String::from_utf8_lossy(&self.bytes(errors, deadline)?).into_owned(),
        })
    }

    fn line(&mut self, deadline: Instant) -> Result<String> {
        let mut line = Vec::new();
        loop {
            match self.bytes(1, deadline)?[..] {
                [b'\n'] => return Ok(String::from_utf8_lossy(&line).into_owned()),
                [byte] => line.push(byte),
                _ => return Err(ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    fn bytes(&mut self, count: usize, deadline: Instant) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        let mut have = 0;
        while have < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::new(ErrorKind::TimedOut, "no answer within the time that it may take"));
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut bytes[have..]) {
                Ok(0) => return Err(Error::new(ErrorKind::UnexpectedEof, "the machine has ended")),
                Ok(more) => have += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }
}
