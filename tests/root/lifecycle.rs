//! The ordinary life of containers: create, start, look, stop, delete.

use crate::sandbox::Sandbox;

#[test]
fn a_container_starts_and_stops() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    let report = crate::wait_for("the report", || tree.report());
    assert_eq!(report["pid"], 1);
    std::fs::copy(tree.path("report.json"), "/tmp/report.json").unwrap();
    sandbox.ds(&["stop", "web"]).succeeds();
    assert_eq!(tree.signals(), [libc::SIGTERM]);
}
