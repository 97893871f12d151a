//! A loop that goes on in a forked child, and its parent's that does not notice.
//!
//! A program of its own without the test harness: a process with threads must not fork.
#![expect(clippy::unwrap_used, reason = "what helps a test is a test")]

#[cfg(all(target_os = "linux", not(ipc_portable)))]
fn main() {
    linux::a_child_goes_on_with_the_loop_and_its_parent_does_not_notice();
    linux::a_child_without_the_loop_leaves_it_alone();
}

#[cfg(not(all(target_os = "linux", not(ipc_portable))))]
fn main() {
    let mut selector = ipc_dispatch::Selector::<()>::new().unwrap();
    let error = selector.after_fork().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
}

#[cfg(all(target_os = "linux", not(ipc_portable)))]
mod linux {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use fork::Fork;
    use ipc_dispatch::{Context, Exit, Key, Selector};
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::signal::{Signal, raise};

    type Log = Vec<&'static str>;
    type Ctx<'a> = Context<'a, Log>;

    fn pair() -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (ours, theirs)
    }

    fn selector(socket: UnixStream) -> (Selector<Log>, Key<UnixStream>) {
        let mut selector = Selector::<Log>::new().unwrap();
        let key = selector.add(socket);
        selector
            .on_readable(key, |socket: &mut UnixStream, ctx: &mut Ctx<'_>| {
                socket.read_exact(&mut [0]).unwrap();
                ctx.state.push("read");
            })
            .unwrap();
        selector
            .on_signal(Signal::SIGUSR1 as i32, |ctx: &mut Ctx<'_>| {
                ctx.state.push("signal");
            })
            .unwrap();
        (selector, key)
    }

    /// Runs until the log is as long as that, or for a while.
    fn run(selector: &mut Selector<Log>, len: usize) -> Log {
        let mut log = Log::new();
        let guard = selector.alarm(Duration::from_secs(10), |_: &mut Ctx<'_>| -> () {
            panic!("nothing came")
        });
        while log.len() < len {
            selector.turn(&mut log, None).unwrap();
        }
        assert!(selector.cancel(guard));
        log
    }

    /// Whether a loop would have something to do.
    fn is_awake(selector: &Selector<Log>) -> bool {
        let mut fds = [PollFd::new(selector.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() > 0
    }

    /// Forks, runs `child` in the child and waits for it.
    fn in_child(child: impl FnOnce()) {
        match fork::fork().unwrap() {
            Fork::Child => {
                // A panic ends the child before it could go on as the parent.
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
                std::process::exit(i32::from(outcome.is_err()));
            }
            Fork::Parent(pid) => assert_eq!(fork::waitpid(pid).unwrap(), 0, "the child failed"),
        }
    }

    pub(crate) fn a_child_goes_on_with_the_loop_and_its_parent_does_not_notice() {
        let (ours, mut theirs) = pair();
        let (mut selector, key) = selector(ours);
        selector.embed().unwrap();
        selector
            .turn(&mut Log::new(), Some(Duration::ZERO))
            .unwrap();
        assert!(!is_awake(&selector));
        let poster = selector.poster();
        in_child(|| {
            selector.after_fork().unwrap();
            assert!(selector.contains(key));
            // Sources.
            theirs.write_all(b"x").unwrap();
            assert_eq!(run(&mut selector, 1), ["read"]);
            // Signals.
            raise(Signal::SIGUSR1).unwrap();
            assert_eq!(run(&mut selector, 1), ["signal"]);
            // Time, which in an embedded loop is a descriptor.
            selector.alarm(Duration::from_millis(2), |ctx: &mut Ctx<'_>| {
                ctx.state.push("alarm");
            });
            assert_eq!(run(&mut selector, 1), ["alarm"]);
            // Posts, into a wait.
            let thread = std::thread::spawn(move || {
                std::thread::park_timeout(Duration::from_millis(20));
                poster.post(|ctx| ctx.state.push("post")).unwrap();
            });
            assert_eq!(run(&mut selector, 1), ["post"]);
            thread.join().unwrap();
            // What the child closes stays open and watched in the parent.
            assert!(selector.close(key));
        });
        assert!(!is_awake(&selector), "the child woke its parent's loop");
        theirs.write_all(b"y").unwrap();
        assert!(is_awake(&selector));
        assert_eq!(run(&mut selector, 1), ["read"]);
        raise(Signal::SIGUSR1).unwrap();
        assert_eq!(run(&mut selector, 1), ["signal"]);
        selector.close(key);
        let exit = selector.run_timeout(&mut Log::new(), Duration::from_secs(10));
        assert_eq!(exit.unwrap(), Exit::Idle);
    }

    pub(crate) fn a_child_without_the_loop_leaves_it_alone() {
        let (ours, mut theirs) = pair();
        let (mut selector, _key) = selector(ours);
        selector
            .turn(&mut Log::new(), Some(Duration::ZERO))
            .unwrap();
        in_child(|| {
            // A handler that was inherited must not write to what both processes share.
            raise(Signal::SIGUSR1).unwrap();
            // What a child that does not want the loop should close: the loop's own and the source's.
            assert!(selector.descriptors().len() >= 4);
        });
        assert!(!is_awake(&selector), "the child woke its parent's loop");
        theirs.write_all(b"z").unwrap();
        assert_eq!(run(&mut selector, 1), ["read"]);
    }
}
