//! `droidspaces --name=NAME [OPTION…] COMMAND` → the verbs of `ds`.
//!
//! Owns the option names of Droidspaces and the keys of container.ini that they set. As in the original, options may
//! stand on both sides of the command, everything after `run` belongs to the command, and `start` writes its options
//! into the container's configuration. Unlike the original, it refuses an option that the command does not use.

use super::grammar::{OldOption, Refusal, Tool, not_supported_yet, operand, read, words};
use crate::{
    cli::{normalise::shown, table::Arity},
    nearest::nearest,
};

/// What `droidspaces --help` prints.
const HELP: &str = "\
Usage: droidspaces --name=NAME [OPTION...] COMMAND

This is ds, called as droidspaces. 'ds help' shows its own command line.

Commands:
  start                  boot; create the container if necessary
  stop                   shut down; --name takes a list: a,b
  restart                shut down and boot again
  enter [USER]           login shell
  run CMD...             run one command; options go before 'run'
  info, usage, pid       show one container
  show                   list the containers
  check                  check the features of the kernel
  daemon                 run the supervisor
  help, docs, version

Options of start:
  -r, --rootfs=DIR       root file system in a directory
  -i, --rootfs-img=FILE  root file system in an image or block device
  -h, --hostname=NAME
      --net=host|nat|none|gateway
      --nat-ip=ADDRESS, --upstream=INTERFACE[,...], --port=PORTS[:PORTS][/udp]
  -d, --dns=ADDRESS[,...]
      --gateway=NAME         router of --net=gateway; also --gateway-container
      --gateway-net=NAME, --gateway-iface=INTERFACE
      --gateway-bridge=NAME  accepted; the bridge is not on the host
  -B, --bind-mount=SRC:DST[:ro][,...]
  -V, --volatile         keep all changes in memory
  -H, --hw-access        all devices; programs inside can then destroy the host's data
      --gpu              graphics only
  -X, --termux-x11       display of Termux:X11, or of the host
      --pulse-audio      sound of the host
      --virgl            rendering by a virgl server of the host
      --memory=SIZE, --cpus=N, --pids-limit=N
      --privileged=TAGS
      --init=PATH
      --force-cgroupv1
  -f, --foreground       stay attached to the console
";

/// The meaning of an option.
#[derive(Clone, Copy)]
enum Meaning {
    Name,
    User,
    /// An option of `ds start` with a value.
    Start(&'static str),
    Foreground,
    /// A key of container.ini that takes the option's value.
    Set(&'static str),
    /// A key of container.ini and the value the switch gives it.
    SetTo(&'static str, &'static str),
    /// All devices; the option acknowledges what that means.
    HardwareAccess,
    NetworkMode,
    Bind,
    Port,
    /// An option of `ds start` without an equivalent, which needs none.
    Nothing,
    NotYet,
}

const OPTIONS: &[OldOption<Meaning>] = {
    use Meaning::{
        Bind, Foreground, HardwareAccess, Name, NetworkMode, NotYet, Nothing, Port, Set, SetTo, Start, User,
    };
    &[
        OldOption::valued("name", Some('n'), "NAME", Name),
        OldOption::valued("user", Some('u'), "USER", User),
        OldOption::valued("rootfs", Some('r'), "DIR", Start("rootfs")),
        OldOption::valued("rootfs-img", Some('i'), "FILE", Start("image")),
        OldOption::switch("foreground", Some('f'), Foreground),
        OldOption::valued("hostname", Some('h'), "HOST", Set("hostname")),
        OldOption::valued("init", None, "PATH", Set("init")),
        OldOption::valued("memory", None, "SIZE", Set("limits.memory")),
        OldOption::valued("cpus", None, "N", Set("limits.cpus")),
        OldOption::valued("pids-limit", None, "N", Set("limits.pids")),
        OldOption::valued("privileged", None, "TAGS", Set("security.privileged")),
        OldOption::switch("volatile", Some('V'), SetTo("volatile", "yes")),
        OldOption::switch("hw-access", Some('H'), HardwareAccess),
        OldOption::switch("gpu", None, SetTo("hardware.access", "gpu")),
        OldOption::switch("force-cgroupv1", None, SetTo("cgroup", "v1")),
        OldOption::valued("net", None, "MODE", NetworkMode),
        OldOption::repeated("bind-mount", Some('B'), "SRC:DST", Bind),
        OldOption::repeated("bind", None, "SRC:DST", Bind),
        OldOption::valued("conf", Some('C'), "FILE", NotYet),
        OldOption::valued("config", None, "FILE", NotYet),
        OldOption::switch("reset", None, NotYet),
        OldOption::valued("nat-ip", None, "ADDRESS", Set("network.address")),
        OldOption::valued("upstream", None, "LIST", Set("network.uplink")),
        OldOption::repeated("port", None, "PORTS", Port),
        OldOption::valued("gateway", None, "NAME", Set("network.gateway")),
        OldOption::valued("gateway-container", None, "NAME", Set("network.gateway")),
        OldOption::valued("gateway-net", None, "NET", Set("network.name")),
        OldOption::valued("gateway-iface", None, "IF", Set("network.gateway-interface")),
        OldOption::valued("gateway-bridge", None, "BRIDGE", Nothing),
        OldOption::valued("dns", Some('d'), "LIST", Set("network.dns")),
        OldOption::switch("disable-ipv6", Some('I'), NotYet),
        OldOption::switch("enable-android-storage", Some('S'), NotYet),
        OldOption::switch("termux-x11", Some('X'), SetTo("hardware.display", "termux-x11")),
        OldOption::valued("tx11-flags", None, "FLAGS", NotYet),
        OldOption::switch("virgl", None, SetTo("hardware.gl", "virgl")),
        OldOption::valued("virgl-flags", None, "FLAGS", NotYet),
        OldOption::switch("pulse-audio", None, SetTo("hardware.sound", "pulse")),
        OldOption::switch("selinux-permissive", Some('P'), NotYet),
        OldOption::switch("allow-userns", None, SetTo("security.user-namespaces", "yes")),
        OldOption::switch("block-nested-namespaces", None, NotYet),
        OldOption::valued("env", Some('E'), "FILE", NotYet),
        OldOption::switch("format", None, NotYet),
    ]
};

const COMMANDS: &[&str] = &[
    "start", "stop", "restart", "enter", "run", "info", "usage", "pid", "show", "check", "daemon", "help",
    "docs", "version", "scan", "mode",
];

/// The options of one command line.
#[derive(Default)]
struct Wishes {
    name: Option<String>,
    user: Option<String>,
    /// Options of `ds start`, and the old option that caused the first of them.
    start: Vec<String>,
    start_option: Option<&'static str>,
    binds: Vec<String>,
    ports: Vec<String>,
}

/// Translates the words after `droidspaces`.
pub(super) fn translate(given: &[String]) -> Result<Vec<String>, Refusal> {
    let mut wishes = Wishes::default();
    let mut rest = wishes.collect(given)?.into_iter();
    let Some(command) = rest.next() else {
        return match given {
            [] => Err(Refusal::Help(HELP)),
            _ => Err(Refusal::Mistake("COMMAND is missing; see 'droidspaces --help'".to_owned())),
        };
    };
    check_command(&command)?;
    let mut operands: Vec<String> = rest.collect();
    if command == "run" {
        operands = wishes.collect(&operands)?;
    } else {
        let mut found = Vec::new();
        while !operands.is_empty() {
            let mut words = wishes.collect(&operands)?.into_iter();
            found.extend(words.next());
            operands = words.collect();
        }
        operands = found;
    }
    wishes.into_words(&command, operands)
}

fn check_command(command: &str) -> Result<(), Refusal> {
    if COMMANDS.contains(&command) {
        return Ok(());
    }
    let nearest = nearest(command, COMMANDS.iter().copied()).map_or("help", |found| found.word);
    Err(Refusal::Mistake(format!("unknown command {}; nearest is {nearest}", shown(command))))
}

impl Wishes {
    /// Reads the options up to the first operand. Returns that operand and all words after it, unchanged.
    fn collect(&mut self, given: &[String]) -> Result<Vec<String>, Refusal> {
        let operands = vec![operand("COMMAND", Arity::OptionalCommand)];
        let line = read(Tool::Droidspaces, HELP, OPTIONS, operands, given)?;
        for (option, value) in line.options {
            match option.meaning {
                Meaning::Name => self.name = Some(value),
                Meaning::User => self.user = Some(value),
                Meaning::Start(ours) => self.start(option.long, format!("--{ours}={value}")),
                Meaning::Foreground => self.start(option.long, "--foreground".to_owned()),
                Meaning::Set(key) => self.start(option.long, format!("--set={key}={value}")),
                Meaning::SetTo(key, fixed) => self.start(option.long, format!("--set={key}={fixed}")),
                Meaning::HardwareAccess => {
                    self.start(option.long, "--set=hardware.access=full".to_owned());
                    self.start(option.long, "--set=hardware.acknowledged=yes".to_owned());
                }
                Meaning::NetworkMode => self.start(option.long, format!("--set=network.mode={value}")),
                Meaning::Bind => {
                    self.start_option.get_or_insert(option.long);
                    self.binds.push(value);
                }
                Meaning::Port => {
                    self.start_option.get_or_insert(option.long);
                    self.ports.push(value);
                }
                Meaning::Nothing => {
                    self.start_option.get_or_insert(option.long);
                }
                Meaning::NotYet => return Err(not_supported_yet(&format!("--{}", option.long))),
            }
        }
        Ok(line.operands)
    }

    fn start(&mut self, option: &'static str, ours: String) {
        self.start_option.get_or_insert(option);
        self.start.push(ours);
    }

    fn into_words(mut self, command: &str, operands: Vec<String>) -> Result<Vec<String>, Refusal> {
        self.check_options(command)?;
        if !matches!(command, "run" | "enter") {
            no_operands(command, &operands)?;
        }
        match command {
            "start" => self.start_words(),
            "stop" => self.stop_words(),
            "restart" => Ok(words(["restart", "--", &self.name(command)?])),
            "run" => Ok([self.session_words("run")?, operands].concat()),
            "enter" => self.enter_words(operands),
            "info" => Ok(words(["info", "--", &self.name(command)?])),
            "pid" => Ok(words(["info", "--pid", "--", &self.name(command)?])),
            "usage" => Ok([words(["stats", "--"]), self.name.into_iter().collect()].concat()),
            "show" => Ok(words(["list"])),
            "check" => Ok(words(["check"])),
            "daemon" => Ok(words(["supervise"])),
            "version" => Ok(words(["version"])),
            "help" | "docs" => Err(Refusal::Help(HELP)),
            "scan" => {
                Err(Refusal::Mistake("scan: not needed; ds finds running containers by itself".to_owned()))
            }
            other => Err(not_supported_yet(other)),
        }
    }

    /// Refuses options that have no meaning for `command`.
    fn check_options(&self, command: &str) -> Result<(), Refusal> {
        match self.start_option {
            Some(option) if command != "start" => {
                let what = format!(
                    "{command}: --{option} is only valid with start; to change an existing container, use 'ds set'"
                );
                return Err(Refusal::Mistake(what));
            }
            _ => {}
        }
        if self.user.is_some() && !matches!(command, "run" | "enter") {
            return Err(Refusal::Mistake(format!("{command}: --user is only valid with run and enter")));
        }
        Ok(())
    }

    fn start_words(mut self) -> Result<Vec<String>, Refusal> {
        let name = self.name("start")?;
        if !self.binds.is_empty() {
            self.start.push(format!("--set=mounts.bind={}", self.binds.join(",")));
        }
        if !self.ports.is_empty() {
            self.start.push(format!("--set=network.ports={}", self.ports.join(",")));
        }
        Ok([words(["start"]), self.start, words(["--", &name])].concat())
    }

    fn stop_words(mut self) -> Result<Vec<String>, Refusal> {
        let names = self.name.take().unwrap_or_default();
        let mut translated = words(["stop", "--"]);
        for name in names.split(',') {
            translated.push(checked(name, "stop")?);
        }
        Ok(translated)
    }

    /// `ds VERB [--user=USER] -- NAME`, to which a command can be appended.
    fn session_words(&mut self, verb: &str) -> Result<Vec<String>, Refusal> {
        let name = self.name(verb)?;
        let user = self.user.take().map(|user| format!("--user={user}"));
        Ok([words([verb]), user.into_iter().collect(), words(["--", &name])].concat())
    }

    fn enter_words(mut self, operands: Vec<String>) -> Result<Vec<String>, Refusal> {
        let mut users = operands.into_iter();
        let user = users.next();
        no_operands("enter", users.as_slice())?;
        if user.is_some() && self.user.is_some() {
            return Err(Refusal::Mistake("enter: the user is given twice".to_owned()));
        }
        self.user = user.or(self.user);
        self.session_words("enter")
    }

    fn name(&mut self, command: &str) -> Result<String, Refusal> {
        checked(&self.name.take().unwrap_or_default(), command)
    }
}

fn no_operands(command: &str, operands: &[String]) -> Result<(), Refusal> {
    match operands.first() {
        Some(word) => Err(Refusal::Mistake(format!("{command}: unexpected operand {}", shown(word)))),
        None => Ok(()),
    }
}

/// Droidspaces allows spaces in names, but treats "a b" and "a-b" as the same container. Here, spaces are refused.
fn checked(name: &str, command: &str) -> Result<String, Refusal> {
    if name.is_empty() {
        let what = format!("{command}: the name is missing; give it with --name=NAME");
        return Err(Refusal::Mistake(what));
    }
    if name.contains(char::is_whitespace) {
        let dashes = name.split_whitespace().collect::<Vec<_>>().join("-");
        let what = format!("{command}: names must not contain spaces: {name:?}; use {dashes}");
        return Err(Refusal::Mistake(what));
    }
    Ok(name.to_owned())
}
