//! Telling and asking, in every placement.

use ipc_actors::{AskError, SendError, Spec, State};

use crate::actors::{Add, Counter, Harm, Read, Start};
use crate::support::{LIMIT, PLACEMENTS, eventually, spawn, with_arbiter};

#[test]
fn what_is_told_arrives_in_order_and_what_is_asked_is_answered() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            let spec = Spec::<Counter>::new(Start {
                from: 5,
                ..Start::default()
            });
            let counter = spawn(arbiter, spec.placement(placement));
            for _ in 0..10_000 {
                counter.send(Add(2)).unwrap();
            }
            assert_eq!(counter.ask(Add(1)).wait(), Ok(20_006), "{placement}");
            assert_eq!(counter.ask_timeout(Read, LIMIT), Ok(20_006));
            assert_eq!(counter.state(), State::Running);
            assert_eq!(counter.placement(), placement);
        }
    });
}

#[test]
fn built_in_commands_answer() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            let spec = Spec::<Counter>::new(Start {
                from: 3,
                ..Start::default()
            });
            let counter = spawn(
                arbiter,
                spec.placement(placement).name(placement.to_string()),
            );
            assert_eq!(counter.ping().wait(), Ok(()), "{placement}");
            for text in ["", "text"] {
                assert_eq!(counter.echo(text.to_owned()).wait(), Ok(text.to_owned()));
            }
            assert_eq!(counter.echo(None::<bool>).wait(), Ok(None));
            let info = counter.info().wait().unwrap();
            assert_eq!((info.id, info.kind.as_str()), (counter.id(), "counter"));
            assert_eq!(info.name, placement.to_string());
            assert_eq!(info.placement, placement);
            assert_eq!(info.extra["count"], "3");
        }
    });
}

#[test]
fn many_senders_keep_their_own_order() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            let spec = Spec::<Counter>::new(Start::default()).capacity(16);
            let counter = spawn(arbiter, spec.placement(placement));
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    let counter = counter.clone();
                    scope.spawn(move || {
                        let mut last = 0;
                        for _ in 0..500 {
                            counter.send(Add(1)).unwrap();
                            let now = counter.ask(Add(1)).wait().unwrap();
                            assert!(now >= last + 2, "{now} after {last}");
                            last = now;
                        }
                    });
                }
            });
            assert_eq!(counter.ask(Read).wait(), Ok(4000), "{placement}");
        }
    });
}

#[test]
fn a_full_mailbox_gives_the_message_back() {
    with_arbiter(|arbiter| {
        let spec = Spec::<Counter>::new(Start::default()).thread().capacity(2);
        let counter = spawn(arbiter, spec);
        let busy = counter.ask(Harm::Busy(500));
        eventually(|| counter.waiting() == 0);
        let mut sent = 0;
        let refused = loop {
            match counter.try_send(Add(1)) {
                Ok(()) => sent += 1,
                Err(refused) => break refused,
            }
        };
        assert!((2..=3).contains(&sent), "{sent}");
        assert_eq!(refused, SendError::Full(Add(1)));
        let late = counter.send_timeout(Add(1), std::time::Duration::from_millis(5));
        assert_eq!(late, Err(SendError::Timeout(Add(1))));
        assert_eq!(counter.try_ask(Read).wait(), Err(AskError::Full));
        counter.send(Add(1)).unwrap();
        busy.wait().unwrap();
        assert_eq!(counter.ask(Read).wait(), Ok(sent + 1));
    });
}

#[test]
fn a_late_answer_is_dropped() {
    with_arbiter(|arbiter| {
        let counter = spawn(arbiter, Spec::<Counter>::new(Start::default()).thread());
        let short = std::time::Duration::from_millis(10);
        assert_eq!(
            counter.ask_timeout(Harm::Busy(200), short),
            Err(AskError::Timeout)
        );
        assert_eq!(counter.ask_timeout(Add(4), LIMIT), Ok(4));
    });
}

#[test]
fn answers_can_be_awaited_and_called_back() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            let spec = Spec::<Counter>::new(Start::default()).placement(placement);
            let counter = spawn(arbiter, spec);
            let (sender, receiver) = std::sync::mpsc::channel();
            counter
                .ask(Add(7))
                .then(move |answer| sender.send(answer).unwrap());
            assert_eq!(receiver.recv_timeout(LIMIT), Ok(Ok(7)));
        }
    });
}
