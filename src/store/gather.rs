//! Gathering: requests that arrive while a round trip is under way go together in the next one.
//!
//! A lane serves one kind of request. It has a few places, each one round trip at a time. A request that finds a place
//! free takes it and goes at once with a statement of its own: an idle registry costs nobody anything. When all places
//! are taken, requests wait in line, and whoever gives a place back takes the line along, as one statement for all.
//!
//! Every answer is read after its request arrived: nothing is cached. A set never waits for a lock and never holds
//! the same session twice; whom it leaves unanswered goes singly. A failing set fails nobody but tells everybody to go
//! singly, unless the connection was lost after a write was sent.
//!
//! Who waits with whom, and who is next, is said in `line.rs`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;

use super::connection::{Connection, StatementError};
use super::line::{self, Line};
use super::pool::Pool;
use super::{Call, Effect};
use crate::registry::{Failure, UserId};
use crate::telemetry::{LaneMetrics, Metrics, traces};

/// How many round trips of one kind are under way at most.
const PLACES: usize = 2;
/// How many at most where the line stands still: if that many are stuck, it is the database and not somebody's lock, and
/// more of them would only take the connections of other lanes.
const PLACES_MAX: usize = 4;
/// How many requests one statement carries at most: 64 already reach the database's best rate.
const SET_MAX: usize = 128;

/// How long the line stands still before another place is opened: who waits for a lock, or on a slow connection, must
/// not hold up the others.
const PATIENCE: Duration = Duration::from_millis(10);

/// A kind of request that can be gathered.
pub(super) trait Gathered: Sized + Send + Sync + 'static {
    /// What is asked.
    type Request: Send + Sync + 'static;
    /// What is answered.
    type Answer: Send + 'static;
    /// What metrics call it.
    const NAME: &'static str;
    /// Whether a lost connection leaves the outcome unknown.
    const EFFECT: Effect;

    /// What of a user the request writes (a session, a purpose): no two requests of a set may have the same.
    fn writes(_: &Self::Request) -> Option<(&UserId, &str)> {
        None
    }

    /// One statement for all; an answer for each in their order, or `None` for who must go singly.
    fn set(
        &self,
        c: &Connection,
        requests: &[&Self::Request],
    ) -> impl Future<Output = Result<Vec<Option<Answer<Self>>>, StatementError>> + Send;
}

/// What a request of a kind is answered.
pub(super) type Answer<G> = Result<<G as Gathered>::Answer, Failure>;

/// How a request goes on.
enum Turn<G: Gathered> {
    /// With its own statement, and this place is kept until that is done.
    Directly(Place<G>, G::Request),
    /// With its own statement: no set answers it.
    Singly(G::Request),
    /// It is answered.
    Answered(Answer<G>),
}

/// The requests of one kind.
pub(super) struct Lane<G: Gathered> {
    shared: Arc<Shared<G>>,
}

struct Shared<G: Gathered> {
    kind: G,
    pool: Arc<Pool>,
    /// Switched off, everybody goes singly.
    gathering: bool,
    metrics: LaneMetrics,
    state: Mutex<State<G>>,
}

struct State<G: Gathered> {
    taken: usize,
    /// How many sets were taken out of the line: whether it moves.
    moves: u64,
    /// Whether somebody watches that it does.
    watched: bool,
    line: Line<Waiting<G>>,
}

struct Waiting<G: Gathered> {
    request: G::Request,
    since: Instant,
    call: Call,
    turn: oneshot::Sender<Turn<G>>,
}

/// One of a lane's places. Given back when dropped, whatever became of the request.
struct Place<G: Gathered> {
    shared: Arc<Shared<G>>,
}

impl<G: Gathered> Lane<G> {
    pub(super) fn new(kind: G, pool: &Arc<Pool>, gathering: bool, metrics: &Metrics) -> Self {
        let metrics = metrics.lane(G::NAME);
        let state = Mutex::new(State { taken: 0, moves: 0, watched: false, line: Line::new() });
        Self { shared: Arc::new(Shared { kind, pool: Arc::clone(pool), gathering, metrics, state }) }
    }

    /// Answers a request: in a set, or with its own statement, which is `singly`.
    pub(super) async fn answer<F>(
        &self,
        call: &Call,
        request: G::Request,
        singly: impl FnOnce(G::Request) -> F,
    ) -> Answer<G>
    where
        F: Future<Output = Answer<G>>,
    {
        match self.turn(call, request).await? {
            Turn::Answered(answer) => answer,
            // In a box, so that who is answered by a set doesn't carry room for this about.
            Turn::Directly(_place, request) => {
                self.shared.metrics.single(false);
                Box::pin(singly(request)).await
            }
            Turn::Singly(request) => {
                self.shared.metrics.single(self.shared.gathering);
                Box::pin(singly(request)).await
            }
        }
    }

    async fn turn(&self, call: &Call, request: G::Request) -> Result<Turn<G>, Failure> {
        if !self.shared.gathering {
            return Ok(Turn::Singly(request));
        }
        let taken = {
            let mut state = self.shared.state();
            if state.taken < PLACES && state.line.is_empty() {
                state.taken += 1;
                return Ok(Turn::Directly(Place { shared: Arc::clone(&self.shared) }, request));
            }
            let (turn, taken) = oneshot::channel();
            let waiting = Waiting { request, since: Instant::now(), call: call.clone(), turn };
            state.add(waiting).map_err(|_| Failure::Overloaded)?;
            if !state.watched {
                state.watched = true;
                tokio::spawn(Arc::clone(&self.shared).watch(state.moves));
            }
            taken
        };
        // No turn at all: it was too late to be sent, or what sent it broke.
        let taken = taken.instrument(traces::gathered(G::NAME)).await;
        taken.map_err(|_| if call.give_up() { Failure::OutcomeUnknown } else { Failure::Overloaded })
    }
}

impl<G: Gathered> State<G> {
    /// Puts a request into the line, if there is room.
    fn add(&mut self, waiting: Waiting<G>) -> Result<(), Waiting<G>> {
        let written =
            G::writes(&waiting.request).map(|(user_id, name)| self.line.hash(user_id.as_str(), name));
        self.line.push(waiting.call.source(), written, waiting)
    }

    /// Takes the next set out of the line, in order. Who has left or is too late is let go, unsent.
    fn next_set(&mut self) -> Vec<Waiting<G>> {
        let now = Instant::now();
        let mut set: Vec<line::Waiting<Waiting<G>>> = Vec::with_capacity(self.line.len().min(SET_MAX));
        let mut later = Vec::new();
        while set.len() < SET_MAX
            && let Some(next) = self.line.pop()
        {
            if !next.who.still_waits(now) {
                continue;
            }
            if set.iter().any(|other| other.clashes_with(&next)) {
                later.push(next);
            } else {
                set.push(next);
            }
        }
        while let Some(next) = later.pop() {
            self.line.put_back(next);
        }
        self.moves += 1;
        set.into_iter().map(|waiting| waiting.who).collect()
    }
}

impl<G: Gathered> Waiting<G> {
    fn still_waits(&self, now: Instant) -> bool {
        !self.turn.is_closed() && self.call.deadline() > now
    }
}

impl<G: Gathered> Shared<G> {
    fn state(&self) -> MutexGuard<'_, State<G>> {
        // Nothing that runs under the lock leaves it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Started by the first who waits, and there as long as somebody does: opens another place if the line doesn't move.
    ///
    /// There is no such watch over a request that goes directly: at one request at a time a timer would cost it more
    /// than its statement's way to the database.
    async fn watch(self: Arc<Self>, mut seen: u64) {
        loop {
            sleep(PATIENCE).await;
            let mut state = self.state();
            if state.line.is_empty() {
                state.watched = false;
                return;
            }
            if state.moves == seen && state.taken < PLACES_MAX {
                state.taken += 1;
                let set = state.next_set();
                tokio::spawn(Place { shared: Arc::clone(&self) }.serve(set));
            }
            seen = state.moves;
        }
    }

    async fn answer(&self, mut set: Vec<Waiting<G>>) {
        let Some(latest) = set.iter().map(|waiting| waiting.call.deadline()).max() else { return };
        let connection = match self.pool.connection_for_sets(&Call::until(latest)).await {
            Ok(connection) => connection,
            Err(failure) => return all(set, |_| Turn::Answered(Err(failure.clone()))),
        };
        if G::EFFECT == Effect::Writes {
            // Who was told meanwhile that nothing was done is let go.
            set.retain(|waiting| waiting.call.mark_sent().is_ok());
        }
        if set.is_empty() {
            return;
        }
        self.metrics.set(set.len(), set[0].since);
        let requests: Vec<&G::Request> = set.iter().map(|waiting| &waiting.request).collect();
        match self.kind.set(&connection, &requests).await {
            Ok(answers) => {
                drop(connection);
                let mut answers = answers.into_iter();
                all(set, |request| answers.next().flatten().map_or(Turn::Singly(request), Turn::Answered));
            }
            Err(error) => {
                let lost = matches!(error, StatementError::Lost);
                if lost || matches!(error, StatementError::Stale) {
                    connection.discard();
                }
                tracing::debug!(?error, "a set failed");
                if lost && G::EFFECT == Effect::Writes {
                    all(set, |_| Turn::Answered(Err(Failure::OutcomeUnknown)));
                } else {
                    all(set, Turn::Singly);
                }
            }
        }
    }
}

/// Tells everybody of a set how to go on.
fn all<G: Gathered>(set: Vec<Waiting<G>>, mut turn: impl FnMut(G::Request) -> Turn<G>) {
    for waiting in set {
        // Who has left needs no answer.
        let _ = waiting.turn.send(turn(waiting.request));
    }
}

impl<G: Gathered> Place<G> {
    /// Answers the line, set after set, until nobody waits.
    async fn serve(self, mut set: Vec<Waiting<G>>) {
        while !set.is_empty() {
            self.shared.answer(set).await;
            set = self.shared.state().next_set();
        }
    }
}

impl<G: Gathered> Drop for Place<G> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let set = state.next_set();
        if set.is_empty() {
            state.taken -= 1;
        } else {
            drop(state);
            tokio::spawn(Self { shared: Arc::clone(&self.shared) }.serve(set));
        }
    }
}
