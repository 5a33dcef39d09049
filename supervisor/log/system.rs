//! The system's own log: Android's logd, or syslog.
//!
//! Owns the two datagram formats. The sockets never block: a daemon that does not read loses lines and delays no one.
//! If it has ended, the next line fails and the sink is dropped.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

use log::Level;
use syslog::{Facility, LogFormat, Logger, LoggerBackend, Severity};

/// The tag of our lines.
const TAG: &str = "ds";

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

/// Android's logd.
#[derive(Debug)]
pub struct Logd {
    socket: UnixDatagram,
}

impl Logd {
    /// Connects to logd's socket for writers.
    pub fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self { socket: connect(path)? })
    }

    /// Sends one line to the main buffer.
    pub fn write(&mut self, level: Level, line: &str) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // The format has 32 bits, which last until 2106.
        let seconds = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        let packet = logd_packet(level, line, process::id(), seconds, now.subsec_nanos());
        self.socket.send(&packet).map(drop)
    }
}

/// A datagram for logd: buffer, thread, time, then priority, tag and text, each text ending in a NUL.
fn logd_packet(level: Level, line: &str, thread: u32, seconds: u32, nanoseconds: u32) -> Vec<u8> {
    const MAIN_BUFFER: u8 = 0;
    let priority: u8 = match level {
        Level::Error => 6,
        Level::Warn => 5,
        Level::Info => 4,
        Level::Debug => 3,
        Level::Trace => 2,
    };
    let mut packet = vec![MAIN_BUFFER];
    // Thread ids above 65535 lose their upper half, as in liblog.
    packet.extend_from_slice(&thread.to_le_bytes()[..2]);
    packet.extend_from_slice(&seconds.to_le_bytes());
    packet.extend_from_slice(&nanoseconds.to_le_bytes());
    packet.push(priority);
    packet.extend_from_slice(TAG.as_bytes());
    packet.push(0);
    packet.extend_from_slice(line.as_bytes());
    packet.push(0);
    packet
}

/// The syslog daemon of other systems.
pub struct Syslog {
    logger: Logger<LoggerBackend, Format>,
}

impl fmt::Debug for Syslog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Syslog")
    }
}

impl Syslog {
    /// Connects to syslog's socket.
    pub fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self { logger: Logger::new(LoggerBackend::Unix(connect(path)?), Format) })
    }

    /// Sends one line.
    pub fn write(&mut self, level: Level, line: &str) -> io::Result<()> {
        let sent = match level {
            Level::Error => self.logger.err(line),
            Level::Warn => self.logger.warning(line),
            Level::Info => self.logger.info(line),
            Level::Debug | Level::Trace => self.logger.debug(line),
        };
        sent.map_err(|error| match error {
            syslog::Error::Io(error) | syslog::Error::Write(error) => error,
            other => io::Error::other(other.to_string()),
        })
    }
}

/// `<PRIORITY>ds[PID]: text`, without a time, which the daemon adds. The crate's own formatter asks for the local time
/// zone and panics if that is unknown.
#[derive(Debug)]
struct Format;

impl<T: Display> LogFormat<T> for Format {
    fn format<W: Write>(&self, writer: &mut W, severity: Severity, message: T) -> syslog::Result<()> {
        let priority = Facility::LOG_DAEMON as u8 | severity as u8;
        let line = format!("<{priority}>{TAG}[{}]: {message}", process::id());
        writer.write_all(line.as_bytes()).map_err(syslog::Error::Write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::{env, fs};

    fn receiver(name: &str) -> (UnixDatagram, std::path::PathBuf) {
        let path = env::temp_dir().join(format!("ds-log-{}-{name}", process::id()));
        let _ = fs::remove_file(&path);
        (UnixDatagram::bind(&path).unwrap(), path)
    }

    #[test]
    fn logd_gets_its_binary_format() {
        let packet = logd_packet(Level::Warn, "hi", 0x0001_0203, 0x0405_0607, 0x0809_0a0b);
        assert_eq!(packet, b"\x00\x03\x02\x07\x06\x05\x04\x0b\x0a\x09\x08\x05ds\0hi\0");
    }

    #[test]
    fn lines_arrive_and_a_lost_daemon_is_noticed() {
        let (receiver, path) = receiver("daemon");
        let mut logd = Logd::connect(&path).unwrap();
        let mut syslog = Syslog::connect(&path).unwrap();
        let mut buffer = [0; 256];
        logd.write(Level::Error, "one").unwrap();
        let length = receiver.recv(&mut buffer).unwrap();
        assert!(buffer[..length].ends_with(b"\x06ds\0one\0"));
        syslog.write(Level::Warn, "two").unwrap();
        let length = receiver.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..length], *format!("<28>ds[{}]: two", process::id()).as_bytes());
        drop(receiver);
        fs::remove_file(&path).unwrap();
        assert_eq!(logd.write(Level::Error, "three").unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(syslog.write(Level::Error, "three").unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_log_daemon_that_does_not_read_does_not_block() {
        let (_receiver, path) = receiver("full");
        let mut logd = Logd::connect(&path).unwrap();
        let error = (0..100_000).find_map(|_| logd.write(Level::Info, "line").err()).unwrap();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        fs::remove_file(&path).unwrap();
    }
}
