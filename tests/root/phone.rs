//! A machine that simulates a phone: Android's directories, its properties, its root manager's module.
//!
//! The Android parts are files that the test can change; `ds` is the real program. The machine's own directories are
//! bound into a new root, so that nothing is created outside the sandbox.

use crate::sandbox::Sandbox;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Creates a root with the directories of this one and those of a phone, and enters it permanently.
const FURNISH: &str = r#"
set -e
mount -t tmpfs tmpfs /mnt
for entry in /*; do
    if [ -L "$entry" ]; then cp -P "$entry" /mnt/
    elif [ -d "$entry" ] && [ "$entry" != /mnt ]; then mkdir "/mnt$entry"; mount --rbind "$entry" "/mnt$entry"; fi
done
mkdir -p /mnt/mnt /mnt/system /mnt/data
mount --bind "$1/system" /mnt/system
mount --bind "$1/data" /mnt/data
mount --bind "$1/power" /mnt/sys/power
mount --bind "$1/boot_id" /mnt/proc/sys/kernel/random/boot_id
cd /mnt
pivot_root . .
umount -l .
"#;

/// A getprop that reads a file.
const GETPROP: &str = "#!/bin/sh\nwhile IFS='=' read -r name value; do \
                       if [ \"$name\" = \"$1\" ]; then echo \"$value\"; fi; done </system/properties\n";

/// The output of the connectivity service.
const CONNECTIVITY: &str = "#!/bin/sh\ncat /system/connectivity\n";

/// A phone.
#[derive(Debug)]
pub struct Phone {
    pub sandbox: Sandbox,
}

impl Phone {
    /// A phone that has just booted, and is locked.
    pub fn new() -> Self {
        let mut phone = Self { sandbox: Sandbox::new() };
        for (file, text) in [
            ("system/build.prop", "ro.build.version.sdk=34\n"),
            ("system/properties", "ro.crypto.state=encrypted\n"),
            ("system/connectivity", ""),
            ("system/bin/getprop", GETPROP),
            ("system/bin/dumpsys", CONNECTIVITY),
            ("data/media/0/.keep", ""),
            ("data/adb/modules/ds/module.prop", "id=ds\nname=ds\ndescription=Boots Linux.\n"),
            ("power/wake_lock", ""),
            ("power/wake_unlock", ""),
            ("boot_id", "first\n"),
        ] {
            phone.write(file, text);
        }
        for program in ["getprop", "dumpsys"] {
            let path = phone.path(&format!("system/bin/{program}"));
            fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("chmod");
        }
        let device = phone.path("");
        let words = ["sh", "-c", FURNISH, "furnish", device.to_str().expect("UTF-8")];
        phone.sandbox.run(&words).succeeds();
        phone.sandbox.mount(&["-t", "tmpfs", "tmpfs", "/mnt"]);
        phone
    }

    /// The path of a file of the phone outside.
    pub fn path(&self, file: &str) -> PathBuf {
        self.sandbox.path("device").join(file)
    }

    pub fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(path, text).expect("write");
    }

    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).expect("read")
    }

    /// Sets all properties.
    pub fn properties(&self, lines: &[&str]) {
        // Replaces the old ones atomically, because a process may be reading.
        self.write("system/properties.new", &format!("{}\n", lines.join("\n")));
        fs::rename(self.path("system/properties.new"), self.path("system/properties")).expect("rename");
    }

    /// Simulates the unlock: sets the property and mounts storage.
    pub fn unlock(&mut self) {
        self.properties(&["ro.crypto.state=encrypted", "sys.user.0.ce_available=true"]);
        self.sandbox.mount(&["-t", "tmpfs", "unlocked", "/mnt"]);
    }

    /// Simulates a power cut and the next boot.
    pub fn crash(&self, boot: &str) {
        self.sandbox.kill_everything();
        // Written in place, because it is bound over the kernel's file.
        fs::write(self.path("boot_id"), format!("{boot}\n")).expect("write");
    }

    /// Runs the command of service.sh.
    pub fn boot(&self) {
        self.sandbox.ds(&["module", "boot", "--module", "/data/adb/modules/ds"]).succeeds();
    }

    /// A file as the processes of a container see it; `None` if it does not exist.
    pub fn inside(&self, container: &str, file: &str) -> Option<String> {
        let first = self.sandbox.first_process(container).expect("PID 1");
        fs::read_to_string(format!("/proc/{}/root/{file}", first.pid)).ok()
    }

    /// The module's description as the root manager shows it.
    pub fn description(&self) -> String {
        let text = self.read("data/adb/modules/ds/module.prop");
        text.lines().find_map(|line| line.strip_prefix("description=")).expect("a description").to_owned()
    }
}
