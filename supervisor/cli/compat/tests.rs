//! Older command lines against the `ds` command lines that mean the same.

use super::*;
use crate::{
    cli::{Command, parse::command_line},
    config::SCHEMA,
};

fn split(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Reads a line as it is printed in a manual: comment, `sudo` and the directory of the program are not part of it.
fn read(line: &str) -> Result<Command, Usage> {
    let line = line.split(" #").next().unwrap_or_default();
    let words = split(line.strip_prefix("sudo ").unwrap_or(line));
    let (program, rest) = words.split_first().expect("a program");
    command_line(program, rest).map(|invocation| invocation.command)
}

#[track_caller]
fn means(old: &str, new: &str) {
    let new = read(new).unwrap_or_else(|usage| panic!("{}", usage.text));
    assert_eq!(read(old), Ok(new), "{old}");
}

#[track_caller]
fn refused(old: &str, expected: &str) {
    let usage = read(old).expect_err(old);
    assert!(!usage.to_stdout, "{old}");
    assert_eq!(usage.text, format!("{expected}\n"), "{old}");
}

/// Every command line of Droidspaces' feature description, as printed there.
#[test]
fn the_feature_description_of_droidspaces() {
    means(
        "droidspaces --name=test --rootfs=/path/to/rootfs --volatile start",
        "ds start test --rootfs /path/to/rootfs --set volatile=yes",
    );
    means(
        "droidspaces --name=test --rootfs-img=/path/to/rootfs.img --volatile start",
        "ds start test --image /path/to/rootfs.img --set volatile=yes",
    );
    means(
        "droidspaces --name=gpu-test --rootfs=/path/to/rootfs --hw-access start",
        "ds start gpu-test --rootfs /path/to/rootfs --set hardware.access=full --set hardware.acknowledged=yes",
    );
    means(
        "droidspaces --name=ubuntu --rootfs-img=/path/to/rootfs.img start",
        "ds start ubuntu --image /path/to/rootfs.img",
    );
    means(
        "droidspaces --name=ubuntu --rootfs-img=/path/to/rootfs.img --volatile start",
        "ds start ubuntu --image /path/to/rootfs.img --set volatile=yes",
    );
    // Options that are printed by themselves.
    for (old, new) in [
        ("--volatile", "volatile=yes"),
        ("-V", "volatile=yes"),
        ("--hw-access", "hardware.access=full --set hardware.acknowledged=yes"),
        ("--bind-mount=/host/path:/container/path", "mounts.bind=/host/path:/container/path"),
        ("-B /host/path:/container/path", "mounts.bind=/host/path:/container/path"),
        ("-B /src1:/dst1,/src2:/dst2,/src3:/dst3", "mounts.bind=/src1:/dst1,/src2:/dst2,/src3:/dst3"),
        ("-B /src1:/dst1 -B /src2:/dst2", "mounts.bind=/src1:/dst1,/src2:/dst2"),
        ("-B /src1:/dst1,/src2:/dst2 -B /src3:/dst3", "mounts.bind=/src1:/dst1,/src2:/dst2,/src3:/dst3"),
    ] {
        let new = format!("ds start a --rootfs /r --set {new}");
        means(&format!("droidspaces --name=a --rootfs=/r {old} start"), &new);
        means(&format!("droidspaces --name=a --rootfs=/r start {old}"), &new);
    }
}

/// Every command line of nspawn.sh's README, as printed there.
#[test]
fn the_readme_of_nspawn() {
    for (old, new) in [
        ("nspawn <rootfs>                              # shell into a container", "ds shell <rootfs>"),
        (
            "nspawn --net <rootfs>                        # with isolated network",
            "ds shell <rootfs> --set network.mode=nat",
        ),
        (
            "nspawn --net --route-via tun0 <rootfs>       # pinned to VPN",
            "ds shell <rootfs> --set network.mode=nat --set network.uplink=tun0",
        ),
        (
            "nspawn --net --port-range 80:8080 <rootfs>   # with port forwarding",
            "ds shell <rootfs> --set network.mode=nat --set network.ports=80-8080",
        ),
        ("sudo ./getroot debian:13", "ds pull debian:13 --unpack --password 1 --dns 1.1.1.1"),
        ("sudo ./getroot alpine:edge", "ds pull alpine:edge --unpack --password 1 --dns 1.1.1.1"),
        ("sudo ./getroot ubuntu:24", "ds pull ubuntu:24 --unpack --password 1 --dns 1.1.1.1"),
        ("sudo ./nspawn debian_trixie", "ds shell debian_trixie"),
        ("sudo ./nspawn --net debian_trixie", "ds shell debian_trixie --set network.mode=nat"),
        ("sudo ./nspawn debian_trixie /bin/bash -l", "ds shell debian_trixie /bin/bash -l"),
        (
            "sudo ./nspawn --net --route-via tun0 vpn_rootfs",
            "ds shell vpn_rootfs --set network.mode=nat --set network.uplink=tun0",
        ),
        (
            "sudo ./nspawn --net --route-via wlan0 wifi_rootfs",
            "ds shell wifi_rootfs --set network.mode=nat --set network.uplink=wlan0",
        ),
        (
            "sudo ./nspawn --net --port-range 80:8080 my_server",
            "ds shell my_server --set network.mode=nat --set network.ports=80-8080",
        ),
        ("sudo ./getroot ubuntu:24.04", "ds pull ubuntu:24.04 --unpack --password 1 --dns 1.1.1.1"),
        (
            "sudo ./getroot debian:13 -o my_debian",
            "ds pull debian:13 -o my_debian --password 1 --dns 1.1.1.1",
        ),
        ("sudo ./getroot --list", "ds images"),
        ("sudo ./getroot --search debian", "ds images debian"),
    ] {
        means(old, new);
    }
}

#[test]
fn the_commands_of_droidspaces() {
    for (old, new) in [
        ("droidspaces --name=a stop", "ds stop a"),
        ("droidspaces stop --name a,b,c", "ds stop a b c"),
        ("droidspaces -n a restart", "ds restart a"),
        ("droidspaces -na restart", "ds restart a"),
        ("droidspaces --name=a enter", "ds enter a"),
        ("droidspaces --name=a enter alice", "ds enter a -u alice"),
        ("droidspaces enter alice --name=a", "ds enter a -u alice"),
        ("droidspaces --name=a run ls -l --name=b", "ds run a ls -l --name=b"),
        ("droidspaces --name=a --user=www run id -u", "ds run a -u www id -u"),
        ("droidspaces run --name=a -u www -- id -u", "ds run a -u www id -u"),
        ("droidspaces --name=a info", "ds info a"),
        ("droidspaces --name=a pid", "ds info a --pid"),
        ("droidspaces --name=a usage", "ds stats a"),
        ("droidspaces usage", "ds stats"),
        ("droidspaces show", "ds list"),
        ("droidspaces check", "ds check"),
        ("droidspaces daemon", "ds supervise"),
        ("droidspaces version", "ds version"),
    ] {
        means(old, new);
    }
}

#[test]
fn the_options_of_droidspaces() {
    for (old, new) in [
        ("-r /r -h box", "--rootfs /r --set hostname=box"),
        ("--rootfs=/r --hostname=box --foreground", "--rootfs /r --set hostname=box --foreground"),
        ("-i /dev/block/sda1 -f", "--image /dev/block/sda1 -f"),
        ("--net=none", "--set network.mode=none"),
        ("--net nat", "--set network.mode=nat"),
        (
            "--net=nat --port=80:80 --port 53:53/udp",
            "--set network.mode=nat --set network.ports=80:80,53:53/udp",
        ),
        ("-d 1.1.1.1,9.9.9.9", "--set network.dns=1.1.1.1,9.9.9.9"),
        ("--net=gateway --gateway=g", "--set network.mode=gateway --set network.gateway=g"),
        (
            "--gateway-container=g --gateway-net=lan --gateway-iface=eth2 --gateway-bridge=b",
            "--set network.gateway=g --set network.name=lan --set network.gateway-interface=eth2",
        ),
        ("--gpu", "--set hardware.access=gpu"),
        ("-H", "--set hardware.access=full --set hardware.acknowledged=yes"),
        ("-X", "--set hardware.display=termux-x11"),
        ("--virgl --pulse-audio", "--set hardware.gl=virgl --set hardware.sound=pulse"),
        ("--memory=512m --cpus 1.5", "--set limits.memory=512m --set limits.cpus=1.5"),
        ("--pids-limit=100", "--set limits.pids=100"),
        ("--privileged=nomask,nocaps", "--set security.privileged=nomask,nocaps"),
        ("--init=/usr/bin/init", "--set init=/usr/bin/init"),
        ("--force-cgroupv1", "--set cgroup=v1"),
        ("--allow-userns", "--set security.user-namespaces=yes"),
        ("--bind=/a:/b:ro", "--set mounts.bind=/a:/b:ro"),
        ("-VHf", "--set volatile=yes --set hardware.access=full --set hardware.acknowledged=yes -f"),
    ] {
        means(&format!("droidspaces --name=a {old} start"), &format!("ds start a {new}"));
    }
}

#[test]
fn every_key_is_one_of_container_ini() {
    for line in [
        "droidspaces --name=a -Vr /r -h h --gpu --init=/i --memory=1 --cpus=1 --pids-limit=1 --privileged=full \
                  --force-cgroupv1 --allow-userns --net=nat --nat-ip=10.0.0.2 --upstream=wlan0,rmnet* -B /a:/b start",
        "droidspaces --name=a --hw-access start",
        "nspawn --net --route-via tun0 --port-range 80:81 r",
    ] {
        let settings = match read(line) {
            Ok(Command::Start(start)) => start.set,
            Ok(Command::Shell(shell)) => shell.set,
            other => panic!("{line}: {other:?}"),
        };
        for setting in settings {
            assert!(SCHEMA.resolve(&setting.key).is_ok(), "{}", setting.key);
        }
    }
}

#[test]
fn what_is_not_supported_yet_says_so() {
    for option in OLD_BUT_NOT_YET.split_whitespace() {
        let name = option.split('=').next().unwrap_or_default();
        let expected = format!("droidspaces: {name} is not supported yet");
        refused(&format!("droidspaces --name=a {option} start"), &expected);
    }
    refused("droidspaces -I -n a start", "droidspaces: --disable-ipv6 is not supported yet");
    refused("droidspaces mode", "droidspaces: mode is not supported yet");
    refused("droidspaces show --format", "droidspaces: --format is not supported yet");
    refused("droidspaces scan", "droidspaces: scan: not needed; ds finds running containers by itself");
    refused("nspawn --cleanup-route", "nspawn: --cleanup-route is not supported yet");
}

const OLD_BUT_NOT_YET: &str = "--conf=f --config=f --reset --disable-ipv6 \
    --enable-android-storage --tx11-flags=f --virgl-flags=f --selinux-permissive \
    --block-nested-namespaces --env=f --format";

#[test]
fn nothing_is_ignored() {
    for (old, expected) in [
        ("droidspaces --nmae=a start", "droidspaces: unknown option --nmae; did you mean --name?"),
        ("droidspaces --name=a strat", "droidspaces: unknown command strat; nearest is start"),
        ("droidspaces --name=a", "droidspaces: COMMAND is missing; see 'droidspaces --help'"),
        ("droidspaces start", "droidspaces: start: the name is missing; give it with --name=NAME"),
        ("droidspaces --name=a,,b stop", "droidspaces: stop: the name is missing; give it with --name=NAME"),
        ("droidspaces --name=a start b", "droidspaces: start: unexpected operand b"),
        ("droidspaces --name=a enter b c", "droidspaces: enter: unexpected operand c"),
        ("droidspaces --name=a --user=b enter c", "droidspaces: enter: the user is given twice"),
        (
            "droidspaces --name=a --volatile stop",
            "droidspaces: stop: --volatile is only valid with start; to change an existing container, use 'ds set'",
        ),
        ("droidspaces --name=a --user=b stop", "droidspaces: stop: --user is only valid with run and enter"),
        (
            "droidspaces -n a -r /r -i /i start",
            "ds: start: --rootfs and --image exclude each other; give one of them",
        ),
        ("droidspaces --name=a run", "ds: run: CMD is missing; see 'ds help run'"),
        ("nspawn --net", "nspawn: ROOTFS is missing; see 'nspawn --help'"),
        ("nspawn --route-via tun0 r", "nspawn: --route-via needs --net"),
        (
            "nspawn --net --port-range 8080:80 r",
            "nspawn: --port-range: 8080:80 is not a range of ports; write it like 80:8080",
        ),
        ("getroot -o dir", "getroot: DISTRO is missing; see 'getroot --help'"),
        ("getroot debian:13 -r trixie", "getroot: the release is given twice"),
        ("getroot debian -d ubuntu", "getroot: the distribution is given twice"),
        ("getroot debian ubuntu", "getroot: unexpected operand ubuntu; see 'getroot --help'"),
    ] {
        refused(old, expected);
    }
}

#[test]
fn names_with_spaces_are_refused() {
    let words = ["--name=my box".to_owned(), "start".to_owned()];
    let usage = command_line("droidspaces", &words).expect_err("a space");
    let expected = "droidspaces: start: names must not contain spaces: \"my box\"; use my-box\n";
    assert_eq!(usage.text, expected);
}

#[test]
fn order_and_spelling_of_nspawn_and_getroot_options_do_not_matter() {
    means("nspawn -NR tun0 r", "ds shell r --set network.mode=nat --set network.uplink=tun0");
    means("nspawn -R tun0 -N r", "ds shell r --set network.uplink=tun0 --set network.mode=nat");
    means("nspawn -NP80:8080 r id -N", "nspawn --net --port-range=80:8080 -- r id -N");
    means("nspawn -V", "ds version");
    means("getroot -d debian -r trixie -o d", "ds pull debian:trixie -o d --password 1 --dns 1.1.1.1");
    means("getroot debian -r trixie", "ds pull debian:trixie --unpack --password 1 --dns 1.1.1.1");
    means("getroot -a arm64 debian", "ds pull debian --unpack --password 1 --dns 1.1.1.1 --arch arm64");
    means("getroot -l", "ds images");
    means("getroot -s debian", "ds images debian");
}

#[test]
fn help_is_for_the_name_it_was_called_by() {
    for line in [
        "droidspaces",
        "droidspaces --help",
        "droidspaces help",
        "droidspaces docs",
        "droidspaces start --help",
    ] {
        let usage = read(line).expect_err("help");
        assert!(usage.to_stdout && usage.text.starts_with("Usage: droidspaces"), "{line}");
    }
    for line in ["nspawn", "nspawn -h", "getroot", "getroot -h", "getroot --help"] {
        let usage = read(line).expect_err("help");
        let program = line.split(' ').next().unwrap_or_default();
        assert!(usage.to_stdout && usage.text.starts_with(&format!("Usage: {program}")), "{line}");
    }
    // The command's own.
    means("droidspaces --name=a run ls --help", "ds run a ls --help");
    means("nspawn r ls --help", "ds shell r ls --help");
}
