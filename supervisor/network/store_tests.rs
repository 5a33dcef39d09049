use std::fs;
use std::process::Command;

use super::*;

fn network() -> Network {
    let subnet = "10.89.40.0/24".parse().unwrap();
    Network { subnet, prefix: "fd00:1::".parse().unwrap(), leases: BTreeMap::new() }
}

fn uuid(text: &str) -> Uuid {
    Uuid::derived_from(text)
}

#[test]
fn addresses_stay_and_are_given_once() {
    let mut network = network();
    let none = || Vec::new();
    let web = network.lease(&uuid("web"), None, &none).unwrap();
    let db = network.lease(&uuid("db"), None, &none).unwrap();
    assert_eq!([web, db].map(|address| address.to_string()), ["10.89.40.2", "10.89.40.3"]);
    assert_eq!(network.lease(&uuid("web"), None, &none).unwrap(), web);
    let both = || vec![uuid("web"), uuid("db")];
    let refused = network.lease(&uuid("x"), Some(db), &both).unwrap_err();
    assert!(refused.to_string().contains("another container has 10.89.40.3"), "{refused}");
    let gone = || vec![uuid("web")];
    assert_eq!(network.lease(&uuid("x"), Some(db), &gone).unwrap(), db);
    assert!(network.lease(&uuid("y"), Some("10.1.1.2".parse().unwrap()), &gone).is_err());
    let own = network.address6(db, &[2, 1, 2, 3, 4, 5]);
    assert_eq!(own.to_string(), "fd00:1:0:3:1:2ff:fe03:405");
}

#[test]
fn the_dead_make_room() {
    let mut network = network();
    for number in 0..253 {
        network.lease(&uuid(&number.to_string()), None, &|| Vec::new()).unwrap();
    }
    let all: Vec<_> = network.leases.keys().cloned().collect();
    assert!(network.lease(&uuid("late"), None, &|| all.clone()).is_err());
    assert!(network.lease(&uuid("late"), None, &|| all[1..].to_vec()).is_ok());
}

/// A stopped process with this name that holds the lock.
fn holder(path: &Path, name: &str) -> std::process::Child {
    let program = path.with_file_name(name);
    fs::copy("/bin/sleep", &program).unwrap();
    let script = "exec 9<>\"$0\"; flock 9; exec \"$1\" 60";
    let child = Command::new("sh").args(["-c", script]).arg(path).arg(program).spawn().unwrap();
    let stat = || proc_stat::read(&format!("/proc/{}/stat", child.id())).unwrap();
    while !stat().contains(&format!("({name})")) {
        sleep(Duration::from_millis(1));
    }
    fs::write(path, child.id().to_string()).unwrap();
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGSTOP).unwrap();
    while proc_stat::field(&stat(), 3) != Some("T") {
        sleep(Duration::from_millis(1));
    }
    child
}

#[test]
fn a_lock_that_is_held_for_too_long_is_an_error_and_a_stopped_worker_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let (path, short) = (directory.path().join("lock"), Duration::from_millis(50));
    let mut monitor = holder(&path, "ds:web");
    let error = format!("{:#}", locked(&path, short).unwrap_err());
    assert!(error.contains(&format!("process {} has held ", monitor.id())), "{error}");
    monitor.kill().unwrap();
    monitor.wait().unwrap();
    let mut worker = holder(&path, "ds:worker");
    let lock = locked(&path, short).unwrap();
    assert!(!worker.wait().unwrap().success());
    assert_eq!(fs::read_to_string(&path).unwrap(), process::id().to_string());
    drop(lock);
}
