//! The required state after installation, boot and removal, with every installer.

use crate::device::{Device, ID, Installer, Manager};
use crate::{with_contracts, zip};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

/// Names of the program.
const NAMES: [&str; 4] = ["ds", "droidspaces", "nspawn", "getroot"];

/// The path of the program in the active module.
const PROGRAM: &str = "/data/adb/modules/droidspaces-supervisor/bin/ds";

/// Declares the cases: a list for managers' own installers, and a test of each case with the contracts.
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        pub const ALL: &[(&str, fn(&Installer))] = &[$((stringify!($name), $name)),+];
        mod contract {
            $(#[test]
            fn $name() {
                super::with_contracts(super::$name);
            })+
        }
    };
}

cases![
    a_first_installation_is_complete_and_touches_nothing_in_use,
    after_the_boot_root_has_ds_and_the_supervisor_runs,
    another_processor_is_refused,
    a_program_that_does_not_run_is_refused,
    an_old_android_is_refused,
    a_damaged_zip_is_refused_and_the_old_module_stays,
    an_update_leaves_running_containers_alone,
    a_downgrade_is_announced_and_settings_stay,
    a_disabled_module_starts_nothing,
    removal_takes_the_links_and_leaves_the_data,
    removal_with_the_marker_takes_the_data_too,
    programs_of_others_stay,
    the_button_shows_what_runs,
];

/// The links in a directory of the search path, with their targets.
fn links(device: &Device) -> (String, bool) {
    match device.installer.manager {
        Manager::Magisk => (format!("data/adb/modules_update/{ID}/system/bin"), true),
        manager => (format!("data/adb/{}", manager.programs()), false),
    }
}

fn a_first_installation_is_complete_and_touches_nothing_in_use(installer: &Installer) {
    let device = Device::new(installer);
    let text = device.flash(&zip::tested()).succeeds();
    let expected = ["First installation", "- This kernel ", "root has the command 'ds'", "API level 34"];
    for words in expected {
        assert!(text.contains(words), "{words}: {text}");
    }
    let staged = device.tree(&format!("data/adb/modules_update/{ID}"));
    let files: Vec<&str> = staged
        .iter()
        .filter(|(name, _)| !name.starts_with("system") && !name.starts_with("webroot"))
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        files,
        [
            "LICENSE",
            "action.sh",
            "bin",
            "bin/ds",
            "module.prop",
            "sepolicy.rule",
            "service.sh",
            "uninstall.sh"
        ]
    );
    assert!(staged.contains_key("webroot/index.html"), "the page");
    let (mode, user, group, program) = &staged["bin/ds"];
    assert_eq!((*mode, *user, *group), (0o755, 0, 0));
    assert_eq!(program, &zip::members()["bin/ds-x64"]);
    for name in ["module.prop", "service.sh", "sepolicy.rule"] {
        assert_eq!((staged[name].0, staged[name].1, staged[name].2), (0o644, 0, 0), "{name}");
    }
    let program = format!("u:object_r:system_file:s0 /data/adb/modules_update/{ID}/bin/ds-x64");
    assert!(device.labels().lines().any(|line| line == program), "{}", device.labels());
    let (directory, in_module) = links(&device);
    for name in NAMES {
        assert_eq!(fs::read_link(device.path(&directory).join(name)).unwrap(), Path::new(PROGRAM), "{name}");
    }
    assert_eq!(staged.contains_key("system"), in_module);
    if in_module {
        assert_eq!((staged["system"].0, staged["system/bin"].0), (0o755, 0o755));
        let links = format!("-hR u:object_r:system_file:s0 /data/adb/modules_update/{ID}/system");
        assert!(device.labels().lines().any(|line| line == links), "{}", device.labels());
    }
    let live = device.tree(&format!("data/adb/modules/{ID}"));
    assert_eq!(live.keys().collect::<Vec<_>>(), ["module.prop", "update"]);
    assert!(!device.path("data/adb/droidspaces").exists(), "the installation starts nothing");
    assert!(!device.path("dev/tmp").exists());
}

fn after_the_boot_root_has_ds_and_the_supervisor_runs(installer: &Installer) {
    let device = Device::with_module(installer);
    assert!(!device.live("update").exists());
    for name in NAMES {
        device.shell(&format!("command -v {name}")).succeeds();
    }
    assert!(device.shell("ds version").succeeds().starts_with("ds "));
    device.shell("ds supervisor status").succeeds();
    assert_eq!(device.shell("ds list --names").succeeds(), "");
    // service.sh was run with umask 0.
    let log = fs::metadata(device.path("data/adb/droidspaces/log/service.log")).unwrap();
    assert_eq!(log.mode() & 0o077, 0o044);
    for directory in ["data/adb/droidspaces", "data/adb/droidspaces/log"] {
        assert_eq!(fs::metadata(device.path(directory)).unwrap().mode() & 0o7777, 0o700, "{directory}");
    }
    // A restart of Android's runtime runs the scripts again.
    let pid = device.shell("ds supervisor status").succeeds();
    device.shell(&format!("sh /data/adb/modules/{ID}/service.sh"));
    assert_eq!(first_line(&device.shell("ds supervisor status").succeeds()), first_line(&pid));
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn another_processor_is_refused(installer: &Installer) {
    let device = Device::new(installer);
    let own = zip::rebuilt(|members| members.retain(|name, _| !name.starts_with("bin/ds-arm")));
    for abi in ["armeabi-v7a", "arm64-v8a", "mips"] {
        device.describe(abi, 34);
        let text = device.flash(&own).fails();
        assert!(text.contains("no ds for the processor of this device"), "{text}");
        assert_nothing_is_left(&device);
    }
}

fn assert_nothing_is_left(device: &Device) {
    assert!(!device.staged("").exists());
    assert!(!device.live("").exists());
    assert!(!device.path("dev/tmp").exists());
    if device.installer.manager != Manager::Magisk {
        let programs = device.tree(&format!("data/adb/{}", device.installer.manager.programs()));
        assert_eq!(programs.keys().collect::<Vec<_>>(), ["busybox"]);
    }
}

fn a_program_that_does_not_run_is_refused(installer: &Installer) {
    let device = Device::new(installer);
    let other = zip::rebuilt(|members| {
        let program = members.get_mut("bin/ds-x64").unwrap();
        // e_machine of its ELF header: another processor.
        program[18] = 0xf3;
    });
    let text = device.flash(&other).fails();
    assert!(text.contains("ds does not run on this device"), "{text}");
    assert_nothing_is_left(&device);
}

fn an_old_android_is_refused(installer: &Installer) {
    let device = Device::new(installer);
    device.describe("x86_64", 25);
    let text = device.flash(&zip::tested()).fails();
    assert!(text.contains("! This version of Android is too old: its API level is 25; 26"), "{text}");
    assert_nothing_is_left(&device);
}

fn a_damaged_zip_is_refused_and_the_old_module_stays(installer: &Installer) {
    let device = Device::with_module(installer);
    let before = device.in_use();
    let mut altered = zip::members();
    altered.get_mut("service.sh").unwrap().extend(b"# one more line\n");
    let mut shortened = zip::members();
    let program = shortened.get_mut("bin/ds-x64").unwrap();
    program.truncate(program.len() / 2);
    let mut without = zip::members();
    without.remove("uninstall.sh");
    let mut unsigned = zip::members();
    unsigned.remove("checksums");
    for damaged in [altered, shortened, without, unsigned].iter().map(zip::pack).chain([flipped()]) {
        let text = device.flash(&damaged).fails();
        assert!(text.contains("! This zip is damaged"), "{text}");
        assert!(!device.staged("").exists());
        assert!(device.in_use() == before, "the active module has changed");
    }
    device.shell("ds supervisor status").succeeds();
}

/// The zip with a byte changed in the middle of the compressed program: its largest member.
fn flipped() -> Vec<u8> {
    let mut bytes = zip::tested();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    bytes
}

fn an_update_leaves_running_containers_alone(installer: &Installer) {
    let mut device = Device::new(installer);
    device.flash(&zip::of_version("0.0.9", 9)).succeeds();
    device.reboot();
    make_container(&device);
    let before = device.in_use();
    let running = pid(&device);
    let text = device.flash(&zip::tested()).succeeds();
    assert!(text.contains("- Update from 0.0.9 to 0.1.0"), "{text}");
    assert!(text.contains("Running containers are not affected"), "{text}");
    let mut after = device.in_use();
    assert!(after.remove("update").is_some());
    assert!(after == before, "the active module has changed");
    assert_eq!(pid(&device), running);
    assert_eq!(device.shell("ds run web -- echo inside").succeeds(), "inside\n");
    let settings = device.tree("data/adb/droidspaces/containers");
    device.reboot();
    assert!(device.live("module.prop").exists() && !device.live("update").exists());
    assert_eq!(
        device.tree("data/adb/droidspaces/containers")["web/container.ini"],
        settings["web/container.ini"]
    );
    assert_eq!(device.shell("ds list --names").succeeds(), "web\n");
}

/// A container that boots BusyBox's init.
fn make_container(device: &Device) {
    for directory in ["bin", "dev", "etc", "proc", "run", "sbin", "sys", "tmp"] {
        fs::create_dir_all(device.path("data/rootfs").join(directory)).unwrap();
    }
    fs::copy("/bin/busybox", device.path("data/rootfs/bin/busybox")).unwrap();
    for (link, target) in [("sbin/init", "../bin/busybox"), ("bin/sh", "busybox"), ("bin/echo", "busybox")] {
        symlink(target, device.path("data/rootfs").join(link)).unwrap();
    }
    device.write("data/rootfs/etc/inittab", "::ctrlaltdel:/bin/true\n");
    device.shell("ds create web --rootfs /data/rootfs").succeeds();
    device.shell("ds start web").succeeds();
}

fn pid(device: &Device) -> String {
    let text = device.shell("ds info web --json").succeeds();
    let info: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(info["state"], "running");
    info["pid"].to_string()
}

fn a_downgrade_is_announced_and_settings_stay(installer: &Installer) {
    let mut device = Device::new(installer);
    device.flash(&zip::of_version("9.9.9", 90_909)).succeeds();
    device.reboot();
    device.write("data/adb/droidspaces/supervisor.ini", "# mine\n");
    let text = device.flash(&zip::tested()).succeeds();
    assert!(text.contains("- Downgrade from 9.9.9 to 0.1.0: settings are kept"), "{text}");
    device.reboot();
    assert_eq!(fs::read_to_string(device.path("data/adb/droidspaces/supervisor.ini")).unwrap(), "# mine\n");
    device.shell("ds supervisor status").succeeds();
}

fn a_disabled_module_starts_nothing(installer: &Installer) {
    let mut device = Device::with_module(installer);
    fs::write(device.live("disable"), "").unwrap();
    device.reboot();
    assert!(!device.path("dev/droidspaces").exists());
    // Flashing it again enables it.
    device.flash(&zip::tested()).succeeds();
    assert!(!device.live("disable").exists());
    device.reboot();
    device.shell("ds supervisor status").succeeds();
}

fn removal_takes_the_links_and_leaves_the_data(installer: &Installer) {
    let mut device = Device::with_module(installer);
    device.write("data/adb/droidspaces/containers/web/container.ini", "[container]\n");
    fs::write(device.live("remove"), "").unwrap();
    device.reboot();
    assert_nothing_is_left(&device);
    assert!(device.path("data/adb/droidspaces/containers/web/container.ini").exists());
    assert!(!device.path("dev/droidspaces").exists());
}

fn removal_with_the_marker_takes_the_data_too(installer: &Installer) {
    let mut device = Device::with_module(installer);
    device.write("data/adb/droidspaces/containers/web/rootfs/etc/hostname", "web\n");
    device.write("data/photos/one", "");
    symlink("/data/photos", device.path("data/adb/droidspaces/containers/web/rootfs/photos")).unwrap();
    device.write("data/adb/droidspaces/purge", "");
    fs::write(device.live("remove"), "").unwrap();
    device.reboot();
    assert_nothing_is_left(&device);
    // The boot does not wait for the deletion.
    let data = device.path("data/adb/droidspaces");
    let begun = std::time::Instant::now();
    while data.exists() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", device.tree("data/adb"));
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(device.path("data/photos/one").exists());
}

fn programs_of_others_stay(installer: &Installer) {
    let mut device = Device::new(installer);
    let place = match installer.manager {
        Manager::Magisk => "system/bin".to_owned(),
        manager => format!("data/adb/{}", manager.programs()),
    };
    device.write(&format!("{place}/droidspaces"), "#!/system/bin/sh\necho another one\n");
    fs::set_permissions(
        device.path(&place).join("droidspaces"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let text = device.flash(&zip::tested()).succeeds();
    assert!(
        text.contains("! Another program named 'droidspaces' is in the search path; it is kept"),
        "{text}"
    );
    device.reboot();
    assert_eq!(device.shell("droidspaces").succeeds(), "another one\n");
    device.shell("ds version").succeeds();
    fs::write(device.live("remove"), "").unwrap();
    device.reboot();
    assert_eq!(device.shell("droidspaces").succeeds(), "another one\n");
}

fn the_button_shows_what_runs(installer: &Installer) {
    let device = Device::with_module(installer);
    let action = format!("sh /data/adb/modules/{ID}/action.sh");
    device.write("data/adb/droidspaces/containers/web/container.ini", "[container]\nrootfs = /data/rootfs\n");
    let text = device.shell(&action).succeeds();
    assert!(text.starts_with("ds ") && text.contains("\nweb "), "{text}");
    // If no browser can be opened, the address is shown.
    assert!(installer.manager != Manager::Magisk || text.contains("http://127.0.0.1:"), "{text}");
    device.flash(&zip::tested()).succeeds();
    device.shell("ds supervisor stop").succeeds();
    let text = device.shell(&action).succeeds();
    assert!(
        text.contains("An update is installed") && text.contains("The supervisor is not running"),
        "{text}"
    );
}

/// Only the contract can be interrupted at a certain point.
#[test]
fn an_interrupted_update_leaves_the_old_program_running() {
    with_contracts(|installer| {
        let mut device = Device::with_module(installer);
        let before = device.in_use();
        let cut = device.flash_with(&zip::tested(), &[("CUT_SHORT", "true")]);
        assert_eq!(cut.code, Some(128 + 9), "{cut:?}");
        assert!(device.in_use() == before, "the active module has changed");
        device.shell("ds supervisor status").succeeds();
        // The next boot treats the incomplete directory as the new module.
        device.reboot();
        assert!(!device.live("bin/ds").exists());
        device.shell("/data/adb/droidspaces/bin/ds supervisor status").succeeds();
        device.flash(&zip::tested()).succeeds();
        device.reboot();
        device.shell("ds supervisor status").succeeds();
    });
}

#[test]
fn old_managers_and_recoveries_are_refused() {
    let magisk = Installer { manager: Manager::Magisk, own_script: None };
    let device = Device::new(&magisk);
    let text = device.flash_with(&zip::tested(), &[("VERSION_CODE", "20300")]).fails();
    assert!(text.contains("! This version of Magisk is too old: its version code is 20300; 20400"), "{text}");
    assert_nothing_is_left(&device);
    let text = device.flash_with(&zip::tested(), &[("BOOTMODE", "false")]).fails();
    assert!(text.contains("! Install this module in the app of your root manager"), "{text}");
    assert!(!device.live("bin").exists());
}

#[test]
fn a_recovery_shows_where_to_install() {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let script = place.path().join("update-binary");
    fs::write(&script, &zip::members()["META-INF/com/google/android/update-binary"]).unwrap();
    let output =
        Command::new("/bin/busybox").args(["sh"]).arg(script).args(["3", "1", "module.zip"]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("ui_print Install the zip in the app of"));
}

/// shellcheck(1) reports features that a POSIX shell lacks.
#[test]
fn scripts_are_plain_shell() {
    let scripts = ["customize.sh", "service.sh", "module/action.sh", "module/uninstall.sh"];
    let update_binary = "module/META-INF/com/google/android/update-binary";
    let own = ["tests/module/installer.sh", "tests/module/boot.sh"];
    let output = Command::new("shellcheck").args(scripts).arg(update_binary).args(own).output();
    let output = output.expect("shellcheck");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The applets that BusyBox of managers, BusyBox of Debian and toybox all have; a missing one would only be detected on
/// a device.
#[test]
fn scripts_use_only_programs_of_every_device() {
    const EVERYWHERE: [&str; 11] =
        ["[", "cd", "chcon", "exit", "exec", "export", "mkdir", "mv", "rm", "sha256sum", "umask"];
    const OF_INSTALLERS: [&str; 3] = ["abort", "set_perm", "ui_print"];
    for script in ["customize.sh", "service.sh", "module/action.sh", "module/uninstall.sh"] {
        for line in fs::read_to_string(script).unwrap().lines().map(str::trim) {
            let word = line.split(' ').next().unwrap_or_default();
            let is_command = word.starts_with(|c: char| c.is_ascii_lowercase()) && !word.contains('=');
            let known = EVERYWHERE.contains(&word) || OF_INSTALLERS.contains(&word);
            let grammar = ["if", "then", "else", "elif", "fi"].contains(&word);
            assert!(!is_command || known || grammar, "{script}: {line}");
        }
    }
}
