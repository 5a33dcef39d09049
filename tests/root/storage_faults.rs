//! Jobs that fail, are killed or interrupted at any time: the original is intact, nothing partial is left, and the next
//! attempt succeeds.

use crate::process::{self, Process};
use crate::root_fs::Tree;
use crate::sandbox::{Sandbox, Setting};
use crate::storage::{archive, assert_boots, assert_tidy, full_tree, left_over, root_of, text};
use crate::{skip, wait_for};
use nix::sys::signal::Signal;
use std::fs;
use std::process::{Child, Command};

/// Stages of a job in the worker, after the work is done.
const MADE: [&str; 2] = ["job-done", "job-renamed"];

/// A verb with its arguments, and its stages.
struct Job {
    words: &'static [&'static str],
    stages: &'static [&'static str],
}

const CREATE: Job = Job {
    words: &["create", "new", "--from", "own/tree.tar", "--size", "64M"],
    stages: &["job-begun", "job-prepared", "job-made", "job-unpacked", "job-filled"],
};
const CREATE_DIRECTORY: Job =
    Job { words: &["create", "new", "--from", "own/tree.tar"], stages: &["job-made", "job-filled"] };
const IMPORT: Job = Job {
    words: &["import", "own/dir.tar.zst", "new"],
    stages: &["job-begun", "job-prepared", "job-made", "job-unpacked", "job-filled"],
};
const COPY: Job = Job { words: &["copy", "img", "new"], stages: &["job-prepared", "job-copied"] };
const COPY_DIRECTORY: Job = Job { words: &["copy", "dir", "new"], stages: &["job-made", "job-filled"] };
const TO_IMAGE: Job = Job {
    words: &["convert", "dir", "image", "--size", "64M"],
    stages: &[
        "job-begun",
        "job-prepared",
        "job-made",
        "job-copied",
        "job-filled",
        "job-done",
        "job-decided",
        "job-placed",
        "job-switched",
        "job-let-go",
    ],
};
const TO_DIRECTORY: Job = Job {
    words: &["convert", "img", "dir"],
    stages: &["job-copied", "job-filled", "job-decided", "job-placed", "job-switched", "job-let-go"],
};
const RESIZE: Job = Job {
    words: &["resize", "img", "80M"],
    stages: &["job-begun", "job-prepared", "job-copied", "job-resized", "job-done", "job-renamed"],
};

/// A machine with a container in a directory, one in an image, an archive and an export; then one stage fails.
struct Machine {
    sandbox: Sandbox,
    stage: String,
}

impl Machine {
    fn new(stage: &str, action: &str) -> Self {
        let fault = format!("{stage}:{action}");
        let sandbox = Sandbox::with(Setting { fault: Some(fault), ..Setting::default() });
        let own = sandbox.data("containers/dir/rootfs");
        let tree = full_tree(&own);
        sandbox.create("dir", &own, &["priority=5"]);
        fs::create_dir_all(sandbox.path("")).expect("mkdir");
        archive(&sandbox, &tree, "tree.tar", &[]);
        let image = sandbox.data("containers/img/rootfs.img");
        fs::create_dir_all(image.parent().expect("a parent")).expect("mkdir");
        let made = Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-m", "0", "-d", text(&own), text(&image), "64M"])
            .status();
        assert!(made.expect("mke2fs").success());
        let ini = format!("[container]\nimage = {}\n", text(&image));
        fs::write(sandbox.data("containers/img/container.ini"), ini).expect("write");
        Self { sandbox, stage: stage.to_owned() }
    }

    /// The arguments of a job with the paths of this machine.
    fn words(&self, job: &Job) -> Vec<String> {
        let path = |word: &&str| match word.strip_prefix("own/") {
            Some(name) => text(&self.sandbox.path(name)).to_owned(),
            None => (*word).to_owned(),
        };
        job.words.iter().map(path).collect()
    }

    fn begin(&self, job: &Job) -> Child {
        let words = self.words(job);
        self.sandbox.spawn_ds(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The paused process.
    fn paused(&self) -> Process {
        wait_for("the stage", || {
            self.sandbox.processes().into_iter().find(|process| process.name == "paused")
        })
    }

    /// Asserts that the next supervisor cleans up, all containers boot, and the job succeeds.
    fn assert_recovers(&mut self, job: &Job) {
        if self.sandbox.supervisor().is_some() {
            self.sandbox.kill_supervisor();
        }
        self.sandbox.wait_for_workers();
        wait_for("the end of the job", || {
            let is_job = |one: &Process| ["ds:job", "paused"].contains(&&*one.name);
            (!self.sandbox.processes().iter().any(is_job)).then_some(())
        });
        self.sandbox.forget_fault();
        self.sandbox.ds(&["list"]).succeeds();
        self.sandbox.wait_for_standby();
        assert_tidy(&self.sandbox);
        for name in ["dir", "img"] {
            assert_boots(&self.sandbox, name);
        }
        assert_eq!(self.sandbox.ds(&["get", "dir", "priority"]).succeeds(), "5\n");
        let words = self.words(job);
        let again = self.sandbox.ds(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let made_already = words.contains(&"new".to_owned()) && MADE[1] == self.stage;
        assert_eq!(again.code, i32::from(made_already), "{}: {again:?}", self.stage);
        assert_tidy(&self.sandbox);
        if words.contains(&"new".to_owned()) {
            assert_boots(&self.sandbox, "new");
        }
    }
}

fn has_faults(test: &str) -> bool {
    if !cfg!(debug_assertions) {
        skip(test, "this build has no fault injection");
    }
    cfg!(debug_assertions)
}

/// At each stage the job fails, and its process dies.
fn fail_and_die(job: &Job, more: &[&str], prepare: impl Fn(&Machine)) {
    for stage in job.stages.iter().chain(more) {
        for action in ["fail", "kill"] {
            let mut machine = Machine::new(stage, action);
            prepare(&machine);
            let done = machine.begin(job).wait_with_output().expect("wait");
            let errors = String::from_utf8_lossy(&done.stderr);
            assert_eq!(done.status.code(), Some(1), "{stage} {action}: {errors}");
            assert_eq!(errors.matches('\n').count(), 1, "{stage} {action}: {errors}");
            if action == "fail" {
                assert!(errors.contains(&format!("injected fault at {stage}")), "{errors}");
                assert_tidy(&machine.sandbox);
            }
            machine.assert_recovers(job);
        }
    }
}

/// Creates an export without the fault, because an export has the same stages.
fn exported(machine: &Machine) {
    let file = machine.sandbox.path("dir.tar.zst");
    let export = ["export", "dir", "-o", text(&file)];
    // A separate machine without the fault.
    let other = Sandbox::new();
    let tree = Tree(machine.sandbox.data("containers/dir/rootfs"));
    other.create("dir", &tree.0, &[]);
    other.ds(&export).succeeds();
}

#[test]
fn an_interrupted_creation_is_undone() {
    if has_faults("storage_faults::an_interrupted_creation_is_undone") {
        fail_and_die(&CREATE, &MADE, |_| {});
        fail_and_die(&CREATE_DIRECTORY, &[], |_| {});
    }
}

#[test]
fn an_interrupted_import_is_undone() {
    if has_faults("storage_faults::an_interrupted_import_is_undone") {
        fail_and_die(&IMPORT, &MADE, exported);
    }
}

#[test]
fn an_interrupted_copy_is_undone() {
    if has_faults("storage_faults::an_interrupted_copy_is_undone") {
        fail_and_die(&COPY, &MADE, |_| {});
        fail_and_die(&COPY_DIRECTORY, &[], |_| {});
    }
}

#[test]
fn an_interrupted_conversion_is_undone_or_completed() {
    if has_faults("storage_faults::an_interrupted_conversion_is_undone_or_completed") {
        fail_and_die(&TO_IMAGE, &[], |_| {});
    }
}

#[test]
fn an_interrupted_conversion_back_is_undone_or_completed() {
    if has_faults("storage_faults::an_interrupted_conversion_back_is_undone_or_completed") {
        fail_and_die(&TO_DIRECTORY, &[], |_| {});
    }
}

#[test]
fn an_interrupted_resize_is_undone() {
    if has_faults("storage_faults::an_interrupted_resize_is_undone") {
        fail_and_die(&RESIZE, &[], |_| {});
    }
}

#[test]
fn an_export_that_is_killed_leaves_a_file_that_the_next_one_removes() {
    if !has_faults("storage_faults::an_export_that_is_killed_leaves_a_file_that_the_next_one_removes") {
        return;
    }
    for (stage, action) in [("job-begun-writing", "kill"), ("job-done", "kill"), ("job-done", "fail")] {
        let mut machine = Machine::new(stage, action);
        let folder = machine.sandbox.path("exports");
        fs::create_dir(&folder).expect("mkdir");
        let file = folder.join("img.tar.zst");
        let export = ["export", "img", "-o", text(&file)];
        machine.sandbox.ds(&export).fails(1, &["ds: "]);
        assert!(!file.exists());
        machine.sandbox.kill_supervisor();
        machine.sandbox.wait_for_workers();
        machine.sandbox.forget_fault();
        machine.sandbox.ds(&export).succeeds();
        assert_eq!(fs::read_dir(&folder).expect("exports").count(), 1);
        machine.sandbox.ds(&["import", text(&file), "new"]).succeeds();
        assert_boots(&machine.sandbox, "new");
        assert_tidy(&machine.sandbox);
    }
}

#[test]
fn a_job_ends_with_its_client_its_worker_and_the_machine() {
    if !has_faults("storage_faults::a_job_ends_with_its_client_its_worker_and_the_machine") {
        return;
    }
    for (job, stage) in [(&CREATE, "job-unpacked"), (&TO_IMAGE, "job-copied"), (&RESIZE, "job-copied")] {
        for victim in ["interrupt", "client", "worker", "job", "all"] {
            let mut machine = Machine::new(stage, "pause");
            let mut client = machine.begin(job);
            let paused = machine.paused();
            match victim {
                "interrupt" => {
                    // It was created from outside the sandbox.
                    let entered = i32::try_from(client.id()).expect("a number");
                    let found = process::below(entered).into_iter().find(|one| one.name == "ds");
                    process::signal(found.expect("the client").pid, Signal::SIGINT);
                }
                "client" => client.kill().expect("kill"),
                "worker" => process::kill(paused.parent),
                "job" => process::kill(paused.pid),
                _ => machine.sandbox.kill_everything(),
            }
            let done = client.wait_with_output().expect("wait");
            let errors = String::from_utf8_lossy(&done.stderr);
            assert!(errors.matches('\n').count() <= 1, "{victim}: {errors}");
            if victim == "interrupt" {
                assert!(errors.contains("interrupted"), "{errors}");
                assert_tidy(&machine.sandbox);
            }
            if victim != "all" {
                // Without any other command, and by this supervisor.
                wait_for("the clean-up", || left_over(&machine.sandbox).is_empty().then_some(()));
            }
            machine.assert_recovers(job);
        }
    }
}

#[test]
fn other_verbs_are_refused_during_a_job() {
    if !has_faults("storage_faults::other_verbs_are_refused_during_a_job") {
        return;
    }
    let mut machine = Machine::new("job-copied", "pause");
    let client = machine.begin(&TO_IMAGE);
    let paused = machine.paused();
    let reason = "it is being converted; wait until that is done";
    let refused: [&[&str]; 8] = [
        &["start", "dir"],
        &["rm", "dir"],
        &["rename", "dir", "other"],
        &["rename", "img", "dir"],
        &["convert", "dir", "image"],
        &["copy", "dir", "other"],
        &["export", "dir", "-o", "/tmp/never"],
        &["rm", "--force", "dir"],
    ];
    for words in refused {
        machine.sandbox.ds(words).fails(1, &[reason]);
    }
    assert_eq!(machine.sandbox.ds(&["list", "--names"]).succeeds(), "dir\nimg\n");
    // Other containers are not affected, and settings can be changed.
    machine.sandbox.ds(&["start", "img"]).succeeds();
    machine.sandbox.ds(&["stop", "img", "--kill"]).succeeds();
    machine.sandbox.ds(&["set", "dir", "priority=6"]).succeeds();
    machine.sandbox.ds(&["set", "dir", "priority=5"]).succeeds();
    process::kill(paused.pid);
    client.wait_with_output().expect("wait");
    machine.assert_recovers(&TO_IMAGE);
}

#[test]
fn an_incomplete_export_is_removed_after_the_death_of_its_worker() {
    if !has_faults("storage_faults::an_incomplete_export_is_removed_after_the_death_of_its_worker") {
        return;
    }
    let machine = Machine::new("job-prepared", "pause");
    let place = machine.sandbox.path("");
    let names = || fs::read_dir(&place).expect("list").count();
    let before = names();
    let job = Job { words: &["export", "dir", "-o", "own/out.tar.zst"], stages: &[] };
    let client = machine.begin(&job);
    let paused = machine.paused();
    assert_eq!(names(), before + 1);
    process::kill(paused.parent);
    client.wait_with_output().expect("wait");
    wait_for("the clean-up", || (names() == before).then_some(()));
    wait_for("the clean-up", || left_over(&machine.sandbox).is_empty().then_some(()));
}

#[test]
fn a_job_of_an_earlier_supervisor_is_cleaned_up_after_as_well() {
    if !has_faults("storage_faults::a_job_of_an_earlier_supervisor_is_cleaned_up_after_as_well") {
        return;
    }
    let mut machine = Machine::new("job-copied", "pause");
    let client = machine.begin(&TO_IMAGE);
    let paused = machine.paused();
    machine.sandbox.kill_supervisor();
    machine.sandbox.forget_fault();
    machine.sandbox.ds(&["list"]).succeeds();
    assert_ne!(left_over(&machine.sandbox), [""; 0], "it is being done");
    process::kill(paused.parent);
    client.wait_with_output().expect("wait");
    wait_for("the clean-up", || left_over(&machine.sandbox).is_empty().then_some(()));
}

const RENAMING: [&str; 4] = ["rename-begun", "rename-prepared", "rename-done", "rename-recorded"];

#[test]
fn a_rename_is_one_step_or_none() {
    if !has_faults("storage_faults::a_rename_is_one_step_or_none") {
        return;
    }
    for (stage, from) in RENAMING.iter().flat_map(|stage| [(stage, "dir"), (stage, "img")]) {
        for action in ["fail", "kill", "pause"] {
            let mut machine = Machine::new(stage, action);
            let sandbox = &machine.sandbox;
            let own = sandbox.data("containers").join(from);
            let shared = format!("mounts.bind={}/shared:/mnt", text(&own));
            fs::create_dir(own.join("shared")).expect("mkdir");
            sandbox.ds(&["set", from, &shared]).succeeds();
            let renaming = sandbox.spawn_ds(&["rename", from, "new"]);
            if action == "pause" {
                process::kill(machine.paused().pid);
            }
            assert_eq!(renaming.wait_with_output().expect("wait").status.code(), Some(1));
            machine.sandbox.forget_fault();
            machine.sandbox.kill_supervisor();
            let sandbox = &machine.sandbox;
            let is_done = ["rename-done", "rename-recorded"].contains(stage);
            let (name, free) = if is_done { ("new", from) } else { (from, "new") };
            sandbox.ds(&["info", free]).fails(1, &["no such container"]);
            // A new container with the old name is independent of it.
            let tree = full_tree(&sandbox.path("another"));
            sandbox.create(free, &tree.0, &[]);
            assert_eq!(sandbox.info(free)["last_exit"], serde_json::Value::Null);
            let place = sandbox.data("containers").join(name);
            assert_eq!(root_of(sandbox, name).1.parent(), Some(&*place), "{stage} {action}");
            let bind = sandbox.ds(&["get", name, "mounts.bind"]).succeeds();
            assert_eq!(bind, format!("{}/shared:/mnt\n", text(&place)));
            assert_boots(sandbox, name);
            assert_boots(sandbox, free);
            sandbox.ds(&["rm", free]).succeeds();
            fs::remove_dir(place.join("shared")).expect("rmdir");
            assert_tidy(sandbox);
        }
    }
}

const CREATING: [&str; 3] = ["create-begun", "create-written", "create-done"];

#[test]
fn a_container_in_place_is_complete_or_does_not_exist() {
    if !has_faults("storage_faults::a_container_in_place_is_complete_or_does_not_exist") {
        return;
    }
    for stage in CREATING {
        for action in ["fail", "kill", "pause"] {
            let setting = Setting { fault: Some(format!("{stage}:{action}")), ..Setting::default() };
            let mut sandbox = Sandbox::with(setting);
            let tree = full_tree(&sandbox.path("tree"));
            let creating = sandbox.spawn_ds(&["create", "web", "--rootfs", text(&tree.0)]);
            let is_there = stage == "create-done";
            if action == "pause" {
                let is_paused = |one: &Process| one.name == "paused";
                let paused = wait_for("the stage", || sandbox.processes().into_iter().find(is_paused));
                let listed = if is_there { "web\n" } else { "" };
                assert_eq!(sandbox.ds(&["list", "--names"]).succeeds(), listed);
                process::kill(paused.pid);
            }
            assert_eq!(creating.wait_with_output().expect("wait").status.code(), Some(1));
            if action == "pause" {
                wait_for("the clean-up", || left_over(&sandbox).is_empty().then_some(()));
            }
            sandbox.forget_fault();
            sandbox.kill_supervisor();
            let again = sandbox.ds(&["create", "web", "--rootfs", text(&tree.0)]);
            assert_eq!(again.code, i32::from(is_there), "{stage} {action}");
            assert_boots(&sandbox, "web");
            wait_for("the clean-up", || left_over(&sandbox).is_empty().then_some(()));
            sandbox.ds(&["rm", "web"]).succeeds();
        }
    }
}

#[test]
fn a_new_name_is_reserved_while_its_container_is_created() {
    if !has_faults("storage_faults::a_new_name_is_reserved_while_its_container_is_created") {
        return;
    }
    let mut machine = Machine::new("job-unpacked", "pause");
    let client = machine.begin(&CREATE);
    let paused = machine.paused();
    let tree = machine.sandbox.data("containers/dir/rootfs");
    for words in [
        &["create", "new", "--rootfs", text(&tree)][..],
        &["create", "new", "--from", text(&machine.sandbox.path("tree.tar"))],
        &["rename", "img", "new"],
        &["copy", "img", "new"],
    ] {
        machine.sandbox.ds(words).fails(1, &["it is being made; wait until that is done"]);
    }
    machine.sandbox.ds(&["info", "new"]).fails(1, &["no such container"]);
    assert_eq!(machine.sandbox.ds(&["list", "--names"]).succeeds(), "dir\nimg\n");
    process::kill(paused.pid);
    client.wait_with_output().expect("wait");
    machine.assert_recovers(&CREATE);
}

#[test]
fn a_supervisor_removes_only_remains() {
    let sandbox = Sandbox::new();
    let tree = full_tree(&sandbox.path("tree"));
    sandbox.create("web", &tree.0, &[]);
    let containers = sandbox.data("containers");
    let digits = "0123456789abcdef";
    let left = [format!(".new-web-{digits}"), format!("web/.ds-job-{digits}"), ".trash-old-17".to_owned()];
    for path in &left {
        fs::create_dir_all(containers.join(path).join("rootfs/etc")).expect("mkdir");
        fs::write(containers.join(path).join("rootfs/etc/passwd"), "x").expect("write");
    }
    let kept = [".new-web", "web/.ds-job-mine"];
    for path in kept {
        fs::create_dir_all(containers.join(path)).expect("mkdir");
    }
    sandbox.ds(&["list"]).succeeds();
    wait_for("the sweep", || left.iter().all(|path| !containers.join(path).exists()).then_some(()));
    for path in kept {
        assert!(containers.join(path).exists(), "{path}");
        fs::remove_dir(containers.join(path)).expect("rmdir");
    }
    assert_eq!(root_of(&sandbox, "web").1, tree.0);
    assert!(tree.path("etc/motd").exists());
}

#[test]
fn an_image_of_another_container_is_not_deleted() {
    let sandbox = Sandbox::new();
    let tree = full_tree(&sandbox.path("tree"));
    let packed = archive(&sandbox, &tree, "tree.tar", &[]);
    sandbox.ds(&["create", "web", "--from", text(&packed), "--size", "64M"]).succeeds();
    let (_, image) = root_of(&sandbox, "web");
    sandbox.ds(&["create", "other", "--image", text(&image)]).succeeds();
    sandbox.ds(&["start", "other"]).succeeds();
    for words in [&["resize", "web", "80M"][..], &["convert", "web", "dir"], &["copy", "web", "new"]] {
        sandbox.ds(words).fails(1, &["uses the image"]);
    }
    sandbox.ds(&["rm", "web"]).fails(1, &["in use"]);
    sandbox.ds(&["rename", "web", "www"]).fails(1, &["image of other is in its directory"]);
    sandbox.ds(&["stop", "other", "--kill"]).succeeds();
    assert_tidy(&sandbox);
    assert_boots(&sandbox, "web");
    sandbox.ds(&["rm", "other"]).succeeds();
    sandbox.ds(&["rm", "web"]).succeeds();
    assert!(!image.exists());
}
