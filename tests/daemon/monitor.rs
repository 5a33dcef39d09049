//! A simulated monitor: it answers on a control socket, and ends on the test's request.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use ds::config::value::Name;
use ds::monitor::protocol::{Answer, ControlRequest, Exit, ExitReason, State, Status};
use ds::paths::{Paths, create_private};
use ds::socket::{accept_from, listen_at, receive, send};
use nix::sys::socket::{Shutdown, shutdown};

#[derive(Clone)]
pub struct Monitor {
    name: Name,
    control: PathBuf,
    lock: PathBuf,
    last_exit: PathBuf,
    protocol: u32,
    /// `None` after its end: a connection that is accepted later is closed at once.
    sockets: Arc<Mutex<Option<Vec<Arc<OwnedFd>>>>>,
    /// The requests that it has received.
    pub heard: Arc<Mutex<Vec<ControlRequest>>>,
}

impl Monitor {
    /// Starts like the monitor of a worker: the lock is closed once the socket listens.
    pub fn start(paths: &Paths, name: &str) -> Self {
        Self::of_version(paths, name, 1)
    }

    /// The same with this version of the protocol.
    pub fn of_version(paths: &Paths, name: &str, protocol: u32) -> Self {
        let name: Name = name.parse().unwrap();
        create_private(&paths.run_container(&name)).unwrap();
        let lock = fs::File::create(paths.lock(&name)).unwrap();
        let listener = Arc::new(listen_at(&paths.control(&name)).unwrap());
        drop(lock);
        let monitor = Self {
            control: paths.control(&name),
            lock: paths.lock(&name),
            last_exit: paths.last_exit(&name),
            name,
            protocol,
            sockets: Arc::new(Mutex::new(Some(vec![Arc::clone(&listener)]))),
            heard: Arc::default(),
        };
        let serving = monitor.clone();
        thread::spawn(move || {
            while let Ok(connection) = accept_from(listener.as_fd()) {
                let connection = Arc::new(connection);
                match serving.sockets.lock().unwrap().as_mut() {
                    Some(sockets) => sockets.push(Arc::clone(&connection)),
                    None => return,
                }
                let serving = serving.clone();
                thread::spawn(move || serving.serve(&connection));
            }
        });
        monitor
    }

    fn serve(&self, connection: &Arc<OwnedFd>) {
        while let Ok(Some(received)) = receive::<ControlRequest>(connection.as_ref()) {
            let answer = match received.message {
                ControlRequest::Status | ControlRequest::Watch => Answer::Status(Box::new(self.status())),
                _ => Answer::Done,
            };
            self.heard.lock().unwrap().push(received.message);
            let _ = send(connection.as_ref(), &answer, &[]);
        }
    }

    fn status(&self) -> Status {
        Status {
            protocol: self.protocol,
            version: String::new(),
            state: State::Running,
            pid: Some(4_000_000),
            pid_started: None,
            monitor: 4_000_001,
            init: "other".into(),
            ready: true,
            started_s: Some(0),
            boots: 1,
            hostname: self.name.to_string(),
            cgroup: None,
            namespaces: 0,
            devices: None,
            privileged: "no".into(),
            terms: None,
            volatile: false,
            warnings: Vec::new(),
            network: "host".into(),
            addresses: Vec::new(),
            last_exit: None,
            ends_within_s: None,
        }
    }

    /// Ends cleanly, with a record.
    pub fn end(&self, reason: ExitReason) {
        let exit = Exit { reason, code: None, signal: None, message: None, at: 0, uptime_s: 1 };
        fs::write(&self.last_exit, serde_json::to_vec(&exit).unwrap()).unwrap();
        fs::remove_file(&self.control).unwrap();
        self.hang_up();
    }

    /// Ends as if by SIGKILL: the socket file stays, and no process listens.
    pub fn die(&self) {
        self.hang_up();
    }

    fn hang_up(&self) {
        for socket in self.sockets.lock().unwrap().take().unwrap_or_default() {
            let _ = shutdown(socket.as_raw_fd(), Shutdown::Both);
        }
    }

    /// Whether another process has touched the lock since.
    pub fn lock_exists(&self) -> bool {
        self.lock.exists()
    }
}
