//! The pickle machine: opcodes to values.
//!
//! Values live in one arena and are named by their index, so that a memo entry used a thousand times
//! is one value. Every opcode makes at most one value of fixed size, so memory is a small multiple
//! (about 40) of the pickle's length.

use std::borrow::Cow;
use std::collections::HashMap;

use super::format::Error;

/// A value's index in the arena.
pub(super) type Id = u32;

#[derive(Debug)]
pub(super) enum Value<'p> {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Cow<'p, str>),
    Bytes(&'p [u8]),
    /// A list, tuple or set.
    Sequence(Vec<Id>),
    /// Keys and values in turn.
    Dict(Vec<Id>),
}

/// What a pickle has built.
#[derive(Debug)]
pub(super) struct Heap<'p> {
    pub(super) values: Vec<Value<'p>>,
    pub(super) root: Id,
}

/// Runs a pickle to its end.
pub(super) fn load(pickle: &[u8]) -> Result<Heap<'_>, Error> {
    let mut machine = Machine {
        input: pickle,
        at: 0,
        values: vec![Value::None, Value::Bool(false), Value::Bool(true)],
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    let root = loop {
        let start = machine.at;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => break root,
            Err(message) => {
                return Err(Error {
                    position: Some(start),
                    message,
                });
            }
        }
    };
    if machine.at < pickle.len() {
        return Err(Error {
            position: Some(machine.at),
            message: format!("{} bytes are left over", pickle.len() - machine.at),
        });
    }
    Ok(Heap {
        values: machine.values,
        root,
    })
}

const NONE: Id = 0;
const FALSE: Id = 1;
const TRUE: Id = 2;

struct Machine<'p> {
    input: &'p [u8],
    at: usize,
    values: Vec<Value<'p>>,
    stack: Vec<Id>,
    /// How long the stack was at each `MARK`.
    marks: Vec<u32>,
    memo: HashMap<u32, Id>,
}

type Step<T> = Result<T, String>;

impl<'p> Machine<'p> {
    /// Runs one opcode; answers the result after the last.
    fn step(&mut self) -> Step<Option<Id>> {
        let opcode = self.byte()?;
        match opcode {
            b'.' => return self.pop().map(Some),
            0x80 => self.skip(1)?,
            0x95 => self.skip(8)?,
            b'(' => {
                let depth = index(self.stack.len())?;
                self.marks.push(depth);
            }
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.pop_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.stack.push(NONE),
            0x88 => self.stack.push(TRUE),
            0x89 => self.stack.push(FALSE),
            b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => self.memo(opcode)?,
            b'I' | b'L' | b'F' | b'V' => self.line_value(opcode)?,
            b'J' | b'K' | b'M' | b'G' | 0x8a | 0x8b => self.number(opcode)?,
            b'C' | b'B' | 0x8e | 0x96 => {
                let bytes = self.sized(opcode)?;
                self.push(Value::Bytes(bytes))?;
            }
            b'X' | 0x8c | 0x8d => {
                let bytes = self.sized(opcode)?;
                let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
                self.push(Value::Text(Cow::Borrowed(text)))?;
            }
            b'c' | b'i' | 0x93 | b'R' | b'o' | b'b' | 0x81 | 0x92 | b'P' | b'Q' | 0x82 | 0x83
            | 0x84 => {
                return Err(
                    "the pickle names a class or a call, only plain data is read".to_owned(),
                );
            }
            _ => self.container(opcode)?,
        }
        Ok(None)
    }

    fn container(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            b')' | b']' | 0x8f => self.push(Value::Sequence(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            0x85..=0x87 => {
                let len = usize::from(opcode - 0x84);
                let items = self.pop_many(len)?;
                self.push(Value::Sequence(items))
            }
            b't' | b'l' | 0x91 => {
                let items = self.pop_mark()?;
                self.push(Value::Sequence(items))
            }
            b'd' => {
                let items = self.pop_mark()?;
                pairs(&items)?;
                self.push(Value::Dict(items))
            }
            b'a' => {
                let items = self.pop_many(1)?;
                self.extend(false, items)
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.extend(false, items)
            }
            b's' => {
                let items = self.pop_many(2)?;
                self.extend(true, items)
            }
            b'u' => {
                let items = self.pop_mark()?;
                pairs(&items)?;
                self.extend(true, items)
            }
            other => Err(format!("opcode {other:#04x} is not known")),
        }
    }

    fn memo(&mut self, opcode: u8) -> Step<()> {
        let key = match opcode {
            b'p' | b'g' => parse(self.line()?)?,
            b'q' | b'h' => self.byte()?.into(),
            b'r' | b'j' => u32::from_le_bytes(self.array()?),
            _ => index(self.memo.len())?,
        };
        if matches!(opcode, b'g' | b'h' | b'j') {
            let id = self.memo.get(&key);
            let id = *id.ok_or_else(|| format!("memo entry {key} is missing"))?;
            self.stack.push(id);
        } else {
            let id = self.top()?;
            self.memo.insert(key, id);
        }
        Ok(())
    }

    /// The values of protocol 0, which are lines of text.
    fn line_value(&mut self, opcode: u8) -> Step<()> {
        let line = self.line()?;
        let value = match (opcode, line) {
            (b'I', b"00") => Value::Bool(false),
            (b'I', b"01") => Value::Bool(true),
            (b'I', _) => Value::Int(parse(line)?),
            (b'L', _) => Value::Int(parse(line.strip_suffix(b"L").unwrap_or(line))?),
            (b'F', _) => Value::Float(parse(line)?),
            _ => Value::Text(Cow::Owned(unescape(line)?)),
        };
        self.push(value)
    }

    fn number(&mut self, opcode: u8) -> Step<()> {
        let value = match opcode {
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            b'K' => Value::Int(self.byte()?.into()),
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()),
            b'G' => Value::Float(f64::from_be_bytes(self.array()?)),
            _ => {
                let len = if opcode == 0x8a {
                    self.byte()?.into()
                } else {
                    to_len(u32::from_le_bytes(self.array()?).into())?
                };
                Value::Int(integer(self.take(len)?)?)
            }
        };
        self.push(value)
    }

    /// A byte or text string with its length before it.
    fn sized(&mut self, opcode: u8) -> Step<&'p [u8]> {
        let len = match opcode {
            b'C' | 0x8c => self.byte()?.into(),
            b'B' | b'X' => u32::from_le_bytes(self.array()?).into(),
            _ => u64::from_le_bytes(self.array()?),
        };
        self.take(to_len(len)?)
    }

    fn extend(&mut self, dict: bool, items: Vec<Id>) -> Step<()> {
        let top = self.top()?;
        match (&mut self.values[top as usize], dict) {
            (Value::Sequence(list), false) | (Value::Dict(list), true) => list.extend(items),
            _ => return Err("items are added to a value that has none".to_owned()),
        }
        Ok(())
    }

    fn push(&mut self, value: Value<'p>) -> Step<()> {
        let id = index(self.values.len())?;
        self.values.push(value);
        self.stack.push(id);
        Ok(())
    }

    /// The part of the stack above the last mark.
    fn floor(&self) -> usize {
        self.marks.last().map_or(0, |&mark| mark as usize)
    }

    fn top(&self) -> Step<Id> {
        self.stack[self.floor()..]
            .last()
            .copied()
            .ok_or_else(|| "the stack is empty".to_owned())
    }

    fn pop(&mut self) -> Step<Id> {
        self.top()?;
        self.stack.pop().ok_or_else(String::new)
    }

    fn pop_many(&mut self, len: usize) -> Step<Vec<Id>> {
        let from = self.stack.len().checked_sub(len);
        match from.filter(|&from| from >= self.floor()) {
            Some(from) => Ok(self.stack.split_off(from)),
            None => Err("the stack is too short".to_owned()),
        }
    }

    fn pop_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop();
        let mark = mark.ok_or_else(|| "no mark is on the stack".to_owned())?;
        Ok(self.stack.split_off(mark as usize))
    }

    fn byte(&mut self) -> Step<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let bytes = self.take(N)?.first_chunk();
        Ok(*bytes.expect("take answers as much as it is asked for"))
    }

    fn skip(&mut self, len: usize) -> Step<()> {
        self.take(len).map(drop)
    }

    fn take(&mut self, len: usize) -> Step<&'p [u8]> {
        let rest = &self.input[self.at..];
        let Some(taken) = rest.get(..len) else {
            return Err(format!("{} bytes are missing", len - rest.len()));
        };
        self.at += len;
        Ok(taken)
    }

    fn line(&mut self) -> Step<&'p [u8]> {
        let rest = &self.input[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n');
        let line = self.take(end.ok_or_else(|| "a line has no end".to_owned())?)?;
        self.skip(1)?;
        Ok(line)
    }
}

fn index(len: usize) -> Step<u32> {
    u32::try_from(len).map_err(|_| "the pickle has too many values".to_owned())
}

fn to_len(len: u64) -> Step<usize> {
    usize::try_from(len).map_err(|_| format!("{len} bytes are missing"))
}

fn pairs(items: &[Id]) -> Step<()> {
    if items.len().is_multiple_of(2) {
        return Ok(());
    }
    Err("a key has no value".to_owned())
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(line: &[u8]) -> Step<T> {
    let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
    text.trim()
        .parse()
        .map_err(|error: T::Err| error.to_string())
}

/// A little-endian two's complement number of any length.
fn integer(bytes: &[u8]) -> Step<i128> {
    let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
    if bytes.len() > 16 {
        return Err("an integer has more than 128 bits".to_owned());
    }
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    Ok(i128::from_le_bytes(wide))
}

/// Python's `raw-unicode-escape`: Latin-1, and `\u` with four or `\U` with eight hexadecimal digits for the rest.
fn unescape(line: &[u8]) -> Step<String> {
    let mut text = String::new();
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = match (byte, after.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                text.push(byte.into());
                rest = after;
                continue;
            }
        };
        let code = after.get(1..=digits).and_then(|hex| {
            let hex = std::str::from_utf8(hex).ok()?;
            char::from_u32(u32::from_str_radix(hex, 16).ok()?)
        });
        text.push(code.ok_or_else(|| "an escape is not a character".to_owned())?);
        rest = &after[1 + digits..];
    }
    Ok(text)
}
