//! Python programs as peers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The system's Python, or nothing and a notice that everybody sees.
pub(crate) fn python() -> Option<PathBuf> {
    let works = Command::new("python3").arg("--version").output();
    if works.is_ok_and(|output| output.status.success()) {
        return Some(PathBuf::from("python3"));
    }
    notice("python3 is missing");
    None
}

/// A Python that has pyre 1.14, installed once beside the build's other files.
pub(crate) fn pyre() -> Option<PathBuf> {
    let python = python()?;
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pyre-1.14");
    let pyre = place.join("bin/python");
    if !has_pyre(&pyre) {
        // Beside its place and then moved there, so that no other run finds it half installed.
        let draft = place.with_extension(std::process::id().to_string());
        let installed = install(&python, &draft);
        if installed && fs::rename(&draft, &place).is_err() {
            // Another run was faster.
            let _ = fs::remove_dir_all(&draft);
        }
    }
    let found = has_pyre(&pyre);
    if !found {
        notice("pyre 1.14 cannot be installed");
    }
    found.then_some(pyre)
}

fn has_pyre(python: &Path) -> bool {
    succeeds(Command::new(python).args(["-c", "import pyre.ipc"]))
}

fn install(python: &Path, place: &Path) -> bool {
    let mut pip = Command::new(place.join("bin/python"));
    pip.args(["-m", "pip", "install", "-q", "--timeout", "20"]);
    succeeds(Command::new(python).args(["-m", "venv"]).arg(place))
        && succeeds(pip.arg("pyre==1.14.0"))
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Tells why a test does nothing, past the capture of its output.
pub(crate) fn notice(why: &str) {
    use std::io::Write;
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// A command that runs the script in `tests/python`; see there.
pub(crate) fn peer(
    python: &Path,
    kind: &str,
    role: &str,
    place: &str,
    key: Option<&str>,
) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/peer.py");
    let mut command = Command::new(python);
    command
        .arg(script)
        .args([kind, role, place, key.unwrap_or("-")])
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}
