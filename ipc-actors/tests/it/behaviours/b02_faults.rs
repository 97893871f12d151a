//! Processes that die of themselves: what is told of it.

use std::sync::mpsc;

use ipc_actors::{
    Access, Arbiter, AskError, Down, ExitReason, Proxy, RemoteArbiter, RemoteOptions, Spec,
};
use ipc_core::Address;
use ipc_exchange::Budget;
use ipc_marshal::AuthKey;

use super::victim::{Deed, Victim};
use super::{alone, skipped};
use crate::support::{LIMIT, eventually, spawn, with_arbiter};

pub(super) fn victim() -> Spec<Victim> {
    Spec::new(()).process()
}

/// Has an actor do something to itself and answers what its end is told to be.
pub(super) fn end_of(arbiter: &Arbiter, victim: &Proxy<Victim>, deed: Deed) -> Down {
    let watch = arbiter.watch(victim.id());
    let asked = victim.ask(deed).wait_timeout(LIMIT).expect("in time");
    assert_eq!(asked, Err(AskError::Started));
    watch.wait_timeout(LIMIT).expect("in time").expect("an end")
}

fn signalled(signal: i32) -> ExitReason {
    ExitReason::Signalled {
        signal,
        core: false,
    }
}

/// Whatever ends the process, only that actor ends, and how and of what it died is told: the signal or
/// status, the message it had at hand, and its last words.
#[test]
fn a02_faults_are_told_as_they_are() {
    let test = "behaviours::b02_faults::a02_faults_are_told_as_they_are";
    alone(test, 3 * LIMIT, || {
        with_arbiter(|arbiter| {
            let sibling = spawn(arbiter, victim());
            let told = |text: &str| ExitReason::Panicked(text.to_owned());
            let cases = [
                (Deed::Raise("-SEGV".into()), signalled(11), "last words"),
                (Deed::Raise("-ILL".into()), signalled(4), "last words"),
                (Deed::Abort, signalled(6), "last words"),
                (Deed::Overflow, signalled(6), "overflowed its stack"),
                (Deed::PanicForGood, signalled(6), "told to panic for good"),
                (Deed::Panic, told("told to panic"), "told to panic"),
                (Deed::Exit(3), ExitReason::Exited(3), "last words"),
                (Deed::Raise("-KILL".into()), signalled(9), "last words"),
            ];
            for (deed, reason, words) in cases {
                let case = format!("{deed:?}");
                // No core file is left where tests run.
                // Room for the backtraces of a panic that is followed by another.
                let spec = victim().keep_output(1 << 16);
                let victim = spawn(arbiter, spec.budget(Budget::new().core(0)));
                let said = victim.ask(Deed::Say("last words\n".into())).wait();
                assert_eq!(said, Ok(Ok(String::new())), "{case}");
                let down = end_of(arbiter, &victim, deed);
                assert_eq!(down.reason, reason, "{case}");
                assert_eq!(down.at_hand.as_deref(), Some("deed"), "{case}");
                assert!(down.output.contains(words), "{case}: {:?}", down.output);
                let again = victim.ask(Deed::Pid).wait_timeout(LIMIT).expect("in time");
                assert!(again.is_ok(), "{case}");
                let tree = arbiter.tree().wait().expect("the tree");
                let actors = tree.actors.iter();
                let told: Vec<_> = actors.filter_map(|one| one.last_failure.as_ref()).collect();
                assert_eq!(told.len(), 1, "{case}");
                assert_eq!(told[0].reason, reason.to_string(), "{case}");
                arbiter.stop_actor(victim.id()).wait().expect("an end");
            }
            assert_eq!(sibling.incarnation(), 0);
        });
    });
}

/// A core file is written where the limits allow it, and that is told.
#[test]
fn a02_a_core_file_is_told_of() {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if pattern.trim() != "core" {
        return skipped("core files do not go to the working folder here");
    }
    let test = "behaviours::b02_faults::a02_a_core_file_is_told_of";
    super::alone::alone_by(test, LIMIT, &["sh", "-c", CORES, "sh"], || {
        with_arbiter(|arbiter| {
            for (bytes, core) in [(0, false), (u64::MAX, true)] {
                let victim = spawn(arbiter, victim().budget(Budget::new().core(bytes)));
                let down = end_of(arbiter, &victim, Deed::Abort);
                assert_eq!(down.reason, ExitReason::Signalled { signal: 6, core });
                arbiter.stop_actor(victim.id()).wait().expect("an end");
            }
        });
        for entry in std::fs::read_dir(".").expect("a folder").flatten() {
            std::fs::remove_file(entry.path()).expect("a core file");
        }
    });
}

/// Runs the rest in a folder of its own, with core files allowed if they may be.
pub(super) const CORES: &str = "folder=$(mktemp -d) && cd $folder || exit 1; ulimit -c unlimited; \"$@\"; \
    status=$?; cd / && rmdir $folder; exit $status";

/// Of much output the end is kept; an actor that wants its own standard error has it and nothing is
/// kept; a clean end tells no output.
#[test]
fn a02_the_end_of_the_output_is_kept() {
    let test = "behaviours::b02_faults::a02_the_end_of_the_output_is_kept";
    alone(test, LIMIT, || {
        with_arbiter(|arbiter| {
            let (sender, ends) = mpsc::channel();
            arbiter.on_end(move |down| drop(sender.send(down.to_string())));
            let much: String = (0..100_000).map(|line| format!("{line}\n")).collect();
            let talker = spawn(arbiter, victim().keep_output(100).name("talker"));
            let said = talker.ask(Deed::Say(much)).wait_timeout(LIMIT);
            assert_eq!(said.expect("in time"), Ok(Ok(String::new())));
            let down = end_of(arbiter, &talker, Deed::Exit(3));
            assert_eq!(down.output.len(), 100);
            assert!(down.output.ends_with("\n99999\n"), "{:?}", down.output);
            let line = ends.recv_timeout(LIMIT).expect("a line");
            assert!(line.starts_with("actor \"talker\" ("), "{line}");
            assert!(line.contains("): process exited with status 3"), "{line}");
            assert!(
                line.ends_with("99999\\n\"") && !line.contains('\n'),
                "{line}"
            );
            let silent = spawn(arbiter, victim().keep_output(0));
            drop(silent.ask(Deed::Say("direct\n".into())).wait());
            assert_eq!(end_of(arbiter, &silent, Deed::Exit(3)).output, "");
            let clean = spawn(arbiter, victim());
            drop(clean.ask(Deed::Say("clean\n".into())).wait());
            let watch = arbiter.watch(clean.id());
            arbiter.stop_actor(clean.id()).wait().expect("an end");
            assert_eq!(watch.wait().expect("an end").output, "");
        });
    });
}

/// Standard error is full: those who write to it live, as does the arbiter that passes it on.
#[test]
fn a13_a_full_disk_for_what_is_logged_harms_nobody() {
    if !std::path::Path::new("/dev/full").exists() {
        return skipped("there is no /dev/full here");
    }
    let test = "behaviours::b02_faults::a13_a_full_disk_for_what_is_logged_harms_nobody";
    let full = ["sh", "-c", "exec \"$@\" 2>/dev/full", "sh"];
    super::alone::alone_by(test, LIMIT, &full, || {
        with_arbiter(|arbiter| {
            let talker = spawn(arbiter, victim());
            let much = "all work and no play\n".repeat(10_000);
            for _ in 0..10 {
                let said = talker.ask(Deed::Say(much.clone())).wait_timeout(LIMIT);
                assert_eq!(said.expect("in time"), Ok(Ok(String::new())));
            }
            let down = end_of(arbiter, &talker, Deed::Abort);
            assert!(down.output.ends_with("no play\n"), "{:?}", down.output);
        });
    });
}

/// What a dying program says is for operators: other remote callers are not told.
#[test]
fn a02_last_words_are_for_operators() {
    with_arbiter(|arbiter| {
        let victim = spawn(arbiter, victim());
        drop(
            victim
                .ask(Deed::Say("the password is 1234\n".into()))
                .wait(),
        );
        end_of(arbiter, &victim, Deed::Abort);
        let address: Address = "tcp:127.0.0.1:0".parse().expect("an address");
        let (looks, operates) = (AuthKey::new(b"looks on"), AuthKey::new(b"operates"));
        let options = RemoteOptions::new().key(looks.clone());
        let options = options.key_for(operates.clone(), Access::Peer);
        let listener = arbiter.listen(&address, options).expect("a listener");
        eventually(|| victim.ping().wait().is_ok());
        for (key, is_told) in [(looks, false), (operates, true)] {
            let remote = RemoteArbiter::connect(listener.address(), Some(&key)).expect("welcome");
            let tree = remote.tree().wait().expect("the tree");
            let failure = tree.actors[0].last_failure.as_ref();
            assert_eq!(failure.is_some(), is_told);
            assert_eq!(format!("{tree:?}").contains("1234"), is_told);
        }
    });
}
