//! Who may verify a signature: one call at a time.
//!
//! A made-up JWT costs its sender nothing, and us a signature to verify: as much processor as 2 to 4 checks by the usual
//! algorithms, as 40 by ES384. Refusing whoever sends many would be refusing all who share its proxy. So a flood of them
//! is kept to one processor, and connections are served in turn: whoever comes with a new token waits for one signature of
//! every other connection, however many these send. Nobody waits whose key is in the file, or whose token was verified before.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

/// A connection's place in the line, for one of its calls; the others wait for the place.
#[derive(Debug, Clone, Default)]
pub struct Place(Arc<Mutex<()>>);

/// The line, of connections: whoever came first is next.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<()>);

/// The right to verify a signature.
#[derive(Debug)]
pub struct Turn<'a> {
    _turn: MutexGuard<'a, ()>,
    _place: MutexGuard<'a, ()>,
}

impl Turns {
    /// Waits for a turn of a call that came on the connection which has this place.
    pub(super) async fn take<'a>(&'a self, place: &'a Place) -> Turn<'a> {
        let place = place.0.lock().await;
        Turn { _turn: self.0.lock().await, _place: place }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn connections_are_served_in_turn_however_much_one_sends() {
        let (turns, flood, other) = (Turns::default(), Place::default(), Place::default());
        let (mut second, mut third) = (pin!(turns.take(&flood)), pin!(turns.take(&flood)));
        let mut of_other = pin!(turns.take(&other));
        let first = turns.take(&flood).now_or_never().expect("nobody is before it");
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        assert!(of_other.as_mut().now_or_never().is_none(), "one at a time");
        drop(first);
        assert!(
            second.as_mut().now_or_never().is_none(),
            "it came before, on a connection that had its turn"
        );
        let turn = of_other.now_or_never().expect("it is next");
        assert!(second.as_mut().now_or_never().is_none(), "one at a time");
        drop(turn);
        let turn = second.now_or_never().expect("it is next");
        drop(turn);
        assert!(third.now_or_never().is_some());
    }
}
