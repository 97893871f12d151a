//! `ipc-cli top` in a terminal, and without one.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::actor::Served;
use crate::python::python;
use crate::support::{assert_one_line, kill, run, until, wait};

/// Runs the command in a pseudo terminal of 100 by 20: what comes on standard input is typed, and what
/// is shown is printed. The last line is the status and whether the terminal is as it was.
const TERMINAL: &str = r#"
import fcntl, os, pty, select, struct, sys, termios
fd, slave = pty.openpty()
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 100, 0, 0))
pid = os.fork()
if pid == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for number in range(3): os.dup2(slave, number)
    os.environ["TERM"] = "xterm"
    os.execv(sys.argv[1], sys.argv[1:])
before = termios.tcgetattr(slave)
sys.stderr.write(str(pid) + "\n"); sys.stderr.flush()
sources = [fd, 0]
while True:
    ready, _, _ = select.select(sources, [], [], 0.2)
    if 0 in ready:
        typed = os.read(0, 100)
        if typed: os.write(fd, typed)
        else: sources.remove(0)
    if fd in ready:
        os.write(1, os.read(fd, 4096))
    elif os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        break
_, status = os.waitpid(pid, 0)
same = before[3] == termios.tcgetattr(slave)[3]
print("\nstatus", os.waitstatus_to_exitcode(status), "restored" if same else "raw")
"#;

/// What a terminal shows, as far as it has come.
struct Terminal {
    child: std::process::Child,
    shown: std::sync::mpsc::Receiver<Vec<u8>>,
    text: String,
    pid: u32,
}

impl Terminal {
    fn start(arguments: &[&str]) -> Option<Self> {
        let mut child = Command::new(python()?)
            .args(["-c", TERMINAL, env!("CARGO_BIN_EXE_ipc-cli")])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (sender, shown) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(len @ 1..) = stdout.read(&mut buf) {
                if sender.send(buf[..len].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut line = Vec::new();
        let stderr = child.stderr.as_mut().unwrap();
        let mut byte = [0];
        while stderr.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
            line.push(byte[0]);
        }
        let pid = String::from_utf8(line).unwrap().parse().unwrap();
        let text = String::new();
        Some(Self {
            child,
            shown,
            text,
            pid,
        })
    }

    /// Waits until this is shown after all that was waited for before.
    #[track_caller]
    fn expect(&mut self, words: &str) {
        until(words, || {
            while let Ok(bytes) = self.shown.try_recv() {
                self.text.push_str(&String::from_utf8_lossy(&bytes));
            }
            let at = self.text.find(words)?;
            self.text.drain(..at + words.len());
            Some(())
        });
    }

    fn press(&mut self, keys: &[u8]) {
        self.child.stdin.as_mut().unwrap().write_all(keys).unwrap();
    }

    #[track_caller]
    fn end(mut self, status: i32) {
        self.expect(&format!("status {status} restored"));
        wait(self.child);
    }
}

/// Leaves the screen that `top` draws on.
const MAIN_SCREEN: &str = "\u{1b}[?1049l";

#[test]
fn a_tree_is_watched_until_a_key() {
    let served = Served::start(&["--workers", "2"]);
    for keys in [&b"q"[..], b"\x03"] {
        let Some(mut terminal) = Terminal::start(&["top", &served.address, "--interval", "0.1"])
        else {
            return;
        };
        for words in ["arbiter: pid", "demo-1", "running"] {
            terminal.expect(words);
        }
        terminal.press(b"jk");
        terminal.press(keys);
        terminal.expect(MAIN_SCREEN);
        terminal.end(0);
    }
    kill(served.child.id(), "TERM");
    assert_eq!(served.end(), Some(0));
}

#[test]
fn the_end_of_the_application_is_shown_and_outlived() {
    let served = Served::start(&["--workers", "1"]);
    let Some(mut terminal) = Terminal::start(&["top", &served.address, "--interval", "0.1"]) else {
        return;
    };
    terminal.expect("running");
    kill(served.child.id(), "KILL");
    wait(served.child);
    terminal.expect("gone:");
    kill(terminal.pid, "TERM");
    terminal.expect(MAIN_SCREEN);
    terminal.end(143);
}

#[test]
fn without_a_terminal_it_says_so_or_prints_once() {
    let ran = run(&["top", "unix:@nobody-is-here"]);
    assert_eq!(ran.status, Some(1));
    assert_one_line(&ran.stderr);
    assert!(ran.stderr.contains("terminal"), "{}", ran.stderr);
    let ran = run(&["top", "unix:@nobody-is-here", "--once"]);
    assert_eq!(ran.status, Some(1));
    assert_one_line(&ran.stderr);
    let served = Served::start(&["--workers", "1"]);
    let ran = run(&["top", &served.address, "--once"]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert!(String::from_utf8(ran.stdout).unwrap().contains("demo-0"));
    let ran = run(&["top", &served.address, "--once", "--json"]);
    assert!(serde_json::from_slice::<serde_json::Value>(&ran.stdout).is_ok());
    kill(served.child.id(), "TERM");
    assert_eq!(served.end(), Some(0));
}
