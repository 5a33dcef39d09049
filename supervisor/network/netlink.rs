//! Messages of netlink(7), and the sockets for them.
//!
//! Owns the format of messages and attributes, acknowledgements, dumps and the batches of nfnetlink. Knows the meaning
//! of
//! no message: that is `link` and `nftables`. A socket belongs to the network namespace in which it was opened.

use std::cell::Cell;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::sockopt::{ReceiveTimeout, SndBuf};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::call;

/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_DUMP`.
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`, `NLM_F_EXCL`, `NLM_F_CREATE`, `NLM_F_APPEND`, for requests that create objects.
pub const REPLACE: u16 = 0x100;
pub const EXCLUSIVE: u16 = 0x200;
pub const CREATE: u16 = 0x400;
pub const APPEND: u16 = 0x800;
/// `NLMSG_ERROR`, `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Length of struct nlmsghdr.
const HEADER: usize = 16;
/// `NLA_F_NESTED`, and the bits of an attribute's type that are no flags.
const NESTED: u16 = 0x8000;
const TYPE: u16 = 0x3fff;
/// The buffer for one answer: the kernel sends dumps in pieces of at most 32 KiB.
const ROOM: usize = 64 << 10;
/// The maximum size of a batch in bytes, which the kernel accepts only as a whole.
const BATCH: usize = 4 << 20;
/// The timeout for an answer. The kernel answers within the call; a lost answer must not block a start.
const PATIENCE: Duration = Duration::from_secs(10);

/// A message under construction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A request of this type, with the fixed part of its body.
    #[must_use]
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend(fixed);
        Self { bytes }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an attribute with a name, which ends with a NUL.
    #[must_use]
    pub fn with_text(self, kind: u16, text: &str) -> Self {
        self.with(kind, &[text.as_bytes(), &[0]].concat())
    }

    /// Adds an attribute that contains attributes.
    #[must_use]
    pub fn with_nested(mut self, kind: u16, inside: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend([0, 0]);
        self.bytes.extend((kind | NESTED).to_ne_bytes());
        let mut done = inside(self);
        let length = u16::try_from(done.bytes.len() - start).unwrap_or(u16::MAX);
        done.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        done
    }

    /// Adds bytes: the fixed part of an attribute's content.
    #[must_use]
    pub fn with_bytes(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    fn finish(&mut self, sequence: u32, flags: u16) {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        let flags = short(&self.bytes, 6) | flags;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }
}

/// One message of an answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its type.
    pub kind: u16,
    /// Its fixed part and its attributes.
    pub body: Vec<u8>,
}

/// A socket of one network namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: Cell<u32>,
}

impl Netlink {
    /// Opens one to rtnetlink(7).
    ///
    /// # Errors
    /// If the kernel does not support it.
    pub fn route() -> Result<Self> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    /// Opens one to nfnetlink, which includes nf_tables.
    ///
    /// # Errors
    /// If the kernel does not support it.
    pub fn netfilter() -> Result<Self> {
        Self::open(SockProtocol::NetlinkNetFilter)
    }

    fn open(protocol: SockProtocol) -> Result<Self> {
        let kind = SockType::Raw;
        let socket = call!(
            socket(AddressFamily::Netlink, kind, SockFlag::SOCK_CLOEXEC, protocol),
            "socket(netlink, {protocol:?})"
        )?;
        call!(bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)), "bind(netlink)")?;
        let patience = TimeVal::seconds(i64::try_from(PATIENCE.as_secs())?);
        call!(setsockopt(&socket, ReceiveTimeout, &patience), "setsockopt(SO_RCVTIMEO)")?;
        Ok(Self { socket, sequence: Cell::new(1) })
    }

    fn next(&self) -> u32 {
        self.sequence.set(self.sequence.get().wrapping_add(1));
        self.sequence.get()
    }

    /// Sends a request and waits for its acknowledgement; returns the kernel's error number.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn request(&self, mut message: Message) -> Result<(), Errno> {
        let sequence = self.next();
        message.finish(sequence, ACKNOWLEDGE);
        send(self.socket.as_raw_fd(), &message.bytes, MsgFlags::empty())?;
        self.acknowledged(sequence)
    }

    /// Waits for the answer to a request.
    fn acknowledged(&self, sequence: u32) -> Result<(), Errno> {
        let mut buffer = vec![0; ROOM];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for (header, body) in messages(&buffer[..length]) {
                if number(header, 8) == sequence && short(header, 4) == ERROR {
                    return outcome(body);
                }
            }
        }
    }

    /// Queries one object.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn ask(&self, mut message: Message) -> Result<Answer, Errno> {
        let sequence = self.next();
        message.finish(sequence, 0);
        send(self.socket.as_raw_fd(), &message.bytes, MsgFlags::empty())?;
        let mut buffer = vec![0; ROOM];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for (header, body) in messages(&buffer[..length]) {
                match short(header, 4) {
                    _ if number(header, 8) != sequence => {}
                    ERROR => outcome(body)?,
                    kind => return Ok(Answer { kind, body: body.to_vec() }),
                }
            }
        }
    }

    /// Queries all objects of a type.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn dump(&self, mut message: Message) -> Result<Vec<Answer>> {
        let sequence = self.next();
        message.finish(sequence, DUMP);
        call!(send(self.socket.as_raw_fd(), &message.bytes, MsgFlags::empty()), "send(netlink)")?;
        let (mut found, mut buffer) = (Vec::new(), vec![0; ROOM]);
        loop {
            let length =
                call!(recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()), "recv(netlink)")?;
            for (header, body) in messages(&buffer[..length]) {
                match short(header, 4) {
                    _ if number(header, 8) != sequence => {}
                    DONE => return Ok(found),
                    ERROR => {
                        call!(outcome(body), "netlink dump")?;
                        bail!("the kernel ended a dump early");
                    }
                    kind => found.push(Answer { kind, body: body.to_vec() }),
                }
            }
        }
    }

    /// Sends several requests as one transaction of nfnetlink: all take effect, or none. The kernel refuses it if it is
    /// not in this `generation` any more.
    ///
    /// # Errors
    /// The first error, with the index of its message in `batch`.
    pub fn transaction(&self, subsystem: u16, batch: Vec<Message>, generation: Option<u32>) -> Result<()> {
        /// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`.
        const BEGIN: u16 = 0x10;
        const END: u16 = 0x11;
        let mark = |kind: u16| {
            // struct nfgenmsg: AF_UNSPEC, version 0, the subsystem.
            let [high, low] = subsystem.to_be_bytes();
            Message::new(kind, 0, &[0, 0, high, low])
        };
        let first = self.next();
        let last = u32::try_from(batch.len()).context("a batch")? + first;
        let mut bytes = Vec::new();
        let mut begin = mark(BEGIN);
        if let Some(generation) = generation {
            // NFNL_BATCH_GENID
            begin = begin.with(1, &generation.to_be_bytes());
        }
        begin.finish(first, 0);
        bytes.extend(begin.bytes);
        for (message, sequence) in batch.into_iter().zip(first + 1..) {
            let mut message = message;
            // The last message is acknowledged, or an error is returned.
            message.finish(sequence, if sequence == last { ACKNOWLEDGE } else { 0 });
            bytes.extend(message.bytes);
        }
        let mut end = mark(END);
        self.sequence.set(last);
        end.finish(self.next(), 0);
        bytes.extend(end.bytes);
        let _ = setsockopt(&self.socket, SndBuf, &BATCH.max(bytes.len() * 2));
        call!(send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty()), "send(nfnetlink)")?;
        let mut buffer = vec![0; ROOM];
        loop {
            let length =
                call!(recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()), "recv(nfnetlink)")?;
            for (header, body) in messages(&buffer[..length]) {
                let sequence = number(header, 8);
                if short(header, 4) != ERROR || !(first..=last + 1).contains(&sequence) {
                    continue;
                }
                call!(outcome(body), "nf_tables, message {}", sequence.saturating_sub(first))?;
                if sequence == last {
                    return Ok(());
                }
            }
        }
    }
}

/// The error number of an error message; 0 is an acknowledgement.
fn outcome(body: &[u8]) -> Result<(), Errno> {
    match i32::from_ne_bytes(number(body, 0).to_ne_bytes()) {
        0 => Ok(()),
        code => Err(Errno::from_raw(code.saturating_neg())),
    }
}

/// The messages of one piece: headers and bodies.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (header, rest) = bytes.split_at_checked(HEADER)?;
        let length = usize::try_from(number(header, 0)).ok()?;
        let body = rest.get(..length.checked_sub(HEADER)?)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((header, body))
    })
}

/// The attributes in these bytes: types without flags, and values.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(short(bytes.get(..4)?, 0));
        let value = bytes.get(4..length)?;
        let kind = short(bytes, 2) & TYPE;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// The value of one attribute.
#[must_use]
pub fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// Four bytes as a number in native byte order.
#[must_use]
pub fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn short(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|two| two.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let message = Message::new(16, 0, &[7; 4])
            .with_text(3, "eth0")
            .with_nested(18, |inside| inside.with(1, &[1, 2, 3]).with(2, &9_u32.to_ne_bytes()));
        let body = &message.bytes[HEADER + 4..];
        assert_eq!(attribute(body, 3), Some(&b"eth0\0"[..]));
        let inside = attribute(body, 18).unwrap();
        assert_eq!(attribute(inside, 1), Some(&[1, 2, 3][..]));
        assert_eq!(number(attribute(inside, 2).unwrap(), 0), 9);
    }

    proptest! {
        #[test]
        fn any_answer_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(attributes(&bytes).count() <= 50);
            prop_assert!(messages(&bytes).count() <= 13);
        }
    }
}
