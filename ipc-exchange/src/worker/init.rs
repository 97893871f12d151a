//! The first thing that `main` does.

use ipc_core::{AnyChannel, inherited};

use super::serve::serve;
use crate::Registry;
use crate::launch::{CONTROL, EXTRA, VARIABLE, set_default_arguments};

/// The exit code of a worker whose parent has died.
pub(crate) const EXIT_ORPHAN: i32 = 121;

/// The exit code of a worker that refused to work.
pub(crate) const EXIT_REFUSED: i32 = 122;

/// Makes this program able to have workers, and be one.
///
/// To be called first thing in `main`. In a process that an exchange has started it runs the tasks
/// it is sent and **never returns**; in any other it records the registry and returns at once.
///
/// Under `cargo test` either give the test binary a `main` (`harness = false`), or see
/// [`init_in_test`].
///
/// # Examples
///
/// ```
/// use ipc_exchange::{Exchange, init, registry};
///
/// fn square(x: u64) -> u64 {
///     x * x
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     init(registry![square]);
///     let exchange = Exchange::new(2)?;
///     let handle = exchange.submit(square, 7)?;
///     assert_eq!(handle.wait()?, 49);
///     Ok(())
/// }
/// ```
///
/// # Panics
///
/// When called again with another registry.
pub fn init(registry: Registry) {
    let registry = registry.install();
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    // A process that a task started inherits the variable and not the descriptors.
    let (Ok(control), Ok(extra)) = (inherited(CONTROL), inherited(EXTRA)) else {
        return;
    };
    let code = match AnyChannel::from_fd(control) {
        Ok(channel) => serve(registry, channel, extra),
        Err(_) => EXIT_REFUSED,
    };
    std::process::exit(code);
}

/// [`init`] for tests under the standard harness, whose `main` cannot be changed.
///
/// Write one test that only calls this, and give its full name as `hook`; call it with the same
/// arguments at the start of every test that has workers. A worker is then the test binary, told to
/// run that one test.
///
/// ```no_run
/// # fn square(x: u64) -> u64 { x * x }
/// fn set_up() {
///     ipc_exchange::init_in_test("worker_hook", ipc_exchange::registry![square]);
/// }
///
/// # const _: &str = stringify! {
/// #[test]
/// # };
/// fn worker_hook() {
///     set_up();
/// }
/// ```
///
/// The task runs on one of the harness's threads and the harness prints a line to the worker's
/// standard output before it; a worker that must be alone in its process needs `harness = false`.
pub fn init_in_test(hook: &str, registry: Registry) {
    let arguments = [hook, "--exact", "--nocapture", "--test-threads=1"];
    set_default_arguments(arguments.iter().map(Into::into).collect());
    init(registry);
}
