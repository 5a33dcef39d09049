//! The program file of ds processes: a copy that no container can change, in every form, while the file on disk
//! can be replaced at any time (CVE-2019-5736).

use crate::sandbox::Sandbox;
use crate::{given, wait_for};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A supervisor that was launched from a file of the test, on a simulated kernel without `denied`.
fn launch(sandbox: &Sandbox, denied: &[&str]) -> PathBuf {
    let program = sandbox.path("installed/ds");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    // Copied by another process: a test that forks meanwhile would keep it open for writing (ETXTBSY).
    sandbox.run(&[Path::new("cp"), &sandbox.binary(), &program]).succeeds();
    let probe = given("DS_PROBE");
    let denied = denied.join(",");
    let mut words = vec![probe.to_str().unwrap(), "deny", &denied, "--"];
    if denied.is_empty() {
        words.clear();
    }
    words.extend([program.to_str().unwrap(), "supervise"]);
    sandbox.run(&words).succeeds();
    program
}

/// The program file of the supervisor and the monitor. No process outside can write to it either.
fn programs(sandbox: &Sandbox) -> Vec<String> {
    let pids = [sandbox.supervisor(), sandbox.monitor("web")].map(|process| process.unwrap().pid);
    let look = |pid: i32| {
        let link = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        let opened = OpenOptions::new().write(true).open(format!("/proc/{pid}/exe"));
        assert_eq!(opened.unwrap_err().raw_os_error(), Some(libc::ETXTBSY), "{}", link.display());
        link.display().to_string()
    };
    pids.into_iter().map(look).collect()
}

/// Root inside waits for a program of ds just before a session executes its command, and writes to it.
fn attack(sandbox: &Sandbox) {
    let script = "while true; do for exe in /proc/[0-9]*/exe; do \
                  case $(busybox readlink $exe) in /bin/*) ;; *) echo $exe $(busybox readlink $exe); \
                  (echo overwritten > $exe) 2>/dev/null && echo WRITTEN;; esac; done; done";
    let mut watcher = sandbox.spawn_ds(&["run", "web", "--", "/bin/sh", "-c", script]);
    for _ in 0..30 {
        sandbox.ds(&["run", "web", "--", "/bin/true"]).succeeds();
    }
    watcher.kill().unwrap();
    let output = watcher.wait_with_output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains("WRITTEN"), "{output:?}");
}

/// The complete life cycle with a copy that `is_expected` recognises by its name in /proc.
fn holds(denied: &[&str], is_expected: &dyn Fn(&Sandbox, &str) -> bool) {
    let sandbox = Sandbox::new();
    let program = launch(&sandbox, denied);
    let tree = sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    let report = wait_for("the report", || tree.report());
    for program in report["programs"].as_array().unwrap() {
        assert_eq!(program["program"], "/bin/probe", "PID 1 is the container's own program: {program}");
    }
    // The program in the container is /proc/self/exe, and the attacker tries to open it for writing.
    tree.write("bin/trap", "#!/proc/self/exe\n");
    fs::set_permissions(tree.path("bin/trap"), PermissionsExt::from_mode(0o755)).unwrap();
    let trapped = sandbox.ds(&["run", "web", "--", "/bin/trap"]);
    assert!(!trapped.text().contains("ds: "), "the program of ds did not run inside: {trapped:?}");
    let before = fs::read(&program).unwrap();
    attack(&sandbox);
    assert!(fs::read(&program).unwrap() == before, "the file on disk is unchanged");
    let running = programs(&sandbox);
    assert!(running.iter().all(|link| is_expected(&sandbox, link)), "{denied:?}: {running:?}");
    // The file on disk is never in use: it can be overwritten, and the supervisor can be replaced by it.
    fs::write(&program, &before).unwrap();
    sandbox.ds(&["supervisor", "reload"]).succeeds();
    let replaced = programs(&sandbox);
    assert!(replaced.iter().all(|link| is_expected(&sandbox, link)), "{denied:?}: {replaced:?}");
    attack(&sandbox);
    fs::write(&program, &before).unwrap();
    sandbox.ds(&["restart", "web"]).succeeds();
    assert!(!sandbox.log().contains("could overwrite"), "{}", sandbox.log());
    sandbox.ds(&["stop", "web"]).succeeds();
}

fn is_in_data(sandbox: &Sandbox, link: &str) -> bool {
    Path::new(link).starts_with(sandbox.data("")) && link.ends_with(" (deleted)")
}

#[test]
fn our_program_cannot_be_overwritten_from_inside() {
    holds(&[], &is_in_data);
}

#[test]
fn our_program_cannot_be_overwritten_without_memfd() {
    holds(&["memfd_create"], &is_in_data);
}

#[test]
fn our_program_cannot_be_overwritten_where_files_have_names() {
    holds(&["tmpfile"], &|_, link| link.starts_with("/memfd:ds "));
}

#[test]
fn a_data_directory_without_space_for_a_copy_is_skipped() {
    for options in ["noexec", "size=1M"] {
        let mut sandbox = Sandbox::new();
        let data = sandbox.data("");
        fs::create_dir_all(&data).unwrap();
        let data = data.to_str().unwrap().trim_end_matches('/').to_owned();
        if options == "noexec" {
            sandbox.mount(&["--bind", &data, &data]);
            sandbox.mount(&["-o", "remount,bind,noexec", &data]);
        } else {
            // A nearly full file system.
            let image = sandbox.path("full.img");
            fs::create_dir_all(image.parent().unwrap()).unwrap();
            let image = image.to_str().unwrap().to_owned();
            sandbox.run(&["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", &image, "1M"]).succeeds();
            sandbox.mount(&["-o", "loop", &image, &data]);
        }
        launch(&sandbox, &[]);
        let supervisor = sandbox.supervisor().unwrap().pid;
        let link = fs::read_link(format!("/proc/{supervisor}/exe")).unwrap();
        assert!(link.starts_with("/memfd:ds (deleted)"), "{options}: {}", link.display());
        assert!(!sandbox.log().contains("could overwrite"), "{}", sandbox.log());
        sandbox.ds(&["supervisor", "stop"]).succeeds();
        if options != "noexec" {
            // Its workers end a moment after it.
            wait_for("the end of the workers", || sandbox.processes().is_empty().then_some(()));
            sandbox.run(&["umount", &data]).succeeds();
        }
    }
}

#[test]
fn with_neither_form_the_supervisor_warns() {
    let sandbox = Sandbox::new();
    launch(&sandbox, &["memfd_create", "tmpfile"]);
    sandbox.ds(&["list"]).succeeds();
    assert!(sandbox.log().contains("could overwrite"), "{}", sandbox.log());
}
