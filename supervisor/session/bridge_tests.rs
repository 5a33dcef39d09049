use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::poll::PollTimeout;
use nix::unistd::pipe;

use super::*;
use crate::poll::PollSet;
use crate::pty;
use crate::rootfs::root::Root;

/// One megabyte in which every position is recognisable.
fn megabyte() -> Vec<u8> {
    (0..1_048_576_u32).flat_map(u32::to_le_bytes).take(1_048_576).collect()
}

/// Polls as the loops of sessions do, until no more bytes are written.
fn cross(mut bridge: Bridge) -> Bridge {
    while !bridge.is_finished() {
        let edges = bridge.edges();
        let mut set = PollSet::default();
        edges.iter().for_each(|(edge, descriptor, events)| set.add(*edge, *descriptor, *events));
        let ready = set.wait(PollTimeout::from(10_000_u16)).unwrap();
        assert!(!ready.is_empty(), "no progress");
        for edge in ready {
            match edge {
                Edge::Input => drop(bridge.take_input()),
                Edge::Output => bridge.pass_outward(),
                Edge::Far => drop(bridge.serve_far()),
            }
        }
    }
    bridge
}

/// Echoes its input, slowly at first.
fn echo(mut stream: UnixStream) -> thread::JoinHandle<usize> {
    thread::spawn(move || {
        let (mut buffer, mut total) = (vec![0; 8192], 0);
        while total < 1_048_576 {
            let length = stream.read(&mut buffer).unwrap();
            stream.write_all(&buffer[..length]).unwrap();
            if total < 100_000 {
                thread::sleep(Duration::from_millis(1));
            }
            total += length;
        }
        total
    })
}

fn reader(mut output: impl Read + Send + 'static, pause: Duration) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let (mut all, mut buffer) = (Vec::new(), vec![0; 4000]);
        loop {
            match output.read(&mut buffer).unwrap() {
                0 => return all,
                length => all.extend(&buffer[..length]),
            }
            if all.len() < 200_000 {
                thread::sleep(pause);
            }
        }
    })
}

#[test]
fn a_megabyte_goes_both_ways_whole_past_slow_ends() {
    let (near, writer) = pipe().unwrap();
    let (output, sink) = pipe().unwrap();
    let (far, other) = UnixStream::pair().unwrap();
    let feeding = thread::spawn(move || File::from(writer).write_all(&megabyte()).unwrap());
    let echoing = echo(other);
    let reading = reader(File::from(output), Duration::from_millis(1));
    let bridge = Bridge::new(far.into(), near.as_fd(), sink.as_fd(), Input::Stream).unwrap();
    drop(sink);
    drop(cross(bridge));
    feeding.join().unwrap();
    assert_eq!(echoing.join().unwrap(), 1_048_576);
    assert!(reading.join().unwrap() == megabyte(), "the bytes differ");
}

#[test]
fn a_socket_as_output_is_written_without_waiting() {
    let (near, writer) = pipe().unwrap();
    let (output, sink) = UnixStream::pair().unwrap();
    let (far, mut other) = UnixStream::pair().unwrap();
    drop(writer);
    let producing = thread::spawn(move || other.write_all(&megabyte()).unwrap());
    let reading = reader(output, Duration::from_millis(1));
    let bridge = Bridge::new(far.into(), near.as_fd(), sink.as_fd(), Input::Stream).unwrap();
    drop(sink);
    drop(cross(bridge));
    producing.join().unwrap();
    assert!(reading.join().unwrap() == megabyte(), "the bytes differ");
}

#[test]
fn a_reader_that_goes_away_is_noticed() {
    let (near, _writer) = pipe().unwrap();
    let (output, sink) = pipe().unwrap();
    let (far, mut other) = UnixStream::pair().unwrap();
    let bridge = Bridge::new(far.into(), near.as_fd(), sink.as_fd(), Input::Stream).unwrap();
    drop(output);
    other.write_all(b"for nobody").unwrap();
    assert!(cross(bridge).lost_its_reader());
}

#[test]
fn the_sequence_leaves_and_the_end_of_keys_hangs_up() {
    let (near, writer) = pipe().unwrap();
    let (_output, sink) = pipe().unwrap();
    let (far, mut other) = UnixStream::pair().unwrap();
    let input = Input::KeysWithEscape(Escape::default());
    let mut bridge = Bridge::new(far.into(), near.as_fd(), sink.as_fd(), input).unwrap();
    write(&writer, b"typed\x1d").unwrap();
    assert_eq!(bridge.take_input(), Typed::Something);
    write(&writer, b"\x1dlost").unwrap();
    assert_eq!(bridge.take_input(), Typed::Left);
    let mut typed = [0; 16];
    assert_eq!(other.read(&mut typed).unwrap(), 5);
    assert_eq!(&typed[..5], b"typed");
    drop(writer);
    assert_eq!(bridge.take_input(), Typed::HungUp);
}

#[test]
fn the_end_of_a_file_is_typed_once_everything_before_was_taken() {
    let pty = pty::open(&Root::open(Path::new("/")).unwrap()).unwrap();
    let (near, writer) = pipe().unwrap();
    let (_output, sink) = pipe().unwrap();
    write(&writer, b"line\n").unwrap();
    drop(writer);
    let mut bridge = Bridge::new(pty.master, near.as_fd(), sink.as_fd(), Input::Text).unwrap();
    assert_eq!(bridge.take_input(), Typed::Something);
    assert!(!bridge.end_is_due());
    assert_eq!(bridge.take_input(), Typed::Something);
    assert!(bridge.end_is_due());
    // The line has not been read yet, so the end must wait too.
    bridge.type_end(pty.peer.as_fd());
    let mut program = File::from(pty.peer.try_clone().unwrap());
    let mut line = [0; 16];
    assert_eq!(program.read(&mut line).unwrap(), 5);
    bridge.type_end(pty.peer.as_fd());
    assert_eq!(program.read(&mut line).unwrap(), 0, "the end of the input");
}

#[test]
fn the_rest_of_a_program_that_ended_comes_out() {
    let pty = pty::open(&Root::open(Path::new("/")).unwrap()).unwrap();
    let (near, _writer) = pipe().unwrap();
    let (output, sink) = pipe().unwrap();
    let mut bridge = Bridge::new(pty.master, near.as_fd(), sink.as_fd(), Input::Text).unwrap();
    write(&pty.peer, b"last words").unwrap();
    drop(pty.peer);
    bridge.end_input();
    bridge.take_rest();
    assert!(bridge.is_finished());
    drop((bridge, sink));
    let mut all = String::new();
    File::from(output).read_to_string(&mut all).unwrap();
    assert_eq!(all, "last words");
}

#[test]
fn what_is_held_back_comes_out_later() {
    let (near, _writer) = pipe().unwrap();
    let (output, sink) = pipe().unwrap();
    let (far, mut other) = UnixStream::pair().unwrap();
    let mut bridge = Bridge::new(far.into(), near.as_fd(), sink.as_fd(), Input::Keys).unwrap();
    bridge.hold();
    other.write_all(b"early").unwrap();
    drop(other);
    bridge.take_rest();
    assert!(!bridge.is_finished());
    assert!(bridge.edges().iter().all(|(edge, ..)| *edge != Edge::Output));
    bridge.release();
    bridge.pass_outward();
    assert!(bridge.is_finished());
    let mut all = [0; 16];
    assert_eq!(File::from(output).read(&mut all).unwrap(), 5);
}
