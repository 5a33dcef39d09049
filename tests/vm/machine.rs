//! One virtual machine: QEMU, its disks, and the way to run something inside.
//!
//! Owns QEMU's command line and its process, which never outlives the test. A machine that is killed has had its power
//! cut: its disks ([`Disk`]) forget what was not flushed when the test says so. See qemu(1).

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

/// How long anything may take. Emulated processors on a machine that has other work are slow, and a test that waits for
/// minutes is a broken one.
const PATIENCE: Duration = Duration::from_secs(150);

/// Lines of the console that are shown after a failure.
const LINES_SHOWN: usize = 60;

/// The address of the one server that a machine with a network reaches, at the port of HTTPS.
pub const SERVER: &str = "192.0.2.100";

/// What a machine is to be.
#[derive(Debug, Clone)]
pub struct Setup {
    platform: Platform,
    memory_mib: u32,
    /// More words for the kernel.
    kernel: String,
    /// A part of the second program's script, in the words of sh(1).
    prepare: String,
    disks: Vec<(Disk, u32)>,
    /// The port of this machine's loopback to which [`SERVER`] leads.
    server: Option<u16>,
    /// Path below the folder of what the test brings, path on this machine.
    files: Vec<(String, PathBuf)>,
}

impl Setup {
    /// One processor, half a GiB, no disk but that with the system.
    pub fn new() -> Self {
        let files = vec![("bin/ds".to_owned(), given("DS_BIN"))];
        Self {
            platform: PLAIN,
            memory_mib: 512,
            kernel: String::new(),
            prepare: String::new(),
            disks: Vec::new(),
            server: None,
            files,
        }
    }

    /// A phone: SELinux is enforcing, and no `ds` is there before it is installed.
    pub fn phone(platform: Platform) -> Self {
        let mut phone = Self::new().selinux();
        phone.platform = platform;
        phone.files.retain(|(path, _)| path != "bin/ds");
        phone
    }

    /// A file that the test brings, by its path below the folder of such files.
    pub fn file(mut self, path: &str, from: &Path) -> Self {
        self.files.push((path.to_owned(), from.to_owned()));
        self
    }

    /// One more disk: the first is /dev/vdb. Storage of phones has sectors of 4096 bytes, and direct I/O depends on it.
    pub fn disk(mut self, disk: &Disk, sector: u32) -> Self {
        self.disks.push((disk.clone(), sector));
        self
    }

    /// A network interface. Packets reach [`SERVER`], which is a port of this machine's loopback, and nothing else.
    pub const fn server(mut self, port: u16) -> Self {
        self.server = Some(port);
        self
    }

    pub const fn memory_mib(mut self, memory: u32) -> Self {
        self.memory_mib = memory;
        self
    }

    /// Something that is done before the agent starts.
    pub fn prepare(mut self, script: &str) -> Self {
        self.prepare.push_str(script);
        self
    }

    /// SELinux in the enforcing mode; all that the test runs is in the domain `su`.
    pub fn selinux(mut self) -> Self {
        self.kernel.push_str(" security=selinux enforcing=1");
        self.files.push(("policy".to_owned(), given("DS_VM").join("policy")));
        self
    }

    fn initramfs(&self, file: &Path) {
        let prepared = given("DS_VM").join(self.platform.parts);
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

/// A machine that runs.
#[derive(Debug)]
pub struct Machine {
    qemu: Child,
    agent: Agent,
    /// Lines that something inside wrote to /run/reports.
    reports: Arc<Mutex<Vec<String>>>,
    /// Ends of sockets, to end the threads below.
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
        ready.unwrap_or_else(|error| panic!("the machine does not come up: {error}"));
        machine
    }

    fn start(setup: &Setup) -> Self {
        let directory = tempfile::Builder::new().prefix("vm-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        let directory = directory.expect("a temporary directory");
        let prepared = given("DS_VM").join(setup.platform.parts);
        // QEMU works in that directory, so that no path is part of its command line, where commas would matter.
        for file in ["kernel", "system"] {
            symlink(prepared.join(file), directory.path().join(file)).expect("symlink");
        }
        symlink(given("DS_VM").join(PLAIN.parts).join("busybox"), directory.path().join("busybox"))
            .expect("symlink");
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

    /// Runs a script of sh(1) in the machine, to its end.
    pub fn run(&mut self, script: &str) -> Done {
        self.run_within(PATIENCE, script)
    }

    /// The same, when it needs more or less time than others.
    pub fn run_within(&mut self, patience: Duration, script: &str) -> Done {
        self.ask(script);
        let answer = self.agent.answer(patience);
        answer.unwrap_or_else(|error| panic!("{error}: {script}"))
    }

    /// Begins a script. The power may be cut before it ends.
    pub fn ask(&mut self, script: &str) {
        self.agent.ask(script).unwrap_or_else(|error| panic!("{error}: {script}"));
    }

    /// Waits for the end of a script that was begun.
    pub fn answer(&mut self) -> Done {
        self.agent.answer(PATIENCE).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Everything that was written to /run/reports so far, a line each.
    pub fn reports(&self) -> Vec<String> {
        self.reports.lock().expect("nobody panicked").clone()
    }

    /// Waits until what was written to /run/reports so far, a line each, is enough.
    pub fn wait_until(&self, enough: impl Fn(&[String]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !enough(&self.reports()) {
            assert!(Instant::now() < deadline, "waited in vain; reports: {:?}", self.reports());
            sleep(Duration::from_millis(2));
        }
    }

    /// What the machine's kernel has said.
    pub fn console(&self) -> String {
        let bytes = fs::read(self.directory.path().join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Cuts the power. What was reported until then was reported.
    pub fn kill(mut self) -> Vec<String> {
        self.end();
        self.reports()
    }

    /// Switches the machine off as a user does: nothing is lost.
    pub fn power_off(mut self) {
        self.ask("sync; busybox poweroff -f");
        self.wait_for_end();
    }

    /// Waits until the machine has switched itself off.
    pub fn wait_for_end(mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.qemu.try_wait().expect("wait").is_none() {
            assert!(Instant::now() < deadline, "the machine does not power off");
            sleep(Duration::from_millis(10));
        }
    }

    /// Ends QEMU and whoever talks to it.
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
            // Of a panic the first lines say why.
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
        words.push(format!("{network},guestfwd=tcp:{SERVER}:443-cmd:./busybox nc 127.0.0.1 {port}"));
        words.extend(["-device".to_owned(), "virtio-net-pci,netdev=net,romfile=".to_owned()]);
    }
    words
}

fn collect(stream: UnixStream, lines: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        // A line without an end was not reported.
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) && line.ends_with(b"\n") {
            lines.lock().expect("nobody panicked").push(String::from_utf8_lossy(&line).trim().to_owned());
            line.clear();
        }
    })
}
