//! Signals and children, with real ones.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use ipc_dispatch::{Exit, Selector};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{SOON, within};

#[test]
#[expect(clippy::zombie_processes, reason = "the selector reaps them")]
fn a_child_is_reaped_and_its_status_told() {
    within(SOON, || {
        let mut selector = Selector::<Vec<(Option<i32>, Option<i32>)>>::new().unwrap();
        let mut command = Command::new("sh");
        let exiting = command.args(["-c", "exit 7"]).spawn().unwrap();
        let waiting = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let foreign = Command::new("true").spawn();
        for child in [&exiting, &waiting] {
            selector
                .on_child(child.id(), |status, ctx| {
                    let status = status.unwrap();
                    ctx.state.push((status.code(), status.signal()));
                })
                .unwrap();
        }
        kill(Pid::from_raw(waiting.id() as i32), Signal::SIGKILL).unwrap();
        let mut statuses = Vec::new();
        assert_eq!(selector.run(&mut statuses).unwrap(), Exit::Idle);
        statuses.sort();
        assert_eq!(statuses, [(None, Some(9)), (Some(7), None)]);
        // Nobody else's child was touched: it can still be waited for.
        assert!(foreign.unwrap().wait().unwrap().success());
    });
}

#[test]
fn a_signal_runs_its_handler_in_the_loop_while_it_sleeps() {
    within(SOON, || {
        let mut selector = Selector::<u32>::new().unwrap();
        selector.set_persistent(true);
        let signal = Signal::SIGUSR1;
        selector
            .on_signal(signal as i32, |ctx| {
                *ctx.state += 1;
                ctx.stop();
            })
            .unwrap();
        let poster = selector.poster();
        let thread = std::thread::spawn(move || {
            poster.post(|_| ()).unwrap();
            kill(Pid::this(), signal).unwrap();
        });
        let mut count = 0;
        let exit = selector
            .run_timeout(&mut count, Duration::from_secs(10))
            .unwrap();
        assert_eq!((exit, count), (Exit::Stopped, 1));
        thread.join().unwrap();
        assert!(selector.on_signal(9, |_| ()).is_err());
        assert!(selector.on_signal(1000, |_| ()).is_err());
    });
}
