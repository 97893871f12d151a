//! `ipc-cli bench` measures what it is asked to, beside limits, and leaves nothing behind.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{
    assert_one_line, children, command, finish, is_alive, kill, run, until, wait,
};

#[test]
fn each_cell_is_one_object_with_its_limit() {
    let arguments = [
        "bench",
        "--json",
        "--size",
        "64,5000",
        "--transport",
        "unix",
    ];
    let ran = run(&[&arguments[..], &["--transport", "pipe,tcp"]].concat());
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
    let text = String::from_utf8(ran.stdout).unwrap();
    let cells: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<_> = cells
        .iter()
        .map(|cell| {
            (
                cell["transport"].as_str().unwrap(),
                cell["size"].as_u64().unwrap(),
            )
        })
        .collect();
    let expected = ["unix", "pipe", "tcp"].map(|name| [(name, 64), (name, 5000)]);
    assert_eq!(names, expected.concat());
    for cell in &cells {
        for figures in [cell, &cell["limit"]] {
            let figure = |name: &str| figures[name].as_f64().unwrap();
            assert!(
                figure("rtt_us_p50") > 0.0 && figure("msgs_per_s") > 0.0,
                "{cell}"
            );
            assert!(figure("rtt_us_p50") <= figure("rtt_us_p99"), "{cell}");
            let size = cell["size"].as_f64().unwrap();
            let mib = figure("msgs_per_s") * size / f64::from(1 << 20);
            assert!((figure("mib_per_s") / mib - 1.0).abs() < 0.01, "{cell}");
        }
        assert!(cell["limit"]["name"].as_str().unwrap().starts_with("raw "));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_table_and_the_chart_show_every_transport() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chart.svg").display().to_string();
    let ran = run(&["bench", "--size", "64,4096", "--plot", &path]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
    let table = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(table.lines().count(), 9, "{table}");
    let chart = fs::read_to_string(path).unwrap();
    assert!(chart.starts_with("<svg") && chart.trim_end().ends_with("</svg>"));
    for name in ["ring", "unix", "tcp", "pipe"] {
        let lines = table
            .lines()
            .filter(|line| line.trim_start().starts_with(name));
        assert_eq!(lines.count(), 2, "{table}");
        assert!(chart.contains(name), "no {name} in the chart");
    }
    assert!(table.contains("memory") && table.contains("raw tcp socket"));
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let check = |arguments: &[&str], status: i32, word: &str| {
        let ran = run(&[&["bench"], arguments].concat());
        assert_eq!(ran.status, Some(status), "{}", ran.stderr);
        assert_one_line(&ran.stderr);
        assert!(ran.stderr.contains(word), "no {word:?} in {}", ran.stderr);
    };
    check(&["--transport", "pigeon"], 2, "pigeon");
    check(&["--size", "0"], 2, "0");
    check(&["--size", "16777217"], 2, "16777217");
    check(&["--size", "1,2,3,4,5,6,7,8,9"], 1, "at most 8");
    check(
        &["--plot", "/no/such/folder/chart.svg"],
        1,
        "/no/such/folder",
    );
}

#[test]
fn an_interrupt_leaves_no_process() {
    let mut command = command(["bench", "--transport", "unix"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = child.spawn().unwrap();
    let pid = child.id();
    let others = until("the other process", || {
        let others = children(pid);
        (!others.is_empty()).then_some(others)
    });
    kill(pid, "INT");
    assert!(!wait(child).status.success());
    for other in others {
        until("the other process being gone", || {
            (!is_alive(other)).then_some(())
        });
    }
}

#[test]
fn progress_is_for_terminals() {
    if Command::new("script").arg("--version").output().is_err() {
        return crate::python::notice("script is missing");
    }
    let program = env!("CARGO_BIN_EXE_ipc-cli");
    let line = format!("'{program}' bench --transport pipe --size 64 --json");
    let mut script = Command::new("script");
    script
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm");
    let ran = finish(script.stdin(Stdio::null()));
    assert_eq!(ran.status, Some(0));
    let text = String::from_utf8(ran.stdout).unwrap();
    assert!(
        text.contains('\u{1b}') && text.contains("pipe 64"),
        "{text:?}"
    );
}
