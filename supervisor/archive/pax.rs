//! Records of extended headers, POSIX.1-2001 pax(1): `LENGTH KEY=VALUE `, where LENGTH counts itself.
//!
//! Owns splitting and writing of records; the reader and the writer interpret the keys.

use anyhow::{Context, Result, bail, ensure};

use super::time::Time;

/// The records of an extended header, in order.
#[derive(Debug)]
pub struct Records<'a>(pub &'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        // Some programs include the padding of the last block in the header.
        if self.0.iter().all(|byte| *byte == 0) {
            return None;
        }
        let record = self.split();
        if record.is_err() {
            self.0 = &[];
        }
        Some(record)
    }
}

impl<'a> Records<'a> {
    fn split(&mut self) -> Result<(&'a [u8], &'a [u8])> {
        let wrong = "an extended header has a malformed record";
        let blank = self.0.iter().take(20).position(|byte| *byte == b' ').context(wrong)?;
        let length = usize::try_from(decimal(&self.0[..blank]).context(wrong)?).context(wrong)?;
        ensure!(length > blank + 1 && length <= self.0.len(), "{wrong}");
        let (record, rest) = self.0.split_at(length);
        let Some((b'\n', record)) = record[blank + 1..].split_last() else { bail!("{wrong}") };
        let equals = record.iter().position(|byte| *byte == b'=').context(wrong)?;
        self.0 = rest;
        Ok((&record[..equals], &record[equals + 1..]))
    }
}

/// Adds a record.
pub fn put(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend(format!("{length} ").bytes());
    records.extend([key, b"=", value, b"\n"].concat());
}

/// The name of an attribute in GNU tar's form after `SCHILY.xattr.`: a `=` would end the key.
#[must_use]
pub fn encode_key(name: &[u8]) -> Vec<u8> {
    let escaped = |byte: &u8| match byte {
        b'%' => b"%25".to_vec(),
        b'=' => b"%3D".to_vec(),
        other => vec![*other],
    };
    name.iter().flat_map(escaped).collect()
}

/// The inverse of [`encode_key`]; anything else stays as it is.
#[must_use]
pub fn decode_key(mut key: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(key.len());
    while let Some((first, rest)) = key.split_first() {
        let escaped = match rest {
            [b'2', b'5', ..] if *first == b'%' => Some(b'%'),
            [b'3', b'D', ..] if *first == b'%' => Some(b'='),
            _ => None,
        };
        name.push(escaped.unwrap_or(*first));
        key = if escaped.is_some() { &rest[2..] } else { rest };
    }
    name
}

/// A number without sign.
///
/// # Errors
/// If it is not made of digits alone, or does not fit.
pub fn decimal(text: &[u8]) -> Result<u64> {
    ensure!(!text.is_empty() && text.iter().all(u8::is_ascii_digit), "it is not a number");
    Ok(std::str::from_utf8(text)?.parse()?)
}

/// A number that may be negative.
///
/// # Errors
/// As for [`decimal`].
pub fn integer(text: &[u8]) -> Result<i64> {
    let negative = text.first() == Some(&b'-');
    let value = i64::try_from(decimal(&text[usize::from(negative)..])?)?;
    Ok(if negative { -value } else { value })
}

/// A time, `SECONDS[.FRACTION]`; digits beyond nanoseconds are dropped.
///
/// # Errors
/// If it is malformed or does not fit.
pub fn time(text: &[u8]) -> Result<Time> {
    let mut halves = text.splitn(2, |byte| *byte == b'.');
    let whole = halves.next().unwrap_or_default();
    let fraction = halves.next().unwrap_or_default();
    let seconds = integer(whole)?;
    ensure!(fraction.iter().all(u8::is_ascii_digit), "it is not a time");
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    if whole.first() == Some(&b'-') && nanoseconds > 0 {
        let seconds = seconds.checked_sub(1).context("it is too early")?;
        return Ok(Time { seconds, nanoseconds: 1_000_000_000 - nanoseconds });
    }
    Ok(Time { seconds, nanoseconds })
}

/// A time as [`time`] reads it.
#[must_use]
pub fn time_text(time: Time) -> String {
    let Time { seconds, nanoseconds } = time;
    let (sign, seconds, nanoseconds) = match (seconds, nanoseconds) {
        (..0, 1..) => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds),
        (..0, _) => ("-", seconds.unsigned_abs(), 0),
        _ => ("", seconds.unsigned_abs(), nanoseconds),
    };
    let fraction = format!("{nanoseconds:09}");
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{seconds}{point}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn malformed_records_are_refused() {
        for wrong in [
            "x",
            "5",
            "5 a=b",
            "6 a=b",
            "3 a",
            "999999999999999999999 a=b\n",
            "99 a=b\n",
            "5 ab\n",
            "1 \n",
            " 3\n",
            "-6 a=b\n",
            "0 a=b\n",
        ] {
            assert!(Records(wrong.as_bytes()).any(|record| record.is_err()), "{wrong:?}");
        }
        assert_eq!(Records(b"6 a=b\n\0\0").count(), 1);
    }

    #[test]
    fn times_before_1970_count_down() {
        let half = Time { seconds: -1, nanoseconds: 500_000_000 };
        assert_eq!(time(b"-0.5").unwrap(), half);
        assert_eq!(time_text(half), "-0.5");
        assert_eq!(time(b"12.0000000019").unwrap(), Time { seconds: 12, nanoseconds: 1 });
        assert!(
            time(b"1.x").is_err() && time(b"").is_err() && time(b"1e5").is_err() && time(b"--1").is_err()
        );
    }

    proptest! {
        #[test]
        fn records_are_read_as_they_were_written(
            pairs in proptest::collection::vec(("[a-z.]{1,20}", proptest::collection::vec(any::<u8>(), 0..1200)), 0..4),
        ) {
            let mut bytes = Vec::new();
            for (key, value) in &pairs {
                put(&mut bytes, key.as_bytes(), value);
            }
            let read: Vec<_> = Records(&bytes).map(Result::unwrap).collect();
            let written: Vec<_> = pairs.iter().map(|(key, value)| (key.as_bytes(), value.as_slice())).collect();
            prop_assert_eq!(read, written);
        }

        #[test]
        fn times_are_read_as_they_were_written(seconds in -1_i64 << 40..1_i64 << 40, nanoseconds in 0_u32..1_000_000_000) {
            let written = Time { seconds, nanoseconds };
            prop_assert_eq!(time(time_text(written).as_bytes()).unwrap(), written);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Records(&bytes).count();
            let _ = time(&bytes);
        }
    }
}
