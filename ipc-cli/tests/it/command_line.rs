//! Wrong input gets one clear line and a status that is not zero.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

use crate::support::{assert_one_line, command, finish, run, wait};

/// Fails with `status`, nothing on standard output, and one line that has all of `words`.
#[track_caller]
fn check_refused(arguments: &[&str], status: i32, words: &[&str]) {
    let ran = run(arguments);
    assert_eq!(ran.status, Some(status), "{}", ran.stderr);
    assert_eq!(ran.stdout, b"", "{arguments:?}");
    assert_one_line(&ran.stderr);
    for word in words {
        assert!(ran.stderr.contains(word), "no {word:?} in {:?}", ran.stderr);
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["smoke", "--help"],
        &["map", "-h"],
    ] {
        let ran = run(arguments);
        assert_eq!(ran.status, Some(0), "{arguments:?}");
        assert!(!ran.stdout.is_empty() && ran.stderr.is_empty(), "{ran:?}");
    }
}

#[test]
fn wrong_words_are_refused() {
    check_refused(&[], 2, &["subcommand", "smoke", "map"]);
    check_refused(&["frobnicate"], 2, &["'frobnicate'"]);
    check_refused(&["map", "."], 2, &["--task"]);
    check_refused(
        &["map", "--task", "md5", "."],
        2,
        &["'md5'", "sha256", "wc"],
    );
    check_refused(
        &["map", "--task", "wc", "--", "true"],
        2,
        &["cannot be used"],
    );
    check_refused(&["map", "--resume", "--task", "wc", "."], 2, &["--joblog"]);
    check_refused(
        &["map", "--halt", "later", "--task", "wc", "."],
        2,
        &["soon,fail=N"],
    );
    check_refused(
        &["map", "--timeout", "1d", "--task", "wc", "."],
        2,
        &["--timeout", "ms"],
    );
    check_refused(
        &["smoke", "--only", "kernel"],
        2,
        &["'kernel'", "core", "actors"],
    );
    for limit in ["0", "-1", "many", "100000"] {
        let option = format!("--limit={limit}");
        check_refused(
            &["map", "--task", "wc", &option, "."],
            2,
            &["--limit", limit],
        );
    }
}

#[test]
fn a_malformed_address_is_named() {
    check_refused(&["peer", "bytes", "tcp:nowhere"], 1, &["'tcp:nowhere'"]);
    check_refused(
        &["peer", "bytes", "carrier-pigeon:x"],
        1,
        &["carrier-pigeon"],
    );
}

#[test]
fn a_path_that_is_not_there_is_named() {
    check_refused(
        &["map", "--task", "wc", "/no/such/file"],
        1,
        &["/no/such/file"],
    );
}

#[test]
fn a_full_standard_output_is_an_error() {
    let Ok(full) = File::options().write(true).open("/dev/full") else {
        println!("skipped: there is no /dev/full");
        return;
    };
    let mut command = command(["map", "--task", "wc", env!("CARGO_MANIFEST_DIR")]);
    let child = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let output = wait(child);
    assert_eq!(output.status.code(), Some(1));
    assert_one_line(&String::from_utf8(output.stderr).unwrap());
}

#[test]
fn a_closed_standard_output_is_an_error() {
    let program = env!("CARGO_BIN_EXE_ipc-cli");
    for arguments in ["smoke --json --only core", "map --task wc ."] {
        let line = format!("'{program}' {arguments} >&-");
        let ran = finish(Command::new("sh").args(["-c", &line]));
        assert_eq!(ran.status, Some(1), "{line}");
        assert_one_line(&ran.stderr);
        assert!(ran.stderr.contains("standard output"), "{}", ran.stderr);
    }
}

#[test]
fn a_reader_that_goes_away_is_an_error() {
    let folder = env!("CARGO_MANIFEST_DIR");
    let mut command = command(["map", "--task", "sha256", folder]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    assert_eq!(stdout.read(&mut [0]).unwrap(), 1);
    drop(stdout);
    let output = wait(child);
    let stderr = String::from_utf8(output.stderr).unwrap();
    // All may have been written before the reader went.
    if output.status.code() != Some(0) {
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert_one_line(&stderr);
    }
}
