//! Functions that register themselves: a binary of its own, whose registry is made by the linker.

use ipc_exchange::{Registry, SubmitReason, init, pmap, register};

fn square(x: u64) -> u64 {
    x * x
}

mod elsewhere {
    pub(crate) fn double(x: u64) -> u64 {
        2 * x
    }

    ipc_exchange::register!(double);
}

register!(square);

fn stranger(x: u64) -> u64 {
    x
}

fn main() {
    init(Registry::linked());
    let names = Registry::installed().expect("it was given to init").names();
    assert_eq!(names.len(), 2, "{names:?}");
    for (x, result) in (0..10).zip(pmap(square, 0..10, 2).expect("an exchange opens")) {
        assert_eq!(result.expect("a square"), x * x);
    }
    let mut doubles = pmap(elsewhere::double, [4], 1).expect("an exchange opens");
    assert_eq!(doubles.next().and_then(Result::ok), Some(8));
    let mut strangers = pmap(stranger, [4], 1).expect("an exchange opens");
    assert!(strangers.next().is_none());
    let refused = strangers.refused();
    assert!(matches!(refused, Some(SubmitReason::Unregistered { .. })));
}
