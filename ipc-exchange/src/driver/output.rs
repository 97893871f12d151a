//! What workers write to standard output and error, by job.

use std::collections::VecDeque;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};

/// How much of a job's output is kept: the end of it, in bytes.
const KEEP: usize = 64 * 1024;

/// Finished jobs whose output was not asked for.
const FINISHED_MAX: usize = 256;

/// One worker's output, taken apart at the markers that the worker writes between jobs.
///
/// The marker has a random part, so that a task does not write it by accident; one that does it on
/// purpose confuses only its own worker's output.
#[derive(Debug)]
pub(super) struct Output {
    marker: Vec<u8>,
    /// Bytes that may be the beginning of a marker.
    pending: Vec<u8>,
    /// What came since the last marker.
    current: Vec<u8>,
    finished: VecDeque<(u64, Vec<u8>)>,
}

impl Output {
    pub(super) fn new() -> Self {
        let nonce = RandomState::new().hash_one(std::process::id());
        Self {
            marker: format!("\0ipc-exchange {nonce:016x} ").into_bytes(),
            pending: Vec::new(),
            current: Vec::new(),
            finished: VecDeque::new(),
        }
    }

    pub(super) fn marker(&self) -> String {
        String::from_utf8_lossy(&self.marker).into_owned()
    }

    /// Reads what is there without waiting; answers whether more may come.
    pub(super) fn read(&mut self, mut pipe: &File) -> bool {
        let mut buf = [0; 8192];
        loop {
            match pipe.read(&mut buf) {
                Ok(0) => return false,
                Ok(len) => self.feed(&buf[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        while let Some(start) = self.pending.iter().position(|byte| *byte == 0) {
            keep_tail(&mut self.current, &self.pending[..start]);
            self.pending.drain(..start);
            let len = self.pending.len().min(self.marker.len());
            if self.pending[..len] != self.marker[..len] {
                keep_tail(&mut self.current, &self.pending[..1]);
                self.pending.drain(..1);
                continue;
            }
            let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') else {
                if self.pending.len() > self.marker.len() + 20 {
                    // No number is that long: it only looked like a marker.
                    keep_tail(&mut self.current, &self.pending[..1]);
                    self.pending.drain(..1);
                    continue;
                }
                return;
            };
            let number = String::from_utf8_lossy(&self.pending[len..end.max(len)]).parse();
            let output = std::mem::take(&mut self.current);
            if let Ok(seq) = number {
                self.finished.push_back((seq, output));
            }
            if self.finished.len() > FINISHED_MAX {
                self.finished.pop_front();
            }
            self.pending.drain(..=end);
        }
        keep_tail(&mut self.current, &self.pending);
        self.pending.clear();
    }

    /// What the job with this number wrote, once it has ended.
    pub(super) fn take(&mut self, seq: u64) -> String {
        while let Some((found, output)) = self.finished.pop_front() {
            if found == seq {
                return String::from_utf8_lossy(&output).into_owned();
            }
            if found > seq {
                self.finished.push_front((found, output));
                break;
            }
        }
        String::new()
    }

    /// What the job that was running when the worker died wrote.
    pub(super) fn rest(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.current)).into_owned()
    }
}

fn keep_tail(kept: &mut Vec<u8>, bytes: &[u8]) {
    crate::pipe::keep_tail(kept, bytes, KEEP);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_taken_apart_however_it_is_cut() {
        let mut whole = Output::new();
        let marker = whole.marker();
        let text = format!("{marker}0\none\n\0 two{marker}1\nthree{marker}2\nrest");
        whole.feed(text.as_bytes());
        for cut in 1..text.len() {
            let mut parts = Output::new();
            parts.marker.clone_from(&whole.marker);
            for part in text.as_bytes().chunks(cut) {
                parts.feed(part);
            }
            assert_eq!(parts.finished, whole.finished);
            assert_eq!(parts.take(1), "one\n\0 two");
            assert_eq!(parts.take(2), "three");
            assert_eq!(parts.take(3), "");
            assert_eq!(parts.rest(), "rest");
        }
    }

    #[test]
    fn only_the_end_is_kept() {
        let mut output = Output::new();
        for _ in 0..100 {
            output.feed(&[b'x'; 10_000]);
        }
        assert!(output.rest().len() <= 2 * KEEP);
    }
}
