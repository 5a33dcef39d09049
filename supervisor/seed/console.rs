//! A login prompt on the console, and none on terminals that do not exist in a container. inittab(5), init of BusyBox.

use super::Facts;

/// The prefix of a line that is switched off.
const OFF: &str = "#droidspaces: ";
/// Prefixes of terminals that do not exist in a container; at least one character follows.
const ABSENT: [&str; 4] = ["tty", "hvc", "xvc", "vc/"];
/// The login program for the console if the table names none.
const GETTY: &str = "/sbin/getty";

/// One active line of the table.
struct InittabLine<'a> {
    /// An identifier for sysvinit, a terminal for BusyBox.
    id: &'a str,
    action: &'a str,
    command: &'a str,
}

impl<'a> InittabLine<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let line = line.trim();
        if line.starts_with('#') {
            return None;
        }
        let mut fields = line.splitn(4, ':');
        let (id, _, action, command) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        Some(Self { id, action, command })
    }

    fn runs_again(&self) -> bool {
        ["respawn", "askfirst", "ondemand"].contains(&self.action)
    }

    /// The program, if it is a getty.
    fn getty(&self) -> Option<&'a str> {
        let program = self.command.trim_start_matches('-').split_whitespace().next()?;
        program.ends_with("getty").then_some(program)
    }

    fn is_on(&self, wanted: impl Fn(&str) -> bool) -> bool {
        wanted(self.id) || self.getty().is_some() && self.command.split_whitespace().any(wanted)
    }
}

fn is_absent(word: &str) -> bool {
    let name = word.trim_start_matches("/dev/");
    // `/dev/tty` itself exists.
    ABSENT.iter().any(|front| name.strip_prefix(front).is_some_and(|rest| !rest.is_empty()))
}

fn is_console(word: &str) -> bool {
    word.trim_start_matches("/dev/") == "console"
}

/// The table of sysvinit and of BusyBox, whose first fields have different meanings.
pub(super) fn inittab(_: &Facts, text: Option<&str>) -> Option<String> {
    let text = text?;
    let lines = || text.lines().filter_map(InittabLine::parse);
    let is_sysvinit = lines().any(|line| line.action == "initdefault");
    let (mut new, mut getty) = (String::new(), None);
    for line in text.split_inclusive('\n') {
        if let Some(found) = InittabLine::parse(line)
            && found.runs_again()
            && found.is_on(is_absent)
        {
            getty = getty.or(found.getty()).or(Some(GETTY));
            new.push_str(OFF);
        }
        new.push_str(line);
    }
    // In BusyBox, a line without a terminal is for the console.
    let asks = |line: InittabLine<'_>| {
        line.runs_again() && (line.is_on(is_console) || !is_sysvinit && line.id.is_empty())
    };
    if let Some(getty) = getty
        && !lines().any(asks)
    {
        if !new.ends_with('\n') {
            new.push('\n');
        }
        let front = if is_sysvinit { "ds:2345" } else { "console:" };
        new.push_str(&format!("{front}:respawn:{getty} 38400 console linux\n"));
    }
    (new != text).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str) -> Option<String> {
        let facts = Facts {
            hostname: "web".into(),
            android: false,
            subsystems: "usb".parse().unwrap(),
            seed: "yes".parse().unwrap(),
        };
        let made = inittab(&facts, Some(text));
        if let Some(made) = &made {
            assert_eq!(inittab(&facts, Some(made)), None, "{made}");
        }
        assert_eq!(inittab(&facts, None), None);
        made
    }

    #[test]
    fn sysvinit_prompts_only_on_the_console() {
        let text = "id:2:initdefault:\nsi::sysinit:/etc/init.d/rcS\n1:2345:respawn:/sbin/getty 38400 tty1\n\
                    #T0:23:respawn:/sbin/getty -L ttyS0 9600 vt100\nT1:23:respawn:/sbin/agetty -L ttyS1 9600 vt100";
        assert_eq!(
            made(text).unwrap(),
            "id:2:initdefault:\nsi::sysinit:/etc/init.d/rcS\n\
             #droidspaces: 1:2345:respawn:/sbin/getty 38400 tty1\n#T0:23:respawn:/sbin/getty -L ttyS0 9600 vt100\n\
             #droidspaces: T1:23:respawn:/sbin/agetty -L ttyS1 9600 vt100\n\
             ds:2345:respawn:/sbin/getty 38400 console linux\n"
        );
        let own = "id:2:initdefault:\nco:2345:respawn:/sbin/getty --noclear 38400 console linux\n";
        assert_eq!(made(own), None);
        let both = format!("{own}1:2345:respawn:/sbin/getty 38400 tty1\n");
        assert_eq!(
            made(&both).unwrap(),
            both.replace(
                "1:2345:respawn:/sbin/getty 38400 t",
                "#droidspaces: 1:2345:respawn:/sbin/getty 38400 t"
            )
        );
    }

    #[test]
    fn busybox_names_the_terminal_first() {
        let alpine = "::sysinit:/sbin/openrc sysinit\n::wait:/sbin/openrc default\n\
                      tty1::respawn:/sbin/getty 38400 tty1\ntty2::askfirst:-/bin/sh\n::ctrlaltdel:/sbin/reboot\n";
        assert_eq!(
            made(alpine).unwrap(),
            "::sysinit:/sbin/openrc sysinit\n::wait:/sbin/openrc default\n\
             #droidspaces: tty1::respawn:/sbin/getty 38400 tty1\n#droidspaces: tty2::askfirst:-/bin/sh\n\
             ::ctrlaltdel:/sbin/reboot\nconsole::respawn:/sbin/getty 38400 console linux\n"
        );
        for kept in [
            "::sysinit:/etc/rc\n::askfirst:-/bin/sh\n",
            "console::respawn:/sbin/getty -L 38400 console linux\n",
            "::sysinit:/etc/init.d/rcS S boot\n::askconsole:/usr/libexec/login.sh\n",
            "",
        ] {
            assert_eq!(made(kept), None, "{kept}");
        }
        let both = "tty1::respawn:/sbin/getty 38400 tty1\n::respawn:/sbin/getty -L console 0 linux\n";
        assert_eq!(made(both).unwrap(), format!("#droidspaces: {both}"));
    }
}
