//! Disabled protections: each tag of `security.privileged` has its documented effect and is reported, and
//! `security.nesting` provides what container engines need.

use crate::sandbox::Sandbox;
use crate::wait_for;

/// A line of /proc/self/status of a command inside.
fn status(sandbox: &Sandbox, field: &str) -> String {
    let text = sandbox.ds(&["run", "web", "--", "/bin/cat", "/proc/self/status"]).succeeds();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t").map(str::to_owned));
    line.unwrap_or_default()
}

#[test]
fn disabled_protections_are_reported() {
    for tag in ["no", "nomask", "nocaps", "noseccomp", "shared", "unfiltered-dev", "full"] {
        let has = |one: &str| tag == one || tag == "full";
        let sandbox = Sandbox::new();
        let tree = sandbox.container("web", &[&format!("security.privileged={tag}")]);
        let started = sandbox.ds(&["start", "web"]);
        for one in ["nomask", "nocaps", "noseccomp", "shared", "unfiltered-dev"] {
            let line = format!("security.privileged = {one}: ");
            assert_eq!(started.errors.contains(&line), has(one), "{tag}: {}", started.errors);
            assert_eq!(sandbox.log().contains(&line), has(one), "{tag}: {}", sandbox.log());
        }
        started.succeeds();
        let report = wait_for("the report", || tree.report());
        let masked = report["files"]["/proc/sys/kernel/core_pattern"]["write"] == "EROFS";
        assert_eq!(masked, !has("nomask"), "{tag}");
        let all = std::fs::read_to_string("/proc/self/status").unwrap();
        let all = all.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap().to_owned();
        assert_eq!(status(&sandbox, "CapBnd") == all, has("nocaps"), "{tag}");
        assert_eq!(status(&sandbox, "Seccomp") == "0", has("noseccomp"), "{tag}");
        let mounts = sandbox.ds(&["run", "web", "--", "/bin/cat", "/proc/self/mountinfo"]).succeeds();
        assert_eq!(mounts.lines().next().unwrap().contains(" shared:"), has("shared"), "{tag}");
        let rules = sandbox.info("web")["devices"]["rules"].clone();
        assert_eq!(rules[0] == "a *:* rwm", has("unfiltered-dev"), "{tag}");

        assert_eq!(sandbox.info("web")["privileged"], tag);
        let shown = sandbox.ds(&["info", "web"]).succeeds();
        assert_eq!(shown.contains(&format!("\nprivileged  {tag}\n")), tag != "no", "{shown}");
        let list = sandbox.ds(&["list"]).succeeds();
        assert_eq!(list.contains(&format!("privileged: {tag}")), tag != "no", "{list}");
        // A running container keeps the settings of its start.
        sandbox.ds(&["set", "web", "security.privileged=no"]).succeeds();
        assert_eq!(sandbox.info("web")["privileged"], tag);
        sandbox.ds(&["stop", "web"]).succeeds();
        assert_eq!(sandbox.info("web")["privileged"], "no");
    }
}

#[test]
fn with_nesting_a_user_namespace_inside_can_mount_proc() {
    for nesting in [false, true] {
        let mut sandbox = Sandbox::new();
        let setting = format!("security.nesting={}", if nesting { "yes" } else { "no" });
        sandbox.distribution("web", "bookworm", &[&setting]);
        sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
        let run =
            |user: &str, words: &[&str]| sandbox.ds(&[&["run", "-u", user, "web", "--"], words].concat());
        let mounts = run(
            "nobody",
            &["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "true"],
        );
        assert_eq!(mounts.code == 0, nesting, "{}", mounts.errors);
        assert_ne!(run("nobody", &["ls", "/run/host/nesting/proc"]).code, 0, "only root can reach them");
        sandbox.ds(&["stop", "web"]).succeeds();
    }
}
