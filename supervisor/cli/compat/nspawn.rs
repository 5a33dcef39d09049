//! `nspawn [--net] [--route-via IF] [--port-range S:E] ROOTFS [CMD…]` → `ds shell`.
//!
//! Owns the option names of nspawn.sh and the keys of container.ini that they set. Options are valid in any order; the
//! original requires `--net` first.

use super::grammar::{OldOption, Refusal, Tool, not_supported_yet, operand, read, words};
use crate::cli::{normalise::shown, table::Arity};

/// What `nspawn --help` prints.
const HELP: &str = "\
Usage: nspawn [--net [--route-via IF] [--port-range S:E]] ROOTFS [CMD...]

This is ds, called as nspawn.sh: it runs a shell, or one command, in a
temporary container. 'ds shell ROOTFS [CMD...]' is the same with more options.

Options:
  -N, --net             create a separate network for the container
  -R, --route-via IF    with --net: use this uplink
  -P, --port-range S:E  with --net: forward the ports from S to E
  -V, --version         print the version
  -h, --help            show this help
";

#[derive(PartialEq, Eq)]
enum Meaning {
    Net,
    RouteVia,
    PortRange,
    CleanupRoute,
    Version,
}

const OPTIONS: &[OldOption<Meaning>] = &[
    OldOption::switch("net", Some('N'), Meaning::Net),
    OldOption::valued("route-via", Some('R'), "IF", Meaning::RouteVia),
    OldOption::valued("port-range", Some('P'), "S:E", Meaning::PortRange),
    OldOption::switch("cleanup-route", Some('C'), Meaning::CleanupRoute),
    OldOption::switch("version", Some('V'), Meaning::Version),
];

/// Translates the words after `nspawn`.
pub(super) fn translate(given: &[String]) -> Result<Vec<String>, Refusal> {
    if given.is_empty() {
        return Err(Refusal::Help(HELP));
    }
    // The original handles --version first, so --version needs no root file system.
    let operands = vec![operand("ROOTFS", Arity::Optional), operand("CMD", Arity::OptionalCommand)];
    let line = read(Tool::Nspawn, HELP, OPTIONS, operands, given)?;
    let has_net = line.options.iter().any(|(option, _)| option.meaning == Meaning::Net);
    let mut translated = words(["shell"]);
    for (option, value) in &line.options {
        let setting = match option.meaning {
            Meaning::Version => return Ok(words(["version"])),
            Meaning::CleanupRoute => return Err(not_supported_yet("--cleanup-route")),
            Meaning::RouteVia | Meaning::PortRange if !has_net => {
                return Err(Refusal::Mistake(format!("--{} needs --net", option.long)));
            }
            Meaning::Net => "network.mode=nat".to_owned(),
            Meaning::RouteVia => format!("network.uplink={value}"),
            Meaning::PortRange => format!("network.ports={}", port_range(value)?),
        };
        translated.push(format!("--set={setting}"));
    }
    if line.operands.is_empty() {
        return Err(Refusal::Mistake("ROOTFS is missing; see 'nspawn --help'".to_owned()));
    }
    translated.push("--".to_owned());
    translated.extend(line.operands);
    Ok(translated)
}

/// `80:8080` as `80-8080`, the way port ranges are written in container.ini.
fn port_range(value: &str) -> Result<String, Refusal> {
    let port = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|port| digits && *port > 0)
    };
    let ports = value.split_once(':').and_then(|(first, last)| Some((port(first)?, port(last)?)));
    match ports {
        Some((first, last)) if first <= last => Ok(format!("{first}-{last}")),
        _ => {
            let what =
                format!("--port-range: {} is not a range of ports; write it like 80:8080", shown(value));
            Err(Refusal::Mistake(what))
        }
    }
}
