//! Counting lines, words and bytes as `wc` of the GNU coreutils does.

use std::env;

use crate::tasks::Counts;

/// Which bytes make characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locale {
    /// One byte is one character; only ASCII ones are printable.
    C,
    /// Bytes are UTF-8.
    Utf8,
}

impl Locale {
    /// The locale that the environment names: `LC_ALL`, else `LC_CTYPE`, else `LANG`.
    pub(crate) fn from_environment() -> Self {
        let named = ["LC_ALL", "LC_CTYPE", "LANG"]
            .iter()
            .filter_map(|variable| env::var(variable).ok())
            .find(|value| !value.is_empty());
        Self::named(named.as_deref().unwrap_or("C"))
    }

    fn named(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        if name.ends_with("utf-8") || name.ends_with("utf8") {
            Self::Utf8
        } else {
            Self::C
        }
    }
}

/// Counts a file that is fed to it in pieces of any size.
///
/// A word is a run of characters without white space in which at least one is printable.
#[derive(Debug)]
pub(crate) struct WordCounter {
    locale: Locale,
    counts: Counts,
    in_word: bool,
    /// The beginning of a UTF-8 character whose end has not come yet.
    partial: Vec<u8>,
}

impl WordCounter {
    pub(crate) fn new(locale: Locale) -> Self {
        Self {
            locale,
            counts: Counts::default(),
            in_word: false,
            partial: Vec::new(),
        }
    }

    pub(crate) fn update(&mut self, chunk: &[u8]) {
        self.counts.bytes += chunk.len() as u64;
        self.counts.lines += chunk.iter().filter(|&&byte| byte == b'\n').count() as u64;
        match self.locale {
            Locale::C => chunk.iter().for_each(|&byte| self.ascii(byte)),
            Locale::Utf8 => self.utf8(chunk),
        }
    }

    pub(crate) fn finish(mut self) -> Counts {
        self.counts.words += u64::from(self.in_word);
        self.counts
    }

    fn ascii(&mut self, byte: u8) {
        match byte {
            b' ' | b'\t'..=b'\r' => self.white_space(),
            b'!'..=b'~' => self.in_word = true,
            _ => {}
        }
    }

    fn utf8(&mut self, mut chunk: &[u8]) {
        // Finish the character that the last piece began, byte by byte; there are at most three.
        while !self.partial.is_empty() {
            let Some((&byte, rest)) = chunk.split_first() else {
                return;
            };
            self.partial.push(byte);
            chunk = rest;
            let partial = std::mem::take(&mut self.partial);
            self.characters(&partial);
        }
        self.characters(chunk);
    }

    fn characters(&mut self, mut bytes: &[u8]) {
        loop {
            let error = match std::str::from_utf8(bytes) {
                Ok(text) => return text.chars().for_each(|c| self.character(c)),
                Err(error) => error,
            };
            let (valid, rest) = bytes.split_at(error.valid_up_to());
            let text = std::str::from_utf8(valid).expect("valid_up_to says so");
            text.chars().for_each(|c| self.character(c));
            match error.error_len() {
                // Bytes that are no character neither begin nor end a word.
                Some(len) => bytes = &rest[len..],
                None => {
                    self.partial = rest.to_vec();
                    return;
                }
            }
        }
    }

    fn character(&mut self, c: char) {
        // `char::is_whitespace` has the no-break spaces that `wc` takes as white space, except the
        // word joiner; the next-line character is white space to Unicode alone.
        if (c.is_whitespace() && c != '\u{85}') || c == '\u{2060}' {
            self.white_space();
        } else if !c.is_control() {
            self.in_word = true;
        }
    }

    fn white_space(&mut self) {
        self.counts.words += u64::from(self.in_word);
        self.in_word = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(locale: Locale, text: &[u8], lines: u64, words: u64) {
        let expected = Counts {
            lines,
            words,
            bytes: text.len() as u64,
        };
        for piece in [1, 2, 3, text.len().max(1)] {
            let mut counter = WordCounter::new(locale);
            text.chunks(piece).for_each(|chunk| counter.update(chunk));
            assert_eq!(counter.finish(), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn words_are_runs_with_something_printable() {
        check(Locale::C, b"", 0, 0);
        check(Locale::C, b"one two\nthree", 1, 3);
        check(Locale::C, b" \t\x0b\x0c\r\n\n", 2, 0);
        check(Locale::C, b"\x01 a\x01b \xff\xfe", 0, 1);
    }

    #[test]
    fn utf8_characters_may_be_split_anywhere() {
        check(Locale::Utf8, "é ü\u{a0}ö 日本".as_bytes(), 0, 4);
        check(Locale::Utf8, b"\xff\xfe a\xffb", 0, 1);
        check(Locale::Utf8, b"a\xe2\x82", 0, 1);
        check(Locale::C, "é".as_bytes(), 0, 0);
    }

    #[test]
    fn the_last_part_of_a_locale_tells_its_encoding() {
        assert_eq!(Locale::named("de_DE.UTF-8"), Locale::Utf8);
        assert_eq!(Locale::named("C.utf8"), Locale::Utf8);
        assert_eq!(Locale::named("C"), Locale::C);
        assert_eq!(Locale::named("POSIX"), Locale::C);
    }
}
