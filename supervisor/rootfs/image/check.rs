//! Runs e2fsck(8) before a mount. Owns when it runs, its progress, and the interpretation of its exit codes.

use std::ffi::OsStr;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use super::claim::Claim;
use super::request::{Fsck, ImageEvent, ImageRequest, Place};
use crate::clock::unix_s;
use crate::fault;
use crate::rootfs::superblock::Ext;
use crate::sys::process::Ended;
use crate::tool::{Invocation, Tool, ToolResult};

/// The share of all work after each of the five passes, in percent; as in e2fsck's own progress bar.
const PASSES: [u64; 6] = [0, 70, 90, 92, 95, 100];
/// Exit codes are bits: values from this one on mean remaining errors.
const NOT_CORRECTED: u8 = 4;
/// Maximum number of lines of e2fsck in the log, and their maximum length in characters.
const MAX_LOGGED: usize = 200;
const LONGEST_LINE: usize = 200;

/// Checks the file system if requested and due.
///
/// # Errors
/// If errors remain; it must then not be mounted.
pub(super) fn check(
    request: &ImageRequest<'_>,
    claim: &Claim,
    place: Place,
    ext: &Ext,
    events: &mut dyn FnMut(ImageEvent),
) -> Result<()> {
    let now = unix_s();
    let due = ext.due(now);
    let wanted = match request.fsck {
        Fsck::Always => true,
        Fsck::Auto => due.is_some(),
        Fsck::Never => false,
    };
    if !wanted {
        return Ok(());
    }
    if !claim.may_be_checked() {
        if let Some(why) = due.filter(|_| claim.is_alone()) {
            events(ImageEvent::Warning(format!("the image is not checked although {why}: it is read-only")));
        }
        return Ok(());
    }
    let Some(tool) = Tool::find("e2fsck") else {
        let text = "the image is not checked: found no e2fsck; install e2fsprogs, or set fsck=never";
        events(ImageEvent::Warning(text.into()));
        return Ok(());
    };
    fault::point("checking")?;
    events(ImageEvent::Checking { percent: None });
    let mut findings = Findings::default();
    let outcome = run(&tool, request, claim, place, &mut findings, events)?;
    if !outcome.is_success() {
        findings.log(request);
    }
    judge(&outcome, findings.repairs, request, events)
}

fn run(
    tool: &Tool,
    request: &ImageRequest<'_>,
    claim: &Claim,
    place: Place,
    findings: &mut Findings,
    events: &mut dyn FnMut(ImageEvent),
) -> Result<ToolResult> {
    // e2fsck parses the text after a question mark as an I/O manager's options.
    let path = match place.offset {
        0 => claim.path(),
        offset => format!("{}?offset={offset}", claim.path()),
    };
    let arguments = ["-f", "-y", "-C", "1", path.as_str()].map(OsStr::new);
    let mut told = None;
    let mut lines = |line: &str| {
        let percent = progress(line);
        if percent.is_none() {
            findings.hear(line);
        }
        if percent.is_some() && percent != told {
            told = percent;
        } else if !line.is_empty() {
            return;
        }
        events(ImageEvent::Checking { percent: told.or(Some(0)) });
    };
    tool.run(&mut Invocation {
        inherited: &[claim.file()],
        lines: Some(&mut lines),
        // It completes its writes.
        death_signal: Signal::SIGTERM,
        interrupt: request.interrupt,
        ..Invocation::new(&arguments)
    })
}

/// The errors that e2fsck found.
#[derive(Debug, Default)]
struct Findings {
    lines: Vec<String>,
    further: u64,
    repairs: u64,
}

impl Findings {
    fn hear(&mut self, line: &str) {
        let line = line.trim();
        // With -y, each question contains its answer: "Clear? yes".
        self.repairs += u64::from(line.ends_with("? yes"));
        if line.is_empty() || line.starts_with("Pass ") {
            return;
        }
        if self.lines.len() < MAX_LOGGED {
            self.lines.push(line.chars().take(LONGEST_LINE).flat_map(char::escape_debug).collect());
        } else {
            self.further += 1;
        }
    }

    fn log(&self, request: &ImageRequest<'_>) {
        let image = request.image.display();
        for line in &self.lines {
            log::info!("{image}: e2fsck: {line}");
        }
        if self.further > 0 {
            log::info!("{image}: e2fsck: and {} more lines", self.further);
        }
    }
}

/// The progress in a line `PASS CURRENT ALL DEVICE`; `None` for any other line.
fn progress(line: &str) -> Option<u8> {
    let mut words = line.split_ascii_whitespace();
    let mut number = || words.next()?.parse::<u64>().ok();
    let (pass, current, all) = (usize::try_from(number()?).ok()?, number()?, number()?);
    if !words.next()?.starts_with('/') {
        return None;
    }
    let (from, to) = (PASSES.get(pass.checked_sub(1)?)?, PASSES.get(pass)?);
    let done = (to - from).saturating_mul(current.min(all)).checked_div(all).unwrap_or(0);
    u8::try_from(from + done).ok()
}

fn judge(
    outcome: &ToolResult,
    repairs: u64,
    request: &ImageRequest<'_>,
    events: &mut dyn FnMut(ImageEvent),
) -> Result<()> {
    let image = request.image.display();
    match outcome.ended {
        _ if outcome.interrupted => bail!("interrupted"),
        Ended::Exited(0) => Ok(()),
        Ended::Exited(code) if code & !(NOT_CORRECTED - 1) == 0 => {
            let times = match repairs {
                0 => String::new(),
                1 => " (1 repair)".into(),
                repairs => format!(" ({repairs} repairs)"),
            };
            events(ImageEvent::Warning(format!(
                "e2fsck has repaired the image{times}; files may be in lost+found, and the log has the details"
            )));
            Ok(())
        }
        Ended::Exited(code) => bail!(
            "e2fsck cannot repair the image (exit code {code}): {}; keep a copy of it, then run 'e2fsck -f {image}'",
            outcome.last_words()
        ),
        killed => bail!("e2fsck was killed by {killed}; run 'e2fsck -f {image}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rootfs::image::Access;
    use std::path::Path;

    #[test]
    fn progress_is_reported_in_percent_of_all_passes() {
        assert_eq!(progress("1 0 8 /proc/self/fd/9"), Some(0));
        assert_eq!(progress("1 8 8 /proc/self/fd/9"), Some(70));
        assert_eq!(progress("2 4 8 /proc/self/fd/9"), Some(80));
        assert_eq!(progress("5 16 16 /proc/self/fd/9"), Some(100));
        assert_eq!(progress("5 99 16 /proc/self/fd/9"), Some(100));
        assert_eq!(progress("3 0 0 /proc/self/fd/9"), Some(90));
        for other in ["Pass 1: Checking inodes", "6 1 2 /x", "0 1 2 /x", "", "1 2 3", "1 2 3 blocks"] {
            assert_eq!(progress(other), None, "{other}");
        }
    }

    fn judged(ended: Ended, interrupted: bool) -> (Result<()>, usize) {
        let outcome = ToolResult { ended, said: "one\nthe reason\n\n".into(), interrupted };
        let request = ImageRequest {
            image: Path::new("/data/a.img"),
            partition: None,
            mount_point: Path::new("/mnt/x"),
            access: Access::ReadWrite,
            fsck: Fsck::Always,
            label: None,
            interrupt: None,
        };
        let mut warnings = 0;
        let result = judge(&outcome, 2, &request, &mut |_| warnings += 1);
        (result, warnings)
    }

    #[test]
    fn exit_codes_are_interpreted() {
        for (code, warnings) in [(0, 0), (1, 1), (2, 1), (3, 1)] {
            let (result, told) = judged(Ended::Exited(code), false);
            assert!(result.is_ok(), "{code}");
            assert_eq!(told, warnings, "{code}");
        }
        for code in [4, 5, 7, 8, 12, 16, 32, 128] {
            let text = format!("{:#}", judged(Ended::Exited(code), false).0.unwrap_err());
            assert!(text.contains(&format!("exit code {code}): the reason;")), "{text}");
            assert!(text.contains("e2fsck -f /data/a.img"), "{text}");
        }
        assert!(judged(Ended::Signalled(9), false).0.unwrap_err().to_string().contains("SIGKILL"));
        assert_eq!(judged(Ended::Exited(32), true).0.unwrap_err().to_string(), "interrupted");
    }

    #[test]
    fn repairs_are_counted_and_kept_for_the_log() {
        let mut findings = Findings::default();
        let said = "Pass 1: Checking inodes\nEntry 'x' in / (2) has deleted inode 5.  Clear? yes\n\nUnattached inode 12\n\
                    Connect to /lost+found? yes\n\u{1b}[2J";
        said.lines().for_each(|line| findings.hear(line));
        assert_eq!((findings.repairs, findings.lines.len()), (2, 4));
        assert_eq!(findings.lines[3], "\\u{1b}[2J");
        (0..1000).for_each(|_| findings.hear("x? yes"));
        assert_eq!((findings.repairs, findings.lines.len(), findings.further), (1002, MAX_LOGGED, 804));
    }

    proptest::proptest! {
        #[test]
        fn any_line_does_not_panic(line in "\\PC{0,40}|[0-9]{1,20} [0-9]{1,20} [0-9]{1,20} /x") {
            if let Some(percent) = progress(&line) {
                proptest::prop_assert!(percent <= 100);
            }
        }
    }
}
