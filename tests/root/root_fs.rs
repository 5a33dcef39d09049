//! Root file systems to boot: a tree with the probe as its init program, or a distribution's.

use crate::given;
use std::fs::{self, create_dir_all};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A tree of the test.
#[derive(Debug, Clone)]
pub struct Tree(pub PathBuf);

/// Directories that every distribution has.
const DIRECTORIES: [&str; 9] = ["bin", "dev", "etc", "proc", "root", "run", "sbin", "sys", "tmp"];

impl Tree {
    /// A tree whose /sbin/init is the probe. It also has BusyBox, for further programs of a test.
    pub fn with_probe(path: &Path) -> Self {
        let tree = Self::empty(path);
        tree.copy(&given("DS_PROBE"), "bin/probe");
        symlink("../bin/probe", path.join("sbin/init")).expect("link /sbin/init");
        tree.copy(&given("DS_FIXTURES").join("busybox/bin/busybox"), "bin/busybox");
        for name in ["sh", "cat", "sleep", "id", "ls", "true", "false", "stty", "tty", "head", "env", "pwd"] {
            symlink("busybox", path.join("bin").join(name)).expect("link to busybox");
        }
        tree.write(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:100:Alice:/home/alice:/bin/sh\n",
        );
        tree.write(
            "etc/group",
            "root:x:0:\ntty:x:5:\nusers:x:100:\nwheel:x:10:alice\naudio:x:29:alice,bob\n",
        );
        create_dir_all(path.join("home/alice")).expect("home");
        std::os::unix::fs::chown(path.join("home/alice"), Some(1000), Some(100)).expect("chown");
        tree
    }

    /// A tree with only directories.
    pub fn empty(path: &Path) -> Self {
        for name in DIRECTORIES {
            create_dir_all(path.join(name)).expect("directories of a tree");
        }
        Self(path.to_owned())
    }

    /// The same, with the probe in place of a real init program, so that ds treats it as that.
    pub fn disguised(path: &Path, program: &str) -> Self {
        let tree = Self::with_probe(path);
        tree.copy(&given("DS_PROBE"), program);
        fs::remove_file(path.join("sbin/init")).expect("unlink /sbin/init");
        symlink(format!("/{program}"), path.join("sbin/init")).expect("link /sbin/init");
        tree
    }

    pub fn path(&self, inside: &str) -> PathBuf {
        self.0.join(inside.trim_start_matches('/'))
    }

    pub fn write(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(path, text).expect("write a file of the tree");
    }

    pub fn copy(&self, from: &Path, inside: &str) {
        let path = self.path(inside);
        create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::copy(from, &path).expect("copy into the tree");
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("chmod");
    }

    /// Replaces a directory or file.
    pub fn replace_by_link(&self, inside: &str, target: &str) {
        let path = self.path(inside);
        match fs::symlink_metadata(&path) {
            Ok(about) if about.is_dir() => fs::remove_dir_all(&path).expect("rmdir"),
            Ok(_) => fs::remove_file(&path).expect("unlink"),
            Err(_) => create_dir_all(path.parent().expect("a parent")).expect("mkdir"),
        }
        symlink(target, path).expect("symlink");
    }

    /// The report of the probe's last boot; `None` before that.
    pub fn report(&self) -> Option<serde_json::Value> {
        let text = fs::read(self.path("report.json")).ok()?;
        Some(serde_json::from_slice(&text).expect("the report is JSON"))
    }

    /// The signals that the probe has received as PID 1.
    pub fn signals(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.path("signals")).unwrap_or_default();
        text.lines().map(|line| line.parse().expect("a number")).collect()
    }

    /// The number of its boots.
    pub fn boots(&self) -> usize {
        fs::read_to_string(self.path("booted")).map_or(0, |text| text.lines().count())
    }
}
