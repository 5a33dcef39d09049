//! A web server of a test, over TLS with its own authority, with selectable misbehaviour.
//!
//! Two suites use it: containers on this machine, and virtual machines.

pub mod catalogue;
pub mod proxy;

use nix::sched::{CloneFlags, setns};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

/// A request to the server.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    /// The first byte of the requested range.
    pub from: Option<usize>,
    /// The number of earlier requests for this path.
    pub before: usize,
}

/// The answer of the server.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// The number of bytes of the body after which the connection is closed.
    pub cut: Option<usize>,
    /// A pause after each block of this number of bytes.
    pub drip: Option<(usize, Duration)>,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), cut: None, drip: None }
    }

    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::status(200) }
    }

    /// The file from a server that supports ranges.
    pub fn file(file: &[u8], request: &Request) -> Self {
        match request.from {
            Some(from) if from < file.len() => {
                let range = format!("bytes {from}-{}/{}", file.len() - 1, file.len());
                let mut reply = Self { status: 206, ..Self::body(&file[from..]) };
                reply.headers.push(("Content-Range", range));
                reply
            }
            _ => Self::body(file),
        }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn cut(mut self, after: usize) -> Self {
        self.cut = Some(after);
        self
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// Where a server is.
pub struct Place {
    /// Another network namespace.
    pub network: Option<File>,
    /// Its name or address in the certificate.
    pub name: String,
    /// Where the certificate of its authority is written.
    pub authority: PathBuf,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    pub port: u16,
    /// The certificate of its authority, for `SSL_CERT_FILE`.
    pub authority: PathBuf,
    stop: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<Request>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves on 127.0.0.1 of the place.
    pub fn start(
        place: impl Into<Place>,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let Place { network, name, authority } = place.into();
        let config = Arc::new(configuration(&name, &authority));
        let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (send, receive) = std::sync::mpsc::channel();
        let (stopped, seen) = (Arc::clone(&stop), Arc::clone(&requests));
        let handler: Arc<Handler> = Arc::new(handler);
        let thread = thread::spawn(move || {
            if let Some(network) = network {
                setns(&network, CloneFlags::CLONE_NEWNET).expect("setns");
                ds::sys::network::bring_loopback_up().expect("the loopback interface");
            }
            let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
            listener.set_nonblocking(true).expect("nonblocking");
            send.send(listener.local_addr().expect("an address").port()).expect("send");
            while !stopped.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    sleep(Duration::from_millis(2));
                    continue;
                };
                let (config, handler, seen) = (Arc::clone(&config), Arc::clone(&handler), Arc::clone(&seen));
                thread::spawn(move || {
                    // A client may disconnect at any time.
                    let _ = converse(stream, config, &handler, &seen);
                });
            }
        });
        let port = receive.recv().expect("a port");
        Self { port, authority, stop, requests, thread: Some(thread) }
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The number of requests for a path.
    pub fn count(&self, path: &str) -> usize {
        self.requests.lock().expect("lock").iter().filter(|request| request.path == path).count()
    }

    /// The requested ranges of a path.
    pub fn ranges(&self, path: &str) -> Vec<Option<usize>> {
        let requests = self.requests.lock().expect("lock");
        requests.iter().filter(|request| request.path == path).map(|request| request.from).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn configuration(name: &str, authority: &std::path::Path) -> ServerConfig {
    let key = KeyPair::generate().expect("a key");
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Authorities are distinguished by their names.
    root.distinguished_name.push(DnType::CommonName, authority.display().to_string());
    let certificate = root.self_signed(&key).expect("an authority");
    fs::write(authority, certificate.pem()).expect("write");
    let issuer = Issuer::new(root, key);
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        )
        .expect("a configuration")
}

fn converse(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    handler: &Arc<Handler>,
    seen: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.by_ref().take(8192).read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let headers: BTreeMap<String, &str> = lines
        .iter()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value))
        .collect();
    let from =
        headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let request = {
        let mut seen = seen.lock().expect("lock");
        let before = seen.iter().filter(|request| request.path == path).count();
        let request = Request { path, from, before };
        seen.push(request.clone());
        request
    };
    answer(stream.get_mut(), &handler(&request))
}

fn answer(stream: &mut impl Write, reply: &Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", reply.status);
    // A body without a length ends with the connection.
    let has_own =
        |(name, _): &(&str, String)| ["Content-Length", "Transfer-Encoding", "No-Length"].contains(name);
    if !reply.headers.iter().any(has_own) {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len()).min(reply.body.len())];
    let (chunk, pause) = reply.drip.unwrap_or((1 << 20, Duration::ZERO));
    for part in body.chunks(chunk) {
        stream.write_all(part)?;
        stream.flush()?;
        sleep(pause);
    }
    stream.flush()
}
