//! A proxy for HTTPS: it answers CONNECT (RFC 9110, section 9.3.6) and passes bytes on.

use super::Place;
use nix::sched::{CloneFlags, setns};
use std::io::{BufRead, BufReader, Write, copy};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Listens on 127.0.0.1 of the place until the test ends; returns the port, and the hosts that clients asked for.
pub fn serve(place: impl Into<Place>) -> (u16, Arc<Mutex<Vec<String>>>) {
    let network = place.into().network;
    let hosts = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&hosts);
    let (send, receive) = std::sync::mpsc::channel();
    thread::spawn(move || {
        if let Some(network) = network {
            setns(&network, CloneFlags::CLONE_NEWNET).expect("setns");
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        send.send(listener.local_addr().expect("an address").port()).expect("send");
        while let Ok((client, _)) = listener.accept() {
            // A client may break off.
            let _ = pass(client, &asked);
        }
    });
    (receive.recv().expect("a port"), hosts)
}

fn pass(client: TcpStream, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let host = first.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    asked.lock().expect("lock").push(host.to_owned());
    let server = TcpStream::connect(host.replace("localhost", "127.0.0.1"))?;
    (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    for (mut from, mut to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        thread::spawn(move || {
            let _ = copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}
