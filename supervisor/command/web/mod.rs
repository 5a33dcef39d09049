//! `ds web`: serves the page of the module to one browser of this machine, for use without a root manager.
//!
//! The server is a separate process that a worker starts. It listens on 127.0.0.1 at a port that the kernel
//! chooses, refuses requests without the session cookie, and ends after ten idle minutes. A page's request becomes the
//! command `ds rpc` of a new connection to the supervisor: the server itself can do nothing else.

mod connection;
mod message;
mod pages;
mod server;
mod session;
mod site;

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use nix::sys::prctl;
use nix::unistd::setsid;

use self::pages::Pages;
use self::session::Session;
use self::site::Site;
use super::{output, print};
use crate::call;
use crate::cli;
use crate::daemon::environment::installed;
use crate::exit::ExitCode;
use crate::log::{self as sinks, Role};
use crate::paths::Paths;
use crate::subprocess::release_streams;
use crate::sys::process::{Fork, exit_immediately, fork};
use crate::tool::{Invocation, Tool};
use crate::worker::Env;

/// Starts the server unless one is running, and prints an address that works once.
///
/// # Errors
/// If the page is not installed, or no address is available to listen on.
pub fn run(arguments: &cli::Web, env: &Env) -> Result<ExitCode> {
    let session = Session::at(env.paths.web());
    if arguments.stop {
        session.stop();
        return Ok(ExitCode::Done);
    }
    let port = match session.port() {
        Some(port) => port,
        None => {
            session.stop();
            launch(arguments, env, &session)?
        }
    };
    let address = format!("http://127.0.0.1:{port}/open/{}", session.new_secret()?);
    if arguments.open {
        let said = match open(&address) {
            Ok(()) => "The page opens in the browser.\n".to_owned(),
            Err(error) => format!("{error:#}; open this address yourself:\n{address}\n"),
        };
        return print(&mut io::stdout(), &said);
    }
    if arguments.json {
        return output::json(&serde_json::json!({ "address": address }));
    }
    print(&mut io::stdout(), &format!("{address}\n"))
}

/// The port of a new server.
fn launch(arguments: &cli::Web, env: &Env, session: &Session) -> Result<u16> {
    let pages = match &arguments.pages {
        Some(directory) => Pages::of(&env.path(directory)?)?,
        None => Pages::of(&find(&env.paths)?)?,
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("listen on 127.0.0.1")?;
    let port = listener.local_addr().context("the address")?.port();
    session.begin()?;
    match call!(fork(), "fork")? {
        Fork::Parent(pid) => session.write_down(pid, port)?,
        Fork::Child => {
            detach(env);
            server::serve(&listener, &Site { port, pages, session, paths: &env.paths });
            session.end();
            exit_immediately(0)
        }
    }
    Ok(port)
}

/// Releases the client and all resources of the worker.
fn detach(env: &Env) {
    let _ = setsid();
    let _ = prctl::set_name(c"ds:pages");
    let _ = release_streams();
    env.client.close();
    env.supervisor.close();
    sinks::take_role(Role::daemon(&env.knowledge.settings, &env.paths.supervisor_log(), false));
}

/// The directory of the page: in the module, or beside the program.
fn find(paths: &Paths) -> Result<PathBuf> {
    let module = std::fs::read_to_string(paths.module()).ok();
    let module = module.map(|text| PathBuf::from(text.trim()).join("webroot"));
    let program = installed().unwrap_or_default();
    let beside = program.ancestors().skip(1).take(3);
    let beside =
        beside.flat_map(|parent| ["webroot", "share/droidspaces/webroot"].map(|name| parent.join(name)));
    let mut places = module.into_iter().chain(beside);
    match places.find(|place| place.join("index.html").is_file()) {
        Some(place) => Ok(place),
        None => bail!(
            "the page is not installed; build it with 'cargo xtask page', or give its directory with --pages"
        ),
    }
}

/// Opens an address in the phone's browser.
fn open(address: &str) -> Result<()> {
    let tool = Tool::find("am").context("'am' of Android is missing")?;
    let words = ["start", "-a", "android.intent.action.VIEW", "-d", address].map(AsRef::as_ref);
    let outcome = tool.run(&mut Invocation::new(&words))?;
    if !outcome.is_success() {
        bail!("am: {}", outcome.last_words());
    }
    Ok(())
}
