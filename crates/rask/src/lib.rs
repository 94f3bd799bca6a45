//! What people type to see, load and check rask: `rask demo`, `rask gen`, `rask verify`. The same pieces serve the tests of
//! the other packages.
//!
//! `generate` makes lines, `layout` stores them as Docker's daemon would, a forwarder ships them, `receiver` takes them in and
//! keeps the ledger, `verify` and `demo` judge it. Nothing here is on the way of anybody's real logs.

pub mod clock;
pub mod demo;
pub mod generate;
pub mod layout;
pub mod receiver;
pub mod stop;
pub mod verify;
