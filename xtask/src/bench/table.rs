//! The result: one row for each measurement, as plain text or as the table of the README.
//!
//! Owns the format of numbers and the comparison with targets. Measures nothing.

use super::stopwatch::Samples;
use anyhow::Result;
use std::fmt::{self, Display, Formatter};

/// The result of a row against its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Reached,
    Missed,
    /// It has no target, or one of the two sides could not be measured.
    None,
}

impl Display for Verdict {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Reached => "ok",
            Self::Missed => "missed",
            Self::None => "-",
        })
    }
}

/// One measurement.
#[derive(Debug)]
pub struct Row {
    what: String,
    ours: String,
    against: String,
    target: String,
    reached: String,
    verdict: Verdict,
}

impl Row {
    /// Times of ds against times of another program; `limit` is the maximum ratio.
    pub fn ratio(
        what: &str,
        ours: &Samples,
        rival: &str,
        theirs: &Result<Samples>,
        limit: Option<f64>,
    ) -> Self {
        let own = ours.median();
        let other = theirs.as_ref().ok().and_then(Samples::median);
        let ratio = own.zip(other).map(|(own, other)| own / other);
        let verdict = match (ratio, limit) {
            (Some(ratio), Some(limit)) if ratio <= limit => Verdict::Reached,
            (Some(_), Some(_)) => Verdict::Missed,
            _ => Verdict::None,
        };
        Self {
            what: what.to_owned(),
            ours: own.map_or_else(dash, seconds),
            against: match (other, theirs) {
                (Some(other), _) => format!("{rival}: {}", seconds(other)),
                (None, Err(error)) => format!("{rival} cannot run here: {}", one_line(error)),
                (None, Ok(_)) => format!("{rival}: not measured"),
            },
            target: limit.map_or_else(dash, |limit| format!("≤ {limit:.2} ×")),
            reached: ratio.map_or_else(dash, |ratio| format!("{ratio:.2} ×")),
            verdict,
        }
    }

    /// A number that must not exceed `limit`, in the same unit.
    pub fn limit(what: &str, value: f64, limit: f64, unit: &str) -> Self {
        let verdict = if value <= limit { Verdict::Reached } else { Verdict::Missed };
        let value = format!("{} {unit}", short(value));
        Self {
            what: what.to_owned(),
            ours: value.clone(),
            against: dash(),
            target: format!("≤ {} {unit}", short(limit)),
            reached: value,
            verdict,
        }
    }

    /// A measurement that failed.
    pub fn failed(what: &str, error: &anyhow::Error) -> Self {
        Self {
            what: what.to_owned(),
            ours: format!("not measured: {}", one_line(error)),
            against: dash(),
            target: dash(),
            reached: dash(),
            verdict: Verdict::Missed,
        }
    }

    /// Whether the target was missed.
    pub fn is_missed(&self) -> bool {
        self.verdict == Verdict::Missed
    }

    fn cells(&self) -> [String; 6] {
        let [what, ours, against] = [&self.what, &self.ours, &self.against].map(String::clone);
        [what, ours, against, self.target.clone(), self.reached.clone(), self.verdict.to_string()]
    }
}

const HEAD: [&str; 6] = ["what", "ds", "against", "target", "reached", ""];

/// The rows as text for a terminal.
pub fn text(rows: &[Row]) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let width =
        |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for cells in &lines {
        let padded: Vec<_> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The rows as a table of the README.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = format!("| {} |\n|{}\n", HEAD.join(" | ").trim_end(), " --- |".repeat(HEAD.len()));
    for row in rows {
        let cells = row.cells().map(|cell| cell.replace('|', "\\|"));
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

/// A time in a suitable unit.
fn seconds(time: f64) -> String {
    if time < 1.0 { format!("{} ms", short(time * 1e3)) } else { format!("{} s", short(time)) }
}

/// Three significant digits.
fn short(value: f64) -> String {
    match value {
        value if value == 0.0 || value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Row, markdown, text};
    use crate::bench::stopwatch::Samples;
    use anyhow::anyhow;

    fn samples(seconds: f64) -> Samples {
        [seconds].into_iter().collect()
    }

    #[test]
    fn a_ratio_is_judged_by_its_limit() {
        let row = Row::ratio("start", &samples(0.005), "lxc", &Ok(samples(0.016)), Some(0.4));
        assert_eq!(row.cells(), ["start", "5.00 ms", "lxc: 16.0 ms", "≤ 0.40 ×", "0.31 ×", "ok"]);
        assert!(Row::ratio("start", &samples(0.008), "lxc", &Ok(samples(0.016)), Some(0.4)).is_missed());
    }

    #[test]
    fn a_rival_that_cannot_run_is_shown_with_its_error() {
        let row = Row::ratio("shell", &samples(0.005), "crun", &Err(anyhow!("no\ncgroup")), Some(1.0));
        assert_eq!(row.cells()[2], "crun cannot run here: no cgroup");
        assert!(!row.is_missed());
        assert!(Row::failed("shell", &anyhow!("no")).is_missed());
    }

    #[test]
    fn limits_include_their_end() {
        assert!(!Row::limit("memory", 700.0, 700.0, "KiB").is_missed());
        assert!(Row::limit("system calls", 1.0, 0.0, "calls").is_missed());
    }

    #[test]
    fn both_forms_have_every_row() {
        let rows = [Row::limit("a|b", 12.34, 20.0, "KiB"), Row::limit("c", 0.0, 0.0, "calls")];
        assert_eq!(text(&rows).lines().count(), 3);
        assert!(text(&rows).contains("a|b   12.3 KiB"), "{}", text(&rows));
        assert!(markdown(&rows).contains("| a\\|b | 12.3 KiB |"), "{}", markdown(&rows));
    }
}
