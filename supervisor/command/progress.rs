//! The progress of a long job: a line on a terminal, or JSON events, or nothing.
//!
//! Owns the format of both. The line is redrawn in place on the client's standard error and is never wider than the
//! terminal. If standard error is not a terminal, no line is printed. tty_ioctl(4).

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use super::output;
use crate::exit::ExitCode;
use crate::storage::job::{JobEvent, Unit};
use crate::sys::terminal::window_size;
use crate::units;

/// Width of a terminal that does not report it.
const USUAL_WIDTH: u16 = 80;
/// Seconds before a rate is shown.
const FIRST_RATE: f64 = 0.5;

/// Shows the events of one job.
#[derive(Debug)]
pub struct Progress {
    json: bool,
    /// Whether the line is drawn on standard error.
    draws: bool,
    drawn: bool,
    step: String,
    unit: Unit,
    total: Option<u64>,
    begun: Instant,
}

impl Progress {
    /// JSON events on standard output if `json`, or a line on standard error if that is a terminal.
    #[must_use]
    pub fn new(json: bool) -> Self {
        let draws = !json && io::stderr().is_terminal();
        Self {
            json,
            draws,
            drawn: false,
            step: String::new(),
            unit: Unit::Bytes,
            total: None,
            begun: Instant::now(),
        }
    }

    /// Handles an event.
    pub fn show(&mut self, event: &JobEvent) {
        match event {
            JobEvent::Step { step, unit, total } => {
                self.step.clone_from(step);
                (self.unit, self.total, self.begun) = (*unit, *total, Instant::now());
                self.tell(0);
            }
            JobEvent::Progress(done) => self.tell(*done),
            JobEvent::Warning(text) => self.note(text),
        }
    }

    /// Reports a note: a warning, or a warning event.
    pub fn note(&mut self, text: &str) {
        self.clear();
        if self.json {
            let _ = output::json(&json!({ "event": "warning", "text": text }));
        } else {
            log::warn!("{text}");
        }
    }

    fn tell(&mut self, done: u64) {
        if self.json {
            // A closed pipe is not an error.
            let _ = output::json(
                &json!({ "event": "progress", "step": self.step, "done": done, "total": self.total }),
            );
        } else if self.draws {
            let seconds = self.begun.elapsed().as_secs_f64();
            let width = window_size(io::stderr().as_fd()).map_or(USUAL_WIDTH, |size| size.columns);
            // A terminal without a known size reports zero.
            let width = if width == 0 { USUAL_WIDTH } else { width };
            let text = line(&self.step, self.unit, done, self.total, seconds);
            let text: String = text.chars().take(usize::from(width.saturating_sub(1))).collect();
            // Return to the first column, print the text, and erase the rest of the line.
            let _ = write!(io::stderr(), "\r{text}\x1b[K");
            self.drawn = true;
        }
    }

    /// Erases the line.
    pub fn clear(&mut self) {
        if self.drawn {
            self.drawn = false;
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    /// Prints the last event, or `text` without `--json`.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub fn done(mut self, event: &serde_json::Value, text: &str) -> Result<ExitCode> {
        self.clear();
        if self.json { output::json(event) } else { super::print(&mut io::stdout(), text) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// One line: the step, its progress, the rate, and the remaining time.
fn line(step: &str, unit: Unit, done: u64, total: Option<u64>, seconds: f64) -> String {
    let total = total.filter(|total| *total > 0);
    // The total may be an estimate: progress beyond it is not shown.
    let share = total.map(|total| u128::from(done.min(total)) * 100 / u128::from(total));
    let mut text = format!("{step:<8}");
    if let Some(share) = share {
        text.push_str(&format!(" {share:>3} %"));
    }
    if unit == Unit::Percent {
        return text;
    }
    text.push_str(&format!("  {}", units::size(done)));
    if let Some(total) = total {
        text.push_str(&format!(" of {}", units::size(total)));
    }
    if let Some(rate) = rate(done, seconds) {
        text.push_str(&format!("  {}/s", units::size(rate)));
        if let Some(total) = total.filter(|total| *total > done) {
            text.push_str(&format!("  {} left", units::duration((total - done).div_ceil(rate))));
        }
    }
    text
}

/// The rate in bytes per second, after the first seconds.
fn rate(done: u64, seconds: f64) -> Option<u64> {
    if seconds < FIRST_RATE || done == 0 {
        return None;
    }
    // Milliseconds and whole numbers are precise enough for the display.
    let milliseconds = std::time::Duration::from_secs_f64(seconds).as_millis().max(1);
    u64::try_from(u128::from(done) * 1000 / milliseconds).ok().filter(|rate| *rate > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_says_what_how_much_how_fast_and_how_long() {
        let cases = [
            (line("unpack", Unit::Bytes, 0, None, 0.0), "unpack    0 B"),
            (line("unpack", Unit::Bytes, 100 << 20, None, 2.0), "unpack    100 MiB  50 MiB/s"),
            (
                line("unpack", Unit::Bytes, 100 << 20, Some(300 << 20), 2.0),
                "unpack    33 %  100 MiB of 300 MiB  50 MiB/s  4 s left",
            ),
            (line("unpack", Unit::Bytes, 3 << 20, Some(1 << 20), 0.1), "unpack   100 %  3 MiB of 1 MiB"),
            (line("check", Unit::Percent, 7, Some(100), 9.0), "check      7 %"),
        ];
        for (line, expected) in cases {
            assert_eq!(line, expected);
        }
    }

    proptest! {
        #[test]
        fn no_numbers_are_too_large(done: u64, total: Option<u64>, seconds in 0.0..1e9_f64) {
            let text = line("unpack", Unit::Bytes, done, total, seconds);
            prop_assert!(text.chars().count() < 100, "{}", text);
        }
    }
}
