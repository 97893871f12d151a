//! Answers that come later than the handler returns.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ipc_actors::{
    Actor, AskError, Commands, Context, ExitReason, Failure, Handler, Message, MonitorSpec,
    Placement, Proxy, Receive, RemoteArbiter, RemoteOptions, Reply, Spec,
};
use serde::{Deserialize, Serialize};

use crate::support::{LIMIT, PLACEMENTS, eventually, is_alive, signal, spawn, with_arbiter, works};

/// Keeps those who wait for news until there is some.
pub(crate) struct Board {
    waiting: Vec<Reply<String>>,
}

macro_rules! message {
    ($name:ident $(($field:ty))?, $text:literal, $reply:ty) => {
        #[derive(Debug, Serialize, Deserialize)]
        struct $name $(($field))?;

        impl Message for $name {
            type Reply = $reply;
            const NAME: &'static str = $text;
        }
    };
}

message!(Wait, "wait", String);
message!(Waiting, "waiting", usize);
message!(News(String), "news", ());
message!(Forget, "forget", ());
message!(Elsewhere, "elsewhere", u32);
message!(Ask(Option<Proxy<Board>>), "ask", String);
message!(Neglect, "neglect", ());
message!(Pid, "pid", u32);
message!(Hold, "hold", ());
message!(Break, "break", ());

impl Actor for Board {
    type Params = ();
    const NAME: &'static str = "board";

    fn commands(commands: &mut Commands<Self>) {
        commands.on::<Wait>().on::<Waiting>().on::<News>();
        commands.on::<Forget>().on::<Elsewhere>().on::<Ask>();
        commands
            .on::<Neglect>()
            .on::<Pid>()
            .on::<Hold>()
            .on::<Break>();
    }

    fn init((): (), _: &mut Context<'_, Self>) -> Result<Self, Failure> {
        let waiting = Vec::new();
        Ok(Self { waiting })
    }
}

impl Receive<Wait> for Board {
    fn receive(&mut self, _: Wait, reply: Reply<String>, _: &mut Context<'_, Self>) {
        assert!(reply.is_wanted());
        self.waiting.push(reply);
    }

    fn told(&mut self, _: Wait, _: &mut Context<'_, Self>) {
        for reply in self.waiting.drain(..) {
            reply.answer("one does not wait".to_owned());
        }
    }
}

impl Handler<Waiting> for Board {
    fn handle(&mut self, _: Waiting, _: &mut Context<'_, Self>) -> usize {
        self.waiting.len()
    }
}

impl Handler<News> for Board {
    fn handle(&mut self, News(news): News, _: &mut Context<'_, Self>) {
        for reply in self.waiting.drain(..) {
            reply.answer(news.clone());
        }
    }
}

impl Handler<Forget> for Board {
    fn handle(&mut self, _: Forget, _: &mut Context<'_, Self>) {
        self.waiting.clear();
    }
}

impl Receive<Elsewhere> for Board {
    fn receive(&mut self, _: Elsewhere, reply: Reply<u32>, _: &mut Context<'_, Self>) {
        thread::spawn(move || reply.answer(std::process::id()));
    }
}

/// Asks another board, and leaves the answer to it.
impl Receive<Ask> for Board {
    fn receive(&mut self, Ask(other): Ask, reply: Reply<String>, _: &mut Context<'_, Self>) {
        let other = other.expect("another board");
        reply.answer_with(other.ask(Wait));
    }
}

impl Receive<Neglect> for Board {
    fn receive(&mut self, _: Neglect, reply: Reply<()>, _: &mut Context<'_, Self>) {
        drop(reply);
    }
}

impl Handler<Pid> for Board {
    fn handle(&mut self, _: Pid, _: &mut Context<'_, Self>) -> u32 {
        std::process::id()
    }
}

/// Works until it is killed.
impl Handler<Hold> for Board {
    fn handle(&mut self, _: Hold, ctx: &mut Context<'_, Self>) {
        loop {
            ctx.progress();
            thread::park_timeout(Duration::from_millis(1));
        }
    }
}

impl Handler<Break> for Board {
    fn handle(&mut self, _: Break, _: &mut Context<'_, Self>) {
        panic!("as it was told");
    }
}

fn board(placement: Placement) -> Spec<Board> {
    Spec::new(())
        .placement(placement)
        .name(placement.to_string())
}

fn waits(board: &Proxy<Board>, count: usize) {
    eventually(|| board.ask_timeout(Waiting, LIMIT) == Ok(count));
}

#[test]
fn answers_come_later_and_others_are_handled_meanwhile() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            let board = spawn(arbiter, board(placement));
            let asks: Vec<_> = (0..100).map(|_| board.ask(Wait)).collect();
            assert_eq!(board.ask_timeout(Waiting, LIMIT), Ok(100), "{placement}");
            assert!(asks.iter().all(|ask| !ask.is_ready()), "{placement}");
            let info = board.info().wait().expect("an answer");
            assert_eq!(info.busy_us, None, "{placement}: it does not work on them");
            board.send(News("rain".to_owned())).unwrap();
            for ask in asks {
                let answer = ask.wait_timeout(LIMIT).expect("in time");
                assert_eq!(answer.as_deref(), Ok("rain"), "{placement}");
            }
            assert_eq!(board.ask_timeout(Waiting, LIMIT), Ok(0));
        }
    });
}

#[test]
fn what_is_only_told_can_be_handled_otherwise() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            let board = spawn(arbiter, board(placement));
            let ask = board.ask(Wait);
            board.send(Wait).unwrap();
            let answer = ask.wait_timeout(LIMIT).expect("in time");
            assert_eq!(answer.as_deref(), Ok("one does not wait"), "{placement}");
        }
    });
}

#[test]
fn a_dropped_reply_is_told_at_once() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            let board = spawn(arbiter, board(placement));
            let ask = board.ask(Wait);
            waits(&board, 1);
            board.send(Forget).unwrap();
            let answer = ask.wait_timeout(LIMIT).expect("in time");
            assert_eq!(answer, Err(AskError::Lost), "{placement}");
        }
    });
}

#[test]
fn another_thread_or_another_actor_answers() {
    with_arbiter(|arbiter| {
        let boards = PLACEMENTS.map(|placement| spawn(arbiter, board(placement)));
        for board in &boards {
            let pid = board.ask_timeout(Pid, LIMIT);
            let asks: Vec<_> = (0..50).map(|_| board.ask(Elsewhere)).collect();
            for ask in asks {
                assert_eq!(ask.wait_timeout(LIMIT).expect("in time"), pid);
            }
        }
        for first in &boards {
            for second in &boards {
                if first == second {
                    continue;
                }
                let ask = first.ask(Ask(Some(second.clone())));
                waits(second, 1);
                // The first is free meanwhile.
                assert_eq!(first.ask_timeout(Waiting, LIMIT), Ok(0));
                second.send(News("snow".to_owned())).unwrap();
                let answer = ask.wait_timeout(LIMIT).expect("in time");
                assert_eq!(answer.as_deref(), Ok("snow"));
            }
        }
    });
}

#[test]
fn the_end_of_the_actor_ends_the_wait() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            let board = spawn(arbiter, board(placement));
            let ask = board.ask(Wait);
            waits(&board, 1);
            board.stop(ExitReason::Shutdown);
            let answer = ask.wait_timeout(LIMIT).expect("in time");
            assert_eq!(answer, Err(AskError::Started), "{placement}");
        }
        for placement in PLACEMENTS {
            let board = spawn(arbiter, board(placement).name(format!("again {placement}")));
            let ask = board.ask(Wait);
            waits(&board, 1);
            let broken = board.ask(Break).wait_timeout(LIMIT).expect("in time");
            assert_eq!(broken, Err(AskError::Started), "{placement}");
            let answer = ask.wait_timeout(LIMIT).expect("in time");
            assert_eq!(answer, Err(AskError::Started), "{placement}");
            // The next incarnation has nobody who waits.
            waits(&board, 0);
        }
    });
}

#[test]
fn a_killed_process_has_started_what_it_kept_and_what_it_was_at_and_nothing_else() {
    with_arbiter(|arbiter| {
        let board = spawn(arbiter, board(Placement::Process));
        let pid = board.ask_timeout(Pid, LIMIT).expect("a process");
        let kept: Vec<_> = (0..10).map(|_| board.ask(Wait)).collect();
        waits(&board, 10);
        let held = board.ask(Hold);
        eventually(|| works(&board));
        let behind: Vec<_> = (0..10).map(|_| board.ask(Wait)).collect();
        signal(pid, "KILL");
        for ask in kept {
            assert_eq!(
                ask.wait_timeout(LIMIT).expect("in time"),
                Err(AskError::Started)
            );
        }
        assert_eq!(
            held.wait_timeout(LIMIT).expect("in time"),
            Err(AskError::Started)
        );
        for ask in behind {
            assert_eq!(
                ask.wait_timeout(LIMIT).expect("in time"),
                Err(AskError::NotStarted)
            );
        }
        waits(&board, 0);
        eventually(|| !is_alive(pid));
    });
}

#[test]
fn a_remote_caller_has_slow_and_fast_answers_over_one_connection() {
    with_arbiter(|arbiter| {
        let name = format!("unix:@ipc-actors-{}-later", std::process::id());
        let address = name.parse().expect("an address");
        let options = RemoteOptions::new().abstract_names(true);
        let listener = arbiter.listen(&address, options).expect("a listener");
        let remote = RemoteArbiter::connect(listener.address(), None).expect("a connection");
        for placement in PLACEMENTS {
            spawn(arbiter, board(placement));
            let board: Proxy<Board> = remote.get_actor(&placement.to_string()).expect("a board");
            let slow = board.ask(Wait);
            waits(&board, 1);
            for _ in 0..20 {
                assert_eq!(board.ask_timeout(Waiting, LIMIT), Ok(1));
            }
            assert!(!slow.is_ready());
            board.send(News("sun".to_owned())).unwrap();
            let answer = slow.wait_timeout(LIMIT).expect("in time");
            assert_eq!(answer.as_deref(), Ok("sun"), "{placement}");
        }
    });
}

#[test]
fn a_pool_gives_what_a_dead_worker_has_kept_to_another() {
    with_arbiter(|arbiter| {
        let spec = Spec::<Board>::new(()).process();
        let pool = arbiter.monitor(MonitorSpec::new("boards", spec, 1).backlog(10));
        let pool = pool.wait_timeout(LIMIT).expect("in time").expect("a pool");
        let pid = pool.ask_timeout(Pid, LIMIT).expect("a worker");
        let (tell, told) = mpsc::channel();
        for _ in 0..5 {
            let tell = tell.clone();
            pool.ask(Wait).then(move |answer| drop(tell.send(answer)));
        }
        // One that drops its reply lives on and goes on working.
        assert_eq!(pool.ask_timeout(Neglect, LIMIT), Err(AskError::Lost));
        eventually(|| pool.ask_timeout(Waiting, LIMIT) == Ok(5));
        signal(pid, "KILL");
        eventually(|| pool.ask_timeout(Waiting, LIMIT) == Ok(5));
        pool.send(News("wind".to_owned())).unwrap();
        for _ in 0..5 {
            let answer = told.recv_timeout(LIMIT).expect("in time");
            assert_eq!(answer.as_deref(), Ok("wind"));
        }
    });
}
