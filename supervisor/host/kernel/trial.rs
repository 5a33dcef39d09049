//! Tries a call in a child process that then ends.
//!
//! A system call filter may kill the caller of an unknown call, and most trials change something. Therefore the child
//! has its own mount and network namespaces. Every function returns whether the call succeeded.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, execve, getpid, mkdir, pivot_root};
use seccompiler::sock_filter;

use crate::host::Host;
use crate::mount::namespace::enter_private_namespace;
use crate::subprocess::{self, release_streams};
use crate::sys::bpf::{self, Instruction};
use crate::sys::process::{self, Fork, exit_immediately};
use crate::sys::{descriptor, mount as mounting, seccomp, terminal};

/// The mount point in the child: a directory that every Linux has. The host does not see the mount.
const PLACE: &str = "/dev";

/// Whether `trial` succeeds in a child process.
fn succeeds(trial: impl FnOnce() -> Result<()>) -> bool {
    subprocess::succeeds(|| trial().is_ok()).unwrap_or(false)
}

fn mount_at_place(kind: &str, data: &str) -> Result<()> {
    enter_private_namespace()?;
    Ok(mount(Some(kind), PLACE, Some(kind), MsFlags::empty(), Some(data))?)
}

/// Mounts a kernel file system, mount(2).
pub fn mounts(kind: &str, data: &str) -> bool {
    succeeds(|| mount_at_place(kind, data))
}

/// Runs `trial` in a new network namespace, network_namespaces(7).
pub fn network(trial: impl FnOnce() -> Result<()>) -> bool {
    succeeds(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        trial()
    })
}

/// Installs a system call filter that allows all calls, seccomp(2).
pub fn filter() -> bool {
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    succeeds(|| Ok(seccomp::install(&vec![sock_filter { code: RETURN, jt: 0, jf: 0, k: ALLOW }])?))
}

/// Loads a device program that allows all devices, bpf(2).
pub fn device_program() -> bool {
    const MOVE: u8 = 0xb7;
    const EXIT: u8 = 0x95;
    let step = |code, immediate| Instruction { code, registers: 0, offset: 0, immediate };
    succeeds(|| Ok(bpf::load_device_program(&[step(MOVE, 1), step(EXIT, 0)]).map(drop)?))
}

/// Changes the root, pivot_root(2).
pub fn pivot() -> bool {
    succeeds(|| {
        mount_at_place("tmpfs", "")?;
        chdir(PLACE)?;
        Ok(pivot_root(".", ".")?)
    })
}

/// Mounts an overlay of two directories, Documentation/filesystems/overlayfs.rst.
pub fn overlay() -> bool {
    succeeds(|| {
        mount_at_place("tmpfs", "")?;
        chdir(PLACE)?;
        for name in ["lower", "upper", "work", "merged"] {
            mkdir(name, Mode::S_IRWXU)?;
        }
        let data = "lowerdir=lower,upperdir=upper,workdir=work";
        Ok(mount(Some("overlay"), "merged", Some("overlay"), MsFlags::empty(), Some(data))?)
    })
}

/// The directory of the version 2 group of this process.
fn own_group(host: &Host) -> Option<PathBuf> {
    let mounted = &host.cgroups.version2.as_ref()?.root.path;
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(mounted.join(path)).filter(|path| path.is_dir())
}

/// Clones into the current group, clone3(2) with CLONE_INTO_CGROUP.
pub fn into_group(host: &Host) -> bool {
    let Some(group) = own_group(host).and_then(|path| File::open(path).ok()) else { return false };
    succeeds(|| {
        let cloned = process::clone(0, Some(group.as_fd()))?;
        match cloned.side {
            Fork::Child => exit_immediately(0),
            Fork::Parent(child) => process::wait(child)?,
        };
        ensure!(cloned.in_cgroup, "the process was created outside the group");
        Ok(())
    })
}

/// `cgroup.kill`, which every group except the root has. If there is no other group, creates and removes one.
pub fn group_kill(host: &Host) -> bool {
    let Some(version2) = &host.cgroups.version2 else { return false };
    let has = |group: &Path| group.join("cgroup.kill").exists();
    let entries = std::fs::read_dir(&version2.root.path).into_iter().flatten().filter_map(Result::ok);
    let mut groups = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    if let Some(group) = groups.next() {
        return has(&group.path());
    }
    let made = version2.root.path.join(format!("ds-check-{}", getpid()));
    if std::fs::create_dir(&made).is_err() {
        return false;
    }
    let found = has(&made);
    let _ = std::fs::remove_dir(&made);
    found
}

/// openat2(2) as `rootfs::root` uses it.
pub fn confined_open() -> bool {
    succeeds(|| {
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        openat2(AT_FDCWD, "/", OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(resolve))?;
        Ok(())
    })
}

/// pidfd_open(2).
pub fn pidfd() -> bool {
    succeeds(|| {
        process::pidfd_open(getpid())?;
        Ok(())
    })
}

/// setns(2) with a pidfd, into the current namespaces.
pub fn joins_by_pidfd() -> bool {
    succeeds(|| {
        let own = process::pidfd_open(getpid())?;
        Ok(process::setns(own.as_fd(), libc::CLONE_NEWNS)?)
    })
}

/// close_range(2) with CLOSE_RANGE_CLOEXEC.
pub fn close_range() -> bool {
    succeeds(|| Ok(descriptor::close_range_on_exec(3)?))
}

/// mount_setattr(2).
pub fn mount_attributes() -> bool {
    succeeds(|| {
        mount_at_place("tmpfs", "")?;
        let top = open(PLACE, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(mounting::restrict_recursive(top.as_fd(), MsFlags::MS_RDONLY)?)
    })
}

/// Executes a memfd_create(2) with a copy of this program.
pub fn sealed_program() -> bool {
    succeeds(|| {
        let mut copy = File::from(descriptor::executable_memfd(c"ds")?);
        let mut program = File::open("/proc/self/exe").context("open /proc/self/exe")?;
        std::io::copy(&mut program, &mut copy).context("copy /proc/self/exe")?;
        release_streams()?;
        let arguments = ["ds", "version"].map(CString::new).into_iter().collect::<Result<Vec<_>, _>>()?;
        let path = CString::new(descriptor::path(copy.as_fd()))?;
        match execve(&path, &arguments, &[] as &[CString])? {}
    })
}

/// Opens the peer of a pseudoterminal, TIOCGPTPEER of ioctl_tty(2).
pub fn terminal_peer() -> bool {
    succeeds(|| {
        mount_at_place("devpts", "newinstance,ptmxmode=0666")?;
        let multiplexer = Path::new(PLACE).join("ptmx");
        let master = open(&multiplexer, OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC, Mode::empty())?;
        let _ = terminal::unlock_peer(master.as_fd());
        terminal::open_peer(master.as_fd())?;
        Ok(())
    })
}
