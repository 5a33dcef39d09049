//! Sizes and times in words, as people read them. Decides nothing.

/// Seconds as people read them: the two largest units.
#[must_use]
pub fn duration(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(units.len() - 1);
    let (size, unit) = units[first];
    let large = format!("{} {unit}", seconds / size);
    match units.get(first + 1) {
        Some((next, unit)) if seconds % size >= *next => format!("{large} {} {unit}", seconds % size / next),
        _ => large,
    }
}

/// Bytes as people read them: three digits, in powers of 1024.
#[must_use]
pub fn size(bytes: u64) -> String {
    text(bytes, 512, 5)
}

/// The same for a minimum: rounded up.
#[must_use]
pub fn size_rounded_up(bytes: u64) -> String {
    text(bytes, 1023, 9)
}

/// `rest` is added before a division by 1024, `last` before the one by 10: they decide how numbers are rounded.
fn text(bytes: u64, rest: u128, last: u128) -> String {
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if tenths < 10_240 {
            break;
        }
        tenths = (tenths + rest) / 1024;
        unit = larger;
    }
    if tenths % 10 == 0 || tenths >= 1000 {
        format!("{} {unit}", (tenths + last) / 10)
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min 59 s"),
            (3600, "1 h"),
            (7265, "2 h 1 min"),
            (90_000, "1 d 1 h"),
            (86_459, "1 d"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (123_456, "121 KiB"),
            (5 << 30, "5 GiB"),
            (1 << 60, "1048576 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (bytes, text) in [
            (0, "0 B"),
            (1 << 20, "1 MiB"),
            ((1 << 20) + 1, "1.1 MiB"),
            ((3 << 29) + 1, "1.6 GiB"),
            ((100 << 20) + 1, "101 MiB"),
            (123_400_000_000, "115 GiB"),
        ] {
            assert_eq!(size_rounded_up(bytes), text);
        }
    }
}
