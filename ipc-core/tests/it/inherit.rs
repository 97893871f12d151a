//! Descriptors handed to children.

use std::io::{Read, Write};
use std::process::Command;

use ipc_core::{Inherit, Socket, inherited};

use crate::support::{LIMIT, within};

/// Not a test of its own: the child of [`a_child_takes_its_descriptor_once`].
#[test]
fn child_echoes_once() {
    let Ok(fd) = inherited(7) else { return };
    assert!(inherited(7).is_err(), "taken twice");
    let mut channel = Socket::from_fd(fd).unwrap();
    let mut text = [0; 5];
    channel.read_exact(&mut text).unwrap();
    channel.write_all(&text).unwrap();
}

#[test]
fn a_child_takes_its_descriptor_once() {
    within(LIMIT, || {
        let (mut ours, theirs) = Socket::pair().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["inherit::child_echoes_once", "--exact", "--nocapture"]);
        let mut child = Inherit::new().give(7, theirs).spawn(&command).unwrap();
        ours.write_all(b"hello").unwrap();
        let mut text = Vec::new();
        ours.read_to_end(&mut text).unwrap();
        assert_eq!(text, b"hello");
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn what_was_not_given_is_not_inherited() {
    assert_eq!(
        inherited(99).unwrap_err().kind(),
        std::io::ErrorKind::NotFound
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_child_may_lead_a_group_of_its_own() {
    within(LIMIT, || {
        let (mut ours, theirs) = Socket::pair().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "cut -d ' ' -f 5 /proc/$$/stat >&5"]);
        let inherit = Inherit::new().give(5, theirs).own_group();
        let mut child = inherit.spawn(&command).unwrap();
        let mut text = String::new();
        ours.read_to_string(&mut text).unwrap();
        assert_eq!(text.trim(), child.id().to_string());
        assert!(child.wait().unwrap().success());
    });
}
