//! `ds module action`: the output of the button in a root manager's app.
//!
//! Owns its text, and the list of apps that can show a module's page where the manager cannot (Magisk). It starts
//! nothing but such an app.

use std::env;
use std::ffi::CString;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use nix::unistd::execv;

use super::manager::Manager;
use super::place::{ID, MANAGERS};
use crate::call;
use crate::client;
use crate::command::print;
use crate::command::version::VERSION;
use crate::exit::ExitCode;
use crate::paths::Paths;

/// Apps that show pages of modules: package, activity, and the name of the extra with the module's id.
const HOSTS: [(&str, &str, &str); 2] = [
    ("io.github.a13e300.ksuwebui", ".WebUIActivity", "id"),
    ("com.dergoogler.mmrl.wx", ".ui.activity.webui.WebUIActivity", "MOD_ID"),
];

/// Prints versions, containers and pending updates. With Magisk, opens the module's page.
///
/// # Errors
/// If the supervisor cannot be reached.
pub fn run(paths: &Paths) -> Result<ExitCode> {
    let module = Path::new(MANAGERS).join("modules").join(ID);
    let mut output = io::stdout();
    print(&mut output, &format!("ds {VERSION}\n"))?;
    if module.join("update").exists() {
        print(&mut output, "An update is installed. It takes effect at the next boot.\n")?;
    }
    let words = ["ds", "list"].map(str::to_owned);
    if client::run_if_there(paths, &words)?.is_none() {
        print(
            &mut output,
            "The supervisor is not running. It starts at boot. To start it now, run: ds supervise\n",
        )?;
    }
    let page = module.join("webroot/index.html").exists();
    if page && Manager::of(&|name| env::var(name).ok()) == Manager::Magisk {
        return open_page(&mut output);
    }
    Ok(ExitCode::Done)
}

/// Executes `am start` for the first installed app.
fn open_page(output: &mut io::Stdout) -> Result<ExitCode> {
    // Includes device-encrypted storage, which is readable before the first unlock.
    let installed = |package: &str| Path::new("/data/user_de/0").join(package).exists();
    let Some((package, activity, key)) = HOSTS.iter().find(|(package, ..)| installed(package)) else {
        return print(output, "To see the module's page, install WebUI X or KsuWebUI.\n");
    };
    output.flush().context("cannot write the result")?;
    let component = format!("{package}/{activity}");
    let words = ["/system/bin/am", "start", "-n", &component, "-e", key, ID];
    let words = words.map(CString::new).into_iter().collect::<Result<Vec<_>, _>>()?;
    match call!(execv(&words[0], &words), "execv(/system/bin/am)")? {}
}
