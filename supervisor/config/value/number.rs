//! Quantities: sizes, durations, processor shares and bounded whole numbers.
//!
//! All arithmetic is exact on integers; nothing here goes through floating point. Units follow systemd.time(7) and
//! the cgroup documents (Documentation/admin-guide/cgroup-v2.rst, cpu.max).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::invalid::{Invalid, quoted};

/// An amount of memory or storage in bytes. `K`, `M`, `G`, `T` (either case) are powers of 1024; decimals are cut to
/// whole bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

impl Size {
    /// The largest size: the kernel's file offsets and cgroup limits are signed 64-bit.
    pub const MAX: u64 = i64::MAX.unsigned_abs();
    const UNITS: [(char, u32); 4] = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];

    /// `bytes`, or `None` above [`Size::MAX`].
    pub const fn from_bytes(bytes: u64) -> Option<Self> {
        if bytes <= Self::MAX { Some(Self(bytes)) } else { None }
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Reads a size from a file or a command line.
    ///
    /// # Errors
    /// Why it is not a size.
    pub fn read(text: &str) -> Result<Self, NoSize> {
        let unit = Self::UNITS.iter().find(|(unit, _)| text.ends_with([*unit, unit.to_ascii_lowercase()]));
        let (digits, shift) = unit.map_or((text, 0), |(_, shift)| (&text[..text.len() - 1], *shift));
        let decimal = Decimal::parse(digits).ok_or(NoSize::Shape)?;
        let bytes = decimal.scaled(1 << shift).filter(|bytes| *bytes <= u128::from(Self::MAX));
        bytes.and_then(|bytes| u64::try_from(bytes).ok()).map(Self).ok_or(NoSize::TooLarge)
    }
}

/// Why a text is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSize {
    /// It is not a number with an optional unit.
    Shape,
    /// It is above [`Size::MAX`].
    TooLarge,
}

impl FromStr for Size {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::read(text).map_err(|fault| {
            let why = match fault {
                NoSize::Shape => "is not a number with an optional unit",
                NoSize::TooLarge => "is too large",
            };
            let hint = "write bytes, or a number with K, M, G or T, such as 512M";
            Invalid::new(format!("size {} {why}", quoted(text)), hint)
        })
    }
}

impl fmt::Display for Size {
    /// The shortest exact form with at most three decimals: `1.5G`, `1536` bytes as `1.5K`, `1000` as `1000`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut best = self.0.to_string();
        for (unit, shift) in Self::UNITS {
            let thousandths = (u128::from(self.0) * 1000) >> shift;
            if thousandths << shift == u128::from(self.0) * 1000 {
                let form = format!("{}{unit}", decimal_text(thousandths, 3));
                let plainer = form.len() == best.len() && best.contains('.') && !form.contains('.');
                if form.len() < best.len() || plainer {
                    best = form;
                }
            }
        }
        formatter.pad(&best)
    }
}

/// A span of time in whole seconds. Reads `90`, `90s`, `2m` or `1h`; writes seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(u32);

impl Seconds {
    /// `seconds`.
    pub const fn new(seconds: u32) -> Self {
        Self(seconds)
    }

    /// The span in seconds.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl From<Seconds> for Duration {
    fn from(seconds: Seconds) -> Self {
        Self::from_secs(u64::from(seconds.0))
    }
}

impl FromStr for Seconds {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fault = |why: &str| {
            Invalid::new(
                format!("time {} {why}", quoted(text)),
                "write seconds, or a number with s, m or h, such as 90s",
            )
        };
        let units = [('s', 1), ('m', 60), ('h', 3600)];
        let unit = units.iter().find(|(unit, _)| text.ends_with(*unit));
        let (digits, factor) = unit.map_or((text, 1), |(_, factor)| (&text[..text.len() - 1], *factor));
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(fault("is not a whole number with an optional unit"));
        }
        let seconds = digits.parse::<u32>().ok().and_then(|number| number.checked_mul(factor));
        seconds.map(Self).ok_or_else(|| fault("is too long"))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A share of processor time in processors, at least 0.01, exact to 0.00001.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpus(u64);

impl Cpus {
    /// The length of one accounting period in microseconds (the kernel's default for `cpu.max`).
    pub const PERIOD_MICROSECONDS: u64 = 100_000;
    const DECIMALS: usize = 5;
    const MAX: u128 = 65_536;

    /// The processor time per period in microseconds, for `cpu.max` (v2) or `cpu.cfs_quota_us` (v1); at least 1000,
    /// the least the kernel takes.
    pub const fn quota_microseconds(self) -> u64 {
        self.0
    }
}

impl FromStr for Cpus {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fault = |why: &str| {
            Invalid::new(
                format!("{} {why}", quoted(text)),
                "write processors as a decimal of at least 0.01, such as 1.5",
            )
        };
        let decimal = Decimal::parse(text).ok_or_else(|| fault("is not a decimal number"))?;
        let period = u128::from(Self::PERIOD_MICROSECONDS);
        let quota = decimal.scaled(period).ok_or_else(|| fault("is too large"))?;
        if !decimal.is_whole_after(period) {
            return Err(fault("has more than five decimals"));
        }
        match u64::try_from(quota) {
            Ok(0..1000) => Err(fault("is below the least share")),
            Ok(quota) if u128::from(quota) <= Self::MAX * period => Ok(Self(quota)),
            _ => Err(fault("is too large")),
        }
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&decimal_text(u128::from(self.0), Self::DECIMALS))
    }
}

/// A whole number from `MIN` to `MAX`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Whole<const MIN: i32, const MAX: i32>(i32);

impl<const MIN: i32, const MAX: i32> Whole<MIN, MAX> {
    /// The number.
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The number without its sign; the number itself where `MIN` is not below 0.
    pub const fn magnitude(self) -> u32 {
        self.0.unsigned_abs()
    }
}

impl<const MIN: i32, const MAX: i32> FromStr for Whole<MIN, MAX> {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let number = if digits.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None };
        number.filter(|number| (MIN..=MAX).contains(number)).map(Self).ok_or_else(|| {
            Invalid::new(
                format!("{} is not a whole number from {MIN} to {MAX}", quoted(text)),
                "write one in that range",
            )
        })
    }
}

impl<const MIN: i32, const MAX: i32> fmt::Display for Whole<MIN, MAX> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The position of a container in the order of autostart: lower numbers start first, equal ones together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(i32);

impl Priority {
    /// The number.
    pub const fn get(self) -> i32 {
        self.0
    }
}

impl FromStr for Priority {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        text.parse::<Whole<{ i32::MIN }, { i32::MAX }>>().map(|number| Self(number.get()))
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A decimal number without sign or exponent: `digits / 10^decimals`.
#[derive(Clone, Copy)]
struct Decimal {
    digits: u128,
    decimals: u32,
}

impl Decimal {
    /// Reads `12`, `1.5` or `0.25`; at least one digit on each side of a point. `None` also beyond 20 digits.
    fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let plain = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !plain(whole) || !plain(fraction) || text.len() > 21 {
            return None;
        }
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some(Self { digits, decimals: u32::try_from(fraction.len()).ok()? })
    }

    /// The number times `factor`, truncated.
    fn scaled(self, factor: u128) -> Option<u128> {
        Some(self.digits.checked_mul(factor)? / 10_u128.pow(self.decimals))
    }

    /// Whether [`Decimal::scaled`] is exact.
    fn is_whole_after(self, factor: u128) -> bool {
        self.digits.checked_mul(factor).is_some_and(|product| product % 10_u128.pow(self.decimals) == 0)
    }
}

/// `number / 10^decimals` in its shortest form.
fn decimal_text(number: u128, decimals: usize) -> String {
    let digits = format!("{number:0width$}", width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    }
}

text_in_serde!(Size, Seconds, Cpus, Priority);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes, shown) in [
            ("0", 0, "0"),
            ("1023", 1023, "1023"),
            ("1024", 1024, "1K"),
            ("1000", 1000, "1000"),
            ("1.5g", 3 << 29, "1.5G"),
            ("1536M", 3 << 29, "1.5G"),
            ("8G", 8 << 30, "8G"),
            ("0.5k", 512, "512"),
            ("1.1g", 1_181_116_006, "1181116006"),
            ("2T", 2 << 40, "2T"),
            ("1025k", 1025 << 10, "1025K"),
            ("9223372036854775807", Size::MAX, "9223372036854775807"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, shown), "{text}");
        }
        for bad in ["", "g", "1.", ".5", "1e3", "-1", "+1", "1 G", "1GB", "0x10", "1,5g", "१", "1é"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
        for large in ["9223372036854775808", "8388608T", "99999999999999999999T"] {
            assert!(large.parse::<Size>().unwrap_err().why().contains("too large"), "{large}");
        }
        assert!("1".repeat(400).parse::<Size>().is_err());
    }

    #[test]
    fn seconds() {
        for (text, seconds) in
            [("0", 0), ("90", 90), ("90s", 90), ("2m", 120), ("1h", 3600), ("4294967295", u32::MAX)]
        {
            assert_eq!(text.parse::<Seconds>().unwrap().get(), seconds);
        }
        for bad in ["", "s", "-1", "+1", "1.5", "1d", "4294967296", "71582789m", "1 s"] {
            assert!(bad.parse::<Seconds>().is_err(), "{bad}");
        }
    }

    #[test]
    fn cpus() {
        for (text, quota, shown) in [
            ("1", 100_000, "1"),
            ("0.01", 1000, "0.01"),
            ("2.50", 250_000, "2.5"),
            ("0.33333", 33_333, "0.33333"),
        ] {
            let cpus: Cpus = text.parse().unwrap();
            assert_eq!((cpus.quota_microseconds(), cpus.to_string().as_str()), (quota, shown));
        }
        for bad in ["", "0", "0.009", "-1", "1e1", "all", "1.", "0.333333", "65537", "99999999999999999999"] {
            assert!(bad.parse::<Cpus>().is_err(), "{bad}");
        }
    }

    #[test]
    fn whole_numbers() {
        assert_eq!("-1000".parse::<Whole<-1000, 1000>>().unwrap().get(), -1000);
        for bad in ["", "-", "+1", "1.0", "1001", "-1001", "99999999999", "--1"] {
            assert!(bad.parse::<Whole<-1000, 1000>>().is_err(), "{bad}");
        }
        assert_eq!("-2147483648".parse::<Priority>().unwrap().get(), i32::MIN);
    }

    proptest! {
        #[test]
        fn sizes_round_trip(bytes in 0..=Size::MAX, shift in 0..63_u32) {
            let size = Size::from_bytes(bytes >> shift).unwrap();
            prop_assert_eq!(size.to_string().parse::<Size>().unwrap(), size);
            prop_assert!(size.to_string().len() <= size.bytes().to_string().len());
        }

        #[test]
        fn cpus_round_trip(quota in 1000..=6_553_600_000_u64) {
            prop_assert_eq!(Cpus(quota).to_string().parse::<Cpus>().unwrap(), Cpus(quota));
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,30}|[0-9.kmgtsKMGT-]{0,30}") {
            let _ = text.parse::<Size>().map(|size| size.to_string());
            let _ = text.parse::<Seconds>();
            let _ = text.parse::<Cpus>().map(|cpus| cpus.to_string());
            let _ = text.parse::<Priority>();
        }
    }
}
