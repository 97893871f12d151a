//! `ipc-cli doctor` says how things stand, and notices when they change.

use std::process::Command;

use serde_json::Value;

use crate::support::{finish, run};

const NAMES: [&str; 13] = [
    "kernel",
    "cpu affinity",
    "clock",
    "descriptors",
    "processes",
    "locked memory",
    "shared memory",
    "memfd seals",
    "pidfd",
    "user namespaces",
    "cgroup memory",
    "cgroup cpu",
    "cgroup processes",
];

/// The findings of a run under `prefix`, and its summary.
#[track_caller]
fn findings(prefix: &str) -> (Vec<Value>, Value) {
    let line = format!("{prefix} '{}' doctor --json", env!("CARGO_BIN_EXE_ipc-cli"));
    let ran = finish(Command::new("sh").args(["-c", &line]));
    assert_eq!(ran.stderr, "");
    let text = String::from_utf8(ran.stdout).unwrap();
    let mut lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let summary = lines.pop().unwrap()["summary"].clone();
    let status = i32::from(summary["missing"] != 0);
    assert_eq!(ran.status, Some(status));
    (lines, summary)
}

fn finding<'a>(findings: &'a [Value], name: &str) -> &'a Value {
    let found = findings.iter().find(|found| found["finding"] == name);
    found.unwrap_or_else(|| panic!("no finding about {name}"))
}

#[test]
fn every_finding_has_a_state_and_a_cost() {
    let (findings, summary) = findings("");
    let names: Vec<&str> = findings
        .iter()
        .map(|found| found["finding"].as_str().unwrap())
        .collect();
    assert_eq!(names, NAMES);
    let mut total = 0;
    for state in ["ok", "limited", "missing", "unknown"] {
        let count = findings.iter().filter(|found| found["state"] == state);
        let count = count.count() as u64;
        assert_eq!(summary[state], count, "{state}");
        total += count;
    }
    assert_eq!(total, NAMES.len() as u64);
    for found in &findings {
        assert!(!found["found"].as_str().unwrap().is_empty(), "{found}");
        assert!(found["without"].as_str().unwrap().len() > 20, "{found}");
    }
}

#[test]
fn the_table_has_a_line_for_each() {
    let ran = run(&["doctor"]);
    let text = String::from_utf8(ran.stdout).unwrap();
    for name in NAMES {
        let has = |line: &str| line.trim_start().starts_with(name);
        assert!(text.lines().any(has), "no {name} in {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100));
    assert!(!text.contains('\u{1b}'), "colours in a pipe");
}

#[cfg(target_os = "linux")]
#[test]
fn a_low_limit_is_noticed() {
    let (findings, _) = findings("ulimit -S -n 100; exec");
    let found = finding(&findings, "descriptors");
    assert_eq!(found["state"], "limited");
    assert!(
        found["found"].as_str().unwrap().starts_with("100, can be"),
        "{found}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_single_cpu_is_noticed() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = allowed.unwrap().trim().split([',', '-']).next().unwrap();
    if Command::new("taskset").arg("--version").output().is_err() {
        crate::python::notice("taskset is missing");
        return;
    }
    let (findings, _) = findings(&format!("exec taskset -c {first}"));
    let found = finding(&findings, "cpu affinity");
    assert_eq!(found["state"], "limited", "{found}");
    assert!(
        found["found"].as_str().unwrap().starts_with("1 usable"),
        "{found}"
    );
}
