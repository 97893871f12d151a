//! `ipc-cli duct` with itself, with real peers of the other formats, and when things go wrong.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::python::{peer, pyre, python};
use crate::support::{Ran, assert_one_line, command, finish, kill, run, until, wait};

/// A listening duct and the address that it has.
struct Listening {
    child: Child,
    address: String,
}

impl Listening {
    #[track_caller]
    fn start(arguments: &[&str], input: Stdio) -> Self {
        let mut command = command(["duct", "listen"]);
        let mut child = command
            .args(arguments)
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let address = first_line(child.stderr.as_mut().unwrap());
        Self { child, address }
    }

    /// HOST:PORT or the path, as others write addresses.
    fn place(&self) -> &str {
        self.address.split_once(':').unwrap().1
    }

    /// Waits for it to end by itself.
    #[track_caller]
    fn end(self) -> Ran {
        ended(self.child)
    }
}

/// A line, read byte by byte so that nothing after it is lost.
#[track_caller]
fn first_line(pipe: &mut impl std::io::Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while pipe.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

#[track_caller]
fn ended(child: Child) -> Ran {
    let output = wait(child);
    Ran {
        status: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Connects, sends `input` and answers what comes back until the other side is done.
#[track_caller]
fn connect(arguments: &[&str], input: &str) -> Ran {
    let mut command = command(["duct", "connect"]);
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writing = std::thread::spawn(move || {
        // It may have ended before it has read everything.
        let _ = stdin.write_all(input.as_bytes());
    });
    let ran = ended(child);
    writing.join().unwrap();
    ran
}

fn values(lines: &[u8]) -> Vec<Value> {
    let lines = std::str::from_utf8(lines).unwrap().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[track_caller]
fn assert_clean(ran: &Ran) {
    assert_eq!(
        (ran.status, ran.stderr.as_str()),
        (Some(0), ""),
        "{}",
        String::from_utf8_lossy(&ran.stdout)
    );
}

const LINES: &str =
    "{\"station\": \"Zürich\", \"celsius\": [-3.5, null]}\n\n  [1,2]  \n\"text\"\n0";

#[test]
fn every_transport_and_codec_carries_every_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("port").display().to_string();
    let ring = format!("@ipc-cli-duct-{}", std::process::id());
    let mut addresses = vec!["tcp:127.0.0.1:0".to_owned(), format!("unix:{path}")];
    if cfg!(target_os = "linux") {
        addresses.push(format!("ring:{ring}"));
    }
    let sent =
        values(b"{\"station\":\"Z\xc3\xbcrich\",\"celsius\":[-3.5,null]}\n[1,2]\n\"text\"\n0");
    for address in &addresses {
        for codec in ["json", "bincode", "msgpack", "postcard", "pickle"] {
            let arguments = [address, "--codec", codec, "--echo", "--once"];
            let listening = Listening::start(&arguments, Stdio::null());
            let ran = connect(&[&listening.address, "--codec", codec], LINES);
            assert_clean(&ran);
            assert_eq!(values(&ran.stdout), sent, "{codec} over {address}");
            let ran = listening.end();
            assert_clean(&ran);
            assert_eq!(values(&ran.stdout), sent, "{codec} over {address}");
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn two_ends_with_input_each_print_the_others() {
    let arguments = ["tcp:127.0.0.1:0", "--once"];
    let mut listening = Listening::start(&arguments, Stdio::piped());
    let mut stdin = listening.child.stdin.take().unwrap();
    stdin.write_all(b"1\n2\n3\n").unwrap();
    drop(stdin);
    let ran = connect(&[&listening.address], "4\n5\n");
    assert_clean(&ran);
    assert_eq!(ran.stdout, b"1\n2\n3\n");
    let ran = listening.end();
    assert_clean(&ran);
    assert_eq!(ran.stdout, b"4\n5\n");
}

#[test]
fn an_end_answers_while_its_input_is_open() {
    let listening = Listening::start(&["tcp:127.0.0.1:0", "--echo"], Stdio::null());
    let mut command = command(["duct", "connect", &listening.address]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for number in 0..20 {
        writeln!(stdin, "{number}").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{number}\n"));
    }
    // The peer's end is the end, although standard input is still open.
    kill(listening.child.id(), "TERM");
    assert_eq!(listening.end().status, Some(143));
    let ran = ended(child);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    drop(stdin);
}

#[test]
fn long_messages_are_whole_however_slowly_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut addresses = vec![format!("unix:{}", folder.path().join("port").display())];
    if cfg!(target_os = "linux") {
        addresses.push(format!("ring:@ipc-cli-duct-slow-{}", std::process::id()));
    }
    for address in addresses {
        let mut listening = Listening::start(&[&address, "--once"], Stdio::null());
        let mut printed = BufReader::new(listening.child.stdout.take().unwrap());
        let line = format!("\"{}\"\n", "long ".repeat(1_000_000));
        let sent = line.repeat(3);
        let connecting = std::thread::spawn(move || connect(&[&address], &sent));
        // Nobody reads the rest for longer than a send waits for room.
        let mut first = String::new();
        printed.read_line(&mut first).unwrap();
        assert_eq!(first.len(), line.len());
        let (_sender, never) = std::sync::mpsc::channel::<()>();
        let _ = never.recv_timeout(std::time::Duration::from_millis(700));
        let mut rest = Vec::new();
        std::io::Read::read_to_end(&mut printed, &mut rest).unwrap();
        assert!(rest == line.repeat(2).as_bytes(), "{} bytes", rest.len());
        assert_clean(&connecting.join().unwrap());
        assert_clean(&listening.end());
    }
}

#[test]
fn a_listener_takes_one_peer_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", folder.path().join("port").display());
    let listening = Listening::start(&[&address, "--echo"], Stdio::null());
    assert_eq!(listening.address, address);
    for number in 0..5 {
        let ran = connect(&[&address], &format!("{number}\n"));
        assert_clean(&ran);
        assert_eq!(ran.stdout, format!("{number}\n").into_bytes());
    }
    // A peer that speaks something else costs nobody but itself.
    let ran = connect(&[&address, "--framing", "pyre"], "1\n");
    assert_ne!(ran.stdout, b"1\n");
    assert_clean(&connect(&[&address], "6\n"));
    kill(listening.child.id(), "INT");
    let ran = listening.end();
    assert_eq!(ran.status, Some(130));
    assert_one_line(&ran.stderr);
    assert_eq!(values(&ran.stdout), [0, 1, 2, 3, 4, 6]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_listener_without_echo_has_its_input_for_whoever_comes() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", folder.path().join("port").display());
    let mut listening = Listening::start(&[&address], Stdio::piped());
    let mut stdin = listening.child.stdin.take().unwrap();
    for number in 0..3 {
        let mut command = command(["duct", "connect", &address]);
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let mut peer_stdin = child.stdin.take().unwrap();
        writeln!(peer_stdin, "\"from {number}\"").unwrap();
        let mut printed = listening.child.stdout.as_mut().unwrap();
        assert_eq!(first_line(&mut printed), format!("\"from {number}\""));
        writeln!(stdin, "\"to {number}\"").unwrap();
        let line = first_line(child.stdout.as_mut().unwrap());
        assert_eq!(line, format!("\"to {number}\""));
        kill(child.id(), "TERM");
        assert_eq!(ended(child).status, Some(143));
    }
    kill(listening.child.id(), "HUP");
    assert_eq!(listening.end().status, Some(129));
}

#[test]
fn lines_that_are_no_json_are_reported_and_the_others_sent() {
    let listening = Listening::start(&["tcp:127.0.0.1:0", "--echo", "--once"], Stdio::null());
    let ran = connect(&[&listening.address], "1\n{\"a\":\n2\nnonsense\n3\n");
    assert_eq!(ran.status, Some(1));
    assert_eq!(ran.stdout, b"1\n2\n3\n");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ran.stderr);
    assert!(lines[0].contains("line 2") && lines[1].contains("line 4"));
    assert_clean(&Ran {
        stdout: Vec::new(),
        ..listening.end()
    });
}

#[test]
fn what_cannot_be_done_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = format!("unix:{}", folder.path().join("nobody").display());
    let missing = folder.path().join("key").display().to_string();
    let check = |arguments: &[&str], status: i32, word: &str| {
        let ran = run(arguments);
        assert_eq!(ran.status, Some(status), "{}", ran.stderr);
        assert_one_line(&ran.stderr);
        assert!(ran.stderr.contains(word), "no {word:?} in {}", ran.stderr);
    };
    check(&["duct", "connect", &nobody], 1, &nobody);
    check(&["duct", "connect", "tcp:nowhere"], 2, "tcp:nowhere");
    check(&["duct", "listen"], 2, "ADDRESS");
    check(&["duct", "listen", "pigeon:x"], 2, "pigeon");
    check(&["duct", "listen", &nobody, "--codec", "xml"], 2, "xml");
    check(&["duct", "listen", &nobody, "--framing", "xml"], 2, "pyre");
    let with_key = ["duct", "listen", &nobody, "--authkey-file", &missing];
    check(&with_key, 1, &missing);
    fs::write(&missing, "\n").unwrap();
    check(&with_key, 1, "no key");
    let listening = Listening::start(&[&nobody, "--once"], Stdio::null());
    check(&["duct", "listen", &nobody], 1, &nobody);
    let other = ["duct", "connect", &nobody, "--codec", "pickle"];
    check(&other, 1, "codec");
    assert_eq!(listening.end().status, Some(1));
}

#[test]
fn a_closed_standard_output_ends_it() {
    let mut listening = Listening::start(&["tcp:127.0.0.1:0", "--echo"], Stdio::null());
    // What it prints is more than a pipe holds.
    let mut printed = listening.child.stdout.take().unwrap();
    let draining = std::thread::spawn(move || std::io::copy(&mut printed, &mut std::io::sink()));
    let program = env!("CARGO_BIN_EXE_ipc-cli");
    let line = format!(
        "echo 1 | '{program}' duct connect {} >&-",
        listening.address
    );
    let ran = finish(Command::new("sh").args(["-c", &line]));
    assert_eq!(ran.status, Some(1));
    assert_one_line(&ran.stderr);
    let endless = format!(
        "yes 1 | '{program}' duct connect {} | head -n 2",
        listening.address
    );
    let ran = finish(Command::new("sh").args(["-c", &endless]));
    assert_eq!(ran.stdout, b"1\n1\n");
    assert_one_line(&ran.stderr);
    let pid = listening.child.id();
    kill(pid, "TERM");
    assert_eq!(listening.end().status, Some(143));
    draining.join().unwrap().unwrap();
}

#[test]
fn a_key_lets_friends_in_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key").display().to_string();
    let other = folder.path().join("other").display().to_string();
    fs::write(&key, "secret\n").unwrap();
    fs::write(&other, "guess").unwrap();
    let arguments = ["tcp:127.0.0.1:0", "--echo", "--authkey-file", &key];
    let listening = Listening::start(&arguments, Stdio::null());
    let address = listening.address.as_str();
    assert_clean(&connect(&[address, "--authkey-file", &key], "1\n"));
    let ran = connect(&[address, "--authkey-file", &other], "2\n");
    assert_eq!(ran.status, Some(1));
    assert_one_line(&ran.stderr);
    assert!(ran.stderr.contains("authentication"), "{}", ran.stderr);
    assert_clean(&connect(&[address, "--authkey-file", &key], "3\n"));
    kill(listening.child.id(), "TERM");
    let ran = listening.end();
    assert_eq!(values(&ran.stdout), [1, 3]);
    assert_one_line(&ran.stderr);
}

/// What the scripts' clients send, as JSON shows it.
fn items() -> Vec<Value> {
    vec![
        json!({"station": "Zürich", "readings": [1, null, -2.5]}),
        json!([true, 1_u64 << 40]),
        json!("x".repeat(30_000)),
    ]
}

/// The peer listens and this end connects, and then the other way round.
fn converse(python: &std::path::Path, kind: &str, place: &str, key: Option<&str>) {
    let family = if place.contains('/') { "unix" } else { "tcp" };
    let mut options = vec!["--framing", kind];
    options.extend(key.into_iter().flat_map(|key| ["--authkey-file", key]));

    let mut child = peer(python, kind, "listen", place, key).spawn().unwrap();
    let address = format!("{family}:{}", first_line(child.stdout.as_mut().unwrap()));
    let ran = connect(&[&[address.as_str()], &options[..]].concat(), LINES);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{kind}");
    let sent = json!([{"station": "Zürich", "celsius": [-3.5, null]}, [1, 2], "text", 0]);
    assert_eq!(Value::from(values(&ran.stdout)), sent, "{kind}");
    let ran = ended(child);
    assert_eq!(ran.status, Some(0), "{kind}: {}", ran.stderr);

    let address = format!("{family}:{place}");
    let arguments = [&[address.as_str(), "--echo", "--once"], &options[..]].concat();
    let listening = Listening::start(&arguments, Stdio::null());
    let child = peer(python, kind, "connect", listening.place(), key).spawn();
    let ran = ended(child.unwrap());
    assert_eq!(ran.status, Some(0), "{kind}: {}", ran.stderr);
    assert_eq!(values(&ran.stdout), items(), "{kind}");
    let ran = listening.end();
    assert_clean(&ran);
    assert_eq!(values(&ran.stdout), items(), "{kind}");
}

#[test]
fn pythons_multiprocessing_converses() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key").display().to_string();
    fs::write(&key, "secret\n").unwrap();
    let path = folder.path().join("port").display().to_string();
    for place in ["127.0.0.1:0", &path] {
        converse(&python, "multiprocessing", place, None);
        converse(&python, "multiprocessing", place, Some(&key));
    }
}

#[test]
fn pyres_pickler_converses() {
    let Some(python) = pyre() else { return };
    converse(&python, "pyre", "127.0.0.1:0", None);
}

#[test]
fn a_peer_of_ductworks_converses() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("port").display().to_string();
    for place in ["127.0.0.1:0", &path] {
        converse(&python, "ductworks", place, None);
        // The script leaves its socket file behind.
        let _ = fs::remove_file(&path);
    }
}

#[test]
fn a_pickle_that_names_a_class_is_reported_and_not_run() {
    let Some(python) = python() else { return };
    let arguments = ["tcp:127.0.0.1:0", "--framing", "multiprocessing", "--once"];
    let listening = Listening::start(&arguments, Stdio::null());
    let script = "import sys, os\nfrom multiprocessing.connection import Client\n\
        class Evil:\n    def __reduce__(self): return (os.mkdir, (sys.argv[2],))\n\
        host, port = sys.argv[1].split(':')\nwith Client((host, int(port))) as client:\n    \
        client.send(Evil())\n    client.send('fine')\n";
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    let ran = finish(
        Command::new(python)
            .args(["-c", script, listening.place()])
            .arg(&made),
    );
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let ran = listening.end();
    assert_eq!(ran.status, Some(1));
    assert_eq!(ran.stdout, b"\"fine\"\n");
    assert_one_line(&ran.stderr);
    assert!(!made.exists());
}

#[test]
fn garbage_from_a_peer_ends_the_conversation() {
    let arguments = ["tcp:127.0.0.1:0", "--framing", "ductworks", "--once"];
    let listening = Listening::start(&arguments, Stdio::null());
    let mut stranger = std::net::TcpStream::connect(listening.place()).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let ran = listening.end();
    assert_eq!(ran.status, Some(1));
    assert_one_line(&ran.stderr);
    assert!(ran.stderr.contains("0x54"), "{}", ran.stderr);
}

#[test]
fn nobody_is_left_behind() {
    let listening = Listening::start(&["tcp:127.0.0.1:0"], Stdio::piped());
    let pid = listening.child.id();
    kill(pid, "KILL");
    assert_eq!(listening.end().status, None);
    until("the process being gone", || {
        (!crate::support::is_alive(pid)).then_some(())
    });
}
