//! The exchange's journal: files of any bytes, and lines that were torn.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ipc_exchange::Journal;

#[expect(clippy::unnecessary_wraps, reason = "a journal records results")]
fn square(x: u64) -> Result<u64, ()> {
    Ok(x * x)
}

/// A file that is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ipc-fuzz-journal-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes the results of tasks 0 up to `count`, and answers how long the file was after each.
fn write(path: &Path, count: u64) -> Vec<u64> {
    let journal = Journal::open(path).expect("an empty file is a journal");
    let mut lens = vec![0];
    for x in 0..count {
        let (claim, before) = journal.claim(square, &x).expect("numbers are encoded");
        assert_eq!(before, None);
        journal.record(&claim, &square(x), 1, Duration::ZERO);
        let metadata = fs::metadata(path).expect("it is there");
        lens.push(metadata.len());
    }
    lens
}

/// Any bytes are a journal or are refused, opening one changes nothing that a second opening would
/// not find, and a journal that was torn anywhere still has every line before the tear.
pub fn journal(data: &[u8]) {
    let file = Scratch::new();
    fs::write(&file.0, data).expect("the folder for such files is writable");
    match Journal::open(&file.0) {
        Ok(journal) => {
            let lines = data.iter().filter(|byte| **byte == b'\n').count();
            assert!(journal.len() <= lines);
            let kept = fs::read(&file.0).expect("it is there");
            assert!(data.starts_with(&kept), "only the end may be dropped");
            let again = Journal::open(&file.0).expect("it was one before");
            assert_eq!(again.len(), journal.len());
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidData),
    }

    // Torn where the input says, with the input's rest behind it.
    let [at, count, rest @ ..] = data else {
        return;
    };
    let count = u64::from(count % 8) + 1;
    let torn = Scratch::new();
    let lens = write(&torn.0, count);
    let whole = fs::read(&torn.0).expect("it is there");
    let cut = whole.len() * usize::from(*at) / 256;
    let mut bytes = whole[..cut].to_vec();
    // A torn write is what was to be written up to some point; what a disk makes of it has no line end.
    bytes.extend(rest.iter().copied().filter(|byte| *byte != b'\n').take(64));
    fs::write(&torn.0, &bytes).expect("it was writable before");
    let journal = Journal::open(&torn.0).expect("a torn last line is dropped");
    let survivors = lens.iter().filter(|len| **len <= cut as u64).count() - 1;
    assert_eq!(journal.len(), survivors);
    for x in 0..count {
        let (claim, result) = journal.claim(square, &x).expect("numbers are encoded");
        assert_eq!(result, (x < survivors as u64).then(|| square(x)));
        if result.is_none() {
            journal.record(&claim, &square(x), 1, Duration::ZERO);
        }
    }
    journal.sync().expect("there was room for it before");
    let healed = Journal::open(&torn.0).expect("what is appended after a tear is whole");
    assert_eq!(healed.len() as u64, count);
}
