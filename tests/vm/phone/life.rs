//! The life of the module on a phone, from flashing to removal. One phone performs all steps, because boots take most of
//! the time.

use super::stock::Outside;
use super::{Phone, nat, surroundings};
use crate::machine::SERVER;
use crate::platform::{PHONE_AMD64, PHONE_ARM64, PHONE_STOCK};
use crate::web::catalogue::IMAGE;

const MODULE: &str = "/data/adb/modules/droidspaces-supervisor";

pub const LOG: &str = "/data/adb/droidspaces/log/supervisor.log";

/// Creates a minimal container in a directory of /data.
pub const TOY: &str = "mkdir -p /data/local/toy/bin /data/local/toy/sbin /data/local/toy/etc/init.d
    cp /data/adb/ksu/bin/busybox /data/local/toy/bin/busybox
    for name in sh sleep true cat; do ln -s busybox /data/local/toy/bin/$name; done
    ln -s ../bin/busybox /data/local/toy/sbin/init
    printf '#!/bin/sh\\n' >/data/local/toy/etc/init.d/rcS
    chmod 755 /data/local/toy/etc/init.d/rcS";

#[test]
fn a_phone_from_flashing_to_removal() {
    let mut phone = Phone::new(PHONE_AMD64, "bookworm");
    surroundings::check(&mut phone);
    flash(&mut phone);
    a_container_from_the_catalogue(&mut phone);
    debian_at_late_start(&mut phone);
    apps_come_and_go(&mut phone);
    nat::a_network_of_its_own(&mut phone);
    the_rest(&mut phone);
}

/// The same with the kernel that a phone was sold with. Between reboots, containers affect no process outside. Nothing is
/// downloaded: the kernel has no driver for QEMU's network interface.
#[test]
fn a_phone_with_its_own_kernel_from_flashing_to_removal() {
    let mut phone = Phone::new(PHONE_STOCK, "bookworm");
    surroundings::check(&mut phone);
    flash(&mut phone);
    debian_at_late_start(&mut phone);
    let outside = Outside::begin(&mut phone);
    apps_come_and_go(&mut phone);
    outside.is_unharmed(&mut phone, "an app");
    the_rest(&mut phone);
}

/// Steps that restart the phone.
fn the_rest(phone: &mut Phone) {
    update_while_it_runs(phone);
    two_crashes_are_enough(phone);
    safe_mode(phone);
    removal(phone);
}

#[test]
fn a_phone_with_its_own_processor() {
    let mut phone = Phone::new(PHONE_ARM64, "bookworm-arm64");
    surroundings::check(&mut phone);
    flash(&mut phone);
    a_container_from_the_catalogue(&mut phone);
    debian_at_late_start(&mut phone);
    apps_come_and_go(&mut phone);
}

/// The manager installs the zip. After the next boot, the root shell finds `ds`.
pub fn flash(phone: &mut Phone) {
    let said = phone.run("manager install /mnt/vm/ds.zip").succeeds();
    for words in ["First installation", "root has the command 'ds'", "- Done"] {
        assert!(said.contains(words), "no '{words}' in: {said}");
    }
    assert!(!phone.root("ds version").is_success(), "ds exists before the boot");
    phone.reboot();
    assert!(phone.root("ds version").succeeds().starts_with("ds "));
    let labels = format!("ls {MODULE}; getfattr -n security.selinux --only-values {MODULE}/bin/ds");
    assert!(phone.root(&labels).succeeds().contains("u:object_r:system_file:s0"), "{labels}");
}

/// `ds` finds the server, trusts the certificate authorities of Android, and boots the downloaded image.
fn a_container_from_the_catalogue(phone: &mut Phone) {
    phone
        .run(
            "mount -t tmpfs tmpfs /apex && mkdir -p /apex/com.android.conscrypt/cacerts &&
             cp /mnt/vm/authority.pem /apex/com.android.conscrypt/cacerts/0a1b2c3d.0",
        )
        .succeeds();
    let mirror =
        format!("printf '[images]\\nmirror = https://{SERVER}\\n' >/data/adb/droidspaces/supervisor.ini");
    phone.root(&mirror).succeeds();
    phone.slowly("ds pull debian:13").succeeds();
    assert_eq!(phone.outside.count(IMAGE), 1);
    phone.slowly("ds create pulled --from debian:13 --size 64M && ds start pulled").succeeds();
    assert_eq!(phone.outside.count(IMAGE), 1, "the image was downloaded again");
    assert!(phone.root("ds run pulled -- md5sum /ballast").succeeds().contains("  /ballast"));
    phone.root("ds stop pulled && ds rm pulled --force && ds cache prune").succeeds();
}

/// At late_start, a container from an image on /data starts without a command.
pub fn debian_at_late_start(phone: &mut Phone) {
    phone.run(
        "mkdir /mnt/stick && mount -t ext4 -o ro /dev/block/vdc /mnt/stick &&
         dd if=/mnt/stick/image of=/data/local/debian.img bs=64K conv=sparse status=none && umount /mnt/stick",
    )
    .succeeds();
    phone.root("ds create debian --image /data/local/debian.img --set autostart=yes").succeeds();
    // However slow the emulation is, no start counts as survived before the crashes below.
    phone
        .root("printf '[supervisor]\\nguard-time = 3600\\n' >/data/adb/droidspaces/supervisor.ini")
        .succeeds();
    phone.reboot();
    // A ds command would start a supervisor if none ran.
    phone.wait_for(&format!("grep -q 'debian: running' {LOG}"));
    // Waits until the container has booted.
    phone.slowly("ds start debian --wait=550").succeeds();
    let state = phone.slowly("ds run debian -- systemctl is-system-running --wait");
    assert_eq!(
        state.text(),
        "running\n",
        "{state:?} {}",
        phone.root("ds run debian -- systemctl --failed").text()
    );
    let label = "getfattr -n security.selinux --only-values /data/local/debian.img";
    assert!(phone.root(label).succeeds().starts_with("u:object_r:vold_data_file:s0"));
    surroundings_of_the_supervisor(phone);
}

/// The supervisor inherits nothing that could end it from the process that started it.
fn surroundings_of_the_supervisor(phone: &mut Phone) {
    let about = phone
        .root(
            "pid=$(pgrep -x ds | head -n 1); cd /proc/$pid
             echo mounts $(readlink ns/mnt) $(readlink /proc/1/ns/mnt)
             echo score $(cat oom_score_adj)
             echo groups $(cat cgroup)
             echo umask $(grep Umask status)
             echo input $(readlink fd/0)
             echo cwd $(readlink cwd)
             echo container $(cat /proc/$(ds list | sed -n 's/^debian *running *\\([0-9]*\\).*/\\1/p')/oom_score_adj)",
        )
        .succeeds();
    let line = |start: &str| {
        let found = about.lines().find_map(|line| line.strip_prefix(start));
        found.unwrap_or_else(|| panic!("no {start} in: {about}")).trim().to_owned()
    };
    let mounts = line("mounts");
    assert_eq!(mounts.split(' ').next(), mounts.split(' ').nth(1), "{about}");
    assert_eq!(line("score"), "-1000", "{about}");
    assert!(line("groups").split(' ').all(|group| group.ends_with(":/")), "{about}");
    assert!(line("umask").ends_with("0022") || line("umask").ends_with("0077"), "{about}");
    assert_eq!(line("input"), "/dev/null", "{about}");
    assert_eq!(line("cwd"), "/", "{about}");
    assert_eq!(line("container"), "0", "{about}");
}

/// A terminal app has root in its sandbox. The containers that it starts belong to the supervisor, not to the app.
fn apps_come_and_go(phone: &mut Phone) {
    phone.run(TOY).succeeds();
    assert_eq!(phone.app("ds run debian -- cat /proc/1/comm").succeeds(), "systemd\n");
    phone.app("ds start toy --rootfs /data/local/toy").succeeds();
    let pid = phone.pid("toy");
    phone.run("app 'ds run toy -- sleep 1000' >/dev/null 2>&1 &").succeeds();
    phone.wait_for("ds run toy -- cat /proc/*/comm | grep -q sleep");
    phone.run("kill-app").succeeds();
    assert_eq!(phone.pid("toy"), pid, "the container ended with the app");
    phone.root("ds run toy -- true").succeeds();
    phone.wait_for("! ds run toy -- cat /proc/*/comm | grep -q sleep");
    phone.root("ds stop toy").succeeds();
}

/// An update takes effect at the next boot and affects nothing until then.
fn update_while_it_runs(phone: &mut Phone) {
    let pid = phone.pid("debian");
    let program = "stat -L -c %i $(readlink -f $(which ds))";
    let before = phone.root(program).succeeds();
    let said = phone.run("manager install /mnt/vm/ds.zip").succeeds();
    assert!(said.contains("Running containers are not affected"), "{said}");
    assert_eq!(phone.pid("debian"), pid, "the update affected a running container");
    assert_eq!(phone.root(program).succeeds(), before);
    // Managers do not flush the installed files; Android does so every few seconds.
    phone.root(&format!("test -e {MODULE}/update && echo crash >{LOG} && sync")).succeeds();
    phone.crash();
    assert_ne!(phone.root(program).succeeds(), before, "the update has no effect");
    phone.root(&format!("test ! -e {MODULE}/update")).succeeds();
    phone.wait_for(&format!("grep -q 'debian: running' {LOG}"));
    phone.pid("debian");
}

/// The boot above was the first one after a crash. After the second crash, the container does not start automatically.
fn two_crashes_are_enough(phone: &mut Phone) {
    phone.crash();
    phone.wait_for("ds list | grep '^debian' | grep -q 'the machine crashed twice'");
    assert!(!phone.root("ds list").succeeds().contains("running"));
    phone.wait_for(&format!("grep '^description=' {MODULE}/module.prop | grep -q debian"));
    // The user starts it. Its file system is intact.
    phone.root("ds set debian autostart=yes").succeeds();
    assert!(!phone.root("ds list").succeeds().contains("crashed"));
    phone.root("ds start debian && ds run debian -- cat /etc/debian_version").succeeds();
}

/// Safe mode disables all modules until the user enables them.
fn safe_mode(phone: &mut Phone) {
    phone.run("setprop persist.sys.safemode 1").succeeds();
    phone.reboot();
    phone.root(&format!("test -e {MODULE}/disable && ! pgrep -x ds")).succeeds();
    phone.run(&format!("setprop persist.sys.safemode 0; rm {MODULE}/disable")).succeeds();
}

/// The removal of the module keeps the containers, unless the user has requested their removal.
fn removal(phone: &mut Phone) {
    phone.root(&format!("touch {MODULE}/remove")).succeeds();
    phone.reboot();
    phone
        .root(&format!("test ! -e {MODULE} && test -e /data/adb/droidspaces/containers/debian/container.ini"))
        .succeeds();
    phone.root("test -z \"$(ls /data/adb/ksu/bin | grep -v busybox)\"").succeeds();
    phone.run("manager install /mnt/vm/ds.zip").succeeds();
    phone.reboot();
    phone.wait_for("ds list | grep -q '^debian *running'");
    phone.root(&format!("touch /data/adb/droidspaces/purge {MODULE}/remove")).succeeds();
    phone.reboot();
    phone.wait_for("test ! -e /data/adb/droidspaces");
    phone.root("test -e /data/local/debian.img").succeeds();
}
