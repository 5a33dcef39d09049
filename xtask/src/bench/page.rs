//! The page in a root manager's app, emulated, and as `ds web` serves it: paint, calls, echo, wakeups, scrolling.
//!
//! Owns the targets. `webroot/tests/bench.test.ts` measures with a real browser.

use super::setup::{Bench, Rounds};
use super::table::Row;
use crate::page;
use crate::workspace::Workspace;
use anyhow::{Context, Result};

/// The measurements: the name in the report, the row of the table, the target and its unit.
const LIMITS: [(&str, &str, f64, &str); 4] = [
    ("calls", "page: calls of ds to show the overview and to keep it current", 1.0, "calls"),
    ("wakeups", "page: wakeups of all processes of ds, overview open", 1.0, "in a second"),
    ("closed", "page: the same, page closed", 0.0, "in a second"),
    ("echoWeb", "page: from a key to its echo, with `ds web`, without the wait for a frame", 10.0, "ms"),
];

/// # Errors
/// If the page cannot be built, or the browser cannot be driven.
pub fn measure(bench: &Bench, rounds: &Rounds) -> Result<Vec<Row>> {
    let workspace = Workspace::find()?;
    let file = bench.folder("page.json");
    let report = page::measure(&workspace, bench.ds.program(), &bench.fixtures, &file, rounds.number)?;
    let number = |name: &str| report[name].as_f64().with_context(|| format!("the report has no '{name}'"));
    let empty = number("paintEmpty")?;
    let paint = |name: &str, when: &str| {
        let what = format!(
            "page: useful paint {when}, processor slowed down six times (an empty page: {empty:.0} ms)"
        );
        Ok(Row::limit(&what, number(name)?, 300.0, "ms"))
    };
    let mut rows: Vec<Row> =
        vec![paint("paint", "when it is opened again"), paint("paintFirst", "the first time")]
            .into_iter()
            .collect::<Result<_>>()?;
    for (name, what, limit, unit) in LIMITS {
        rows.push(Row::limit(what, number(name)?, limit, unit));
    }
    let blank = number("frameEmpty")?;
    let frame = format!(
        "page: a frame while 200 containers scroll, processor slowed down four times (an empty page: {blank:.1} ms)"
    );
    rows.push(Row::limit(&frame, number("frame")?, 16.8, "ms"));
    let (call, bridged, echo) = (number("call")?, number("callBridge")?, number("echoBridge")?);
    let echoes = format!(
        "page: from a key to its echo over the bridge, without the wait for a frame, in calls of `ds rpc` \
         (a call over the bridge: {:.2} ×)",
        bridged / call
    );
    rows.push(Row::limit(&echoes, echo / call, 2.0, "×"));
    Ok(rows)
}
