//! Frames whose sender is killed inside them, for each framing.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use ipc_core::{
    Address, AnyChannel, ChildProcess, Deadline, Inherit, Pipe, Port, Ring, Socket, inherited,
};
use ipc_marshal::{
    AckError, ByteOrder, Duct, DuctOptions, Framing, LengthWidth, RecvError, SendError,
};

use crate::chance::Chance;
use crate::scenario::{scenarios, step, tally};
use crate::session::SOON;
use crate::tasks::{die, pattern};

scenarios![senders_die_inside_a_frame, receivers_die_inside_a_frame];

pub(crate) const TORN: &str = "torn";
pub(crate) const DEAF: &str = "deaf";

/// Where the child finds its end of the channel.
const PLACE: i32 = 10;

const FRAMINGS: [Framing; 8] = [
    Framing::Native,
    Framing::NativeChecked,
    Framing::Ductworks,
    Framing::Multiprocessing,
    Framing::Length {
        width: LengthWidth::U16,
        order: ByteOrder::Big,
    },
    Framing::Length {
        width: LengthWidth::U32,
        order: ByteOrder::Little,
    },
    Framing::Length {
        width: LengthWidth::U32,
        order: ByteOrder::Big,
    },
    Framing::Length {
        width: LengthWidth::U64,
        order: ByteOrder::Big,
    },
];

/// The sender: writes what it is told, byte for byte, and is killed.
pub(crate) fn torn(words: &[String]) -> ExitCode {
    let [kind, text] = words else {
        return ExitCode::FAILURE;
    };
    let bytes: Vec<u8> = (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hexadecimal"))
        .collect();
    let mut channel = given(kind);
    channel.write_all(&bytes).expect("the receiver lives");
    die();
}

/// The receiver: takes so many bytes, and is killed.
pub(crate) fn deaf(words: &[String]) -> ExitCode {
    let [kind, count] = words else {
        return ExitCode::FAILURE;
    };
    let mut bytes = vec![0; count.parse().expect("a number")];
    given(kind)
        .read_exact(&mut bytes)
        .expect("the sender lives");
    die();
}

/// The end of the channel that this child was given.
fn given(kind: &str) -> AnyChannel {
    let fd = inherited(PLACE).expect("an end of the channel");
    match kind {
        "ring" => Ring::from_fd(fd).expect("a ring").into(),
        "pipe" => {
            let other = inherited(PLACE + 1).expect("the other half");
            Pipe::from_fds(fd, other).into()
        }
        _ => Socket::from_fd(fd).expect("a socket").into(),
    }
}

/// Starts a child that has this end of a channel, and does not outlive what it does with it.
fn start(inherit: Inherit, words: &[&str]) -> ChildProcess {
    let mut command = Command::new(std::env::current_exe().expect("it has a path"));
    command.arg("--role").args(words).stdin(Stdio::null());
    inherit.spawn(&command).expect("it can be started")
}

/// The bytes of these messages in this framing.
fn encoded(framing: Framing, messages: &[Vec<u8>]) -> Vec<u8> {
    let (mut plain, theirs) = Socket::pair().expect("a pair");
    let mut duct = DuctOptions::new()
        .framing(framing)
        .from_channel::<Vec<u8>, (), _>(theirs);
    for message in messages {
        duct.send(message.clone()).expect("it fits");
    }
    drop(duct);
    let mut bytes = Vec::new();
    plain.read_to_end(&mut bytes).expect("the frames");
    bytes
}

/// The receiver's end, and what the child is to find.
fn channel(kind: &str) -> (AnyChannel, Inherit) {
    let give = |fd: OwnedFd| Inherit::new().give(PLACE, fd);
    match kind {
        "ring" => {
            let (ours, theirs) = Ring::offer().expect("a ring");
            (ours.into(), give(theirs))
        }
        "pipe" => {
            let (ours, theirs) = Pipe::pair().expect("a pipe");
            let (inbound, outbound) = theirs.into_fds();
            (ours.into(), give(inbound).give(PLACE + 1, outbound))
        }
        "tcp" => {
            let address: Address = "tcp:127.0.0.1:0".parse().expect("an address");
            let mut port = Port::bind(&address).expect("a port");
            let theirs = Socket::connect(port.address()).expect("a connection");
            (
                port.accept().expect("it has connected"),
                give(theirs.into()),
            )
        }
        _ => {
            let (ours, theirs) = Socket::pair().expect("a pair");
            (ours.into(), give(theirs.into()))
        }
    }
}

/// Whole frames are received, then the end is told, and nothing of a part of a frame.
fn senders_die_inside_a_frame(chance: &mut Chance) {
    let kinds = ["pipe", "ring", "socket", "tcp"];
    for (index, framing) in FRAMINGS.into_iter().enumerate() {
        let messages = [
            pattern(1, 5),
            Vec::new(),
            pattern(2, chance.below(300) as usize),
        ];
        let ends = [1, 2, 3].map(|count| encoded(framing, &messages[..count]).len());
        let bytes = encoded(framing, &messages);
        // Both sides of every border, and anywhere.
        let mut cuts: Vec<_> = ends
            .iter()
            .flat_map(|end| [end - 1, *end, end + 1])
            .collect();
        cuts.extend([0, 1, chance.below(bytes.len() as u64) as usize]);
        for cut in cuts.into_iter().filter(|cut| *cut <= bytes.len()) {
            let kind = kinds[(index + cut) % kinds.len()];
            let case = format!(
                "{framing:?} over a {kind}, killed after {cut} of {}",
                bytes.len()
            );
            let (ours, inherit) = channel(kind);
            let text: String = bytes[..cut]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let mut child = start(inherit, &[TORN, kind, &text]);
            let mut duct = DuctOptions::new()
                .framing(framing)
                .from_channel::<(), Vec<u8>, _>(ours);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            for message in &messages[..whole] {
                assert_eq!(&duct.recv_timeout(SOON).expect(&case), message, "{case}");
            }
            let is_border = cut == 0 || ends.contains(&cut);
            match duct.recv_timeout(SOON) {
                Err(RecvError::Disconnected) if is_border => {}
                Err(RecvError::Truncated { missing }) if !is_border => {
                    assert!(
                        missing > 0 && missing <= bytes.len() - cut,
                        "{case}: {missing}"
                    );
                }
                other => panic!("{case}: {other:?}"),
            }
            // It stays so.
            let again = duct.recv_timeout(Duration::from_millis(1));
            assert!(again.is_err(), "{case}: a message after the end");
            child.wait().expect("its end");
            tally().killed();
        }
    }
}

/// The sender is told, has the message back that was not sent, and is told again.
fn receivers_die_inside_a_frame(chance: &mut Chance) {
    for framing in FRAMINGS {
        for kind in ["pipe", "ring", "socket", "tcp"] {
            let count = [0, 1, 7, 8, 9, 3000 + chance.below(200_000)][chance.below(6) as usize];
            let case = format!("{framing:?} over a {kind}, killed after {count} bytes");
            step(&case);
            let (ours, inherit) = channel(kind);
            let mut child = start(inherit, &[DEAF, kind, &count.to_string()]);
            let options = DuctOptions::new().framing(framing);
            let mut duct: Duct<Vec<u8>, ()> = options.from_channel(ours);
            // More than all buffers hold.
            let told = (0..3000).find_map(|number| {
                let message = pattern(number, 2000);
                let refused = duct.send_timeout(message.clone(), SOON).err()?;
                Some((refused, message))
            });
            match told {
                Some((SendError::Disconnected(back), message)) => {
                    assert!(back == message, "{case}")
                }
                other => panic!("{case}: {:?}", other.map(|(error, _)| error)),
            }
            let again = duct.send_timeout(Vec::new(), SOON);
            assert!(matches!(again, Err(SendError::Disconnected(_))), "{case}");
            child.wait().expect("its end");
            tally().killed();
        }
    }
    for kind in ["ring", "socket", "tcp"] {
        // Before, in and behind the frame whose receipt is never acknowledged.
        for count in [0, 5, 50, 8 + 8 + 100] {
            let (ours, inherit) = channel(kind);
            let mut child = start(inherit, &[DEAF, kind, &count.to_string()]);
            let mut duct: Duct<Vec<u8>, ()> = DuctOptions::new().from_channel(ours);
            let error = duct.send_acked(pattern(1, 120), Deadline::after(SOON));
            match error.expect_err("nobody acknowledges it") {
                AckError::Disconnected | AckError::Send(SendError::Disconnected(_)) => {}
                error => panic!("{kind}, killed after {count} bytes: {error:?}"),
            }
            child.wait().expect("its end");
            tally().killed();
        }
    }
}
