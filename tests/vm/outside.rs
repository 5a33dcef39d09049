//! A server outside the machine, with a catalogue that contains one small image.

use crate::platform::Platform;
use crate::web::catalogue::faithful;
use crate::web::{Place, Server};
use crate::{chance::Chance, machine::SERVER};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// The number of bytes that do not compress, so that a download takes some time.
const BALLAST: u64 = 6 << 20;

/// Serves an image for a platform; also returns its content.
pub fn serve(folder: &Path, platform: Platform, chance: &mut Chance) -> (Server, Arc<Vec<u8>>) {
    let image = Arc::new(image(folder, platform, chance));
    let authority = folder.join("authority.pem");
    let place = Place { network: None, name: SERVER.to_owned(), authority };
    (Server::start(place, faithful(&image)), image)
}

/// An archive with the BusyBox of this platform, and ballast.
fn image(folder: &Path, platform: Platform, chance: &mut Chance) -> Vec<u8> {
    let tree = folder.join("outside");
    for directory in ["bin", "sbin", "etc/init.d"] {
        fs::create_dir_all(tree.join(directory)).expect("mkdir");
    }
    fs::copy(platform.folder().join("busybox"), tree.join("bin/busybox")).expect("copy");
    for name in ["sh", "sleep", "true", "cat", "md5sum"] {
        symlink("busybox", tree.join("bin").join(name)).expect("symlink");
    }
    symlink("../bin/busybox", tree.join("sbin/init")).expect("symlink");
    let script = tree.join("etc/init.d/rcS");
    fs::write(&script, "#!/bin/sh\n").expect("write");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("chmod");
    let ballast: Vec<u8> = (0..BALLAST / 8).flat_map(|_| chance.next().to_le_bytes()).collect();
    fs::write(tree.join("ballast"), ballast).expect("write");
    let packed = folder.join("outside.tar.xz");
    let mut command = Command::new("tar");
    command.args(["--owner=0", "--group=0", "--numeric-owner", "-I", "xz -0", "-cf"]).arg(&packed);
    assert!(command.arg("-C").arg(&tree).arg(".").status().expect("tar").success());
    fs::remove_dir_all(&tree).expect("rm");
    fs::read(&packed).expect("read")
}
