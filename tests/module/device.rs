//! A simulated device: a tree with the layout of Android, in its own namespaces.
//!
//! /system/bin has mksh as its shell and toybox as its programs, getprop reads a file, and each manager's BusyBox is at
//! its usual path. Tests access the tree from outside, through [`Device::path`].

use crate::given;
use crate::zip;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The timeout of one command, in seconds.
const TIMEOUT: &str = "120";

/// `id` of module.prop.
pub const ID: &str = "droidspaces-supervisor";

/// A root manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    Magisk,
    KernelSu,
    APatch,
}

impl Manager {
    pub const ALL: [Self; 3] = [Self::Magisk, Self::KernelSu, Self::APatch];

    /// Its directory of programs, and that directory's name in /data/adb.
    pub fn programs(self) -> &'static str {
        match self {
            Self::Magisk => "magisk",
            Self::KernelSu => "ksu/bin",
            Self::APatch => "ap/bin",
        }
    }

    /// The environment that its daemon sets for installers and scripts.
    fn environment(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Magisk => vec![("MANAGER", "magisk")],
            Self::KernelSu => vec![
                ("MANAGER", "kernelsu"),
                ("KSU", "true"),
                ("KSU_VER", "v3.2.5"),
                ("KSU_VER_CODE", "32525"),
                ("KSU_KERNEL_VER_CODE", "32525"),
                ("KSU_MODULE", ID),
            ],
            Self::APatch => vec![
                ("MANAGER", "apatch"),
                ("APATCH", "true"),
                ("APATCH_VER", "11224"),
                ("APATCH_VER_CODE", "11224"),
                ("AP_MODULE", ID),
            ],
        }
    }

    /// The search path of the root shell.
    fn search_path(self) -> String {
        match self {
            Self::Magisk => "/system/bin".to_owned(),
            _ => format!("/system/bin:/data/adb/{}", self.programs()),
        }
    }

    /// The variable that names this manager's own installer.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Magisk => "MAGISK_UTIL",
            Self::KernelSu => "KSU_INSTALLER",
            Self::APatch => "AP_INSTALLER",
        }
    }
}

/// The installer: the contract implemented here, or the manager's own script.
#[derive(Debug, Clone)]
pub struct Installer {
    pub manager: Manager,
    pub own_script: Option<PathBuf>,
}

/// The exit code and the output of a command.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    /// Standard output; for an installer, all output that the app shows.
    pub text: String,
    pub complaints: String,
}

impl Done {
    #[track_caller]
    pub fn succeeds(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.text, self.complaints);
        self.text
    }

    #[track_caller]
    pub fn fails(self) -> String {
        assert_eq!(self.code, Some(1), "{}\n{}", self.text, self.complaints);
        self.text
    }
}

/// The compared properties of a file.
pub type Entry = (u32, u32, u32, Vec<u8>);

#[derive(Debug)]
pub struct Device {
    pub installer: Installer,
    root: tempfile::TempDir,
    /// The process that keeps the namespaces while the device is on.
    keeper: Option<(Child, String)>,
}

impl Device {
    /// A running device with the manager, but without a module.
    pub fn new(installer: &Installer) -> Self {
        let root = tempfile::Builder::new().prefix("device-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        let mut device =
            Self { installer: installer.clone(), root: root.expect("a temporary directory"), keeper: None };
        device.build();
        device.power_on();
        device
    }

    /// A path of the device.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    /// The active module.
    pub fn live(&self, path: &str) -> PathBuf {
        self.path("data/adb/modules").join(ID).join(path)
    }

    /// The module that the next boot will use.
    pub fn staged(&self, path: &str) -> PathBuf {
        self.path("data/adb/modules_update").join(ID).join(path)
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(path, text).expect("write");
    }

    fn copy(&self, from: impl AsRef<Path>, to: &str) {
        let to = self.path(to);
        fs::create_dir_all(to.parent().expect("a parent")).expect("mkdir");
        fs::copy(from.as_ref(), &to).unwrap_or_else(|error| panic!("{}: {error}", from.as_ref().display()));
        fs::set_permissions(to, PermissionsExt::from_mode(0o755)).expect("chmod");
    }

    fn build(&self) {
        fs::set_permissions(self.root.path(), PermissionsExt::from_mode(0o755)).expect("chmod");
        for directory in ["dev", "proc", "data/adb/modules", "system/bin"] {
            fs::create_dir_all(self.path(directory)).expect("mkdir");
        }
        self.copy("/bin/mksh-static", "system/bin/sh");
        let toybox = fs::canonicalize("/usr/bin/toybox").or_else(|_| fs::canonicalize("/bin/toybox"));
        self.copy_with_libraries(&toybox.expect("toybox"));
        let names = Command::new("toybox").output().expect("toybox").stdout;
        for name in String::from_utf8_lossy(&names).split_whitespace().filter(|name| *name != "toybox") {
            let _ = symlink("toybox", self.path("system/bin").join(name));
        }
        self.copy("/bin/busybox", &format!("data/adb/{}/busybox", self.installer.manager.programs()));
        self.describe("x86_64", 34);
        let getprop = "#!/system/bin/sh\nwhile IFS='=' read -r key value; do\n\
                       [ \"$key\" = \"$1\" ] && echo \"$value\"\ndone </system/build.prop\nexit 0\n";
        self.write("system/bin/getprop", getprop);
        fs::set_permissions(self.path("system/bin/getprop"), PermissionsExt::from_mode(0o755))
            .expect("chmod");
        self.write("installer.sh", &self.installer_script());
        self.write("boot.sh", include_str!("boot.sh"));
    }

    fn installer_script(&self) -> String {
        let Some(own) = &self.installer.own_script else { return include_str!("installer.sh").to_owned() };
        let own = fs::read_to_string(own).expect("the manager's own installer");
        let version = match self.installer.manager {
            Manager::Magisk => "MAGISK_VER=30.7\nMAGISK_VER_CODE=30700\nensure_bb() { :; }\n",
            _ => "",
        };
        // Debian's BusyBox has no chcon.
        format!("{own}\n{version}chcon() {{ echo \"$*\" >>/labels; }}\ninstall_module\nexit 0\n")
    }

    /// toybox is linked with the C library of this machine.
    fn copy_with_libraries(&self, program: &Path) {
        self.copy(program, "system/bin/toybox");
        let list = Command::new("ldd").arg(program).output().expect("ldd").stdout;
        for word in String::from_utf8_lossy(&list).split_whitespace().filter(|word| word.starts_with('/')) {
            self.copy(word, word);
        }
    }

    /// Sets a property of the device.
    pub fn describe(&self, abi: &str, api: u32) {
        let properties = format!("ro.build.version.sdk={api}\nro.product.cpu.abi={abi}\n");
        self.write("system/build.prop", &properties);
    }

    fn power_on(&mut self) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ds-module-{}-{count}", std::process::id());
        let mut keeper = Command::new(given("DS_PROBE"))
            .args(["sandbox", &name, "none"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the probe");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().expect("stdout")).read_line(&mut line).expect("read");
        self.keeper = Some((keeper, line.trim().to_owned()));
        let mounts = "cd \"$1\" && mount --bind . . && cd \"$1\" && mount -t proc proc proc && \
                      mount -t tmpfs tmpfs dev && mkdir dev/pts && mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts && \
                      ln -s pts/ptmx dev/ptmx && for node in null:3 zero:5 full:7 random:8 urandom:9; do \
                      mknod -m 666 dev/${node%:*} c 1 ${node#*:} || exit 1; done";
        let root = self.root.path().to_str().expect("UTF-8");
        self.inside(&["sh", "-c", mounts, "sh", root]).succeeds();
    }

    fn power_off(&mut self) {
        if let Some((mut keeper, _)) = self.keeper.take() {
            drop(keeper.stdin.take());
            keeper.wait().expect("wait");
        }
        // Without Magisk's mounts, its programs in /system/bin disappear.
        for entry in fs::read_dir(self.path("system/bin")).expect("read").flatten() {
            if fs::read_link(entry.path()).is_ok_and(|target| target.starts_with("/data/adb")) {
                fs::remove_file(entry.path()).expect("unlink");
            }
        }
    }

    /// Reboots the device: all processes end, and /dev is empty.
    pub fn reboot(&mut self) {
        self.power_off();
        self.power_on();
        let busybox = self.busybox();
        self.chrooted(&[&busybox, "sh", "/boot.sh"], &[("ASH_STANDALONE", "1")]).succeeds();
    }

    /// Flashes a zip as the manager's app does.
    pub fn flash(&self, zip: &[u8]) -> Done {
        self.flash_with(zip, &[])
    }

    /// The same, with additional environment variables.
    pub fn flash_with(&self, zip: &[u8], more: &[(&str, &str)]) -> Done {
        let _ = fs::remove_file(self.path("labels"));
        fs::write(self.path("module.zip"), zip).expect("write");
        let busybox = self.busybox();
        let mut environment =
            vec![("ASH_STANDALONE", "1"), ("OUTFD", "1"), ("BOOTMODE", "true"), ("ZIPFILE", "/module.zip")];
        environment.extend(more);
        self.chrooted(&[&busybox, "sh", "/installer.sh"], &environment)
    }

    fn busybox(&self) -> String {
        format!("/data/adb/{}/busybox", self.installer.manager.programs())
    }

    /// Runs a command line in the root shell.
    pub fn shell(&self, line: &str) -> Done {
        self.chrooted(&["/system/bin/sh", "-c", line], &[])
    }

    fn chrooted(&self, words: &[&str], environment: &[(&str, &str)]) -> Done {
        let root = self.root.path().to_str().expect("UTF-8");
        // Daemons of managers set umask 0.
        let enter = "umask 0; exec /bin/busybox chroot \"$0\" \"$@\"";
        let line: Vec<&str> =
            ["/bin/sh", "-c", enter, root].into_iter().chain(words.iter().copied()).collect();
        let mut command = self.command(&line);
        command.env_clear().env("PATH", self.installer.manager.search_path());
        command.envs(self.installer.manager.environment()).envs(environment.iter().copied());
        Self::finish(command)
    }

    fn inside(&self, words: &[&str]) -> Done {
        Self::finish(self.command(words))
    }

    fn command(&self, words: &[&str]) -> Command {
        let (_, init) = self.keeper.as_ref().expect("the device is on");
        let mut command = Command::new(given("DS_PROBE"));
        command.args(["enter", init, TIMEOUT]).args(words).stdin(Stdio::null()).current_dir("/");
        command
    }

    fn finish(mut command: Command) -> Done {
        let output = command.output().expect("run");
        Done {
            code: output.status.code(),
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
            complaints: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The calls of chcon by installers: label and file.
    pub fn labels(&self) -> String {
        fs::read_to_string(self.path("labels")).unwrap_or_default()
    }

    /// Mode, owner, group and content of every file of a tree of the device.
    pub fn tree(&self, path: &str) -> BTreeMap<String, Entry> {
        let mut found = BTreeMap::new();
        let top = self.path(path);
        collect(&top, &top, &mut found);
        found
    }

    /// The files of the active module, except module.prop, into which the supervisor writes its state through a
    /// temporary file.
    pub fn in_use(&self) -> BTreeMap<String, Entry> {
        let mut files = self.tree(&format!("data/adb/modules/{ID}"));
        files.retain(|name, _| name != "module.prop" && !name.starts_with(".ds-"));
        files
    }

    /// Flashes the tested module, and reboots.
    pub fn with_module(installer: &Installer) -> Self {
        let mut device = Self::new(installer);
        device.flash(&zip::tested()).succeeds();
        device.reboot();
        device
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.power_off();
    }
}

fn collect(top: &Path, directory: &Path, found: &mut BTreeMap<String, Entry>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        // A temporary file may have been removed in the meantime.
        let Ok(data) = fs::symlink_metadata(&path) else { continue };
        let content = if data.is_dir() {
            collect(top, &path, found);
            Some(Vec::new())
        } else if data.is_symlink() {
            fs::read_link(&path).ok().map(|target| target.into_os_string().into_encoded_bytes())
        } else {
            fs::read(&path).ok()
        };
        let Some(content) = content else { continue };
        let name = path.strip_prefix(top).expect("below").to_string_lossy().into_owned();
        found.insert(name, (data.mode() & 0o7777, data.uid(), data.gid(), content));
    }
}
