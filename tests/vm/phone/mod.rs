//! A phone, on which only the flashed module provides `ds`, from the first boot to the removal.
//!
//! Owns the phone as a virtual machine: its storage, its root shell, and the end of each boot. The scripts in `android/`
//! take the place of init, a root manager and an app. The same tests run on both processors.

mod init_systems;
mod life;
mod nat;
mod newest_systemd;
mod stock;
mod surroundings;

use crate::agent::Done;
use crate::chance::Chance;
use crate::disk::Disk;
use crate::machine::{Machine, Setup};
use crate::platform::Platform;
use crate::web::Server;
use crate::{given, outside};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The size of the storage, which is a sparse file.
const STORAGE: u64 = 2 << 30;

/// The timeout for the boot of a distribution.
const LONG: Duration = Duration::from_secs(600);

/// A running phone.
#[derive(Debug)]
struct Phone {
    setup: Setup,
    machine: Option<Machine>,
    outside: Server,
    /// The port of this host's loopback interface that leads to the phone.
    inwards: u16,
    _folder: TempDir,
}

impl Phone {
    /// A new phone in its first boot. `container` is the image on its memory stick.
    fn new(platform: Platform, container: &str) -> Self {
        Self::with(platform, container, &[])
    }

    /// The same with these images of `$DS_VM` as further disks; the first is /dev/block/vdd.
    fn with(platform: Platform, container: &str, images: &[&str]) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        let storage = Disk::new(&folder.path().join("storage"), STORAGE);
        let stick = stick(folder.path(), container);
        let filter = folder.path().join("filter");
        fs::write(&filter, surroundings::filter_of_apps()).expect("write");
        let (outside, _) = outside::serve(folder.path(), platform, &mut Chance::from_seed(20_261_130));
        let free = TcpListener::bind("127.0.0.1:0").expect("bind");
        let inwards = free.local_addr().expect("an address").port();
        drop(free);
        let mut setup = Setup::phone(platform)
            .server(outside.port)
            .published(inwards)
            .file("authority.pem", &outside.authority)
            .memory_mib(768)
            .file("ds.zip", &given("DS_MODULE"))
            .file("filter", &filter)
            .file("installer.sh", &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/module/installer.sh"))
            .disk(&storage, 4096)
            .disk(&stick, 512);
        for name in images {
            setup = setup.disk(&Disk::volatile(&given("DS_VM").join("images").join(name)), 512);
        }
        let machine = Some(boot(&setup));
        Self { setup, machine, outside, inwards, _folder: folder }
    }

    fn machine(&mut self) -> &mut Machine {
        self.machine.as_mut().expect("switched on")
    }

    /// Runs a script with the test's own tools, which the user of a phone does not have.
    fn run(&mut self, script: &str) -> Done {
        self.machine().run(script)
    }

    /// Runs a script in a root shell.
    fn root(&mut self, script: &str) -> Done {
        self.run(&format!("su -c {}", quoted(script)))
    }

    /// The same, with the timeout for the boot of a distribution.
    fn slowly(&mut self, script: &str) -> Done {
        self.machine().run_within(LONG, &format!("su -c {}", quoted(script)))
    }

    /// Runs a script in the root shell of an app.
    fn app(&mut self, script: &str) -> Done {
        self.run(&format!("app {}", quoted(script)))
    }

    /// Waits until a script of the root shell succeeds.
    fn wait_for(&mut self, script: &str) {
        self.slowly(&format!("until {script}; do sleep 0.3; done")).succeeds();
    }

    /// PID 1 of a running container.
    fn pid(&mut self, container: &str) -> String {
        let list = self.root("ds list").succeeds();
        let line = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut found =
            line.filter(|words| words.first() == Some(&container) && words.get(1) == Some(&"running"));
        found.next().unwrap_or_else(|| panic!("{container} does not run: {list}"))[2].to_owned()
    }

    /// Powers the phone off and on again.
    fn reboot(&mut self) {
        let mut machine = self.machine.take().expect("switched on");
        machine.ask("exec shutdown >/dev/kmsg 2>&1");
        machine.wait_for_end();
        self.machine = Some(boot(&self.setup));
    }

    /// Crashes the phone and boots it again.
    fn crash(&mut self) {
        self.machine.take().expect("switched on").kill();
        self.machine = Some(boot(&self.setup));
    }
}

/// Boots, and waits until `sys.boot_completed` is set.
fn boot(setup: &Setup) -> Machine {
    let mut machine = Machine::boot(setup);
    machine.run("until [ \"$(getprop sys.boot_completed)\" = 1 ]; do sleep 0.1; done").succeeds();
    machine
}

/// Creates a memory stick with the image of a container.
fn stick(folder: &Path, container: &str) -> Disk {
    let tree = folder.join("stick");
    fs::create_dir(&tree).expect("mkdir");
    let image = given("DS_VM").join("images").join(container);
    let status = Command::new("cp").arg("--sparse=always").arg(&image).arg(tree.join("image")).status();
    assert!(status.expect("cp").success());
    let disk = Disk::ext4(&folder.join("stick-disk"), 1 << 30, &tree);
    fs::remove_dir_all(&tree).expect("rm");
    disk
}

/// Quotes one word for sh(1).
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
