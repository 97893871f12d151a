//! `ipc-cli smoke` finds nothing wrong here, and says so in both forms.

use std::process::Stdio;

use serde_json::Value;

use crate::support::{children, command, is_alive, kill, run, until, wait};

#[test]
fn the_table_tells_of_every_layer() {
    let ran = run(&["smoke"]);
    let text = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(ran.status, Some(0), "{text}{}", ran.stderr);
    for layer in ["core", "marshal", "dispatch", "exchange", "actors"] {
        assert!(
            text.lines().any(|line| line.trim().starts_with(layer)),
            "{text}"
        );
    }
    assert!(text.lines().last().unwrap().contains("0 failed"), "{text}");
}

#[test]
fn json_is_one_object_a_check_and_a_summary() {
    let ran = run(&["smoke", "--json", "--only", "core"]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let text = String::from_utf8(ran.stdout).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    let summary: Value = serde_json::from_str(lines.pop().unwrap()).unwrap();
    for line in &lines {
        assert!(
            line.starts_with("{\"layer\":\"core\",\"check\":\""),
            "{line}"
        );
        let check: Value = serde_json::from_str(line).unwrap();
        assert_eq!(check["ok"], true);
        assert!(check["ms"].as_f64().unwrap() >= 0.0);
    }
    let counted = &summary["summary"];
    let total = counted["passed"].as_u64().unwrap() + counted["skipped"].as_u64().unwrap();
    assert_eq!(total, lines.len() as u64);
    assert_eq!(counted["failed"], 0);
}

#[test]
fn an_interrupt_leaves_no_process() {
    let mut command = command(["smoke"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = child.spawn().unwrap();
    let pid = child.id();
    let others = until("a process of a check", || {
        let others = children(pid);
        (!others.is_empty()).then_some(others)
    });
    kill(pid, "INT");
    assert!(!wait(child).status.success());
    for other in others {
        until("the process of a check being gone", || {
            (!is_alive(other)).then_some(())
        });
    }
}
