//! One virtual machine: QEMU, its disks, and the execution of scripts inside.
//!
//! Owns QEMU's command line and its process, which never outlives the test. To kill a machine is a power cut: its disks
//! ([`Disk`]) lose unflushed writes when the test requests it. See qemu(1).

use crate::agent::{Agent, Done};
use crate::disk::Disk;
use crate::initramfs::Archive;
use crate::platform::{PLAIN, Platform};
use crate::{given, nbd};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, panicking, sleep};
use std::time::{Duration, Instant};

/// The timeout of all operations. It is generous, because emulated processors on a busy machine are slow.
const PATIENCE: Duration = Duration::from_secs(150);

/// The number of lines of the console that are printed after a failure.
const LINES_SHOWN: usize = 60;

/// The only server that a machine with a network can reach, at the port of HTTPS.
pub const SERVER: &str = "192.0.2.100";
/// The address and the port of a phone that others can reach.
pub const PUBLISHED: &str = "192.0.2.7:8080";

/// The configuration of a machine.
#[derive(Debug, Clone)]
pub struct Setup {
    platform: Platform,
    memory_mib: u32,
    /// Additional kernel parameters.
    kernel: String,
    /// A part of the second program's script, for sh(1).
    prepare: String,
    disks: Vec<(Disk, u32)>,
    /// The port on the host's loopback interface to which [`SERVER`] is forwarded.
    server: Option<u16>,
    /// The port there that leads to [`PUBLISHED`] of the machine.
    published: Option<u16>,
    /// Additional devices, as QEMU names them.
    devices: Vec<&'static str>,
    /// Files of the test: path below their folder, path on this machine.
    files: Vec<(String, PathBuf)>,
}

impl Setup {
    /// One processor, half a GiB, and only the disk with the system.
    pub fn new() -> Self {
        let files = vec![("bin/ds".to_owned(), given("DS_BIN"))];
        Self {
            platform: PLAIN,
            memory_mib: 512,
            kernel: String::new(),
            prepare: String::new(),
            disks: Vec::new(),
            server: None,
            published: None,
            devices: Vec::new(),
            files,
        }
    }

    /// A phone: SELinux is enforcing, and `ds` is not installed yet.
    pub fn phone(platform: Platform) -> Self {
        let mut phone = Self::new().selinux();
        phone.platform = platform;
        phone.files.retain(|(path, _)| path != "bin/ds");
        phone
    }

    /// Adds a file of the test, with its path below the folder of such files.
    pub fn file(mut self, path: &str, from: &Path) -> Self {
        self.files.push((path.to_owned(), from.to_owned()));
        self
    }

    /// Adds a disk; the first is /dev/vdb. As on phones, its sectors have 4096 bytes, on which direct I/O depends.
    pub fn disk(mut self, disk: &Disk, sector: u32) -> Self {
        self.disks.push((disk.clone(), sector));
        self
    }

    /// Adds a network interface. Packets reach only [`SERVER`], a port on this host's loopback interface.
    pub const fn server(mut self, port: u16) -> Self {
        self.server = Some(port);
        self
    }

    /// Makes [`PUBLISHED`] reachable from outside, at this port of this host's loopback interface.
    pub const fn published(mut self, port: u16) -> Self {
        self.published = Some(port);
        self
    }

    /// Adds a device, by QEMU's name.
    pub fn device(mut self, device: &'static str) -> Self {
        self.devices.push(device);
        self
    }

    pub const fn memory_mib(mut self, memory: u32) -> Self {
        self.memory_mib = memory;
        self
    }

    /// Adds a script that runs before the agent starts.
    pub fn prepare(mut self, script: &str) -> Self {
        self.prepare.push_str(script);
        self
    }

    /// Enforces SELinux; scripts of the test run in the domain `su`.
    pub fn selinux(mut self) -> Self {
        self.kernel.push_str(" security=selinux enforcing=1");
        self.files.push(("policy".to_owned(), given("DS_VM").join("policy")));
        self
    }

    fn initramfs(&self, file: &Path) {
        let prepared = self.platform.folder();
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm").join(self.platform.scripts);
        let mut archive = Archive::default();
        archive.copy(&scripts.join("init"), "init");
        archive.copy(&prepared.join("busybox"), "busybox");
        archive.tree(&prepared.join("early"), "early");
        archive.tree(&scripts, "guest");
        archive.file("guest/prepare", 0o755, self.prepare.as_bytes());
        for (path, from) in &self.files {
            archive.copy(from, &format!("guest/{path}"));
        }
        archive.write(file).expect("write the initramfs");
    }
}

/// A running machine.
#[derive(Debug)]
pub struct Machine {
    qemu: Child,
    agent: Agent,
    /// Lines that programs inside have written to /run/reports.
    reports: Arc<Mutex<Vec<String>>>,
    /// Sockets whose shutdown ends the threads below.
    streams: Vec<UnixStream>,
    threads: Vec<JoinHandle<()>>,
    /// Console, initramfs.
    directory: tempfile::TempDir,
}

impl Machine {
    /// Boots and waits until a script can be run.
    pub fn boot(setup: &Setup) -> Self {
        let mut machine = Self::start(setup);
        let ready = machine.agent.wait_until_ready(PATIENCE);
        ready.unwrap_or_else(|error| panic!("the machine does not boot: {error}"));
        machine
    }

    fn start(setup: &Setup) -> Self {
        let directory = tempfile::Builder::new().prefix("vm-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        let directory = directory.expect("a temporary directory");
        let prepared = setup.platform.folder();
        // The working directory of QEMU, so that its command line contains no paths, in which commas would be separators.
        for file in ["kernel", "system"] {
            symlink(prepared.join(file), directory.path().join(file)).expect("symlink");
        }
        symlink(PLAIN.folder().join("busybox"), directory.path().join("busybox")).expect("symlink");
        setup.initramfs(&directory.path().join("initramfs"));
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", setup.platform.emulator]);
        command.args(words(setup)).current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let mut streams = Vec::new();
        let mut theirs = Vec::new();
        let mut connect = || {
            let (ours, its) = UnixStream::pair().expect("a pair of sockets");
            fcntl(&its, FcntlArg::F_SETFD(FdFlag::empty())).expect("fcntl");
            let number = its.as_raw_fd();
            theirs.push(its);
            streams.push(ours.try_clone().expect("dup"));
            (ours, number)
        };
        let mut port = |name: &str| {
            let (ours, number) = connect();
            command.args(["-chardev", &format!("socket,id={name},fd={number}")]);
            command.args(["-device", &format!("virtserialport,chardev={name},name={name}")]);
            ours
        };
        let agent = Agent::new(port("commands"));
        let reported = port("reports");
        let reports = Arc::new(Mutex::new(Vec::new()));
        let mut threads = vec![collect(reported, &reports)];
        for (index, (disk, sector)) in setup.disks.iter().enumerate() {
            let (stream, number) = connect();
            let drive = format!("driver=nbd,node-name=disk{index},server.type=fd,server.str={number}");
            let sectors = format!("logical_block_size={sector},physical_block_size={sector}");
            command.args(["-blockdev", &drive]);
            command.args(["-device", &format!("virtio-blk-pci,drive=disk{index},{sectors}")]);
            let disk = disk.clone();
            threads.push(thread::spawn(move || nbd::serve(&disk, stream)));
        }
        let qemu = command.spawn().expect("setpriv and qemu-system-x86_64");
        drop(theirs);
        Self { qemu, agent, reports, streams, threads, directory }
    }

    /// Runs a script of sh(1) in the machine, and waits for its end.
    pub fn run(&mut self, script: &str) -> Done {
        self.run_within(PATIENCE, script)
    }

    /// The same, with another timeout.
    pub fn run_within(&mut self, patience: Duration, script: &str) -> Done {
        self.ask(script);
        let answer = self.agent.answer(patience);
        answer.unwrap_or_else(|error| panic!("{error}: {script}"))
    }

    /// Starts a script. The power may be cut before it ends.
    pub fn ask(&mut self, script: &str) {
        self.agent.ask(script).unwrap_or_else(|error| panic!("{error}: {script}"));
    }

    /// Waits for the end of a started script.
    pub fn answer(&mut self) -> Done {
        self.agent.answer(PATIENCE).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The lines that have been written to /run/reports.
    pub fn reports(&self) -> Vec<String> {
        self.reports.lock().expect("nobody panicked").clone()
    }

    /// Waits until the lines that have been written to /run/reports satisfy a condition.
    pub fn wait_until(&self, enough: impl Fn(&[String]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !enough(&self.reports()) {
            assert!(Instant::now() < deadline, "timeout; reports: {:?}", self.reports());
            sleep(Duration::from_millis(2));
        }
    }

    /// The machine's console.
    pub fn console(&self) -> String {
        let bytes = fs::read(self.directory.path().join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Cuts the power; returns the reports.
    pub fn kill(mut self) -> Vec<String> {
        self.end();
        self.reports()
    }

    /// Powers the machine off with its init system, so that nothing is lost.
    pub fn power_off(mut self) {
        self.ask("sync; busybox poweroff -f");
        self.wait_for_end();
    }

    /// Waits until the machine has powered itself off.
    pub fn wait_for_end(mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.qemu.try_wait().expect("wait").is_none() {
            assert!(Instant::now() < deadline, "timeout while the machine powers off");
            sleep(Duration::from_millis(10));
        }
    }

    /// Ends QEMU and the threads that are connected to it.
    fn end(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        for stream in self.streams.drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.end();
        if panicking() {
            let console = self.console();
            // The first lines of a panic contain the reason.
            let lines: Vec<_> = console.lines().take_while(|line| !line.contains("Call Trace")).collect();
            let shown = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
            eprintln!("--- reports: {:?}\n--- console\n{}\n---", self.reports(), shown.join("\n"));
        }
    }
}

fn words(setup: &Setup) -> Vec<String> {
    let kernel = format!(
        "quiet panic=-1 mitigations=off nokaslr random.trust_cpu=on {}{}",
        setup.platform.kernel, setup.kernel
    );
    let words = [
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-smp",
        "1",
        "-m",
        &setup.memory_mib.to_string(),
        "-kernel",
        "kernel",
        "-initrd",
        "initramfs",
        "-append",
        &kernel,
        "-chardev",
        "file,id=console,path=console",
        "-serial",
        "chardev:console",
        "-object",
        "rng-random,id=random,filename=/dev/urandom",
        "-device",
        "virtio-rng-pci,rng=random",
        "-blockdev",
        "driver=file,filename=system,node-name=system,read-only=on,locking=off",
        "-device",
        "virtio-blk-pci,drive=system",
        "-device",
        "virtio-serial-pci",
    ];
    let mut words: Vec<String> = setup.platform.words().into_iter().chain(words).map(str::to_owned).collect();
    if let Some(port) = setup.server {
        let network = "user,id=net,restrict=on,net=192.0.2.0/24,host=192.0.2.1,dns=192.0.2.3";
        words.push("-netdev".to_owned());
        let inwards = setup
            .published
            .map(|port| format!(",hostfwd=tcp:127.0.0.1:{port}-{PUBLISHED}"))
            .unwrap_or_default();
        words.push(format!("{network}{inwards},guestfwd=tcp:{SERVER}:443-cmd:./busybox nc 127.0.0.1 {port}"));
        words.extend(["-device".to_owned(), "virtio-net-pci,netdev=net,romfile=".to_owned()]);
    }
    words.extend(setup.devices.iter().flat_map(|device| ["-device", device]).map(str::to_owned));
    words
}

fn collect(stream: UnixStream, lines: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        // An incomplete line is no report.
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) && line.ends_with(b"\n") {
            lines.lock().expect("nobody panicked").push(String::from_utf8_lossy(&line).trim().to_owned());
            line.clear();
        }
    })
}
