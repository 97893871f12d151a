//! Connections whose one end is killed at every step: of connecting, of the hand-shake, of the
//! authentication, of messages and of acknowledgements.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{Address, AnyChannel, Deadline, Port};
use ipc_marshal::{AckError, AuthKey, AuthRole, ConnectError, DuctOptions, RecvError, SendError};

use crate::account::{Ledger, abstract_prefix};
use crate::chance::Chance;
use crate::scenario::scenarios;
use crate::session::SOON;
use crate::tasks::pattern;
use crate::victim::{End, Step, Victim, can_trace, wait_for_the_blow};

scenarios![callers_die_at_every_step, servers_die_at_every_step];

pub(crate) const CALLER: &str = "call-client";
pub(crate) const SERVER: &str = "call-server";

pub(crate) type Message = (u64, Vec<u8>);

/// How many messages a caller sends.
const COUNT: u64 = 24;
/// A round strikes at every so many steps, from a random one on.
const STRIDE: u64 = 11;

pub(crate) fn key() -> AuthKey {
    AuthKey::new("what both know")
}

/// Addresses of every kind below a folder.
pub(crate) fn addresses(folder: &Path) -> [Address; 4] {
    let path = |name: &str| folder.join(name).display().to_string();
    let name = format!("{}{}", abstract_prefix(), std::process::id());
    [
        format!("unix:{}", path("u")),
        format!("unix:@{name}"),
        format!("ring:{}", path("r")),
        "tcp:127.0.0.1:0".to_owned(),
    ]
    .map(|text| text.parse().expect("an address"))
}

/// What message `number` has in it: most are small, and one is longer than a socket takes at once.
pub(crate) fn body(number: u64) -> Vec<u8> {
    let len = if number == COUNT / 2 {
        600_000
    } else {
        number * 37
    };
    pattern(number, len as usize)
}

/// Whether the server answers this message.
fn is_answered(number: u64) -> bool {
    number % 4 == 3
}

/// Whether the caller waits for the acknowledgement of this message.
fn is_acked(number: u64) -> bool {
    number % 6 == 4
}

/// The caller: its messages, which it notes when they are accepted, and the answers to them.
pub(crate) fn caller(words: &[String]) -> ExitCode {
    let [address, trace] = words else {
        return ExitCode::FAILURE;
    };
    let mut notes = Notes::open(trace);
    wait_for_the_blow();
    let address = address.parse().expect("an address");
    let mut duct = DuctOptions::new()
        .auth(key())
        .connect::<Message, Message>(&address)
        .expect("the server lives");
    for number in 0..COUNT {
        let message = (number, body(number));
        if is_acked(number) {
            duct.send_acked(message, Deadline::Never)
                .expect("the server lives");
        } else {
            duct.send(message).expect("the server lives");
        }
        notes.add(number);
        if is_answered(number) {
            assert_eq!(duct.recv().expect("an answer").0, number);
        }
    }
    ExitCode::SUCCESS
}

/// The server: one connection, of which it notes what it receives.
pub(crate) fn server(words: &[String]) -> ExitCode {
    let [address, trace] = words else {
        return ExitCode::FAILURE;
    };
    let mut notes = Notes::open(trace);
    wait_for_the_blow();
    let mut port = Port::bind(&address.parse().expect("an address")).expect("it is free");
    println!("{}", port.address());
    let mut duct = DuctOptions::new()
        .auth(key())
        .accept::<Message, Message>(&mut port)
        .expect("the caller lives");
    while let Ok((number, received)) = duct.recv() {
        assert!(received == body(number), "message {number} is damaged");
        notes.add(number);
        if is_answered(number) {
            duct.send((number, Vec::new())).expect("the caller lives");
        }
    }
    ExitCode::SUCCESS
}

/// What a role has done so far, in a file that outlives it.
struct Notes(File);

impl Notes {
    fn open(path: &str) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Self(file.expect("a file for notes"))
    }

    fn add(&mut self, number: u64) {
        self.0
            .write_all(format!("{number}\n").as_bytes())
            .expect("a note");
    }

    fn read(path: &Path) -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .map(|line| line.parse().expect("a number"))
            .collect()
    }
}

/// All steps that this round strikes at.
fn steps(chance: &mut Chance) -> impl Iterator<Item = Step> {
    let first = chance.below(STRIDE);
    let more: Vec<_> = (0..64)
        .map(|_| chance.below(2) * chance.below(3000))
        .collect();
    (0..).map(move |index| Step {
        call: first + index * STRIDE,
        instruction: more[index as usize % more.len()],
    })
}

/// What a caller was told is accepted is received, whole and in order, however the caller ends; the
/// next caller is served.
fn callers_die_at_every_step(chance: &mut Chance) {
    if !can_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (mut struck, mut delivered) = (0, 0);
    for address in addresses(folder.path()) {
        let mut port = Port::bind(&address).expect("it is free");
        for step in steps(chance) {
            let trace = folder.path().join("notes");
            let words = [port.address().to_string(), trace.display().to_string()];
            let victim = Victim::start(CALLER, &words.each_ref().map(String::as_str), step);
            let mut seen = Vec::new();
            if let Some(channel) = accept(&mut port, &victim) {
                serve(channel, &mut seen);
            }
            let end = victim.wait();
            let case = format!("{address}, {step:?}");
            check_callers_notes(&Notes::read(&trace), &seen, &case);
            let _ = fs::remove_file(&trace);
            serves_another(&mut port);
            delivered += seen.len();
            if end == End::Whole {
                assert_eq!(seen.len() as u64, COUNT, "{case}");
                break;
            }
            struck += 1;
        }
    }
    println!("{struck} callers killed; {delivered} messages accepted and delivered");
}

/// Accepts the victim, unless it ends before it has connected.
fn accept(port: &mut Port, victim: &Victim) -> Option<AnyChannel> {
    loop {
        // In this order: what has connected before its end is still found.
        let is_over = victim.is_over();
        match port.accept_timeout(Duration::from_millis(if is_over { 0 } else { 20 })) {
            Ok(channel) => return Some(channel),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {}
            Err(error) => panic!("the port does not accept any more: {error}"),
        }
        if is_over {
            return None;
        }
    }
}

/// Serves one caller until it is gone, which is told at once and as what it is.
fn serve(channel: AnyChannel, seen: &mut Vec<u64>) {
    let options = DuctOptions::new().handshake(true);
    let mut duct = options.from_channel::<Message, Message, _>(channel);
    let deadline = Deadline::after(SOON);
    match duct.authenticate(&key(), AuthRole::Listener, deadline) {
        Ok(()) => {}
        Err(error) => return assert!(is_an_end(&error), "not an end: {error:?}"),
    }
    loop {
        match duct.recv_timeout(SOON) {
            Ok((number, received)) => {
                assert!(received == body(number), "message {number} is damaged");
                seen.push(number);
                if is_answered(number) {
                    // It may be gone; what it has sent is received all the same.
                    drop(duct.send_timeout((number, Vec::new()), SOON));
                }
            }
            Err(RecvError::Disconnected | RecvError::Truncated { .. }) => return,
            Err(error) => panic!("not an end: {error:?}"),
        }
    }
}

/// Whether a connection failed because its peer is gone, and for no other reason.
fn is_an_end(error: &ConnectError) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound};

    match error {
        ConnectError::Disconnected => true,
        ConnectError::Io(error) => {
            matches!(
                error.kind(),
                BrokenPipe | ConnectionRefused | ConnectionReset | NotFound
            )
        }
        _ => false,
    }
}

#[track_caller]
fn check_callers_notes(noted: &[u64], seen: &[u64], case: &str) {
    let expected: Vec<_> = (0..seen.len() as u64).collect();
    assert_eq!(
        seen, expected,
        "{case}: received out of order or with a gap"
    );
    let mut ledger = Ledger::new();
    noted.iter().for_each(|number| ledger.accepted(*number));
    // The last one may have been sent, and its sender killed before it could say so.
    assert!(
        seen.len() <= noted.len() + 1,
        "{case}: {noted:?} but {seen:?}"
    );
    for number in &seen[..noted.len().min(seen.len())] {
        ledger.delivered(*number);
    }
    ledger.check();
}

/// A port that has seen others die serves the next.
pub(crate) fn serves_another(port: &mut Port) {
    let address = port.address().clone();
    let next = thread::spawn(move || {
        let connected = DuctOptions::new()
            .auth(key())
            .connect::<Message, Message>(&address);
        let mut duct = connected.expect("the port lives");
        duct.send((3, body(3))).expect("the port lives");
        duct.recv_timeout(SOON).expect("an answer").0
    });
    let channel = port.accept_timeout(SOON).expect("the next caller");
    let mut seen = Vec::new();
    serve(channel, &mut seen);
    assert_eq!((seen, next.join().expect("it is served")), (vec![3], 3));
}

/// A caller whose server dies is told so at once at whatever step; what was acknowledged was received.
/// The address can be used again.
fn servers_die_at_every_step(chance: &mut Chance) {
    if !can_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (mut struck, mut acknowledged) = (0, 0);
    for address in addresses(folder.path()) {
        for step in steps(chance) {
            let case = format!("{address}, {step:?}");
            let trace = folder.path().join("notes");
            let words = [address.to_string(), trace.display().to_string()];
            let mut victim = Victim::start(SERVER, &words.each_ref().map(String::as_str), step);
            let begun = Instant::now();
            let bound = victim.line();
            let (accepted, acked) = match bound.parse() {
                Ok(bound) => call(&bound),
                Err(_) => (0, Vec::new()),
            };
            assert!(
                begun.elapsed() < SOON,
                "{case}: not told for {:?}",
                begun.elapsed()
            );
            let end = victim.wait();
            let noted = Notes::read(&trace);
            let expected: Vec<_> = (0..noted.len() as u64).collect();
            assert_eq!(
                noted, expected,
                "{case}: received out of order or with a gap"
            );
            // The one that failed may have arrived nevertheless.
            assert!(
                noted.len() as u64 <= accepted + 1,
                "{case}: {noted:?}, sent {accepted}"
            );
            // The server may have been killed between its receipt and its note.
            let received = noted.len() as u64 + 1;
            assert!(
                acked.iter().all(|number| *number < received),
                "{case}: {acked:?}, {noted:?}"
            );
            let _ = fs::remove_file(&trace);
            serves_another(
                &mut Port::bind(&address).expect("what a killed server leaves is no obstacle"),
            );
            let left = fs::read_dir(&folder).expect("the folder").count();
            assert_eq!(left, 0, "{case}: files are left");
            acknowledged += acked.len();
            if end == End::Whole {
                assert_eq!(noted.len() as u64, COUNT, "{case}");
                break;
            }
            struck += 1;
        }
    }
    println!("{struck} servers killed; {acknowledged} messages acknowledged and received");
}

/// Calls until the server is gone. Answers how many messages were accepted, and which were
/// acknowledged.
fn call(address: &Address) -> (u64, Vec<u64>) {
    let mut acked = Vec::new();
    let connected = DuctOptions::new()
        .auth(key())
        .connect::<Message, Message>(address);
    let mut duct = match connected {
        Ok(duct) => duct,
        Err(error) => {
            assert!(is_an_end(&error), "not an end: {error:?}");
            return (0, acked);
        }
    };
    for number in 0..COUNT {
        let message = (number, body(number));
        if is_acked(number) {
            match duct.send_acked(message, Deadline::after(SOON)) {
                Ok(()) => acked.push(number),
                Err(AckError::Send(SendError::Disconnected(_)) | AckError::Disconnected) => {
                    return (number, acked);
                }
                Err(error) => panic!("not an end: {error:?}"),
            }
        } else {
            match duct.send_timeout(message, SOON) {
                Ok(()) => {}
                Err(SendError::Disconnected(_)) => return (number, acked),
                Err(error) => panic!("not an end: {error:?}"),
            }
        }
        if is_answered(number) {
            match duct.recv_timeout(SOON) {
                Ok((answered, _)) => assert_eq!(answered, number),
                Err(RecvError::Disconnected | RecvError::Truncated { .. }) => {
                    return (number + 1, acked);
                }
                Err(error) => panic!("not an end: {error:?}"),
            }
        }
    }
    (COUNT, acked)
}
