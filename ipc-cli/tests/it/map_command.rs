//! `ipc-cli map` with commands: inputs, outputs, failures, and what is left behind.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::python::notice;
use crate::support::{Ran, assert_one_line, command, finish, is_alive, kill, run, until, wait};

/// Runs `map` with these words after it and these lines on its standard input.
#[track_caller]
fn map(arguments: &[&str], lines: &str) -> Ran {
    let mut child = start(arguments, Stdio::piped());
    let mut stdin = child.stdin.take().unwrap();
    let lines = lines.to_owned();
    let writing = std::thread::spawn(move || {
        // It may have ended before it has read everything.
        let _ = stdin.write_all(lines.as_bytes());
    });
    let output = wait(child);
    writing.join().unwrap();
    Ran {
        status: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[track_caller]
fn start(arguments: &[&str], input: Stdio) -> Child {
    let mut command = command(["map"]);
    command.args(arguments).stdin(input);
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    piped.spawn().unwrap()
}

fn text(ran: &Ran) -> &str {
    std::str::from_utf8(&ran.stdout).unwrap()
}

/// The process ids that a shell has written to files of this folder, one each.
fn pids(folder: &Path, count: usize) -> Vec<u32> {
    until("all commands telling their process ids", || {
        let files = fs::read_dir(folder).ok()?;
        let read = |path| fs::read_to_string(path).ok()?.trim().parse::<u32>().ok();
        let pids: Vec<_> = files
            .flatten()
            .filter_map(|file| read(file.path()))
            .collect();
        (pids.len() == count).then_some(pids)
    })
}

#[test]
fn inputs_come_from_arguments_or_lines() {
    let expected = "<a b>\n<$HOME;>\n";
    for arguments in [
        &["a b", "$HOME;", "--", "printf", "<%s>\\n"][..],
        &["a b", "--", "printf", "<%s>\\n", "{}", ":::", "$HOME;"],
        &["--", "printf", "<{}>\\n", ":::", "a b", "$HOME;"],
    ] {
        let ran = run(&[&["map"], arguments].concat());
        assert_eq!((ran.status, text(&ran)), (Some(0), expected), "{ran:?}");
    }
    let ran = map(&["--", "printf", "<%s>\\n"], "a b\n$HOME;");
    assert_eq!((ran.status, text(&ran)), (Some(0), expected), "{ran:?}");
    let ran = map(&["-0", "--", "printf", "<%s>"], "a\nb\0c");
    assert_eq!((ran.status, text(&ran)), (Some(0), "<a\nb><c>"), "{ran:?}");
    let ran = map(&["--", "echo"], "");
    assert_eq!((ran.status, text(&ran)), (Some(0), ""), "{ran:?}");
}

#[test]
fn lines_are_paths_for_a_task() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file").display().to_string();
    fs::write(&path, "two words\n").unwrap();
    let ran = map(&["--task", "wc"], &format!("{path}\n/no/such\n"));
    assert_eq!(ran.status, Some(1));
    assert_one_line(&ran.stderr);
    assert!(
        text(&ran).contains(&format!("1       2      10 {path}\n")),
        "{ran:?}"
    );
}

/// Each writes in many pieces, at the same time as the others.
#[test]
fn outputs_do_not_mix() {
    let script = "for i in $(seq 200); do echo $0; echo $0 >&2; done";
    for order in ["input", "done"] {
        let arguments = ["--limit", "4", "--order", order, "--", "sh", "-c", script];
        let ran = map(&arguments, "a\nb\nc\nd\ne\n");
        assert_eq!(ran.status, Some(0), "{ran:?}");
        for printed in [text(&ran), &ran.stderr] {
            let mut lines: Vec<_> = printed.lines().collect();
            assert_eq!(lines.len(), 1000);
            lines.dedup();
            if order == "done" {
                lines.sort_unstable();
            }
            assert_eq!(lines, ["a", "b", "c", "d", "e"], "order {order}");
        }
    }
}

#[test]
fn results_come_in_the_order_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let flag = folder.path().join("flag");
    // The first ends after the flag is there.
    let script = format!(
        "if [ $0 = 1 ]; then until [ -e '{0}' ]; do sleep 0.02; done; else touch '{0}.2'; fi; echo $0",
        flag.display()
    );
    for (order, expected) in [("input", ["1\n", "2\n"]), ("done", ["2\n", "1\n"])] {
        let order = ["--limit", "2", "--order", order, "--", "sh", "-c", &script];
        let mut child = start(&[&order[..], &[":::", "1", "2"]].concat(), Stdio::null());
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut lines = [String::new(), String::new()];
        if expected[0] == "2\n" {
            stdout.read_line(&mut lines[0]).unwrap();
            fs::write(&flag, "").unwrap();
        } else {
            let second = flag.with_extension("2");
            until("the second", || second.exists().then_some(()));
            fs::write(&flag, "").unwrap();
            stdout.read_line(&mut lines[0]).unwrap();
        }
        stdout.read_line(&mut lines[1]).unwrap();
        assert_eq!(lines, expected);
        assert!(wait(child).status.success());
        fs::remove_file(&flag).unwrap();
    }
}

#[test]
fn a_long_output_comes_out_whole() {
    let script = "head -c 3000000 /dev/zero | tr '\\0' $0; echo";
    let ran = map(&["--limit", "2", "--", "sh", "-c", script], "a\nb\n");
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let lines: Vec<_> = text(&ran).lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0] == "a".repeat(3_000_000) && lines[1] == "b".repeat(3_000_000));
}

#[test]
fn failures_are_told_by_input() {
    let script = "case $0 in 1) exit 3;; 2) kill -9 $$;; *) echo fine;; esac";
    let ran = map(&["--", "sh", "-c", script], "1\n2\n3\n");
    assert_eq!((ran.status, text(&ran)), (Some(1), "fine\n"));
    let lines: Vec<_> = ran.stderr.lines().collect();
    assert_eq!(
        lines,
        ["ipc-cli: 1: exit code 3", "ipc-cli: 2: ended by signal 9"]
    );
    let ran = map(&["--", "/no/such/program"], "1\n");
    assert_eq!(ran.status, Some(1));
    assert_one_line(&ran.stderr);
    assert!(ran.stderr.contains("/no/such/program"), "{}", ran.stderr);
}

#[test]
fn json_has_an_object_for_every_input_and_a_summary() {
    let script = "echo out; echo err >&2; [ $0 = a ]";
    let ran = map(&["--json", "--", "sh", "-c", script], "a\nb\n");
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(1), ""));
    let lines: Vec<Value> = text(&ran)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        (&lines[0]["input"], &lines[0]["ok"]),
        (&"a".into(), &true.into())
    );
    assert_eq!(
        (&lines[0]["stdout"], &lines[0]["stderr"]),
        (&"out\n".into(), &"err\n".into())
    );
    assert_eq!(
        (&lines[1]["code"], &lines[1]["error"]),
        (&1.into(), &"exit code 1".into())
    );
    assert_eq!(lines[2]["summary"]["failed"], 1);
    let ran = run(&["map", "--json", "--task", "sha256", "/dev/null"]);
    assert!(text(&ran).contains("\"sha256\":\"e3b0c442"), "{ran:?}");
}

#[test]
fn a_failed_command_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tries").display().to_string();
    let script = format!("echo try >> '{path}'; echo once; [ $(wc -l < '{path}') -ge 3 ]");
    let ran = map(&["--retries", "2", "--", "sh", "-c", &script], "a\n");
    assert_eq!(
        (ran.status, text(&ran)),
        (Some(0), "once\n"),
        "{}",
        ran.stderr
    );
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 3);
    let ran = map(&["--retries", "1", "--", "false"], "a\n");
    assert_eq!(ran.status, Some(1));
    assert_one_line(&ran.stderr);
}

#[test]
fn a_time_out_ends_the_whole_process_group() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    // The shell heeds no SIGTERM, and its child is another process.
    let script = format!(
        "trap '' TERM; echo begun; echo $$ > {path}/shell; sleep 1000 & echo $! > {path}/child; wait; wait"
    );
    let ran = map(&["--timeout", "3s", "--", "sh", "-c", &script], "a\n");
    assert_eq!((ran.status, text(&ran)), (Some(1), "begun\n"));
    assert_eq!(ran.stderr, "ipc-cli: a: took longer than 3s\n");
    for pid in pids(folder.path(), 2) {
        assert!(!is_alive(pid), "{pid} lives");
    }
}

#[test]
fn failures_halt_the_rest() {
    let ran = map(
        &[
            "--limit",
            "1",
            "--halt",
            "soon,fail=2",
            "--",
            "sh",
            "-c",
            "echo $0; false",
        ],
        "1\n2\n3\n4\n",
    );
    assert_eq!((ran.status, text(&ran)), (Some(1), "1\n2\n"));
    assert!(
        ran.stderr.contains("halted after 2 failures"),
        "{}",
        ran.stderr
    );
    let script = "[ $0 = 1 ] || exec sleep 1000; exit 1";
    let ran = map(
        &["--limit", "3", "--halt", "now", "--", "sh", "-c", script],
        "1\n2\n3\n",
    );
    assert_eq!(ran.status, Some(1));
    assert!(
        ran.stderr.contains("ipc-cli: 1: exit code 1"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_run_that_was_killed_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let (log, trace) = (folder.path().join("log"), folder.path().join("trace"));
    let (log, trace) = (log.display().to_string(), trace.display().to_string());
    let script = format!("echo $0 >> '{trace}'; echo $0");
    let arguments = [
        "--limit", "2", "--joblog", &log, "--resume", "--", "sh", "-c", &script,
    ];
    let inputs: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let lines = inputs.join("\n");
    let mut printed = Vec::new();
    for _ in 0..3 {
        let mut child = start(&arguments, Stdio::piped());
        let mut stdin = child.stdin.take().unwrap();
        let _ = stdin.write_all(lines.as_bytes());
        drop(stdin);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..20 {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            printed.push(line);
        }
        kill(child.id(), "KILL");
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        printed.extend(rest.lines().map(|line| format!("{line}\n")));
        wait(child);
    }
    let ran = map(&arguments, &lines);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    printed.extend(text(&ran).lines().map(|line| format!("{line}\n")));
    let mut seen: Vec<u32> = printed
        .iter()
        .map(|line| line.trim().parse().unwrap())
        .collect();
    seen.sort_unstable();
    // What was printed when the command was killed, and not written down, came twice.
    assert!(seen.len() <= 203, "{} lines", seen.len());
    seen.dedup();
    assert!(seen.into_iter().eq(0..200));
    // Nothing is left to do.
    let runs = fs::read_to_string(&trace).unwrap().lines().count();
    let ran = map(&arguments, &lines);
    assert_eq!((ran.status, text(&ran)), (Some(0), ""));
    assert_eq!(fs::read_to_string(&trace).unwrap().lines().count(), runs);
    // The same inputs once more are more inputs.
    assert_eq!(text(&map(&arguments, &format!("{lines}\n7\n"))), "7\n");
    let ran = map(&["--joblog", &trace, "--", "true"], "");
    assert_eq!(ran.status, Some(1));
    assert_one_line(&ran.stderr);
}

/// The most memory that a process ever had, in KiB.
fn memory_peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn endless_input_takes_no_more_memory() {
    if !Path::new("/proc/self/status").exists() {
        return notice("there is no /proc");
    }
    let mut yes = Command::new("yes")
        .arg("/dev/null")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = Stdio::from(yes.stdout.take().unwrap());
    let mut child = start(&["--task", "sha256", "--limit", "2"], input);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut read = |count: usize| {
        let mut line = String::new();
        for _ in 0..count {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0);
        }
    };
    read(2000);
    let before = memory_peak(child.id());
    read(40_000);
    let after = memory_peak(child.id());
    kill(child.id(), "INT");
    drop(stdout);
    let status = wait(child).status;
    yes.kill().unwrap();
    yes.wait().unwrap();
    // A closed standard output may come before the signal.
    assert!(matches!(status.code(), Some(1 | 130)), "{status:?}");
    assert!(after < before + 8 * 1024, "{before} KiB, then {after} KiB");
}

/// What a killed or interrupted run leaves: nothing.
#[track_caller]
fn check_nothing_is_left(signal: &str, status: Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let outputs = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let script = format!("echo $$ > {path}/$0.shell; sleep 1000 & echo $! > {path}/$0.child; wait");
    let mut command = command(["map", "--limit", "2", "--", "sh", "-c", &script]);
    command
        .args([":::", "a", "b", "c"])
        .env("TMPDIR", outputs.path());
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = piped.spawn().unwrap();
    let pids = pids(folder.path(), 4);
    kill(child.id(), signal);
    let output = wait(child);
    assert_eq!(output.status.code(), status, "{output:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    until("the end of all that was started", || {
        pids.iter().all(|pid| !is_alive(*pid)).then_some(())
    });
    let left = fs::read_dir(outputs.path()).unwrap().count();
    assert_eq!(left, 0, "files are left");
}

#[test]
fn a_signal_ends_all_that_was_started() {
    check_nothing_is_left("INT", Some(130));
    check_nothing_is_left("TERM", Some(143));
}

#[test]
fn a_kill_ends_all_that_was_started() {
    check_nothing_is_left("KILL", None);
}

/// Results that wait for one before them keep no more than some files open, and none is lost.
#[test]
fn long_outputs_wait_for_an_earlier_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    // The first waits until many after it have ended.
    let script = format!(
        "if [ $0 = 0 ]; then until [ -e '{path}/50' ]; do sleep 0.02; done; fi; \
         : > '{path}/'$0; head -c 20000 /dev/zero | tr '\\0' x; echo"
    );
    let mut words = vec![
        "map", "--limit", "4", "--order", "input", "--", "sh", "-c", &script,
    ];
    let inputs: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    words.push(":::");
    words.extend(inputs.iter().map(String::as_str));
    let line = format!(
        "ulimit -n 256; exec '{}' \"$@\"",
        env!("CARGO_BIN_EXE_ipc-cli")
    );
    let mut command = Command::new("sh");
    command.args(["-c", &line, "sh"]).args(&words);
    let ran = finish(command.stdin(Stdio::null()));
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert_eq!(ran.stdout.len(), 200 * 20_001);
}

#[test]
fn a_signal_ends_a_command_that_cannot_write() {
    let mut child = start(
        &["--", "head", "-c", "1000000", "/dev/zero", ":::", "-"],
        Stdio::null(),
    );
    // Nobody reads, and the pipe is full when the first byte is there and more are not taken.
    let mut byte = [0];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut byte)
        .unwrap();
    kill(child.id(), "INT");
    let status = until("its end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(130));
}

#[test]
fn a_reader_that_goes_away_ends_endless_work() {
    let program = env!("CARGO_BIN_EXE_ipc-cli");
    let line = format!("(yes | '{program}' map -- echo; echo $? >&2) | head -n 2");
    let ran = finish(Command::new("sh").args(["-c", &line]).stdin(Stdio::null()));
    assert_eq!(text(&ran), "y\ny\n");
    let lines: Vec<_> = ran.stderr.lines().collect();
    assert!(
        lines[0].contains("standard output") && lines.last() == Some(&"1"),
        "{lines:?}"
    );
}

#[test]
fn progress_is_for_terminals() {
    let program = env!("CARGO_BIN_EXE_ipc-cli");
    if Command::new("script").arg("--version").output().is_err() {
        return notice("script is missing");
    }
    let line = format!("'{program}' map --limit 1 -- sh -c 'sleep 0.3; echo =$0=' ::: 1 2 3 4");
    let mut script = Command::new("script");
    script
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm");
    let ran = finish(script.stdin(Stdio::null()));
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let shown = text(&ran);
    for words in ["=4=", "/4, ", "/s, ", " left"] {
        assert!(shown.contains(words), "no {words:?} in {shown:?}");
    }
    let ran = run(&["map", "--", "echo", ":::", "1"]);
    assert_eq!((text(&ran), ran.stderr.as_str()), ("1\n", ""));
}
