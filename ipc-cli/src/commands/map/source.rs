//! Inputs, one after the other.

use std::ffi::OsString;
use std::io::{self, BufRead};
use std::os::unix::ffi::OsStringExt;
use std::thread;

use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, Sender, bounded};

/// An input to work on, or one that cannot be worked on and why.
pub(super) type Input = Result<OsString, (OsString, String)>;

/// How many lines are read before they are needed.
const READ_AHEAD: usize = 64;

/// The longest line of standard input that is an input, in bytes: the longest that Linux passes to a
/// command as one argument.
const LINE_LEN_MAX: usize = 128 * 1024 - 1;

/// Where inputs come from.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) inputs: Receiver<Input>,
    /// How many there are, if that is known from the start.
    pub(super) total: Option<u64>,
}

impl Source {
    /// Inputs that are known.
    pub(super) fn given(inputs: Vec<Input>) -> Result<Self> {
        let total = Some(inputs.len() as u64);
        Self::read(total, move |sender| {
            for input in inputs {
                if sender.send(input).is_err() {
                    break;
                }
            }
        })
    }

    /// The lines of standard input, or what zero bytes end there, read as they are needed.
    pub(super) fn standard_input(null: bool) -> Result<Self> {
        let end = if null { 0 } else { b'\n' };
        Self::read(None, move |sender| {
            let mut input = io::stdin().lock();
            while let Some(item) = next_item(&mut input, end) {
                let over = item.is_err();
                let item = item.unwrap_or_else(|error| {
                    Err(("standard input".into(), format!("cannot be read: {error}")))
                });
                if sender.send(item).is_err() || over {
                    break;
                }
            }
        })
    }

    /// Reads on a thread, which ends with the process or when nobody takes inputs any more.
    fn read(
        total: Option<u64>,
        read: impl FnOnce(&Sender<Input>) + Send + 'static,
    ) -> Result<Self> {
        let (sender, inputs) = bounded(READ_AHEAD);
        thread::Builder::new()
            .name("inputs".to_owned())
            .spawn(move || read(&sender))
            .context("cannot start a thread")?;
        Ok(Self { inputs, total })
    }
}

/// The next line without its end; what is too long is read to its end and not kept.
fn next_item(input: &mut impl BufRead, end: u8) -> Option<io::Result<Input>> {
    let mut line = Vec::new();
    let (mut len, mut ended) = (0, false);
    while !ended {
        let bytes = match input.fill_buf() {
            Ok([]) => break,
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Some(Err(error)),
        };
        let found = bytes.iter().position(|byte| *byte == end);
        let (part, used) = match found {
            Some(at) => (&bytes[..at], at + 1),
            None => (bytes, bytes.len()),
        };
        let room = (LINE_LEN_MAX + 1).saturating_sub(line.len());
        line.extend(&part[..part.len().min(room)]);
        (len, ended) = (len + part.len(), found.is_some());
        input.consume(used);
    }
    if len == 0 && !ended {
        return None;
    }
    if len > LINE_LEN_MAX {
        line.truncate(40);
        line.extend(b"...");
        let reason = format!("an input of {len} bytes, at most {LINE_LEN_MAX}");
        return Some(Ok(Err((OsString::from_vec(line), reason))));
    }
    Some(Ok(Ok(OsString::from_vec(line))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(mut bytes: &[u8], end: u8) -> Vec<Input> {
        std::iter::from_fn(|| next_item(&mut bytes, end))
            .map(|item| item.unwrap())
            .collect()
    }

    #[test]
    fn lines_end_where_they_end() {
        let check = |bytes: &[u8], end, expected: &[&str]| {
            let expected: Vec<Input> = expected.iter().map(|item| Ok(item.into())).collect();
            assert_eq!(items(bytes, end), expected, "{bytes:?}");
        };
        check(b"", b'\n', &[]);
        check(b"a\n\nb c", b'\n', &["a", "", "b c"]);
        check(b"a\n", b'\n', &["a"]);
        check(b"a\nb\0\0", 0, &["a\nb", ""]);
    }

    #[test]
    fn a_line_that_is_too_long_is_no_input_and_the_next_is_one() {
        let mut bytes = vec![b'x'; LINE_LEN_MAX + 1];
        bytes.extend(b"\nnext\n");
        let items = items(&bytes, b'\n');
        assert!(
            items[0].as_ref().unwrap_err().1.contains("131072"),
            "{items:?}"
        );
        assert_eq!(items[1], Ok("next".into()));
    }
}
