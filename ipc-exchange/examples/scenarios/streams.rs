//! Tasks that give many results each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use ipc_exchange::{Exchange, Yield};

use crate::maps::calculate;
use crate::watch::Watch;

/// A row of the table, cell by cell.
pub(crate) fn row(i: u32, out: Yield<(u32, u32, u32)>) {
    for j in 0..10 {
        out.put(&(i, j, calculate((i, j)))).unwrap();
    }
}

pub(crate) fn simple_continuous_queue() {
    let watch = Watch::start();
    let exchange = Exchange::new(10).unwrap();
    let mut queue = exchange.queue();
    for i in 0..10 {
        queue.start_stream(row, i).unwrap();
    }
    let (mut cells, mut order) = (BTreeMap::new(), Vec::new());
    for item in queue.by_ref() {
        let (i, j, value) = item.unwrap();
        assert!(cells.insert((i, j), value).is_none());
        order.push(i);
    }
    assert!(cells.iter().all(|((i, j), value)| *value == i * 10 + j) && cells.len() == 100);
    order.dedup();
    assert!(order.len() > 10, "the rows interleave");
    exchange.finish();
    watch.finish(10);
}

/// Gives the lines that are appended to a file, until one says `END`.
pub(crate) fn follow(path: PathBuf, out: Yield<String>) {
    let mut file = File::open(path).unwrap();
    let mut text = String::new();
    loop {
        while let Some(end) = text.find('\n') {
            let line: String = text.drain(..=end).collect();
            if line == "END\n" {
                return;
            }
            out.put(&line.trim_end().to_owned()).unwrap();
        }
        if file.read_to_string(&mut text).unwrap() == 0 {
            thread::park_timeout(Duration::from_millis(2));
            let at = file.stream_position().unwrap();
            file.seek(SeekFrom::Start(at)).unwrap();
        }
    }
}

/// Follows several files in processes of their own and passes on the lines with a word.
pub(crate) fn grep((word, paths): (String, Vec<PathBuf>), out: Yield<String>) {
    let exchange = Exchange::new(paths.len()).unwrap();
    let mut queue = exchange.queue();
    for path in paths {
        queue.start_stream(follow, path).unwrap();
    }
    for line in queue.by_ref() {
        let line = line.unwrap();
        if line.contains(&word) {
            out.put(&line).unwrap();
        }
    }
    exchange.finish();
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

pub(crate) fn bottles() {
    let watch = Watch::everywhere();
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..9)
        .map(|n| folder.path().join(format!("bottles{n}")))
        .collect();
    for path in &paths {
        append(path, "");
    }
    let exchange = Exchange::new(3).unwrap();
    let mut queue = exchange.queue();
    for three in paths.chunks(3) {
        queue
            .start_stream(grep, ("green".to_owned(), three.to_vec()))
            .unwrap();
    }
    let mut seen = BTreeSet::new();
    for (number, path) in paths.iter().enumerate() {
        append(
            path,
            &format!("{number} green bottles\n{number} brown bottles\n"),
        );
        // It comes to the top while everything is still running.
        seen.insert(queue.next().unwrap().unwrap());
    }
    for path in &paths {
        append(path, "END\n");
    }
    assert!(queue.next().is_none());
    let expected: BTreeSet<_> = (0..9)
        .map(|number| format!("{number} green bottles"))
        .collect();
    assert_eq!(seen, expected);
    exchange.finish();
    // Three that search, and for each of them three that follow.
    watch.finish(12);
}

pub(crate) fn bottles_heartbeat() {
    let watch = Watch::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bottles");
    append(&path, "");
    let exchange = Exchange::new(1).unwrap();
    let mut queue = exchange.queue();
    queue.start_stream(follow, path.clone()).unwrap();
    let mut beats = 0;
    for round in 0..3 {
        while queue.recv_timeout(Duration::from_millis(30)).is_none() {
            beats += 1;
            append(&path, &format!("bottle {round}\n"));
        }
    }
    assert!(beats >= 1, "a heart beats while nothing comes");
    append(&path, "END\n");
    assert!(queue.by_ref().all(|line| line.is_ok()));
    exchange.finish();
    watch.finish(1);
}

/// The words of some files, with where they are.
pub(crate) fn index_slice(paths: Vec<PathBuf>, out: Yield<(String, PathBuf)>) {
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let words: BTreeSet<&str> = text.split_whitespace().collect();
        for word in words {
            out.put(&(word.to_owned(), path.clone())).unwrap();
        }
    }
}

pub(crate) fn start_indexer() {
    const WINDOW: usize = 3;
    let watch = Watch::start();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths: Vec<_> = fs::read_dir(source)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    let mut sequential: HashMap<String, BTreeSet<PathBuf>> = HashMap::new();
    for path in &paths {
        for word in fs::read_to_string(path).unwrap().split_whitespace() {
            sequential
                .entry(word.to_owned())
                .or_default()
                .insert(path.clone());
        }
    }
    let exchange = Exchange::new(WINDOW).unwrap();
    let mut queue = exchange.queue();
    for slice in paths.chunks(4) {
        queue.start_stream(index_slice, slice.to_vec()).unwrap();
    }
    let mut parallel: HashMap<String, BTreeSet<PathBuf>> = HashMap::new();
    for item in queue.by_ref() {
        let (word, path) = item.unwrap();
        parallel.entry(word).or_default().insert(path);
    }
    assert_eq!(parallel, sequential);
    exchange.finish();
    watch.finish(WINDOW);
}
