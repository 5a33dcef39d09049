//! `hardware.sound = pulse`: a PulseAudio server of the host, or PipeWire instead.

use super::profile::{Profile, TERMUX};

/// The server must accept clients that do not have its cookie: `auth-anonymous=1` of module-native-protocol-unix.
pub const PROFILE: Profile = Profile {
    setting: "hardware.sound = pulse",
    sockets: &[
        (TERMUX, "usr/tmp/.pulse-socket"),
        (TERMUX, "usr/var/run/pulse/native"),
        ("/run/pulse", "native"),
        ("/run/user/1000/pulse", "native"),
    ],
    place: "/run/host/pulse/native",
    usual: None,
    environment: &[("PULSE_SERVER", "unix:/run/host/pulse/native")],
    remedy: "run 'pulseaudio --start --load=\"module-native-protocol-unix auth-anonymous=1 \
             socket=$PREFIX/tmp/.pulse-socket\"' in Termux, or start PulseAudio, and restart the container",
};
