//! Background tasks and their readers.

use std::io::Read;
use std::path::PathBuf;

use ipc_core::Address;
use ipc_exchange::{Exchange, Reader, ReaderError, StartError, start_persistent};
use nix::fcntl::{FcntlArg, fcntl};

use crate::harness::{eventually, is_alive, kill, tests};
use crate::tasks;

tests![
    a_background_task_gives_its_results_once,
    it_listens_before_it_is_said_to_run,
    a_reader_that_dies_costs_nothing,
    the_starter_may_die,
    readers_come_one_after_another,
    a_reader_of_another_type_is_refused,
    a_background_task_has_an_exchange_of_its_own,
    a_stale_socket_file_is_replaced_and_a_live_one_kept,
    what_was_inherited_is_closed,
];

fn place() -> (tempfile::TempDir, Address) {
    let folder = tempfile::tempdir().unwrap();
    let address = Address::unix(folder.path().join("results")).unwrap();
    (folder, address)
}

fn path(address: &Address) -> PathBuf {
    PathBuf::from(address.to_string().strip_prefix("unix:").unwrap())
}

/// The process that the background task says it runs in, after all its results.
fn rest(mut reader: Reader<u64>) -> (Vec<u64>, u32) {
    let mut results = Vec::new();
    while let Some(result) = reader.recv().unwrap() {
        results.push(result);
    }
    let pid = u32::try_from(results.pop().unwrap()).unwrap();
    (results, pid)
}

fn a_background_task_gives_its_results_once() {
    let (_folder, address) = place();
    start_persistent(&address, tasks::publishes, &1000).unwrap();
    let (results, pid) = rest(Reader::connect(&address).unwrap());
    assert_eq!(results, (0..1000).collect::<Vec<_>>());
    assert!(
        eventually(|| !is_alive(pid)),
        "it ends when everything was taken"
    );
    assert!(
        eventually(|| !path(&address).exists()),
        "and leaves no file"
    );
}

fn it_listens_before_it_is_said_to_run() {
    for _ in 0..20 {
        let (_folder, address) = place();
        start_persistent(&address, tasks::publishes, &1).unwrap();
        let (results, _) = rest(Reader::connect(&address).unwrap());
        assert_eq!(results, [0]);
    }
}

fn a_reader_that_dies_costs_nothing() {
    let (_folder, address) = place();
    start_persistent(&address, tasks::publishes, &300).unwrap();
    // In processes of their own, which are killed after taking some and acknowledging all but one.
    let exchange = Exchange::new(1).unwrap();
    for (from, count) in [(0, 7), (6, 100)] {
        let argument = (address.to_string(), count);
        let error = exchange
            .submit(tasks::reads_and_dies, argument)
            .unwrap()
            .wait()
            .unwrap_err();
        assert!(error.is_lost(), "{from}: {error}");
    }
    exchange.finish();
    let (results, pid) = rest(Reader::connect(&address).unwrap());
    // 7 taken and 6 acknowledged, then 100 taken and 99 acknowledged.
    assert_eq!(results, (105..300).collect::<Vec<_>>());
    assert!(eventually(|| !is_alive(pid)));
}

fn the_starter_may_die() {
    let (_folder, address) = place();
    let exchange = Exchange::new(1).unwrap();
    let started = exchange
        .submit(tasks::starts_and_dies, address.to_string())
        .unwrap()
        .wait();
    assert!(started.unwrap_err().is_lost());
    exchange.finish();
    let (results, _) = rest(Reader::connect(&address).unwrap());
    assert_eq!(results, [0, 1, 2]);
}

fn readers_come_one_after_another() {
    let (_folder, address) = place();
    start_persistent(&address, tasks::publishes, &100).unwrap();
    let readers: Vec<Reader<u64>> = (0..10)
        .map(|_| Reader::connect(&address).unwrap())
        .collect();
    let mut results = Vec::new();
    for mut reader in readers {
        for _ in 0..10 {
            results.push(reader.recv().unwrap().unwrap());
        }
        reader.acknowledge().unwrap();
    }
    assert_eq!(results, (0..100).collect::<Vec<_>>());
    let (nothing, pid) = rest(Reader::connect(&address).unwrap());
    assert!(nothing.is_empty());
    assert!(eventually(|| !is_alive(pid)));
}

fn a_reader_of_another_type_is_refused() {
    let (_folder, address) = place();
    start_persistent(&address, tasks::publishes, &1).unwrap();
    let refused = Reader::<String>::connect(&address)
        .unwrap()
        .recv()
        .unwrap_err();
    assert!(matches!(refused, ReaderError::Refused { .. }), "{refused}");
    let (results, _) = rest(Reader::connect(&address).unwrap());
    assert_eq!(results, [0]);
}

fn a_background_task_has_an_exchange_of_its_own() {
    let (_folder, address) = place();
    start_persistent(&address, tasks::publishes_squares, &100).unwrap();
    let (mut results, pid) = rest(Reader::connect(&address).unwrap());
    results.sort_unstable();
    assert_eq!(results, (0..100).map(|x| x * x).collect::<Vec<_>>());
    assert!(eventually(|| !is_alive(pid)));
}

fn a_stale_socket_file_is_replaced_and_a_live_one_kept() {
    let (_folder, address) = place();
    start_persistent(&address, tasks::publishes, &1).unwrap();
    let error = start_persistent(&address, tasks::publishes, &1).unwrap_err();
    assert!(matches!(error, StartError::Refused { .. }), "{error}");
    let mut reader = Reader::<u64>::connect(&address).unwrap();
    reader.recv().unwrap();
    let pid = u32::try_from(reader.recv().unwrap().unwrap()).unwrap();
    kill(pid, nix::sys::signal::Signal::SIGKILL);
    assert!(reader.recv().is_err());
    assert!(eventually(|| !is_alive(pid)) && path(&address).exists());
    start_persistent(&address, tasks::publishes, &2).unwrap();
    let (results, _) = rest(Reader::connect(&address).unwrap());
    assert_eq!(results, [0, 1]);
}

fn what_was_inherited_is_closed() {
    let (_folder, address) = place();
    let (mut pipe, theirs) = std::io::pipe().unwrap();
    // A number that no descriptor is moved to on purpose in a worker, and not closed on exec.
    let inherited = fcntl(&theirs, FcntlArg::F_DUPFD(100)).unwrap();
    drop(theirs);
    start_persistent(&address, tasks::publishes, &3).unwrap();
    nix::unistd::close(inherited).unwrap();
    // The background task is there: nobody has taken its results.
    assert_eq!(pipe.read(&mut [0]).unwrap(), 0);
    let (results, _) = rest(Reader::connect(&address).unwrap());
    assert_eq!(results, [0, 1, 2]);
}
