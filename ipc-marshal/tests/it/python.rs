//! Python programs as peers.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

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
    static PYRE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = PYRE.get_or_init(|| install_pyre(&python()?));
    if found.is_none() {
        notice("pyre 1.14 cannot be installed");
    }
    found.clone()
}

fn install_pyre(python: &Path) -> Option<PathBuf> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pyre-1.14");
    let pyre = place.join("bin/python");
    let has_pyre = |pyre: &Path| {
        let import = Command::new(pyre).args(["-c", "import pyre.ipc"]).output();
        import.is_ok_and(|output| output.status.success())
    };
    if has_pyre(&pyre) {
        return Some(pyre);
    }
    // Beside its place and then moved there, so that no other run finds it half installed.
    let draft = place.with_extension(std::process::id().to_string());
    let install = [
        "-m",
        "pip",
        "install",
        "-q",
        "--timeout",
        "20",
        "pyre==1.14.0",
    ];
    let steps = [
        Command::new(python)
            .args(["-m", "venv"])
            .arg(&draft)
            .output(),
        Command::new(draft.join("bin/python"))
            .args(install)
            .output(),
    ];
    let installed = steps
        .into_iter()
        .all(|step| step.is_ok_and(|output| output.status.success()));
    if installed && fs::rename(&draft, &place).is_err() {
        // Another run was faster.
        let _ = fs::remove_dir_all(&draft);
    }
    has_pyre(&pyre).then_some(pyre)
}

/// Tells why a test does nothing, past the capture of its output.
fn notice(why: &str) {
    use std::io::Write;
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// A command that runs one of the scripts in `tests/python`.
pub(crate) fn script(python: &Path, name: &str, arguments: &[&str]) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let mut command = Command::new(python);
    command.arg(folder.join(name)).args(arguments);
    command
}

/// A running script; dropping it ends it.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        Self(command.stdout(Stdio::piped()).spawn().expect("it starts"))
    }

    /// The next line that the script prints.
    pub(crate) fn line(&mut self) -> String {
        let stdout = self.0.stdout.as_mut().expect("it is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// Its exit code once it has ended.
    pub(crate) fn code(mut self) -> Option<i32> {
        self.0.wait().expect("it is a child").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
