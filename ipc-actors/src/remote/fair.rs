//! Callers take turns at an actor.
//!
//! Of the messages of all connections an actor has only a few in its mailbox at a time. The rest waits
//! here, a line for each connection, and whenever one is answered the next line is served: whoever asks
//! a thousand things waits for the thousand, and whoever asks one waits for one of each of the others.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::door::Opened;
use crate::AskError;
use crate::command::CommandId;
use crate::link::Answered;

/// A message that waits for its turn.
pub(super) struct Job {
    pub(super) opened: Arc<dyn Opened>,
    pub(super) command: CommandId,
    pub(super) body: Arc<[u8]>,
    pub(super) answered: Answered,
}

#[derive(Default)]
struct Lines {
    /// Messages that the actor has.
    inside: usize,
    /// Somebody hands messages over, one after the other: whoever comes meanwhile leaves it to him.
    serving: bool,
    /// The connections whose messages wait, in the order of their turns.
    turns: VecDeque<u64>,
    waiting: HashMap<u64, VecDeque<Job>>,
}

/// The callers of one actor.
pub(super) struct Turnstile {
    lines: Mutex<Lines>,
    inside_max: usize,
}

impl Turnstile {
    fn new(inside_max: usize) -> Self {
        Self {
            lines: Mutex::default(),
            inside_max: inside_max.max(1),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        // Nothing that can panic runs under the lock.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the message delivered when it is this connection's turn. Never waits.
    pub(super) fn submit(self: &Arc<Self>, connection: u64, job: Job) {
        let mut lines = self.lock();
        let line = lines.waiting.entry(connection).or_default();
        line.push_back(job);
        if line.len() == 1 {
            lines.turns.push_back(connection);
        }
        self.serve(lines);
    }

    /// Whether messages of this connection still wait.
    pub(super) fn has(&self, connection: u64) -> bool {
        self.lock().waiting.contains_key(&connection)
    }

    /// Drops what a connection has waiting.
    pub(super) fn leave(&self, connection: u64) {
        let mut lines = self.lock();
        let line = lines.waiting.remove(&connection);
        lines.turns.retain(|&turn| turn != connection);
        drop(lines);
        for job in line.into_iter().flatten() {
            (job.answered)(Err(AskError::NotStarted));
        }
    }

    fn serve<'a>(self: &'a Arc<Self>, mut lines: MutexGuard<'a, Lines>) {
        if lines.serving {
            return;
        }
        lines.serving = true;
        while lines.inside < self.inside_max
            && let Some(job) = lines.next()
        {
            lines.inside += 1;
            drop(lines);
            let (line, answered) = (Arc::clone(self), job.answered);
            let answered = Box::new(move |answer: Result<&[u8], AskError>| {
                answered(answer);
                line.answered();
            });
            job.opened.call(job.command, &job.body, answered);
            lines = self.lock();
        }
        lines.serving = false;
    }

    fn answered(self: &Arc<Self>) {
        let mut lines = self.lock();
        lines.inside -= 1;
        self.serve(lines);
    }
}

impl Lines {
    fn next(&mut self) -> Option<Job> {
        let connection = self.turns.pop_front()?;
        let line = self.waiting.get_mut(&connection)?;
        let job = line.pop_front();
        if line.is_empty() {
            self.waiting.remove(&connection);
        } else {
            self.turns.push_back(connection);
        }
        job
    }
}

/// The turnstiles of all actors that somebody has found.
#[derive(Default)]
pub(super) struct Turnstiles(Mutex<HashMap<u64, Weak<Turnstile>>>);

impl Turnstiles {
    pub(super) fn at(&self, actor: u64, inside_max: usize) -> Arc<Turnstile> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = all.get(&actor).and_then(Weak::upgrade) {
            return found;
        }
        if all.len() == all.capacity() {
            // Before the table grows, those that nobody uses any more go.
            all.retain(|_, turnstile| turnstile.strong_count() > 0);
        }
        let made = Arc::new(Turnstile::new(inside_max));
        all.insert(actor, Arc::downgrade(&made));
        made
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{ActorId, Deferred, Info, Placement};

    /// Takes messages and answers them when it is told to.
    struct Desk(mpsc::Sender<(u32, Answered)>);

    impl Opened for Desk {
        fn id(&self) -> ActorId {
            ActorId(1)
        }

        fn kind(&self) -> &'static str {
            "desk"
        }

        fn placement(&self) -> Placement {
            Placement::Local
        }

        fn incarnation(&self) -> u32 {
            0
        }

        fn name_of(&self, _: CommandId) -> Option<&'static str> {
            None
        }

        fn check(&self, _: CommandId, _: usize, _: crate::Access) -> Result<(), AskError> {
            Ok(())
        }

        fn call(&self, command: CommandId, _: &Arc<[u8]>, answered: Answered) {
            self.0.send((command.0, answered)).expect("the test looks");
        }

        fn ping(&self) -> Deferred<(), AskError> {
            Deferred::ready(Ok(()))
        }

        fn info(&self) -> Deferred<Info, AskError> {
            Deferred::ready(Err(AskError::Lost))
        }

        fn stop(&self) {}

        fn commands(&self, _: crate::Access) -> Vec<String> {
            Vec::new()
        }
    }

    #[test]
    fn one_of_each_in_turn_and_few_at_a_time() {
        let (sender, desk) = mpsc::channel();
        let opened: Arc<dyn Opened> = Arc::new(Desk(sender));
        let turnstiles = Turnstiles::default();
        let turnstile = turnstiles.at(1, 2);
        let (tell, told) = mpsc::channel();
        let submit = |connection: u64, number: u32| {
            let tell = tell.clone();
            let job = Job {
                opened: Arc::clone(&opened),
                command: CommandId(number),
                body: Arc::from([]),
                answered: Box::new(move |answer| {
                    tell.send((number, answer.is_ok())).expect("the test looks");
                }),
            };
            turnstiles.at(1, 2).submit(connection, job);
        };
        (0..6).for_each(|number| submit(7, number));
        (10..12).for_each(|number| submit(8, number));
        (20..23).for_each(|number| submit(9, number));
        turnstile.leave(9);
        for number in 20..23 {
            assert_eq!(told.try_recv(), Ok((number, false)));
        }
        let mut taken = Vec::new();
        let mut at_hand = VecDeque::new();
        loop {
            at_hand.extend(desk.try_iter());
            assert!(at_hand.len() <= 2);
            let Some((number, answered)) = at_hand.pop_front() else {
                break;
            };
            taken.push(number);
            answered(Ok(&[]));
            assert_eq!(told.try_recv(), Ok((number, true)));
        }
        assert_eq!(taken, [0, 1, 2, 10, 3, 11, 4, 5]);
        assert!(!turnstile.has(7));
    }
}
