//! Results as `sha256sum` and `wc` print them, byte for byte.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::tasks::Counts;

/// The line that `sha256sum` prints: a name with a line break or a backslash is escaped, and the line
/// then begins with a backslash.
pub(super) fn digest_line(digest: &[u8; 32], name: &OsStr) -> Vec<u8> {
    let name = name.as_bytes();
    let mut line = Vec::with_capacity(name.len() + 70);
    if name.iter().any(|byte| b"\\\n\r".contains(byte)) {
        line.push(b'\\');
    }
    for byte in digest {
        line.extend(format!("{byte:02x}").bytes());
    }
    line.extend(b"  ");
    for &byte in name {
        match byte {
            b'\\' => line.extend(b"\\\\"),
            b'\n' => line.extend(b"\\n"),
            b'\r' => line.extend(b"\\r"),
            byte => line.push(byte),
        }
    }
    line.push(b'\n');
    line
}

/// The lines that `wc` prints for several files: columns as wide as the size of all of them together.
#[derive(Debug)]
pub(super) struct CountTable {
    width: usize,
    total: Counts,
}

impl CountTable {
    /// A table over files that are `size_total` bytes together; one that is no regular file has no
    /// size and makes the columns at least seven wide.
    pub(super) fn new(size_total: u64, all_regular: bool) -> Self {
        let least = if all_regular { 1 } else { 7 };
        Self {
            width: size_total.to_string().len().max(least),
            total: Counts::default(),
        }
    }

    /// The line of one file.
    pub(super) fn line(&mut self, counts: Counts, name: &OsStr) -> Vec<u8> {
        self.total.lines += counts.lines;
        self.total.words += counts.words;
        self.total.bytes += counts.bytes;
        self.format(counts, &shell_quoted(name.as_bytes()))
    }

    /// The last line, printed when there was more than one file.
    pub(super) fn total(&self) -> Vec<u8> {
        self.format(self.total, b"total")
    }

    fn format(&self, counts: Counts, name: &[u8]) -> Vec<u8> {
        let Counts {
            lines,
            words,
            bytes,
        } = counts;
        let width = self.width;
        let mut line = format!("{lines:width$} {words:width$} {bytes:width$} ").into_bytes();
        line.extend(name);
        line.push(b'\n');
        line
    }
}

/// A name as `wc` prints it: one with a line break is quoted for a shell, any other is left as it is.
fn shell_quoted(name: &[u8]) -> Vec<u8> {
    if !name.contains(&b'\n') {
        return name.to_vec();
    }
    let mut quoted = b"'".to_vec();
    for &byte in name {
        match byte {
            b'\n' => quoted.extend(b"'$'\\n''"),
            b'\'' => quoted.extend(b"'\\''"),
            byte => quoted.push(byte),
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_a_line_are_escaped() {
        let line = |name: &str| String::from_utf8(digest_line(&[0xab; 32], OsStr::new(name)));
        let digest = "ab".repeat(32);
        assert_eq!(line("a b"), Ok(format!("{digest}  a b\n")));
        assert_eq!(line("a\\b\nc"), Ok(format!("\\{digest}  a\\\\b\\nc\n")));
    }

    #[test]
    fn columns_are_as_wide_as_the_total() {
        let mut table = CountTable::new(1234, true);
        let counts = Counts {
            lines: 1,
            words: 2,
            bytes: 34,
        };
        assert_eq!(table.line(counts, OsStr::new("x")), b"   1    2   34 x\n");
        assert_eq!(table.total(), b"   1    2   34 total\n");
        assert_eq!(CountTable::new(0, true).width, 1);
        assert_eq!(CountTable::new(5, false).width, 7);
    }

    #[test]
    fn a_name_with_a_line_break_is_quoted() {
        assert_eq!(shell_quoted(b"a\nb"), b"'a'$'\\n''b'");
        assert_eq!(shell_quoted(b"a'b"), b"a'b");
    }
}
