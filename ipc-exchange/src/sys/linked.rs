//! Functions that register themselves, wherever in the program they are.

use crate::{Entry, Registry};

/// What [`register!`](macro@crate::register) has put together, by the linker.
#[doc(hidden)]
#[linkme::distributed_slice]
pub static LINKED: [fn() -> Entry];

impl Registry {
    /// The functions that the program has registered with [`register!`](macro@crate::register).
    ///
    /// A linker may drop what a module holds that is used nowhere else; the hand-shake finds no fault
    /// then, for the worker is the same program. Submitting such a function is refused as
    /// [`SubmitReason::Unregistered`](crate::SubmitReason::Unregistered), so that nothing is lost; the
    /// explicit [`registry!`](macro@crate::registry) has no such surprise.
    ///
    /// # Panics
    ///
    /// As [`Registry::new`].
    pub fn linked() -> Self {
        Self::new(LINKED.iter().map(|entry| entry()))
    }
}

/// Adds functions to [`Registry::linked`], where they are written. Needs the feature `linkme`.
///
/// ```
/// use ipc_exchange::{Registry, init, pmap, register};
///
/// fn square(x: u64) -> u64 {
///     x * x
/// }
/// register!(square);
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     init(Registry::linked());
///     assert_eq!(pmap(square, [7], 1)?.next().expect("one input")?, 49);
///     Ok(())
/// }
/// ```
#[macro_export]
macro_rules! register {
    ($($function:expr),+ $(,)?) => {
        $(const _: () = {
            #[$crate::linkme::distributed_slice($crate::LINKED)]
            #[linkme(crate = $crate::linkme)]
            static ENTRY: fn() -> $crate::Entry = || $crate::Registrable::entry($function);
        };)+
    };
}
