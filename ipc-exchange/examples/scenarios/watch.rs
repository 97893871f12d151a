//! Counting workers while a scenario runs.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Samples how many processes there are.
pub(crate) struct Watch {
    count: fn() -> usize,
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Counts this process's children.
    pub(crate) fn start() -> Self {
        Self::counting(children)
    }

    /// Counts the other processes that run this program: workers of workers too, and those in the
    /// background.
    pub(crate) fn everywhere() -> Self {
        Self::counting(others)
    }

    fn counting(count: fn() -> usize) -> Self {
        let (stop, peak) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (stopped, highest) = (Arc::clone(&stop), Arc::clone(&peak));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                highest.fetch_max(count(), Ordering::Relaxed);
                thread::park_timeout(Duration::from_millis(1));
            }
        });
        Self {
            count,
            stop,
            peak,
            thread,
        }
    }

    /// Asserts that there were never more than `limit`, and that none is left.
    #[track_caller]
    pub(crate) fn finish(self, limit: usize) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        let peak = self.peak.load(Ordering::Relaxed);
        assert!(peak <= limit, "{peak} processes with a limit of {limit}");
        // What was dropped ends by itself.
        let until = Instant::now() + Duration::from_secs(10);
        while (self.count)() > 0 {
            assert!(Instant::now() < until, "processes are left");
            thread::park_timeout(Duration::from_millis(1));
        }
    }
}

fn children() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let list = |task: fs::DirEntry| fs::read_to_string(task.path().join("children"));
    let lists = tasks.filter_map(|task| list(task.ok()?).ok());
    lists.map(|list| list.split_whitespace().count()).sum()
}

fn others() -> usize {
    let own = fs::read_link("/proc/self/exe").unwrap();
    let is_other = |entry: &fs::DirEntry| {
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        id.is_some_and(|id: u32| id != std::process::id())
            && fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == own)
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter(is_other).count()
}
