//! The device nodes of each kind, with the group that may use them in most distributions.
//!
//! Owns the table. Names are those of devtmpfs; permissions follow the rules of udev (50-udev-default.rules).

use super::gpu;
use super::row::Row;
use crate::config::value::DeviceKind;

const VIDEO: &[&str] = &["video"];
const SERIAL: &[&str] = &["dialout", "uucp"];
const INPUT: &[&str] = &["input"];

const fn row(pattern: &'static str, groups: &'static [&'static str], mode: u32) -> Row {
    Row { pattern, groups, mode }
}

/// The nodes of a kind.
#[must_use]
pub fn rows(kind: DeviceKind) -> &'static [Row] {
    match kind {
        DeviceKind::Kvm => {
            const {
                &[
                    row("kvm", &["kvm"], 0o666),
                    row("vhost-net", &["kvm"], 0o660),
                    row("vhost-vsock", &["kvm"], 0o666),
                ]
            }
        }
        DeviceKind::Loop => {
            const { &[row("loop-control", &["disk"], 0o660), row("loop*", &["disk"], 0o660)] }
        }
        DeviceKind::Snd => const { &[row("snd", &["audio"], 0o660)] },
        DeviceKind::Input => const { &[row("input", INPUT, 0o660)] },
        DeviceKind::Uinput => const { &[row("uinput", INPUT, 0o660), row("uhid", INPUT, 0o660)] },
        DeviceKind::Gpu => gpu::ROWS,
        DeviceKind::Usb => const { &[row("bus/usb", &["plugdev", "usb"], 0o664)] },
        DeviceKind::Tty => {
            const {
                &[
                    row("ttyS*", SERIAL, 0o660),
                    row("ttyUSB*", SERIAL, 0o660),
                    row("ttyACM*", SERIAL, 0o660),
                    row("ttyAMA*", SERIAL, 0o660),
                    row("ttyHS*", SERIAL, 0o660),
                    row("ttyMSM*", SERIAL, 0o660),
                    row("ttyGS*", SERIAL, 0o660),
                    row("ttyTHS*", SERIAL, 0o660),
                    row("ttymxc*", SERIAL, 0o660),
                    row("rfcomm*", SERIAL, 0o660),
                ]
            }
        }
        DeviceKind::Video => {
            const { &[row("video*", VIDEO, 0o660), row("media*", VIDEO, 0o660), row("v4l-subdev*", VIDEO, 0o660)] }
        }
        DeviceKind::Hidraw => const { &[row("hidraw*", INPUT, 0o660), row("usb/hiddev*", INPUT, 0o660)] },
        DeviceKind::I2c => const { &[row("i2c-*", &["i2c"], 0o660)] },
        DeviceKind::Gpio => {
            const { &[row("gpiochip*", &["gpio"], 0o660), row("gpiomem*", &["gpio"], 0o660)] }
        }
    }
}

/// Every kind.
const ALL: [DeviceKind; 12] = [
    DeviceKind::Kvm,
    DeviceKind::Loop,
    DeviceKind::Snd,
    DeviceKind::Input,
    DeviceKind::Uinput,
    DeviceKind::Gpu,
    DeviceKind::Usb,
    DeviceKind::Tty,
    DeviceKind::Video,
    DeviceKind::Hidraw,
    DeviceKind::I2c,
    DeviceKind::Gpio,
];

/// The row for a name below /dev, independent of how it was selected.
#[must_use]
pub fn row_of(name: &str) -> Option<&'static Row> {
    ALL.into_iter().flat_map(rows).find(|row| row.names(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_rows() {
        assert_eq!(ALL.len(), DeviceKind::WORDS.len());
        for word in DeviceKind::WORDS {
            let kind: DeviceKind = word.parse().unwrap();
            assert!(ALL.contains(&kind) && !rows(kind).is_empty(), "{word}");
        }
        assert!(row_of("kvm").is_some() && row_of("sda").is_none());
    }
}
