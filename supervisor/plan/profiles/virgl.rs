//! `hardware.gl = virgl`: OpenGL by a virgl server of the host, for containers without a driver for the graphics
//! processor.

use super::profile::{Profile, TERMUX};

/// Mesa's driver `virpipe` sends its drawing commands to the server.
pub const PROFILE: Profile = Profile {
    setting: "hardware.gl = virgl",
    sockets: &[(TERMUX, "usr/tmp/.virgl_test"), ("/tmp", ".virgl_test")],
    place: "/run/host/virgl/socket",
    usual: Some("/tmp/.virgl_test"),
    environment: &[("GALLIUM_DRIVER", "virpipe"), ("VTEST_SOCKET_NAME", "/run/host/virgl/socket")],
    remedy: "run 'virgl_test_server_android' in Termux, or 'virgl_test_server', and restart the container",
};
