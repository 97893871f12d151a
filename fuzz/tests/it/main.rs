//! Replays every committed input through its property.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and names the input that it fails with"
)]

use std::fs;
use std::path::Path;

/// Runs `property` over every file of the target's corpus, of which there must be some.
fn replay(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        property(&fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 0, "{target} has no corpus");
}

#[test]
fn address() {
    replay("address", fuzz::address);
}

#[test]
fn native_frames() {
    replay("native_frames", fuzz::native_frames);
}

#[test]
fn foreign_frames() {
    replay("foreign_frames", fuzz::foreign_frames);
}

#[test]
fn codecs() {
    replay("codecs", fuzz::codecs);
}

#[test]
fn scheduler() {
    replay("scheduler", fuzz::scheduler);
}

#[test]
fn ring() {
    replay("ring", fuzz::ring);
}

#[test]
fn selector() {
    replay("selector", fuzz::selector);
}

#[test]
fn placement() {
    replay("placement", fuzz::placement);
}

#[test]
fn journal() {
    replay("journal", fuzz::journal);
}

#[test]
fn handshake() {
    replay("handshake", fuzz::handshake);
}

#[test]
fn restart() {
    replay("restart", fuzz::restart);
}

#[test]
fn duct_input() {
    replay("duct_input", fuzz::duct_input);
}
