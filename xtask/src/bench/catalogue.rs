//! From a server to a container: `ds create --from https://…` against xz(1) and tar(1) with a local file.
//!
//! Owns a tarball of about 100 MB, and a web server on loopback with a certificate that only this bench trusts.

use super::images::{attempt, shell};
use super::setup::{Bench, Rounds};
use super::stopwatch::{self, Samples};
use super::table::Row;
use crate::process;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// The number of incompressible bytes in addition to a Debian.
const FILLER_MIB: u32 = 40;
/// Prints its port and serves the directory over TLS.
const SERVER: &str = "
import functools, http.server, ssl, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
";

/// The server; it ends when this is dropped.
struct Server(Child, String);

impl Server {
    fn start(directory: &str, certificate: &str, key: &str) -> Result<Self> {
        let mut command = Command::new("python3");
        command.args(["-c", SERVER, directory, certificate, key]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut line = String::new();
        let said = child.stdout.take().context("the server has no stdout")?;
        BufReader::new(said).read_line(&mut line)?;
        Ok(Self(child, line.trim().to_owned()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Creates a container from a download, against unpacking the same file.
///
/// # Errors
/// If `ds` or the server fails.
pub fn measure(bench: &Bench, rounds: &Rounds) -> Result<Vec<Row>> {
    let rootfs = bench.rootfs("bookworm", "download")?;
    let path = |name: &str| bench.folder(name).to_string_lossy().into_owned();
    let [served, file, certificate, key] =
        ["served", "served/rootfs.tar.xz", "server.pem", "server.key"].map(path);
    let script = "mkdir -p \"$2\"; head -c \"$4\"M /dev/urandom >\"$1/filler\"
        tar -C \"$1\" --numeric-owner -c . | xz -T0 -3 >\"$3\"";
    shell(script, &[&rootfs, &served, &file, &FILLER_MIB.to_string()])?;
    let request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=bench \
                   -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
                   -keyout \"$2\" -out \"$1\"";
    process::run_quietly(Command::new("sh").args(["-euc", request, "sh", &certificate, &key]))?;
    let server = Server::start(&served, &certificate, &key)?;
    let address = format!("https://localhost:{}/rootfs.tar.xz", server.1);
    let (mut ours, mut theirs) = (Samples::default(), Ok(Samples::default()));
    // Nothing is deleted before the last round: for a minute, ext4 avoids the inodes of deleted files, and the search for
    // others takes longer than their creation.
    let mut made = Vec::new();
    rounds.each("catalogue", |number| {
        let (name, tree) = (format!("download{number}"), path(&format!("unpacked{number}")));
        let mut create = bench.ds.command(&["create", &name, "--from", &address]);
        ours.push(stopwatch::time(create.env("SSL_CERT_FILE", &certificate))?);
        bench.ds.quiet(&["cache", "prune"])?;
        let script = "mkdir \"$2\"
            xz -dcT0 \"$1\" | tar -C \"$2\" --numeric-owner --xattrs --xattrs-include='*' -xpf -
            sync -f \"$2\"";
        attempt(&mut theirs, script, &[&file, &tree]);
        made.push((name, tree));
        Ok(())
    })?;
    for (name, tree) in &made {
        bench.ds.quiet(&["rm", name])?;
        shell("rm -rf \"$1\"", &[tree])?;
    }
    Ok(vec![Row::ratio(
        "`ds create NAME --from https://…/rootfs.tar.xz` (100 MB, loopback)",
        &ours,
        "xz -dT0 | tar -x of the file",
        &theirs,
        Some(1.1),
    )])
}
