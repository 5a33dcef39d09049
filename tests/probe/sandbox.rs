//! The sandbox of a test: new namespaces of every kind except USER, and its own control groups.
//!
//! `probe sandbox NAME HIERARCHIES` creates a group NAME in every mounted hierarchy, and mounts the requested
//! hierarchies in the namespaces: `all`, `v1`, `v2` or `none`. It prints the process id of PID 1, waits for the end of
//! stdin, and removes everything. It changes nothing outside these groups. unshare(2), cgroup_namespaces(7),
//! pid_namespaces(7).

use crate::sys;
use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe, sethostname};
use std::fs::{self, File};
use std::io::{Read, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// The group of the sandbox's processes; the group above it has none, as version 2 requires.
pub const LEAF: &str = "inside";

/// Host name in the sandbox, which identifies it.
pub const HOST_NAME: &str = "sandbox";

/// One hierarchy of this machine.
#[derive(Debug)]
pub struct Hierarchy {
    /// Its mount point.
    mounted: PathBuf,
    /// `cgroup` or `cgroup2`.
    kind: String,
    /// Its options, for another mount of it.
    options: String,
    /// The group that this process is in, below the mount.
    own: PathBuf,
}

/// Runs a sandbox until stdin ends.
pub fn run(words: &[&str]) -> Result<u8> {
    let [name, wanted] = words else { bail!("sandbox NAME all|v1|v2|none") };
    set_pdeathsig(Signal::SIGKILL)?;
    let hierarchies = hierarchies()?;
    let groups: Vec<PathBuf> = hierarchies.iter().map(|hierarchy| hierarchy.own.join(name)).collect();
    for (hierarchy, group) in hierarchies.iter().zip(&groups) {
        make_group(hierarchy, group)?;
    }
    let lived = live(&hierarchies, &groups, wanted);
    for group in &groups {
        remove_group(group)?;
    }
    lived.map(|()| 0)
}

fn live(hierarchies: &[Hierarchy], groups: &[PathBuf], wanted: &str) -> Result<()> {
    let (reader, writer) = pipe().context("pipe")?;
    let Some(between) = sys::fork()? else {
        drop(reader);
        if let Err(error) = separate(hierarchies, groups, wanted, File::from(writer)) {
            let _ = writeln!(std::io::stderr(), "probe: sandbox: {error:#}");
        }
        sys::exit_now(1);
    };
    drop(writer);
    let mut number = String::new();
    File::from(reader).read_to_string(&mut number)?;
    let init: i32 = number.trim().parse().context("the sandbox did not come up")?;
    writeln!(stdout(), "{init}")?;
    stdout().flush()?;
    // No data is written; this is the end of the test.
    let _ = stdin().read_to_end(&mut Vec::new());
    let _ = sys::kill(init, libc::SIGKILL);
    waitpid(between, None)?;
    Ok(())
}

/// Joins the groups, leaves all namespaces, and forks PID 1.
fn separate(hierarchies: &[Hierarchy], groups: &[PathBuf], wanted: &str, told: File) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    let leaves: Vec<PathBuf> = groups.iter().map(|group| group.join(LEAF).join("cgroup.procs")).collect();
    for group in groups {
        fs::write(group.join("cgroup.procs"), "0").with_context(|| format!("join {}", group.display()))?;
    }
    unshare(CloneFlags::CLONE_NEWCGROUP).context("unshare(CLONE_NEWCGROUP)")?;
    for leaf in leaves {
        fs::write(&leaf, "0").with_context(|| format!("join {}", leaf.display()))?;
    }
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWNET,
    )
    .context("unshare")?;
    let (reader, writer) = pipe().context("pipe")?;
    let Some(init) = sys::fork()? else {
        drop((told, reader));
        if let Err(error) = furnish(hierarchies, wanted) {
            let _ = writeln!(std::io::stderr(), "probe: sandbox: {error:#}");
            sys::exit_now(1);
        }
        File::from(writer).write_all(b".")?;
        be_init();
    };
    drop(writer);
    let mut ready = [0];
    File::from(reader).read_exact(&mut ready).context("PID 1 of the sandbox died")?;
    write!(&told, "{init}")?;
    drop(told);
    waitpid(init, None)?;
    sys::exit_now(0);
}

/// Ignores SIGCHLD, so that no process becomes a zombie.
fn be_init() -> ! {
    sys::ignore(libc::SIGCHLD);
    loop {
        sleep(Duration::from_secs(3600));
    }
}

fn furnish(hierarchies: &[Hierarchy], wanted: &str) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    sethostname(HOST_NAME)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("mount(/, private)")?;
    let inert = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), inert, none).context("mount(/proc)")?;
    if !Path::new("/sys/fs/cgroup").exists() {
        return Ok(());
    }
    // Mounts that show whole hierarchies must be hidden, wherever they are.
    for hierarchy in hierarchies {
        nix::mount::umount2(&hierarchy.mounted, nix::mount::MntFlags::MNT_DETACH)?;
    }
    mount(Some("tmpfs"), "/sys/fs/cgroup", Some("tmpfs"), inert, Some("mode=755")).context("mount(tmpfs)")?;
    for hierarchy in hierarchies {
        let version = if hierarchy.kind == "cgroup2" { "v2" } else { "v1" };
        if wanted != "all" && wanted != version {
            continue;
        }
        let target = match (version, wanted) {
            ("v2", "v2") => PathBuf::from("/sys/fs/cgroup"),
            _ => Path::new("/sys/fs/cgroup").join(hierarchy.mounted.file_name().context("a mount point")?),
        };
        fs::create_dir_all(&target)?;
        let options = Some(hierarchy.options.as_str());
        mount(Some("cgroup"), &target, Some(hierarchy.kind.as_str()), inert, options)
            .with_context(|| format!("mount({}, {}, {options:?})", target.display(), hierarchy.kind))?;
    }
    Ok(())
}

/// The mounted and writable hierarchies.
pub fn hierarchies() -> Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let before: Vec<&str> = before.split(' ').collect();
        let after: Vec<&str> = after.split(' ').collect();
        let (&[_, _, _, "/", target, ..], &[kind @ ("cgroup" | "cgroup2"), _, options]) = (&*before, &*after)
        else {
            continue;
        };
        let options: Vec<&str> =
            options.split(',').filter(|option| !["rw", "ro", "none"].contains(option)).collect();
        let Some(path) = own.lines().find_map(|line| own_group(line, kind, &options)) else { continue };
        let hierarchy = Hierarchy {
            mounted: target.into(),
            kind: kind.to_owned(),
            options: version1_options(kind, &options),
            own: Path::new(target).join(path.trim_start_matches('/')),
        };
        if !found.iter().any(|other| other.kind == hierarchy.kind && other.options == hierarchy.options) {
            found.push(hierarchy);
        }
    }
    Ok(found)
}

fn version1_options(kind: &str, options: &[&str]) -> String {
    let mut kept: Vec<&str> =
        options.iter().copied().filter(|option| kind == "cgroup" && *option != "xattr").collect();
    if kept.iter().any(|option| option.starts_with("name=")) {
        kept.insert(0, "none");
    }
    kept.join(",")
}

/// The path in a line of proc_pid_cgroup(5), if it is of this hierarchy.
fn own_group(line: &str, kind: &str, options: &[&str]) -> Option<String> {
    let mut fields = line.splitn(3, ':');
    let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let fits = match kind {
        "cgroup2" => number == "0",
        _ => number != "0" && controllers.split(',').all(|controller| options.contains(&controller)),
    };
    fits.then(|| path.to_owned())
}

fn make_group(hierarchy: &Hierarchy, group: &Path) -> Result<()> {
    for directory in [group.to_owned(), group.join(LEAF)] {
        fs::create_dir(&directory).with_context(|| format!("create {}", directory.display()))?;
        // A new cpuset takes no process until it has processors and memory nodes.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if hierarchy.kind == "cgroup" && directory.join(file).exists() {
                let value = fs::read_to_string(hierarchy.own.join(file))?;
                fs::write(directory.join(file), value.trim_end())?;
            }
        }
    }
    Ok(())
}

/// The processes are dead, but the kernel may release their groups a moment later.
fn remove_group(group: &Path) -> Result<()> {
    for entry in fs::read_dir(group).into_iter().flatten().filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path())?;
        }
    }
    for _ in 0..500 {
        match fs::remove_dir(group) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => sleep(Duration::from_millis(10)),
            other => return other.with_context(|| format!("remove {}", group.display())),
        }
    }
    bail!("{} does not become empty", group.display())
}

/// Joins the groups of another process by the descriptors that were opened before its namespaces were entered.
pub fn group_files(of: Pid) -> Result<Vec<File>> {
    let theirs = fs::read_to_string(format!("/proc/{of}/cgroup"))?;
    let mut files = Vec::new();
    for hierarchy in hierarchies()? {
        let options: Vec<&str> = hierarchy.options.split(',').collect();
        let path = theirs.lines().find_map(|line| own_group(line, &hierarchy.kind, &options));
        let path = path.with_context(|| format!("the group of {of} in {}", hierarchy.mounted.display()))?;
        let file = hierarchy.mounted.join(path.trim_start_matches('/')).join("cgroup.procs");
        files.push(
            File::options().write(true).open(&file).with_context(|| format!("open {}", file.display()))?,
        );
    }
    Ok(files)
}
