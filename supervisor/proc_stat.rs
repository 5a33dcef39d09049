//! The fields of /proc/PID/stat, proc_pid_stat(5). Owns the parser; opens nothing.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_looks_like_fields_is_parsed_correctly() {
        let rest: Vec<String> = (3..=52).map(|number| number.to_string()).collect();
        let text = format!("7 (a) b (c)) {}\n", rest.join(" "));
        assert_eq!((field(&text, 3), field(&text, 7), start_time(&text)), (Some("3"), Some("7"), Some(22)));
        assert_eq!((field(&text, 2), field("7 (x", 3), start_time("")), (None, None, None));
    }
}
