//! Power cuts: the machine ends in the middle of an operation, and its disk loses unflushed writes.
//!
//! Each test cuts the power ten times, after a number of disk writes that is derived from a seed and thus independent of
//! speed. The machine boots again with the remaining content of the disk: everything that was reported as done must
//! exist, everything else must be in its old or its new state, and nothing may be incomplete.

use crate::chance::Chance;
use crate::disk::Disk;
use crate::machine::{Machine, SERVER, Setup};
use crate::platform::PLAIN;
use crate::web::catalogue::{IMAGE, sum as sha256};
use crate::{given, outside};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The number of power cuts in one test.
const CUTS: u64 = 10;

/// The number of power cuts in a pull, which has fewer stages.
const PULL_CUTS: u64 = 6;

const PREPARE: &str = "mount -t ext4 /dev/vdb /var/lib/droidspaces
mkdir /mnt/images
mount -t ext4 -o ro /dev/vdc /mnt/images
";

/// Lists remains of jobs in the directory of containers.
const HALVES: &str =
    "cd /var/lib/droidspaces/containers && find . -name '.new-*' -o -name '.ds-job-*' -o -name '.trash-*'";

/// The machine with two disks: one that loses unflushed writes, and one with an image and an archive.
struct Victim {
    folder: tempfile::TempDir,
    disk: Disk,
    setup: Setup,
    chance: Chance,
    /// The number of disk writes of each kind of job.
    costs: BTreeMap<&'static str, u64>,
}

impl Victim {
    fn new(seed: u64) -> Self {
        eprintln!("seed {seed}");
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut chance = Chance::from_seed(seed);
        let images = folder.path().join("images");
        fs::create_dir_all(&images).unwrap();
        fs::hard_link(given("DS_VM").join("images/busybox"), images.join("busybox")).unwrap();
        archive(folder.path(), &mut chance);
        let images = Disk::ext4(&folder.path().join("disk2"), 192 << 20, &images);
        let empty = folder.path().join("empty");
        fs::create_dir_all(&empty).unwrap();
        let disk = Disk::ext4(&folder.path().join("disk"), 512 << 20, &empty);
        let setup = Setup::new().disk(&disk, 512).disk(&images, 512).prepare(PREPARE);
        Self { folder, disk, setup, chance, costs: BTreeMap::new() }
    }

    /// Runs a job to its end, to count its disk writes.
    fn measure(&mut self, machine: &mut Machine, job: &'static str, script: &str) {
        machine.run("sync").succeeds();
        let before = self.disk.changes();
        machine.run(script).succeeds();
        self.costs.insert(job, self.disk.changes() - before);
    }

    /// Runs a job and cuts the power during it, or just after it has reported `end`. Returns the reports.
    fn cut(&mut self, mut machine: Machine, job: &'static str, script: &str, end: &str) -> Vec<String> {
        let cost = self.costs[job];
        // Most writes are copies; the decisive ones are the last. Or the power fails just after the job has reported its end.
        let (last, end_of_time) = (cost.min(30), cost * 100);
        let after = match self.chance.below(3) {
            0 => self.chance.below(cost),
            1 => cost - self.chance.below(last),
            _ => end_of_time,
        };
        machine.run("sync").succeeds();
        self.disk.lose_power_after(after + 1);
        machine.ask(&format!("{script}\ncode=$?; echo ended >/run/reports; exit $code"));
        machine.wait_until(|reports| {
            self.disk.is_dead() || reports.iter().any(|line| line == end || line == "ended")
        });
        if machine.reports().iter().any(|line| line == "ended") && !self.disk.is_dead() {
            machine.answer().succeeds();
        }
        let reports = machine.kill();
        let lost = self.disk.cut(&mut self.chance);
        let count = reports.len();
        let cut = if after == end_of_time { "at its end".to_owned() } else { format!("after {after}") };
        eprintln!("{job}: cut {cut} of about {cost} writes: {lost} sectors lost, {count} reports");
        reports
    }
}

/// An archive with BusyBox and other files, whose unpacking takes some time.
fn archive(folder: &Path, chance: &mut Chance) {
    let tree = folder.join("tree");
    let status = Command::new("cp").arg("-a").arg(given("DS_FIXTURES").join("busybox")).arg(&tree).status();
    assert!(status.expect("cp").success());
    let ballast = tree.join("ballast");
    fs::create_dir(&ballast).unwrap();
    let mut bytes =
        |count: u64| -> Vec<u8> { (0..count / 8).flat_map(|_| chance.next().to_le_bytes()).collect() };
    for number in 0..200 {
        fs::write(ballast.join(number.to_string()), bytes(64 + number * 16)).unwrap();
    }
    fs::write(ballast.join("large"), bytes(6 << 20)).unwrap();
    let mut command = Command::new("tar");
    command
        .arg("-C")
        .arg(&tree)
        .args(["--numeric-owner", "-czf"])
        .arg(folder.join("images/archive.tar.gz"))
        .arg(".");
    assert!(command.status().expect("tar").success());
}

/// Files of a container that never change.
fn sum(machine: &mut Machine, name: &str) -> String {
    machine.run(&format!("ds run {name} -- sh -c 'cat /ballast/* /bin/busybox | md5sum'")).succeeds()
}

#[test]
fn nothing_written_in_an_image_is_lost_and_it_is_resized_or_not() {
    let mut victim = Victim::new(20_261_121);
    let mut machine = Machine::boot(&victim.setup);
    machine
        .run("cp /mnt/images/busybox /var/lib/droidspaces/image && ds create box --image /var/lib/droidspaces/image")
        .succeeds();
    machine.run("ds start box && ds run box -- mkdir /files && ds stop box").succeeds();
    victim.measure(&mut machine, "resize", "ds resize box 96M");
    victim.costs.insert("write", 150);
    let mut written: Vec<String> = Vec::new();
    let (mut size, mut target) = (96, 96);
    for round in 0..CUTS {
        // In any case, the container starts and has all reported files.
        assert_eq!(machine.run(HALVES).succeeds(), "", "round {round}");
        machine.run("ds start box").succeeds();
        let whole = "cd /files && for f in *; do read -r x <$f; [ \"$x\" = \"content of $f\" ] && echo $f; done; true";
        let found = machine.run(&format!("ds run box -- sh -c '{whole}'")).succeeds();
        let found: Vec<_> = found.lines().collect();
        let missing: Vec<_> = written.iter().filter(|name| !found.contains(&name.as_str())).collect();
        assert!(missing.is_empty(), "round {round}: lost {missing:?}");
        let length = machine.run("stat -c %s /var/lib/droidspaces/image").succeeds();
        let length = length.trim().parse::<u64>().unwrap() >> 20;
        assert!(length == size || length == target, "round {round}: {length} is neither {size} nor {target}");
        (size, target) = (length, length);
        if round % 2 == 0 {
            // Each file is reported when it is on disk. In between, other files are written that are not flushed.
            let script = format!(
                "ds run box -- sh -c 'cd /files; i=0; while :; do i=$((i + 1)); f={round}-$i; \
                 echo content of $f | dd of=$f conv=fsync 2>/dev/null && echo $f; \
                 dd if=/dev/zero of=/ballast$((i % 4)) bs=64k count=4 2>/dev/null; done' \
                 | while read -r name; do echo $name >/run/reports; done"
            );
            // Fewer if the power is cut before.
            let end = format!("{round}-{}", 1 + victim.chance.below(40));
            written.extend(victim.cut(machine, "write", &script, &end));
        } else {
            machine.run("ds stop box").succeeds();
            target = if size == 96 { 72 } else { 96 };
            let script = format!("ds resize box {target}M && echo resized >/run/reports");
            if victim.cut(machine, "resize", &script, "resized").iter().any(|line| line == "resized") {
                size = target;
            }
        }
        machine = Machine::boot(&victim.setup);
        assert_eq!(machine.run("ds list --json | grep -o '\"name\"'").succeeds(), "\"name\"\n");
    }
    assert!(!written.is_empty(), "nothing was written");
    machine.power_off();
}

#[test]
fn a_container_is_created_or_not_and_converted_or_not() {
    let mut victim = Victim::new(20_261_122);
    let mut machine = Machine::boot(&victim.setup);
    machine.run("ds create tree --from /mnt/images/archive.tar.gz && ds start tree").succeeds();
    let expected = sum(&mut machine, "tree");
    machine.run("ds stop tree").succeeds();
    victim.measure(&mut machine, "image", "ds convert tree image --size 64M");
    victim.measure(&mut machine, "directory", "ds convert tree dir");
    let create = "ds create new --from /mnt/images/archive.tar.gz --size 64M";
    victim.measure(&mut machine, "create", create);
    let mut promised = vec!["new", "tree"];
    let mut forms = vec!["directory"];
    for round in 0..=CUTS {
        assert_eq!(machine.run("ds list --json >/run/list; true").code, 0);
        assert_eq!(machine.run(HALVES).succeeds(), "", "round {round}");
        let names = machine
            .run("sed 's/\"name\":/\\n&/g' /run/list | sed -n 's/^\"name\":\"\\([a-z]*\\)\".*/\\1/p'")
            .succeeds();
        let names: Vec<_> = names.lines().collect();
        assert!(promised.iter().all(|name| names.contains(name)), "round {round}: {names:?}");
        for name in &names {
            machine.run(&format!("ds start {name}")).succeeds();
            assert_eq!(sum(&mut machine, name), expected, "round {round}: {name}");
            machine.run(&format!("ds stop {name}")).succeeds();
        }
        let form =
            machine.run("ds info tree --json | grep -o '\"kind\":\"[a-z]*\"' | cut -d'\"' -f4").succeeds();
        let form = if form == "image\n" { "image" } else { "directory" };
        assert!(forms.contains(&form), "round {round}: {form} is none of {forms:?}");
        if round == CUTS {
            break;
        }
        forms = vec![form];
        promised = vec!["tree"];
        if round % 2 == 0 {
            if names.contains(&"new") {
                machine.run("ds rm new --force").succeeds();
            }
            let script = format!("{create} && echo created >/run/reports");
            if victim.cut(machine, "create", &script, "created").iter().any(|line| line == "created") {
                promised.push("new");
            }
        } else {
            let (other, words) =
                if form == "image" { ("directory", "dir") } else { ("image", "image --size 64M") };
            let script = format!("ds convert tree {words} && echo converted >/run/reports");
            if victim.cut(machine, other, &script, "converted").iter().any(|line| line == "converted") {
                forms = vec![other];
            } else {
                forms.push(other);
            }
        }
        machine = Machine::boot(&victim.setup);
    }
    machine.power_off();
}

#[test]
fn a_pulled_image_is_whole_or_absent_and_the_next_pull_completes_it() {
    let mut victim = Victim::new(20_261_129);
    let (server, image) = outside::serve(victim.folder.path(), PLAIN, &mut victim.chance);
    victim.setup = victim.setup.clone().server(server.port).file("authority.pem", &server.authority);
    let sum = sha256(&image);
    let pull = "SSL_CERT_FILE=/run/guest/authority.pem ds pull debian:13";
    let whole = format!(
        "cd /var/lib/droidspaces/cache && for file in *; do case $file in '*' | *.*) ;; \
         *) sha256sum $file | grep -x '{sum}  {sum}' || exit 1;; esac; done"
    );
    let mut machine = Machine::boot(&victim.setup);
    machine
        .run(&format!("printf '[images]\nmirror = https://{SERVER}\n' >/var/lib/droidspaces/supervisor.ini"))
        .succeeds();
    victim.measure(&mut machine, "pull", pull);
    for round in 0..PULL_CUTS {
        machine.run("ds cache prune").succeeds();
        let script = format!("{pull} && echo pulled >/run/reports");
        let reports = victim.cut(machine, "pull", &script, "pulled");
        machine = Machine::boot(&victim.setup);
        let found = machine.run(&whole).succeeds();
        let pulled = reports.iter().any(|line| line == "pulled");
        assert!(!pulled || !found.is_empty(), "round {round}: the reported image is missing");
        let before = server.count(IMAGE);
        machine.run(pull).succeeds();
        assert!(!machine.run(&whole).succeeds().is_empty(), "round {round}");
        assert!(
            found.is_empty() || server.count(IMAGE) == before,
            "round {round}: the cached image was downloaded again"
        );
        assert_eq!(
            machine.run("cd /var/lib/droidspaces/cache && find . -name '*.part' -o -name '*.tag'").succeeds(),
            "",
            "round {round}"
        );
    }
    let begun = "ds create web --from debian:13 && ds start web && ds run web -- md5sum /ballast";
    machine.run(&format!("export SSL_CERT_FILE=/run/guest/authority.pem; {begun}")).succeeds();
    machine.power_off();
}
