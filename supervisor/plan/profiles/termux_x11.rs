//! `hardware.display = termux-x11`: the X server of the app Termux:X11, or another one of the host.

use super::profile::{Profile, TERMUX};

/// The first existing display becomes display 0 of the container.
pub const PROFILE: Profile = Profile {
    setting: "hardware.display = termux-x11",
    sockets: &[
        (TERMUX, "usr/tmp/.X11-unix/X0"),
        (TERMUX, "usr/tmp/.X11-unix/X1"),
        (TERMUX, "usr/tmp/.X11-unix/X5"),
        ("/tmp", ".X11-unix/X0"),
        ("/tmp", ".X11-unix/X1"),
    ],
    place: "/run/host/x11/X0",
    usual: Some("/tmp/.X11-unix/X0"),
    environment: &[("DISPLAY", ":0")],
    remedy: "run 'termux-x11 :0 -ac' in Termux, or start an X server, and restart the container",
};
