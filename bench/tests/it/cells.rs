//! The cells as the comparison runs them: as a program.

use std::collections::BTreeSet;
use std::process::{Command, Output};

fn cells(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cells"));
    command.args(arguments);
    command
}

fn output(command: &mut Command) -> (Output, String, String) {
    let output = command.output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

fn listed() -> Vec<serde_json::Value> {
    let (status, out, err) = output(&mut cells(&["list"]));
    assert!(status.status.success(), "{err}");
    out.lines()
        .map(|line| serde_json::from_str(line).expect("a cell is an object"))
        .collect()
}

#[test]
fn every_group_has_cells_and_none_is_there_twice() {
    let listed = listed();
    let names: BTreeSet<String> = listed.iter().map(ToString::to_string).collect();
    assert_eq!(names.len(), listed.len());
    let groups: BTreeSet<&str> = listed
        .iter()
        .filter_map(|cell| cell["group"].as_str())
        .collect();
    assert_eq!(
        groups,
        ["actors", "events", "ipc", "pool", "ser"]
            .into_iter()
            .collect()
    );
}

#[test]
fn every_cell_measures_something() {
    for cell in listed() {
        let text = |key: &str| cell[key].as_str().expect("it is text").to_owned();
        let (peer, case) = (text("peer"), text("case"));
        // One of each kind is enough here: those pinned to processors wait longer than they work.
        if peer.contains('@') || cell["size"].as_u64() > Some(100_000) {
            continue;
        }
        let size = cell["size"].to_string();
        let (status, out, err) = output(&mut cells(&["cell", &peer, &case, &size, "1"]));
        assert!(status.status.success(), "{peer} {case} {size}: {err}");
        assert!(!out.is_empty(), "{peer} {case} {size} printed nothing");
        for line in out.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("one object a line");
            let value = line["value"].as_f64().expect("a number");
            assert!(value > 0.0, "{peer} {case} {size}: {line}");
            assert!(line["metric"].is_string(), "{peer} {case} {size}: {line}");
        }
    }
}

#[test]
fn what_is_no_cell_is_refused() {
    for wrong in [
        ["cell", "pigeon", "rtt", "64", "10"],
        ["cell", "ring", "rtt", "63", "10"],
        ["cell", "exchange", "pool_square", "9", "10"],
        ["cell", "local", "actor_tell", "9", "10"],
        ["cell", "marshal-json", "encode", "2", "10"],
    ] {
        let (status, out, err) = output(&mut cells(&wrong));
        assert_eq!(status.status.code(), Some(2), "{wrong:?}: {err}");
        assert_eq!(out, "", "{wrong:?}");
        assert_eq!(err.lines().count(), 1, "{wrong:?}: {err}");
        assert!(
            err.contains(wrong[1]) && err.contains("cells list"),
            "{err}"
        );
    }
    let (status, out, err) = output(&mut cells(&["cell", "ring", "rtt", "many", "10"]));
    assert_eq!((status.status.code(), out.as_str()), (Some(2), ""));
    assert!(err.starts_with("usage: "), "{err}");
}

#[test]
fn a_damaged_message_gives_no_number() {
    for peer in ["ring", "socket", "pipe", "tcp"] {
        let mut command = cells(&["cell", peer, "rtt", "4096", "20"]);
        let (status, out, err) = output(command.env("CELLS_DAMAGED_ECHO", "10"));
        assert!(!status.status.success(), "{peer}: {out}");
        assert_eq!(out, "", "{peer}");
        assert!(err.contains("trailer of message 9"), "{peer}: {err}");
    }
}
