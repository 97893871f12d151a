//! Garbage at every byte of the hand-shake and of the authentication, from either side: the other side
//! answers with an error, and serves the next.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::BorrowedFd;
use std::process::ExitCode;
use std::time::Duration;

use ipc_core::{
    Address, AnyChannel, AnyReader, AnyWriter, Channel, Credentials, Deadline, Inbound, Outbound,
    Port, Readiness,
};
use ipc_marshal::{AuthRole, ConnectError, Duct, DuctOptions};

use crate::calls::{Message, addresses, body, key, serves_another};
use crate::chance::Chance;
use crate::scenario::{scenarios, step};
use crate::session::{SOON, Session};

scenarios![callers_talk_garbage, servers_talk_garbage];

pub(crate) const CALLER: &str = "garbage-caller";
pub(crate) const SERVER: &str = "garbage-server";

/// How long either side waits for the other: who waits for the rest of a longer frame than was sent
/// waits in vain.
const LIMIT: Duration = Duration::from_millis(150);

/// A round twists every so many bytes, from a random one on.
const STRIDE: usize = 7;

/// A channel that changes what is written from one byte on.
#[derive(Debug)]
struct Twisted {
    channel: AnyChannel,
    /// What is still written as it is.
    whole: usize,
    /// How many bytes are changed after that.
    twists: usize,
    noise: Chance,
    struck: bool,
}

impl Twisted {
    fn twisted(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for byte in bytes.iter_mut().skip(self.whole).take(self.twists) {
            *byte ^= 1 + self.noise.below(255) as u8;
            self.struck = true;
        }
        bytes
    }

    fn wrote(&mut self, count: usize) {
        let whole = count.min(self.whole);
        self.whole -= whole;
        self.twists = self.twists.saturating_sub(count - whole);
    }
}

impl Read for Twisted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.channel.read(buf)
    }
}

impl Write for Twisted {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_deadline(&[IoSlice::new(buf)], Deadline::Never)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Inbound for Twisted {
    fn inbound(&self) -> BorrowedFd<'_> {
        self.channel.inbound()
    }

    fn read_deadline(&mut self, buf: &mut [u8], deadline: Deadline) -> io::Result<usize> {
        self.channel.read_deadline(buf, deadline)
    }

    fn arm_inbound(&mut self) -> io::Result<Readiness> {
        self.channel.arm_inbound()
    }
}

impl Outbound for Twisted {
    fn outbound(&self) -> BorrowedFd<'_> {
        self.channel.outbound()
    }

    fn is_doorbell(&self) -> bool {
        self.channel.is_doorbell()
    }

    fn write_deadline(&mut self, bufs: &[IoSlice<'_>], deadline: Deadline) -> io::Result<usize> {
        let first = bufs.iter().find(|buf| !buf.is_empty());
        let bytes = self.twisted(first.map_or(&[], |buf| buf));
        let count = self
            .channel
            .write_deadline(&[IoSlice::new(&bytes)], deadline)?;
        self.wrote(count);
        Ok(count)
    }

    fn arm_outbound(&mut self) -> io::Result<Readiness> {
        self.channel.arm_outbound()
    }

    fn shutdown(&mut self) -> io::Result<()> {
        self.channel.shutdown()
    }
}

impl Channel for Twisted {
    type Reader = AnyReader;
    type Writer = AnyWriter;

    fn split(self) -> io::Result<(AnyReader, AnyWriter)> {
        self.channel.split()
    }

    fn set_nonblocking(&mut self, nonblocking: bool) -> io::Result<()> {
        self.channel.set_nonblocking(nonblocking)
    }

    fn peer_address(&self) -> Option<Address> {
        self.channel.peer_address()
    }

    fn peer_credentials(&self) -> io::Result<Option<Credentials>> {
        self.channel.peer_credentials()
    }
}

/// Introduces itself with garbage, as often as there are bytes to change, and says of each time
/// whether there were. Whatever the other side answers to it is told and nothing worse.
fn garble(words: &[String], role: AuthRole, mut channel: impl FnMut() -> AnyChannel) -> ExitCode {
    let [_, first, twists, seed] = words else {
        return ExitCode::FAILURE;
    };
    let number = |word: &String| word.parse::<usize>().expect("a number");
    let (mut at, mut noise) = (number(first), Chance::new(number(seed) as u64));
    loop {
        let twisted = Twisted {
            channel: channel(),
            whole: at,
            twists: number(twists),
            noise: Chance::new(noise.below(u64::MAX)),
            struck: false,
        };
        let options = DuctOptions::new().handshake(true);
        let mut duct: Duct<Message, Message, _, Twisted> = options.from_channel(twisted);
        let result = duct.authenticate(&key(), role, Deadline::after(LIMIT));
        if duct.channel().struck {
            println!("struck");
            at += STRIDE;
        } else if result.is_ok() && duct.send_timeout((3, body(3)), SOON).is_ok() {
            println!("whole");
            return ExitCode::SUCCESS;
        } else {
            // On a busy machine: once more.
            println!("late");
        }
    }
}

pub(crate) fn caller(words: &[String]) -> ExitCode {
    let address: Address = words[0].parse().expect("an address");
    garble(words, AuthRole::Client, || {
        AnyChannel::connect(&address).expect("the port lives")
    })
}

pub(crate) fn server(words: &[String]) -> ExitCode {
    let mut port = Port::bind(&words[0].parse().expect("an address")).expect("it is free");
    println!("{}", port.address());
    garble(words, AuthRole::Listener, || {
        port.accept().expect("the scenario lives")
    })
}

/// One changed byte, and nothing but garbage from some byte on.
const TWISTS: [usize; 2] = [1, usize::MAX];

/// What came of all attempts with one peer.
#[derive(Debug, Default)]
struct Refusals {
    struck: u32,
    refused: u32,
    by_time: u32,
}

impl Refusals {
    fn note<T>(&mut self, result: &Result<T, ConnectError>) {
        self.struck += 1;
        self.refused += u32::from(result.is_err());
        self.by_time += u32::from(matches!(result, Err(ConnectError::Timeout)));
    }

    /// What stands for nothing, such as the limit on messages, may be changed without a refusal.
    fn check(&self, case: &str) {
        let most = self.refused * 10 >= self.struck * 7;
        assert!(most && self.struck > 10, "{case}: {self:?}");
        println!("{case}: {self:?}");
    }
}

fn words(address: &Address, twists: usize, chance: &mut Chance) -> [String; 4] {
    let first = chance.below(STRIDE as u64);
    let seed = chance.below(1 << 32);
    [
        address.to_string(),
        first.to_string(),
        twists.to_string(),
        seed.to_string(),
    ]
}

/// Every caller with garbage is refused with a reason, and the port serves the next.
fn callers_talk_garbage(chance: &mut Chance) {
    let folder = tempfile::tempdir().expect("a folder");
    for address in addresses(folder.path()) {
        for twists in TWISTS {
            let mut port = Port::bind(&address).expect("it is free");
            let words = words(port.address(), twists, chance);
            let mut session = Session::start(CALLER, &words.each_ref().map(String::as_str));
            let mut refusals = Refusals::default();
            loop {
                step(format!("{address}, {refusals:?}"));
                let channel = port.accept_timeout(SOON).expect("the caller");
                let options = DuctOptions::new().handshake(true);
                let mut duct: Duct<Message, Message> = options.from_channel(channel);
                let result = duct.authenticate(&key(), AuthRole::Listener, Deadline::after(LIMIT));
                if result.is_ok()
                    && let Ok(message) = duct.recv_timeout(SOON)
                {
                    assert!(message == (3, body(3)), "a message is damaged");
                }
                drop(duct);
                match session.line().as_str() {
                    "struck" => refusals.note(&result),
                    "late" => {}
                    "whole" => break,
                    line => panic!("{address}: {line:?}"),
                }
            }
            serves_another(&mut port);
            finish(session, &refusals, &format!("callers by {address}"));
        }
    }
}

/// A caller that meets garbage is told what is wrong, or that it takes too long.
fn servers_talk_garbage(chance: &mut Chance) {
    let folder = tempfile::tempdir().expect("a folder");
    for address in addresses(folder.path()) {
        for twists in TWISTS {
            let words = words(&address, twists, chance);
            let mut session = Session::start(SERVER, &words.each_ref().map(String::as_str));
            let bound: Address = session.line().parse().expect("an address");
            let mut refusals = Refusals::default();
            loop {
                step(format!("{address}, {refusals:?}"));
                let options = DuctOptions::new().auth(key()).handshake_timeout(LIMIT);
                let mut result = options.connect::<Message, Message>(&bound);
                if let Ok(duct) = &mut result
                    && let Ok(message) = duct.recv_timeout(SOON)
                {
                    assert!(message == (3, body(3)), "a message is damaged");
                }
                let result = result.map(drop);
                match session.line().as_str() {
                    "struck" => refusals.note(&result),
                    "late" => {}
                    "whole" => break,
                    line => panic!("{address}: {line:?}"),
                }
            }
            finish(session, &refusals, &format!("servers by {address}"));
        }
    }
}

fn finish(mut session: Session, refusals: &Refusals, case: &str) {
    let (status, told) = session.wait();
    assert!(status.success(), "{case}: {status} {told}");
    refusals.check(case);
    session.assert_gone(case);
}
