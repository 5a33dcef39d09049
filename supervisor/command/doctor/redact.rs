//! Removes private data from a bug report: the environment of containers, and numbers that identify a phone.
//!
//! Works on text only, line by line, on files that may be damaged. In doubt it removes too much.

const HIDDEN: &str = "(left out)";
/// The section of container.ini with private values.
const SECTION: &str = "environment";
/// Parts of names of Android properties whose values identify the phone or its owner.
const IDENTIFYING: [&str; 10] =
    ["serial", "imei", "meid", "iccid", "imsi", "msisdn", "mac", "ssid", "account", "operator"];

/// Returns container.ini without the values in `[environment]` and without the comments there.
#[must_use]
pub fn configuration(text: &str) -> String {
    let mut hides = false;
    let lines = text.lines().map(|line| {
        let bare = line.trim_start_matches('\u{feff}').trim();
        if let Some(header) = bare.strip_prefix('[') {
            let section = header.trim_end_matches(']').trim().to_ascii_lowercase();
            hides = section.contains(SECTION) || (hides && !header.ends_with(']'));
            return line.to_owned();
        }
        match bare {
            _ if !hides || bare.is_empty() => line.to_owned(),
            _ if bare.starts_with(['#', ';']) => format!("# {HIDDEN}"),
            _ => match bare.split_once('=') {
                Some((name, _)) => format!("{} = {HIDDEN}", name.trim_end()),
                None => HIDDEN.to_owned(),
            },
        }
    });
    lines.map(|line| line + "\n").collect()
}

/// Returns the output of getprop without values that identify the phone. A line looks like `[ro.serialno]: [ABC]`.
#[must_use]
pub fn properties(text: &str) -> String {
    let mut hides = false;
    let mut shown = String::new();
    for line in text.lines() {
        match line.strip_prefix('[').and_then(|rest| rest.split_once("]: [")) {
            Some((name, _)) => {
                let name = name.to_ascii_lowercase();
                hides = IDENTIFYING.iter().any(|part| name.contains(part));
                if hides {
                    shown.push_str(&format!("[{name}]: {HIDDEN}\n"));
                    continue;
                }
            }
            // A value of several lines continues.
            None if hides => continue,
            None => {}
        }
        shown.push_str(line);
        shown.push('\n');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn environment_values_are_left_out_and_everything_else_stays() {
        let text = "\u{feff}[container]\r\nrootfs = /data/debian\n; note\n[environment]\nTOKEN = s3cret\n\
                    # OLD = s3cret\ns3cret without equals\n\n[limits]\nmemory = 1G\n";
        let shown = configuration(text);
        assert!(!shown.contains("s3cret"));
        for kept in ["rootfs = /data/debian", "; note", "TOKEN = (left out)", "[limits]", "memory = 1G"] {
            assert!(shown.contains(kept), "{kept} in {shown}");
        }
    }

    #[test]
    fn a_phone_is_not_identified() {
        let text = "[ro.build.version.release]: [15]\n[ro.serialno]: [R58M]\n[ro.boot.serialno]: [R58M\nR58M]\n\
                    [ril.IMEI]: [R58M]\n[ro.product.model]: [SM-G998B]\n";
        let shown = properties(text);
        assert!(!shown.contains("R58M"));
        assert!(shown.contains("[ro.build.version.release]: [15]"));
        assert!(shown.contains("[ro.product.model]: [SM-G998B]"));
        assert!(shown.contains("[ro.serialno]: (left out)"));
    }

    proptest! {
        #[test]
        fn no_value_below_environment_survives(
            before in "(\\[[a-z]{0,9}\\]\n|[a-z]{1,5} ?= ?[a-z]{0,5}\n){0,5}",
            header in "(\u{feff})?[ \t]{0,2}\\[[ ]?[eE]nvironment[ ]?\\]?[ \r]?",
            lines in proptest::collection::vec("[ \t]{0,2}[#;A-Z]{0,3} ?=?", 1..5),
        ) {
            let secrets: String = lines.iter().map(|line| format!("{line}s3cret\n")).collect();
            let shown = configuration(&format!("{before}{header}\n{secrets}"));
            prop_assert!(!shown.contains("s3cret"), "{}", shown);
        }

        #[test]
        fn any_text_does_not_panic(text: String) {
            let _ = configuration(&text);
            let _ = properties(&text);
        }
    }
}
