//! Resolves host names without the C library: a static program has no NSS, and Android has no /etc/resolv.conf.
//!
//! Owns the order: a literal address, `localhost`, /etc/hosts, Android's resolver (netd's socket, which supports VPN
//! and private DNS), the name servers of /etc/resolv.conf, those of Android's properties, and public ones as a last
//! resort. Files are read before the process is confined. hosts(5), resolv.conf(5), RFC 1035.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::android::property;
use crate::platform::is_android;

/// The socket of netd on Android.
const NETD: &str = "/dev/socket/dnsproxyd";
/// Used if the machine has no name servers: Cloudflare's and Google's.
const PUBLIC: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)),
    IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
    IpAddr::V6(Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888)),
];
/// The timeout for one query to one server.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum size of a file, in bytes.
const MAX: u64 = 1 << 20;
/// Maximum number of addresses of a name.
const MAX_ADDRESSES: usize = 8;

/// The configuration, read before the process is confined.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    hosts: Vec<(String, IpAddr)>,
    servers: Vec<SocketAddr>,
    netd: bool,
}

impl Names {
    /// Reads the machine's files.
    pub(super) fn load() -> Self {
        let hosts = parse_hosts(&text_of("/etc/hosts"));
        let mut servers = parse_servers(&text_of("/etc/resolv.conf"));
        let netd = Path::new(NETD).exists();
        if servers.is_empty() {
            let known = if is_android() { property::name_servers() } else { Vec::new() };
            servers.extend(known.into_iter().chain(PUBLIC).map(|address| SocketAddr::new(address, 53)));
        }
        Self { hosts, servers, netd }
    }

    /// The addresses of a host.
    fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let host = bare.trim_end_matches('.').to_ascii_lowercase();
        if host == "localhost" || host.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let known: Vec<IpAddr> =
            self.hosts.iter().filter(|(name, _)| *name == host).map(|(_, address)| *address).collect();
        if !known.is_empty() {
            return Ok(known);
        }
        if self.netd
            && let Ok(found) = ask_netd(&host)
            && !found.is_empty()
        {
            return Ok(found);
        }
        self.ask_servers(&host)
    }

    fn ask_servers(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let mut last = io::Error::new(ErrorKind::NotFound, "no name server is known");
        for server in &self.servers {
            let mut found = Vec::new();
            let mut answered = false;
            for kind in [TYPE::A, TYPE::AAAA] {
                match ask(*server, host, kind) {
                    Ok(addresses) => {
                        answered = true;
                        found.extend(addresses);
                    }
                    Err(error) => last = error,
                }
            }
            if !found.is_empty() {
                found.truncate(MAX_ADDRESSES);
                return Ok(found);
            }
            if answered {
                return Err(io::Error::new(ErrorKind::NotFound, "no such host"));
            }
        }
        Err(last)
    }
}

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let authority = uri.authority().ok_or(ureq::Error::HostNotFound)?;
        let usual = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        let port = authority.port_u16().unwrap_or(usual);
        let mut resolved = self.empty();
        for address in self.addresses(authority.host())?.into_iter().take(MAX_ADDRESSES) {
            resolved.push(SocketAddr::new(address, port));
        }
        if resolved.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(resolved) }
    }
}

fn text_of(path: &str) -> String {
    let mut bytes = Vec::new();
    let _ = fs::File::open(path).and_then(|file| file.take(MAX).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn parse_hosts(text: &str) -> Vec<(String, IpAddr)> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        found.extend(words.map(|name| (name.trim_end_matches('.').to_ascii_lowercase(), address)));
    }
    found
}

fn parse_servers(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        Some(SocketAddr::new(address.split('%').next()?.parse().ok()?, 53))
    });
    servers.take(3).collect()
}

/// Sends one query to one server: by UDP, and by TCP if the answer does not fit.
fn ask(server: SocketAddr, host: &str, kind: TYPE) -> io::Result<Vec<IpAddr>> {
    let id = identifier(host, kind);
    let question = question(id, host, kind)?;
    let local: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(local)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.connect(server)?;
    socket.send(&question)?;
    let mut buffer = [0; 1500];
    let begun = Instant::now();
    while begun.elapsed() < TIMEOUT {
        let length = socket.recv(&mut buffer)?;
        match answer(&buffer[..length], id, kind)? {
            Answer::Addresses(found) => return Ok(found),
            Answer::Truncated => return ask_by_stream(server, &question, id, kind),
            // The answer to another query.
            Answer::Foreign => {}
        }
    }
    Err(io::Error::new(ErrorKind::TimedOut, "the name server only sends answers to other queries"))
}

fn ask_by_stream(server: SocketAddr, question: &[u8], id: u16, kind: TYPE) -> io::Result<Vec<IpAddr>> {
    let mut stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes)?;
    match answer(&bytes, id, kind)? {
        Answer::Addresses(found) => Ok(found),
        Answer::Truncated | Answer::Foreign => Err(invalid("the name server sent an invalid answer")),
    }
}

/// An unpredictable number.
fn identifier(host: &str, kind: TYPE) -> u16 {
    use std::hash::{BuildHasher, RandomState};
    let hash = RandomState::new().hash_one((host, u16::from(kind)));
    u16::try_from(hash & 0xffff).unwrap_or_default()
}

fn question(id: u16, host: &str, kind: TYPE) -> io::Result<Vec<u8>> {
    let name = Name::new(host).map_err(|_| invalid("invalid host name"))?;
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().map_err(|_| invalid("invalid host name"))
}

enum Answer {
    Addresses(Vec<IpAddr>),
    Truncated,
    Foreign,
}

fn answer(bytes: &[u8], id: u16, kind: TYPE) -> io::Result<Answer> {
    let Ok(packet) = Packet::parse(bytes) else { return Ok(Answer::Foreign) };
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) {
        return Ok(Answer::Foreign);
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Ok(Answer::Truncated);
    }
    match packet.rcode() {
        RCODE::NoError | RCODE::NameError => {}
        code => return Err(invalid(&format!("the name server answered {code:?}"))),
    }
    let addresses = packet.answers.iter().filter_map(|record| match (&record.rdata, kind) {
        (RData::A(a), TYPE::A) => Some(IpAddr::V4(Ipv4Addr::from(a.address))),
        (RData::AAAA(aaaa), TYPE::AAAA) => Some(IpAddr::V6(Ipv6Addr::from(aaaa.address))),
        _ => None,
    });
    Ok(Answer::Addresses(addresses.collect()))
}

/// Android's resolver. The request is `getaddrinfo HOST SERVICE FLAGS FAMILY SOCKTYPE PROTOCOL NETID` and a NUL. The
/// answer is a code of three digits and a NUL, then a 1 and five fields for each address, and a 0 at the end. All
/// numbers have four bytes in big-endian order.
fn ask_netd(host: &str) -> io::Result<Vec<IpAddr>> {
    let mut stream = UnixStream::connect(NETD)?;
    stream.set_read_timeout(Some(TIMEOUT * 3))?;
    // AF_UNSPEC, SOCK_STREAM, and the default network.
    stream.write_all(format!("getaddrinfo {host} ^ 0 0 1 0 0\0").as_bytes())?;
    let mut code = [0; 4];
    stream.read_exact(&mut code)?;
    if &code[..3] != b"222" {
        return Err(invalid("netd cannot resolve this name"));
    }
    parse_netd(&mut stream)
}

fn parse_netd(stream: &mut impl Read) -> io::Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    while number(stream)? != 0 && found.len() < MAX_ADDRESSES {
        for _ in ["flags", "family", "type", "protocol"] {
            number(stream)?;
        }
        found.extend(socket_address(&counted(stream)?));
        // The canonical name.
        counted(stream)?;
    }
    Ok(found)
}

fn number(stream: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

/// A length, followed by that many bytes.
fn counted(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = number(stream)?;
    if length > 1024 {
        return Err(invalid("netd sent an invalid answer"));
    }
    let mut bytes = Vec::new();
    stream.take(length.into()).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The address in a `struct sockaddr`, in the layout of ip(7) and ipv6(7).
fn socket_address(bytes: &[u8]) -> Option<IpAddr> {
    let family = i32::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    match family {
        libc::AF_INET => Some(IpAddr::from(<[u8; 4]>::try_from(bytes.get(4..8)?).ok()?)),
        libc::AF_INET6 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes.get(8..24)?).ok()?)),
        _ => None,
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn files_of_the_machine_are_read() {
        let hosts = parse_hosts("127.0.0.1 localhost\n::1 ip6 # x\n 10.0.0.9\tWeb.LAN web\nnonsense\n");
        assert_eq!(hosts.len(), 4);
        assert_eq!(hosts[2], ("web.lan".to_owned(), "10.0.0.9".parse().unwrap()));
        let servers =
            parse_servers("search lan\nnameserver 10.0.0.1\nnameserver fe80::1%wlan0\nnameserver x\n");
        assert_eq!(servers, ["10.0.0.1:53".parse().unwrap(), "[fe80::1]:53".parse().unwrap()]);
    }

    #[test]
    fn what_needs_no_server_is_answered() {
        let names = Names { hosts: parse_hosts("10.0.0.9 web"), servers: Vec::new(), netd: false };
        let one = |host: &str| names.addresses(host).unwrap().remove(0).to_string();
        assert_eq!(
            [one("192.0.2.1"), one("[::1]"), one("LOCALHOST"), one("web.")],
            ["192.0.2.1", "::1", "127.0.0.1", "10.0.0.9"]
        );
        assert!(names.addresses("elsewhere").is_err());
    }

    #[test]
    fn a_server_is_asked_by_datagram_and_then_by_stream() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let stream = std::net::TcpListener::bind(address).unwrap();
        let reply = |question: &[u8], truncated: bool| {
            let mut reply = Packet::parse(question).unwrap().into_reply();
            if truncated {
                reply.set_flags(PacketFlag::TRUNCATION);
            } else {
                let name = reply.questions[0].qname.clone();
                let data = RData::A(simple_dns::rdata::A { address: 0x7f00_0009 });
                reply.answers.push(simple_dns::ResourceRecord::new(name, CLASS::IN, 1, data));
            }
            reply.build_bytes_vec().unwrap()
        };
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 512];
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            server.send_to(b"junk", from).unwrap();
            server.send_to(&reply(&buffer[..length], true), from).unwrap();
            let (mut connection, _) = stream.accept().unwrap();
            let mut length = [0; 2];
            connection.read_exact(&mut length).unwrap();
            let mut question = vec![0; u16::from_be_bytes(length).into()];
            connection.read_exact(&mut question).unwrap();
            let reply = reply(&question, false);
            connection.write_all(&u16::try_from(reply.len()).unwrap().to_be_bytes()).unwrap();
            connection.write_all(&reply).unwrap();
        });
        let found = ask(address, "images.example.org", TYPE::A).unwrap();
        thread.join().unwrap();
        assert_eq!(found, ["127.0.0.9".parse::<IpAddr>().unwrap()]);
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = answer(&bytes, 1, TYPE::A);
            let _ = parse_netd(&mut bytes.as_slice());
            let _ = parse_hosts(&String::from_utf8_lossy(&bytes));
        }
    }
}
