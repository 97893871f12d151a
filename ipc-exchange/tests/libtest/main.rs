//! Workers under the standard test harness: a binary of its own, because it proves that one without
//! a `main` can have them.

use ipc_exchange::{Exchange, init_in_test, registry};

fn square(x: u64) -> u64 {
    x * x
}

fn set_up() {
    init_in_test("worker_hook", registry![square]);
}

#[test]
fn worker_hook() {
    set_up();
}

#[test]
fn a_task_runs_in_another_process() {
    set_up();
    let exchange = Exchange::new(2).unwrap();
    assert_eq!(exchange.submit(square, 7).unwrap().wait().unwrap(), 49);
    exchange.finish();
}

#[test]
fn a_map_runs_in_other_processes() {
    set_up();
    let exchange = Exchange::new(2).unwrap();
    let squares: Result<Vec<_>, _> = exchange.map(square, 0..100).collect();
    assert_eq!(squares.unwrap()[99], 9801);
    exchange.finish();
}
