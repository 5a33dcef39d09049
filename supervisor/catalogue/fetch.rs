//! Downloads one file from a server in a confined child that can only use the network.
//!
//! Owns the requirements for an answer: the scheme, redirects, status codes, lengths and ranges. Libraries implement
//! TLS and HTTP (ureq, and rustls with ring, the smallest provider that needs no assembler or CMake to build). The
//! child has two descriptors, one for the data and one for messages; the caller must have one thread. RFC 9110.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use ureq::http::{Response, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, Proxy};

use super::address::{check, join};
use super::failure::{Failure, Remedy};
use super::names::Names;
use super::trust;
use crate::confined::{Confinement, large_pipe, start};
use crate::socket;
use crate::subprocess::Subprocess;
use crate::sys::process::Ended;

/// The User-Agent.
const AGENT: &str = concat!("droidspaces-supervisor/", env!("CARGO_PKG_VERSION"));
/// Maximum number of consecutive redirects.
const MAX_REDIRECTS: usize = 5;
/// The maximum timeout for a connection.
const CONNECT: Duration = Duration::from_secs(15);
/// Minimum number of bytes that a server must send in each period of [`Network::timeout`].
const MIN: u64 = 128 << 10;
/// A connection that delivered fewer bytes has made no progress.
const MIN_PROGRESS: u64 = 64 << 10;
/// Size of the buffer, in bytes.
const CHUNK: usize = 128 << 10;

/// The network settings of the machine and the user.
#[derive(Debug, Clone)]
pub struct Network {
    roots: RootCerts,
    names: Names,
    /// `https_proxy` and similar variables.
    environment: BTreeMap<String, String>,
    /// The timeout for each part of an answer.
    timeout: Duration,
}

impl Network {
    /// Reads certificates and the files with hosts and name servers; `environment` is the client's.
    ///
    /// # Errors
    /// If certificates that the user specified cannot be read.
    pub fn load(environment: &BTreeMap<String, String>, timeout: Duration) -> Result<Self> {
        let roots = trust::roots(environment)?;
        Ok(Self { roots, names: Names::load(), environment: environment.clone(), timeout })
    }

    /// Whether a broken connection that delivered `bytes` in this time justifies another attempt. Otherwise a server
    /// that sends one byte for each connection would never end.
    pub(super) fn is_progress(&self, bytes: u64, elapsed: Duration) -> bool {
        bytes >= MIN_PROGRESS && !is_slow(bytes, elapsed, self.timeout)
    }

    fn proxy(&self, uri: &Uri) -> Result<Option<Proxy>, Failure> {
        let scheme = uri.scheme_str().unwrap_or("https");
        let names = [
            format!("{scheme}_proxy"),
            format!("{}_PROXY", scheme.to_uppercase()),
            "all_proxy".into(),
            "ALL_PROXY".into(),
        ];
        let value = |name: &String| self.environment.get(name).filter(|value| !value.is_empty());
        let Some((name, text)) = names.iter().find_map(|name| Some((name, value(name)?))) else {
            return Ok(None);
        };
        let unusable = |error: ureq::Error| {
            Failure::last(format!("{name}: '{text}' is not the address of a proxy: {error}"))
        };
        let proxy = Proxy::new(text).map_err(unusable)?;
        let mut builder = Proxy::builder(proxy.protocol()).host(proxy.host()).port(proxy.port());
        if let (Some(user), Some(password)) = (proxy.username(), proxy.password()) {
            builder = builder.username(user).password(password);
        }
        let except = ["no_proxy", "NO_PROXY"].iter().find_map(|name| self.environment.get(*name));
        for host in
            except.into_iter().flat_map(|list| list.split(',')).map(str::trim).filter(|host| !host.is_empty())
        {
            builder = builder.no_proxy(host);
        }
        builder.build().map(Some).map_err(unusable)
    }
}

/// A request.
#[derive(Debug, Clone)]
pub struct FetchRequest<'a> {
    /// The address.
    pub address: &'a str,
    /// The offset of the first byte.
    pub from: u64,
    /// The server's tag for that version of the file.
    pub tag: Option<&'a str>,
}

/// The header of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The offset of the first byte: the requested one, or 0.
    pub from: u64,
    /// Length of the whole file, if the server sends it.
    pub total: Option<u64>,
    /// The server's tag for this version of the file.
    pub tag: Option<String>,
    /// Whether the content is a web page.
    pub is_page: bool,
}

#[derive(Debug, Serialize, Deserialize)]
enum Message {
    Head(Head),
    Done,
    Failed(Failure),
}

/// A download.
#[derive(Debug)]
pub struct Fetch {
    child: Subprocess,
    body: File,
    messages: OwnedFd,
}

impl Fetch {
    /// Sends the request and waits for the header of the answer.
    ///
    /// # Errors
    /// If fork(2) fails; the inner error says why the answer is not acceptable.
    pub fn begin(request: &FetchRequest<'_>, network: &Network) -> Result<Result<(Self, Head), Failure>> {
        let (body, writing) = large_pipe()?;
        let (messages, theirs) = socket::pair()?;
        let mut work = |messages: &mut File, body: &mut File| serve(messages, body, request, network);
        let child = start(&theirs, &writing, Confinement::Network, &mut work)?;
        drop((writing, theirs));
        let mut fetch = Self { child, body: File::from(body), messages };
        Ok(match socket::receive::<Message>(&fetch.messages)?.map(|received| received.message) {
            Some(Message::Head(head)) => Ok((fetch, head)),
            Some(Message::Failed(failure)) => Err(failure),
            Some(Message::Done) | None => Err(fetch.died()),
        })
    }

    /// The result; must be called after the last byte.
    ///
    /// # Errors
    /// If the child cannot be read; the inner error says what is missing.
    pub fn finish(mut self) -> Result<Result<(), Failure>> {
        Ok(match socket::receive::<Message>(&self.messages)?.map(|received| received.message) {
            Some(Message::Done) => Ok(()),
            Some(Message::Failed(failure)) => Err(failure),
            Some(Message::Head(_)) | None => Err(self.died()),
        })
    }

    fn died(&mut self) -> Failure {
        match self.child.wait() {
            Ok(killed @ Ended::Signalled(_)) => Failure::last(format!("the download was killed by {killed}")),
            _ => Failure::last("the download ended immediately"),
        }
    }
}

impl Read for Fetch {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer)
    }
}

/// The main function of the child.
fn serve(messages: &mut File, body: &mut File, request: &FetchRequest<'_>, network: &Network) -> u8 {
    let done = receive(messages, body, request, network);
    let message = match done {
        Ok(()) => Message::Done,
        Err(failure) => Message::Failed(failure),
    };
    // If the caller has ended, there is no recipient.
    u8::from(socket::send(messages.as_fd(), &message, &[]).is_err())
}

fn receive(
    messages: &File,
    body: &mut File,
    request: &FetchRequest<'_>,
    network: &Network,
) -> Result<(), Failure> {
    let (uri, response) = follow_redirects(request, network)?;
    let head = head_of(&uri, &response, request.from)?;
    let expected = head.total.map(|total| total - head.from);
    socket::send(messages.as_fd(), &Message::Head(head), &[])
        .map_err(|error| Failure::last(format!("{error:#}")))?;
    copy(response.into_body(), body, expected, &Sender { host: uri.host().unwrap_or_default(), network })
}

fn follow_redirects(request: &FetchRequest<'_>, network: &Network) -> Result<(Uri, Response<Body>), Failure> {
    let mut uri: Uri = request
        .address
        .parse()
        .map_err(|error| Failure::last(format!("{} is not an address: {error}", request.address)))?;
    for _ in 0..=MAX_REDIRECTS {
        check(&uri)?;
        let response = call(&uri, request, network)?;
        if !response.status().is_redirection() {
            return Ok((uri, response));
        }
        let location = response.headers().get("location").and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| Failure::last(format!("{uri} redirects without a target")))?;
        let target = join(&uri, location).ok_or_else(|| {
            Failure::last(format!("{uri} redirects to '{location}', which is not an address"))
        })?;
        if uri.scheme_str() == Some("https") && target.scheme_str() != Some("https") {
            return Err(Failure::last(format!(
                "{uri} redirects to {target}, which is not encrypted; refused"
            )));
        }
        uri = target;
    }
    Err(Failure::last(format!("{} redirects more than {MAX_REDIRECTS} times", request.address)))
}

fn call(uri: &Uri, request: &FetchRequest<'_>, network: &Network) -> Result<Response<Body>, Failure> {
    let tls = TlsConfig::builder()
        .root_certs(network.roots.clone())
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .proxy(network.proxy(uri)?)
        .user_agent(AGENT)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT.min(network.timeout)))
        .timeout_recv_response(Some(network.timeout))
        .timeout_per_read(Some(network.timeout))
        .build();
    let agent = Agent::with_parts(config, DefaultConnector::new(), network.names.clone());
    let mut call = agent.get(uri).header("Accept-Encoding", "identity");
    if request.from > 0 {
        call = call.header("Range", format!("bytes={}-", request.from));
        if let Some(tag) = request.tag {
            call = call.header("If-Range", tag);
        }
    }
    call.call().map_err(|error| explain(uri, &error))
}

/// Describes an error, and whether it is temporary.
fn explain(uri: &Uri, error: &ureq::Error) -> Failure {
    let host = uri.host().unwrap_or_default();
    let passing = |text: String| Failure { text, remedy: Remedy::Wait };
    match error {
        ureq::Error::HostNotFound => {
            passing(format!("{host}: no such host; check the network and its name servers"))
        }
        ureq::Error::Timeout(_) => passing(format!("{host} did not answer in time")),
        ureq::Error::Io(cause) => {
            match cause.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
                Some(cause) => untrusted(host, cause),
                None => passing(format!("{host}: {}", plain(cause))),
            }
        }
        ureq::Error::Rustls(cause) => untrusted(host, cause),
        ureq::Error::ConnectionFailed => passing(format!("{host}: the connection failed")),
        other => Failure::last(format!("{host}: {other}")),
    }
}

/// The description of an error, without the number that the standard library adds.
fn plain(error: &io::Error) -> String {
    let errno = error.raw_os_error().map(nix::errno::Errno::from_raw);
    errno.map_or_else(|| error.to_string(), |errno| errno.desc().to_owned())
}

fn untrusted(host: &str, cause: &rustls::Error) -> Failure {
    match cause {
        rustls::Error::InvalidCertificate(reason) => Failure::last(format!(
            "the certificate of {host} is not trusted ({reason:?}); check the clock and the network, or set SSL_CERT_FILE to the certificates of your authority"
        )),
        other => Failure { text: format!("{host}: {other}"), remedy: Remedy::Wait },
    }
}

fn head_of(uri: &Uri, response: &Response<Body>, from: u64) -> Result<Head, Failure> {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let status = response.status().as_u16();
    let length = header("content-length").and_then(|text| text.parse::<u64>().ok());
    let (from, total) = match status {
        200 => (0, length),
        206 => {
            let range = header("content-range").and_then(content_range);
            let range =
                range.ok_or_else(|| Failure::last(format!("{uri}: the server sent an invalid range")))?;
            if range.0 != from {
                return Err(Failure::last(format!(
                    "{uri}: the server sent another range than the requested one"
                )));
            }
            range
        }
        404 | 410 => {
            return Err(Failure {
                text: format!("{uri}: the server does not have the file ({status})"),
                remedy: Remedy::Elsewhere,
            });
        }
        408 | 425 | 429 | 500..=599 => {
            let what = match status {
                429 | 503 => "is too busy",
                500.. => "reports an internal error",
                _ => "requests a retry",
            };
            return Err(Failure::passing(format!("{uri}: the server {what} ({status})")));
        }
        416 if from > 0 => {
            return Err(Failure {
                text: format!("{uri}: the server refuses to resume ({status}); try again"),
                remedy: Remedy::Whole,
            });
        }
        _ => return Err(Failure::last(format!("{uri}: the server answered with {status}"))),
    };
    if let Some(coding) = header("content-encoding").filter(|coding| *coding != "identity") {
        return Err(Failure::last(format!(
            "{uri}: the server encoded the file as {coding}, which was not requested"
        )));
    }
    let is_page = header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
    // Only a strong tag identifies one sequence of bytes.
    let tag = header("etag").filter(|tag| !tag.starts_with("W/")).map(str::to_owned);
    Ok(Head { from, total, tag, is_page })
}

/// Offset of the first byte and length of the whole file: `bytes 5-9/10`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total = if total.trim() == "*" { None } else { Some(total.trim().parse().ok()?) };
    (first <= last && total.is_none_or(|total: u64| last < total)).then_some((first, total))
}

/// Whether fewer than [`MIN`] bytes arrive in each `period`.
fn is_slow(bytes: u64, elapsed: Duration, period: Duration) -> bool {
    u128::from(bytes) * period.as_millis() < u128::from(MIN) * elapsed.as_millis()
}

/// The sender of a body.
struct Sender<'a> {
    host: &'a str,
    network: &'a Network,
}

fn copy(body: Body, output: &mut File, expected: Option<u64>, sender: &Sender<'_>) -> Result<(), Failure> {
    let Sender { host, network: Network { timeout, .. } } = sender;
    let mut reader = body.into_with_config().limit(u64::MAX).reader();
    let mut buffer = vec![0; CHUNK];
    // Only the wait for the server counts: the disk may be slower than the network.
    let (mut count, mut stretch, mut waited) = (0_u64, 0_u64, Duration::ZERO);
    loop {
        let since = Instant::now();
        let read = reader.read(&mut buffer);
        waited += since.elapsed();
        let length = match read {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::passing(format!("{host}: the connection broke: {error}"))),
        };
        // The reader has closed the pipe.
        output.write_all(&buffer[..length]).map_err(|error| Failure::last(error.to_string()))?;
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        (count, stretch) = (count + length, stretch + length);
        if waited >= *timeout {
            if is_slow(stretch, waited, *timeout) {
                let seconds = waited.as_secs();
                return Err(Failure::last(format!(
                    "{host} sends too slowly ({stretch} bytes in {seconds} seconds); a later download resumes here"
                )));
            }
            (stretch, waited) = (0, Duration::ZERO);
        }
    }
    match expected {
        Some(expected) if count < expected => {
            Err(Failure::passing(format!("{host} closed the connection too early")))
        }
        Some(expected) if count > expected => {
            Err(Failure::last(format!("{host} sent more data than announced")))
        }
        _ => Ok(()),
    }
}

/// Downloads a small file completely.
///
/// # Errors
/// If fork(2) fails; the inner error says why the download failed, or that the file is larger than `most` bytes.
pub fn whole(address: &str, most: u64, network: &Network) -> Result<Result<Vec<u8>, Failure>> {
    let (mut fetch, head) = match Fetch::begin(&FetchRequest { address, from: 0, tag: None }, network)? {
        Ok(begun) => begun,
        Err(failure) => return Ok(Err(failure)),
    };
    if head.is_page {
        return Ok(Err(Failure::last(format!(
            "{address}: the answer is a web page; the network may require a login"
        ))));
    }
    let mut bytes = Vec::new();
    (&mut fetch).take(most + 1).read_to_end(&mut bytes).context("read from the network")?;
    if u64::try_from(bytes.len())? > most {
        return Ok(Err(Failure::last(format!("{address} is larger than {most} bytes; refused"))));
    }
    Ok(fetch.finish()?.map(|()| bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for wrong in ["bytes 9-5/10", "bytes 5-9/9", "5-9/10", "bytes */10", "bytes 5-9"] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_temporary_refusal_is_described_and_repeated() {
        let uri: Uri = "https://a/b".parse().unwrap();
        for (status, expected) in [
            (408, "requests a retry (408)"),
            (429, "is too busy (429)"),
            (503, "is too busy (503)"),
            (500, "reports an internal error (500)"),
        ] {
            let response = Response::builder().status(status).body(Body::builder().data("")).unwrap();
            let failure = head_of(&uri, &response, 0).err().unwrap();
            assert_eq!(failure.text, format!("https://a/b: the server {expected}"));
            assert_eq!(failure.remedy, Remedy::Wait);
        }
    }

    #[test]
    fn a_slow_server_is_distinguished_from_one_that_pauses() {
        let period = Duration::from_secs(30);
        assert!(is_slow(127 << 10, period, period));
        assert!(!is_slow(128 << 10, period, period));
        assert!(!is_slow(64 << 10, period / 2, period));
        let network = Network {
            roots: RootCerts::WebPki,
            names: Names::default(),
            environment: BTreeMap::new(),
            timeout: period,
        };
        assert!(network.is_progress(64 << 10, period / 2));
        assert!(!network.is_progress(64 << 10, period), "it paused for too long");
        assert!(!network.is_progress(100, Duration::from_millis(1)), "it closes each connection at once");
    }

    proptest! {
        #[test]
        fn no_header_panics(text in ".{0,40}") {
            let _ = content_range(&text);
        }
    }
}
