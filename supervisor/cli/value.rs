//! Values on the command line that are stricter than a string.
//!
//! Owns the syntax of durations, counts, sizes and `KEY=VALUE` words, and the messages about invalid ones. `config`
//! decides what a key means and which values it accepts. No input causes a panic.

use std::{net::IpAddr, str::FromStr, time::Duration};

use crate::config::value::{NoSize, Size};

/// A `KEY=VALUE` word. The value starts after the first `=`, may be empty, and may itself contain `=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The part before the first `=`; never empty.
    pub key: String,
    /// The part after the first `=`, untouched.
    pub value: String,
}

impl Assignment {
    /// An assignment by the program itself, not from a command line.
    #[must_use]
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word.split_once('=') {
            Some(("", _)) => Err("has no key before the '='".to_owned()),
            Some((key, value)) => Ok(Self::new(key, value)),
            None => Err("has no '='; write key=value".to_owned()),
        }
    }
}

/// The timeout of `start --wait`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// `None` (plain `--wait`): two minutes.
    pub timeout: Option<Duration>,
}

impl FromStr for Wait {
    type Err = String;

    /// The empty word stands for the option without a value.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        if word.is_empty() {
            return Ok(Self { timeout: None });
        }
        seconds(word).map(|timeout| Self { timeout: Some(timeout) })
    }
}

/// Digits only: `parse` alone would let a leading `+` pass.
fn digits(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads a duration in whole seconds.
///
/// # Errors
/// Anything but decimal digits, or more seconds than fit in 32 bits.
pub fn seconds(word: &str) -> Result<Duration, String> {
    if !digits(word) {
        return Err("is not a whole number of seconds".to_owned());
    }
    let seconds: u32 = word.parse().map_err(|_| "is too many seconds".to_owned())?;
    Ok(Duration::from_secs(seconds.into()))
}

/// Reads a number of lines.
///
/// # Errors
/// Anything but decimal digits, or more lines than fit in 32 bits.
pub fn lines(word: &str) -> Result<u32, String> {
    if !digits(word) {
        return Err("is not a number of lines".to_owned());
    }
    word.parse().map_err(|_| "is too many lines".to_owned())
}

/// Reads an IP address.
///
/// # Errors
/// Any other word.
pub fn address(word: &str) -> Result<IpAddr, String> {
    word.parse().map_err(|_| "is not an IP address".to_owned())
}

/// Reads a size in bytes as the configuration does: a number with an optional `K`, `M`, `G` or `T`, powers of 1024.
///
/// # Errors
/// Any other word, a size of less than one byte, and a size that is too large for a file.
pub fn size(word: &str) -> Result<u64, String> {
    match Size::read(word).map(Size::bytes) {
        Ok(0) => Err("must be at least 1 byte".to_owned()),
        Ok(bytes) => Ok(bytes),
        Err(NoSize::Shape) => Err("is not a size; write it like 512M or 8G".to_owned()),
        Err(NoSize::TooLarge) => Err("is too large".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn assignments_split_at_the_first_equals_sign() {
        assert_eq!("a=b=c".parse(), Ok(Assignment::new("a", "b=c")));
        assert_eq!("a=".parse(), Ok(Assignment::new("a", "")));
        assert!("=b".parse::<Assignment>().is_err());
        assert!("".parse::<Assignment>().is_err());
        assert!("a".parse::<Assignment>().is_err());
    }

    #[test]
    fn durations_and_counts_are_strict() {
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        assert_eq!(seconds("90"), Ok(Duration::from_secs(90)));
        assert_eq!(lines("20"), Ok(20));
        for word in ["", "+5", "-5", "5s", "1.5", " 5", "0x5", "٣", "4294967296", "99999999999999999999"] {
            assert!(seconds(word).is_err(), "{word:?}");
            assert!(lines(word).is_err(), "{word:?}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(size("1"), Ok(1));
        assert_eq!(size("4k"), Ok(4096));
        assert_eq!(size("512M"), Ok(512 << 20));
        assert_eq!(size("8G"), Ok(8 << 30));
        assert_eq!(size("2T"), Ok(2 << 40));
        assert_eq!(size("1.5G"), Ok(3 << 29));
        for word in ["", "G", "0", "0G", "0.0001K", "-1G", "8GB", "8 G", "8Gé", "é", "99999999T"] {
            assert!(size(word).is_err(), "{word:?}");
        }
    }

    #[test]
    fn waiting_without_a_value_has_no_limit() {
        assert_eq!("".parse(), Ok(Wait { timeout: None }));
        assert_eq!("30".parse(), Ok(Wait { timeout: Some(Duration::from_secs(30)) }));
        assert!("soon".parse::<Wait>().is_err());
    }

    proptest! {
        #[test]
        fn no_word_panics(word in any::<String>()) {
            let _ = (seconds(&word), lines(&word), size(&word));
            let _ = (word.parse::<Assignment>(), word.parse::<Wait>());
        }

        #[test]
        fn every_number_of_seconds_is_read_back(number in any::<u32>()) {
            prop_assert_eq!(seconds(&number.to_string()), Ok(Duration::from_secs(number.into())));
        }

        #[test]
        fn an_assignment_loses_nothing(key in "[^=]{1,20}", value in any::<String>()) {
            prop_assert_eq!(format!("{key}={value}").parse(), Ok(Assignment::new(key, value)));
        }
    }
}
