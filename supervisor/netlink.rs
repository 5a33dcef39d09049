//! Messages of netlink(7), and the sockets for them.
//!
//! Owns the format of messages and attributes, acknowledgements, dumps, the batches of nfnetlink, and subscriptions.
//! Does not interpret the content of messages. A socket belongs to the network namespace in which it was opened.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::sockopt::{ReceiveTimeout, SndBuf};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::call;
use crate::sys::socket::{attach_filter, filter};

/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_DUMP`.
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`: replaces an existing object.
pub const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`: fails if the object exists.
pub const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`: creates the object if it does not exist.
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`: adds the object to the end of a list.
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
const TIMEOUT: Duration = Duration::from_secs(10);

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

    /// The message as it is sent, without its length and its sequence number.
    #[cfg(test)]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
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
        let socket = open(protocol, SockFlag::empty())?;
        call!(bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)), "bind(netlink)")?;
        let timeout = TimeVal::seconds(i64::try_from(TIMEOUT.as_secs())?);
        call!(setsockopt(&socket, ReceiveTimeout, &timeout), "setsockopt(SO_RCVTIMEO)")?;
        Ok(Self { socket, sequence: Cell::new(1) })
    }

    fn next(&self) -> u32 {
        self.sequence.set(self.sequence.get().wrapping_add(1));
        self.sequence.get()
    }

    /// Sends one message and returns its sequence number.
    fn send(&self, mut message: Message, flags: u16) -> Result<u32, Errno> {
        let sequence = self.next();
        message.finish(sequence, flags);
        send(self.socket.as_raw_fd(), &message.bytes, MsgFlags::empty())?;
        Ok(sequence)
    }

    /// Receives messages until `read` returns a result. `read` gets the sequence number, the type and the body.
    fn receive<T>(
        &self,
        mut read: impl FnMut(u32, u16, &[u8]) -> Result<Option<T>, Errno>,
    ) -> Result<T, Errno> {
        let mut buffer = vec![0; ROOM];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for (header, body) in messages(&buffer[..length]) {
                if let Some(result) = read(number(header, 8), short(header, 4), body)? {
                    return Ok(result);
                }
            }
        }
    }

    /// Sends a request and waits for its acknowledgement; returns the kernel's error number.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn request(&self, message: Message) -> Result<(), Errno> {
        let own = self.send(message, ACKNOWLEDGE)?;
        self.receive(|sequence, kind, body| match kind {
            ERROR if sequence == own => outcome(body).map(Some),
            _ => Ok(None),
        })
    }

    /// Queries one object.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn ask(&self, message: Message) -> Result<Answer, Errno> {
        let own = self.send(message, 0)?;
        self.receive(|sequence, kind, body| match kind {
            _ if sequence != own => Ok(None),
            ERROR => outcome(body).map(|()| None),
            kind => Ok(Some(Answer { kind, body: body.to_vec() })),
        })
    }

    /// Queries all objects of a type.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn dump(&self, message: Message) -> Result<Vec<Answer>> {
        let own = call!(self.send(message, DUMP), "send(netlink)")?;
        let mut found = Vec::new();
        let done = self.receive(|sequence, kind, body| match kind {
            _ if sequence != own => Ok(None),
            DONE => Ok(Some(())),
            // An acknowledgement ends no dump.
            ERROR => outcome(body).and(Err(Errno::EPROTO)),
            kind => {
                found.push(Answer { kind, body: body.to_vec() });
                Ok(None)
            }
        });
        call!(done, "netlink dump")?;
        Ok(found)
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
        let mut failed = 0;
        let done = self.receive(|sequence, kind, body| {
            if kind != ERROR || !(first..=last + 1).contains(&sequence) {
                return Ok(None);
            }
            failed = sequence - first;
            outcome(body)?;
            Ok((sequence == last).then_some(()))
        });
        Ok(call!(done, "nf_tables, message {failed}")?)
    }
}

/// A socket that receives the kernel's events of some multicast groups.
#[derive(Debug)]
pub struct Subscription {
    socket: OwnedFd,
}

impl Subscription {
    /// Subscribes to groups, given as bits; `steps` filter the events, unless they are empty.
    ///
    /// # Errors
    /// If the kernel does not support the protocol or the filter.
    pub fn new(protocol: SockProtocol, groups: u32, steps: &[filter::Step]) -> Result<Self> {
        let socket = open(protocol, SockFlag::SOCK_NONBLOCK)?;
        if !steps.is_empty() {
            call!(attach_filter(socket.as_fd(), steps), "setsockopt(SO_ATTACH_FILTER)")?;
        }
        call!(bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups)), "bind(netlink, {groups:#x})")?;
        Ok(Self { socket })
    }

    /// Readable after an event.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Discards the pending events; returns whether there were any.
    pub fn drain(&self) -> bool {
        let mut some = false;
        self.take(|_| some = true);
        some
    }

    /// Takes the pending events: types and bodies; `None` for events that were lost.
    pub fn take(&self, mut read: impl FnMut(Option<(u16, &[u8])>)) {
        let mut buffer = [0; 8192];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => {
                    let mut all = messages(&buffer[..length]).peekable();
                    if all.peek().is_none() {
                        read(None);
                    }
                    all.for_each(|(header, body)| read(Some((short(header, 4), body))));
                }
                Err(Errno::ENOBUFS) => read(None),
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }
}

fn open(protocol: SockProtocol, flags: SockFlag) -> Result<OwnedFd> {
    let flags = flags | SockFlag::SOCK_CLOEXEC;
    Ok(call!(
        socket(AddressFamily::Netlink, SockType::Raw, flags, protocol),
        "socket(netlink, {protocol:?})"
    )?)
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

    #[test]
    fn a_request_has_the_layout_that_the_kernel_expects() {
        let mut message =
            Message::new(16, CREATE, &[0; 16]).with_nested(18, |info| info.with_text(1, "veth"));
        message.finish(7, ACKNOWLEDGE);
        let little =
            |numbers: &[u16]| numbers.iter().flat_map(|number| number.to_ne_bytes()).collect::<Vec<_>>();
        assert_eq!(message.bytes.len(), 48);
        assert_eq!(message.bytes[..4], 48_u32.to_ne_bytes());
        assert_eq!(message.bytes[4..8], little(&[16, 0x405]));
        assert_eq!(message.bytes[8..12], 7_u32.to_ne_bytes());
        assert_eq!(message.bytes[32..40], little(&[16, 18 | NESTED, 9, 1]));
        assert_eq!(message.bytes[40..], *b"veth\0\0\0\0");
    }

    #[test]
    fn an_error_with_number_0_is_an_acknowledgement() {
        assert_eq!(outcome(&0_i32.to_ne_bytes()), Ok(()));
        assert_eq!(outcome(&(-libc::EOPNOTSUPP).to_ne_bytes()), Err(Errno::EOPNOTSUPP));
    }

    #[test]
    fn the_kernel_answers_and_accepts_a_subscription() {
        let route = Netlink::route().unwrap();
        // RTM_GETLINK: all interfaces, and one that does not exist.
        let links = route.dump(Message::new(18, 0, &[0; 16])).unwrap();
        assert!(links.iter().any(|link| attribute(&link.body[16..], 3) == Some(b"lo\0")));
        let missing = Message::new(18, 0, &[0; 16]).with_text(3, "missing");
        assert_eq!(route.ask(missing).map(|answer| answer.kind), Err(Errno::ENODEV));
        assert!(!Subscription::new(SockProtocol::NetlinkRoute, 0, &[]).unwrap().drain());
    }

    proptest! {
        #[test]
        fn any_answer_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(attributes(&bytes).count() <= 50);
            prop_assert!(messages(&bytes).count() <= 13);
        }
    }
}
