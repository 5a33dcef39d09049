//! The two clocks of this program. Owns which clock is used for what; decides nothing. clock_gettime(2).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// The time since the machine booted, suspension included: CLOCK_BOOTTIME. For everything that is compared later.
#[must_use]
pub fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

/// Seconds since 1970: CLOCK_REALTIME, which people may set. For records that people read.
#[must_use]
pub fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
