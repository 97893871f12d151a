//! Callers from other programs that are killed after every byte that they say: others never notice.

use std::io::Read;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use ipc_actors::{Access, Listener, Proxy, RemoteArbiter, RemoteOptions, Spec};
use ipc_core::Address;
use ipc_marshal::AuthKey;
use nix::sys::signal::Signal;

use crate::actors::answer;
use crate::chance::Chance;
use crate::people::{Clerk, Do};
use crate::scenario::scenarios;
use crate::session::{Session, eventually, signal};
use crate::tasks;

scenarios![callers_die_after_every_byte, callers_die_at_any_moment,];

/// The role of a caller that asks without end.
pub(crate) const ROLE: &str = "caller";

const NAME: &str = "desk";

fn key() -> AuthKey {
    AuthKey::new(b"a key that both know")
}

/// The role: calls again and again. A machine that is too slow for the door ends that and not it.
pub(crate) fn role(words: &[String]) -> ExitCode {
    let address: Address = words[0].parse().expect("an address");
    let remote = RemoteArbiter::connect(&address, Some(&key()));
    let clerk = remote.and_then(|remote| remote.get_actor::<Clerk>(NAME));
    if let Ok(clerk) = clerk {
        let load = vec![7_u8; 20_000];
        while clerk.echo(load.clone()).wait().is_ok() && clerk.ask(work(1)).wait().is_ok() {}
    }
    tasks::pause(Duration::MAX);
    ExitCode::SUCCESS
}

fn work(number: u64) -> Do {
    let (us, trace) = (0, None);
    Do { number, us, trace }
}

/// A desk that other programs may call, and one of them that must not notice anything.
fn with_desk(test: impl FnOnce(&Listener, &mut dyn FnMut())) {
    let thread = crate::actors::arbiter();
    let arbiter = thread.arbiter();
    let spec = Spec::<Clerk>::new(()).thread().name(NAME);
    let desk = answer(arbiter.spawn(spec).into_deferred()).expect("a start");
    let address: Address = "tcp:127.0.0.1:0".parse().expect("an address");
    let options = RemoteOptions::new().key_for(key(), Access::Peer);
    let listener = arbiter.listen(&address, options).expect("a listener");
    let calm = RemoteArbiter::connect(listener.address(), Some(&key())).expect("welcome");
    let there: Proxy<Clerk> = calm.get_actor(NAME).expect("the desk");
    let mut number = 0;
    test(&listener, &mut || {
        number += 1;
        let said = answer(there.ask(work(number))).expect("an answer");
        assert_eq!(said.1, number, "another caller notices");
    });
    assert_eq!(answer(desk.ask(work(5))).expect("an answer").1, 5);
    drop((there, calm, desk));
    drop(listener);
    assert_eq!(thread.finish().expect("a clean end"), 0);
}

/// Stands between, lets so many bytes of a caller pass, and kills it at the next.
fn let_pass(listener: &Listener, bytes: usize) {
    let own = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("tcp:{}", own.local_addr().expect("an address"));
    let mut session = Session::start(ROLE, &[&address]);
    let (mut here, _) = own.accept().expect("the caller");
    let text = listener.address().to_string();
    let there = TcpStream::connect(text.trim_start_matches("tcp:"));
    let mut there = there.expect("the desk");
    let (mut from, mut back) = (
        there.try_clone().expect("a copy"),
        here.try_clone().expect("a copy"),
    );
    let answers = thread::spawn(move || drop(std::io::copy(&mut from, &mut back)));
    // An error means that the desk has had enough of it.
    let _ = std::io::copy(&mut (&mut here).take(bytes as u64), &mut there);
    session.kill();
    // As the system does for one that has died.
    drop(there.shutdown(Shutdown::Both));
    drop(here.shutdown(Shutdown::Both));
    answers.join().expect("no panic");
    session.assert_gone("a caller");
}

/// In the hand-shake, in the proof of the key, in the middle of a frame.
fn callers_die_after_every_byte(chance: &mut Chance) {
    with_desk(|listener, notices| {
        let mut bytes = chance.below(7) as usize;
        let mut count = 0;
        while bytes < 600 {
            let_pass(listener, bytes);
            notices();
            count += 1;
            bytes += 7 + bytes / 6;
        }
        let_pass(listener, 25_000 + chance.below(30_000) as usize);
        notices();
        let stats = listener.stats();
        let came = stats.admitted + stats.failed;
        assert!(stats.failed > 2, "{count}: {stats:?}");
        assert!(came <= count + 2 && stats.forged == 0, "{stats:?}");
    });
}

/// Several at once, without anybody between.
fn callers_die_at_any_moment(chance: &mut Chance) {
    with_desk(|listener, notices| {
        let address = listener.address().to_string();
        for _ in 0..4 {
            let mut callers = [(); 3].map(|()| Session::start(ROLE, &[&address]));
            tasks::pause(Duration::from_micros(chance.below(20_000)));
            notices();
            for caller in &callers {
                signal(caller.id(), Signal::SIGKILL);
            }
            callers.iter_mut().for_each(Session::kill);
            for caller in callers {
                caller.assert_gone("a caller");
            }
        }
        // Their places are free again.
        let mut connected = Vec::new();
        eventually("room for new callers", || {
            connected.extend(RemoteArbiter::connect(listener.address(), Some(&key())).ok());
            connected.len() >= 20
        });
        notices();
    });
}
