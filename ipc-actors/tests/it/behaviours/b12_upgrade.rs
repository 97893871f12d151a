//! A program makes way for its next version.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use ipc_core::Address;
use ipc_marshal::{ConnectError, DuctOptions, schema_hash};

use super::alone;
use crate::application::{Client, program, say};
use crate::support::{LIMIT, eventually, is_alive, signal};
use crate::upgrade::{pid_in, under_load};

/// Puts another program where this one is.
fn replace(path: &Path, script: &str) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, script).expect("a program");
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).expect("rights");
    fs::rename(&fresh, path).expect("in its place");
}

fn start(path: &Path, folder: &Path) -> Child {
    let folder = folder.display();
    Command::new(path)
        .args(["--bind", &format!("unix:{folder}/echo")])
        .args(["--pidfile", &format!("{folder}/pid")])
        .args(["--graceful-timeout", "2", "-w", "2"])
        .env("NOTIFY_SOCKET", format!("{folder}/notify"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program")
}

#[test]
fn a12_a_version_that_is_broken_changes_nothing_and_a_good_one_takes_over() {
    let test = "behaviours::b12_upgrade::a12_a_version_that_is_broken_changes_nothing_and_a_good_one_takes_over";
    alone(test, 4 * LIMIT, || {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let folder = folder.path();
        let ears = UnixDatagram::bind(folder.join("notify")).expect("a socket");
        ears.set_read_timeout(Some(LIMIT)).expect("a time-out");
        let hear = || {
            let mut buf = [0; 256];
            let len = ears.recv(&mut buf).expect("a word");
            String::from_utf8_lossy(&buf[..len]).into_owned()
        };
        let path = folder.join("server");
        fs::copy(program(), &path).expect("a copy");
        fs::copy(program(), folder.join("second")).expect("a copy");
        let mut old = start(&path, folder);
        assert_eq!(hear(), format!("READY=1\nMAINPID={}", old.id()));
        let (socket, pidfile) = (folder.join("echo"), folder.join("pid"));
        let address: Address = format!("unix:{}", socket.display()).parse().expect("one");
        let inode = || fs::metadata(&socket).expect("it is there").ino();
        let first = inode();
        let mut new = 0;
        let mut told = BufReader::new(old.stderr.take().expect("piped"));
        under_load(&address, || {
            for broken in [
                "#!/bin/sh\nexit 3\n",
                "#!/bin/sh\nkill -9 $$\n",
                "no program at all",
            ] {
                replace(&path, broken);
                signal(old.id(), "USR2");
                let mut line = String::new();
                told.read_line(&mut line).expect("it says what is wrong");
                super::note(line.trim());
                old_unharmed(&old, &address, &pidfile);
                assert_eq!(inode(), first);
            }
            let second = format!("#!/bin/sh\nexec {}/second \"$@\"\n", folder.display());
            replace(&path, &second);
            signal(old.id(), "USR2");
            let told = hear();
            new = told
                .strip_prefix("READY=1\nMAINPID=")
                .expect(&told)
                .parse()
                .expect("a number");
            assert_ne!(new, old.id());
            assert_eq!(
                fs::read_link(format!("/proc/{new}/exe")).expect("it runs"),
                folder.join("second")
            );
            signal(old.id(), "TERM");
            assert_eq!(old.wait().expect("its end").code(), Some(0));
            assert_eq!(inode(), first, "not taken away, and not made anew");
            eventually(|| pid_in(&pidfile) == Some(new));
        });
        assert_eq!(hear(), "STOPPING=1");
        a_stranger_is_told(&address);
        say(
            &mut Client::connect(&address).expect("a connection"),
            "the new one serves",
        );
        signal(new, "TERM");
        eventually(|| !is_alive(new));
        assert!(!socket.exists() && !pidfile.exists());
    });
}

/// Asked to make way for what does not run, it goes on.
fn old_unharmed(old: &Child, address: &Address, pidfile: &Path) {
    let mut client = Client::connect(address).expect("it listens");
    for _ in 0..20 {
        say(&mut client, "the old one serves");
    }
    assert_eq!(pid_in(pidfile), Some(old.id()));
    assert!(is_alive(old.id()));
}

/// Who speaks another language learns of it before the first word.
fn a_stranger_is_told(address: &Address) {
    let wrong = DuctOptions::new()
        .handshake(true)
        .schema(schema_hash("the third: u64 -> u64"))
        .connect::<u64, u64>(address)
        .map(drop)
        .expect_err("they do not agree");
    assert!(matches!(wrong, ConnectError::Handshake(_)), "{wrong:?}");
}
