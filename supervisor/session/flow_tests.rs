use std::os::fd::AsFd;

use nix::unistd::{pipe, write};
use proptest::prelude::*;

use super::*;

#[test]
fn a_full_queue_is_not_read_into() {
    let (source, writer) = pipe().unwrap();
    let mut flow = Flow::default();
    while flow.wants_source() {
        write(&writer, &[b'x'; PIECE]).unwrap();
        assert_eq!(flow.fill(source.as_fd(), |_| {}), SourceState::Open);
    }
    assert_eq!(flow.queue.len(), CAPACITY);
    flow.drain(|bytes| Ok(bytes.len().min(1)));
    assert!(flow.queue.is_empty());
    assert!(flow.wants_source() && !flow.is_finished());
    drop(writer);
    assert_eq!(flow.fill(source.as_fd(), |_| {}), SourceState::Ended);
    assert!(flow.is_finished());
}

#[test]
fn what_waits_is_written_after_the_end_of_the_source() {
    let mut flow = Flow::default();
    flow.append(b"rest");
    flow.end_source();
    assert!(!flow.is_finished() && flow.wants_sink());
    let mut written: Vec<u8> = Vec::new();
    flow.drain(|bytes| {
        written.extend(bytes);
        Ok(bytes.len())
    });
    assert_eq!(written, b"rest");
    assert!(flow.is_finished() && !flow.lost_its_sink());
}

#[test]
fn a_sink_that_is_gone_takes_nothing_and_keeps_nothing() {
    let mut flow = Flow::default();
    flow.append(b"lost");
    flow.drain(|_| Err(Errno::EPIPE));
    assert!(flow.lost_its_sink() && flow.is_finished() && !flow.wants_source() && !flow.wants_sink());
}

proptest! {
    /// However little the sink takes at a time, and however often it makes us wait, nothing is lost or moved.
    #[test]
    fn bytes_come_out_as_they_went_in(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20),
        takes in prop::collection::vec(prop_oneof![Just(Err(Errno::EAGAIN)), Just(Err(Errno::EINTR)), (1..9_usize).prop_map(Ok)], 1..50),
    ) {
        let mut flow = Flow::default();
        let mut written = Vec::new();
        let mut takes = takes.into_iter().chain(std::iter::repeat(Ok(7)));
        for piece in &pieces {
            flow.append(piece);
            flow.drain(|bytes| {
                let length = takes.next().unwrap_or(Ok(1))?.min(bytes.len());
                written.extend(&bytes[..length]);
                Ok(length)
            });
        }
        while flow.wants_sink() {
            flow.drain(|bytes| {
                written.push(bytes[0]);
                Ok(1)
            });
        }
        prop_assert_eq!(written, pieces.concat());
    }
}
