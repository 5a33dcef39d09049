//! The fields of /proc/PID/stat, proc_pid_stat(5), and short files of /proc. Owns the parser.

use std::fs::File;
use std::io::{self, Read};

/// Reads a short file of /proc in one step. The kernel gives these files no size, so std would begin with 32 bytes.
///
/// # Errors
/// If it cannot be read, or is not UTF-8.
pub fn read(path: &str) -> io::Result<String> {
    let mut text = String::with_capacity(2048);
    File::open(path)?.take(u64::MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The field with this number in the manual; from the third on.
#[must_use]
pub fn field(text: &str, number: usize) -> Option<&str> {
    // The name in parentheses may contain anything, so fields are counted from its end.
    text.rsplit_once(')')?.1.split_whitespace().nth(number.checked_sub(3)?)
}

/// Field 22: the start time in clock ticks after boot. Together with the process id, it identifies one process.
#[must_use]
pub fn start_time(text: &str) -> Option<u64> {
    field(text, 22)?.parse().ok()
}

/// Whether the process is stopped, by a signal or a tracer.
#[must_use]
pub fn is_stopped(text: &str) -> bool {
    matches!(field(text, 3), Some("T" | "t"))
}

/// Whether the process has begun to exit: `PF_EXITING` in field 9. It may take long to become a zombie.
#[must_use]
pub fn is_exiting(text: &str) -> bool {
    const PF_EXITING: u32 = 4;
    field(text, 9).and_then(|flags| flags.parse().ok()).is_some_and(|flags: u32| flags & PF_EXITING != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_size_is_read_whole() {
        assert_eq!(field(&read("/proc/self/stat").unwrap(), 52), Some("0"), "the last field");
        let long = read("/proc/self/smaps").unwrap();
        assert!(long.len() > 4096 && long.ends_with('\n'), "{} bytes", long.len());
        assert!(read("/proc/self/nothing").is_err());
    }

    #[test]
    fn a_name_that_looks_like_fields_is_parsed_correctly() {
        let rest: Vec<String> = (3..=52).map(|number| number.to_string()).collect();
        let text = format!("7 (a) b (c)) {}\n", rest.join(" "));
        assert_eq!((field(&text, 3), field(&text, 7), start_time(&text)), (Some("3"), Some("7"), Some(22)));
        assert_eq!((field(&text, 2), field("7 (x", 3), start_time("")), (None, None, None));
    }
}
