//! `ipc-cli map` beside the programs whose output it promises.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{
    assert_one_line, children, command, finish, is_alive, kill, run, until, wait,
};

/// A folder of files of many sizes and some awkward names.
fn tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir_all(root.join("b/c")).unwrap();
    for index in 0..200_usize {
        let line = format!("line {index} of\ttext, é\n");
        let place = if index % 3 == 0 { "b/c" } else { "." };
        let path = root.join(place).join(format!("file-{index}"));
        fs::write(path, line.repeat(index * 7 % 301)).unwrap();
    }
    fs::write(root.join("b/empty"), "").unwrap();
    fs::write(root.join("b/no newline"), "two words").unwrap();
    fs::write(root.join("b/back\\slash"), "x").unwrap();
    fs::write(root.join("b/line\nbreak"), "y").unwrap();
    fs::write(root.join(OsStr::from_bytes(b"b/\xff")), "z").unwrap();
    fs::write(root.join("b/binary"), (0..=255).collect::<Vec<u8>>()).unwrap();
    symlink("empty", root.join("b/link")).unwrap();
    folder
}

/// What a shell line prints with `folder` as the working directory.
fn shell(folder: &Path, line: &str) -> Vec<u8> {
    let mut shell = Command::new("sh");
    let ran = finish(shell.args(["-c", line]).current_dir(folder));
    assert_eq!(ran.status, Some(0), "{line}: {}", ran.stderr);
    ran.stdout
}

#[track_caller]
fn check_same(task: &str, locale: &str) {
    let folder = tree();
    let mut command = command(["map", "--task", task, "--limit", "2", "."]);
    let ours = finish(command.current_dir(folder.path()).env("LC_ALL", locale));
    assert_eq!(ours.status, Some(0), "{}", ours.stderr);
    assert_eq!(ours.stderr, "");
    let program = if task == "wc" { "wc" } else { "sha256sum" };
    let line =
        format!("find . -type f -print0 | LC_ALL=C sort -z | LC_ALL={locale} xargs -0 {program}");
    let theirs = shell(folder.path(), &line);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(&ours.stdout), text(&theirs));
    assert!(ours.stdout == theirs, "the bytes differ");
}

#[test]
fn sha256_is_what_sha256sum_prints() {
    check_same("sha256", "C");
}

#[test]
fn wc_is_what_wc_prints() {
    check_same("wc", "C");
    check_same("wc", "C.UTF-8");
}

#[test]
fn one_file_has_no_total() {
    let folder = tree();
    let mut command = command(["map", "--task", "wc", "file-100"]);
    let ours = finish(command.current_dir(folder.path()).env("LC_ALL", "C"));
    assert_eq!(ours.stdout, shell(folder.path(), "LC_ALL=C wc file-100"));
}

#[test]
fn results_keep_the_order_of_the_arguments() {
    let folder = tree();
    let names = ["file-7", "b/empty", "file-100", "b/no newline", "file-1"];
    let mut command = command(["map", "--task", "sha256", "--limit", "3"]);
    let ours = finish(command.args(names).current_dir(folder.path()));
    let quoted = names.map(|name| format!("'{name}'")).join(" ");
    let theirs = shell(folder.path(), &format!("sha256sum {quoted}"));
    assert_eq!(ours.stdout, theirs);
}

#[test]
fn a_file_that_cannot_be_read_is_reported_and_the_others_come_out() {
    let folder = tree();
    let gone = folder.path().join("gone").display().to_string();
    let here = folder.path().join("file-7").display().to_string();
    let ran = run(&["map", "--task", "sha256", &here, &gone, &here]);
    assert_eq!(ran.status, Some(1));
    assert_one_line(&ran.stderr);
    assert!(ran.stderr.contains(&gone), "{}", ran.stderr);
    assert_eq!(String::from_utf8(ran.stdout).unwrap().lines().count(), 2);
}

/// A file that cannot be read by its end: a pipe that nobody writes to, so that a worker stays in it.
fn named_pipe(folder: &Path) -> String {
    let path = folder.join("pipe");
    let status = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(status.success());
    path.display().to_string()
}

#[test]
fn a_killed_worker_costs_the_file_it_held_and_nothing_else() {
    let folder = tree();
    let pipe = named_pipe(folder.path());
    let mut inputs: Vec<String> = (1..50)
        .map(|index| folder.path().join(format!("file-{}", index * 3 + 1)))
        .map(|path| path.display().to_string())
        .collect();
    inputs.insert(10, pipe.clone());
    let mut command = command(["map", "--task", "sha256", "--limit", "2"]);
    let child = command
        .args(&inputs)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let victim = until("a worker opening the pipe", || {
        let holds = |pid: &u32| wchan_is_open(*pid);
        children(pid).into_iter().find(holds)
    });
    kill(victim, "KILL");
    let output = wait(child);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_one_line(&stderr);
    assert!(stderr.contains(&pipe), "{stderr}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), inputs.len() - 1);
    assert!(!is_alive(victim));
}

/// Whether a thread of the process waits in `open`, as it does for a named pipe without a writer.
fn wchan_is_open(pid: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    tasks.flatten().any(|task| {
        let mut call = String::new();
        let file = fs::File::open(task.path().join("syscall"));
        // 257 is `openat` on x86-64 and 56 on aarch64.
        file.is_ok_and(|mut file| file.read_to_string(&mut call).is_ok())
            && (call.starts_with("257 ") || call.starts_with("56 "))
    })
}

#[test]
fn workers_end_with_a_command_that_is_killed() {
    let folder = tree();
    let pipe = named_pipe(folder.path());
    let mut command = command(["map", "--task", "sha256", "--limit", "2", &pipe, &pipe]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let workers = until("both workers opening the pipe", || {
        let workers = children(pid);
        (workers.len() >= 2 && workers.iter().all(|pid| wchan_is_open(*pid))).then_some(workers)
    });
    kill(pid, "KILL");
    assert_eq!(wait(child).status.code(), None);
    until("the workers' end", || {
        workers.iter().all(|pid| !is_alive(*pid)).then_some(())
    });
}

#[test]
fn no_more_workers_live_than_the_limit() {
    let folder = tree();
    let mut command = command(["map", "--task", "sha256", "--limit", "2"]);
    let path = folder.path().display().to_string();
    let mut child = command
        .args([&path; 20])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut most = 0;
    let status = until("the end", || {
        most = most.max(children(child.id()).len());
        child.try_wait().unwrap()
    });
    assert!(status.success());
    assert!((1..=2).contains(&most), "{most} workers at the same time");
}
