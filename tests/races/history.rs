//! A history of many clients' calls on few sessions, checked as a whole afterwards.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use token_registry::proto::TokenState;

use super::{Arena, at_once, rounds, word};
use crate::support::Registry;

const CLIENTS: usize = 6;
const CALLS: usize = 60;
const SESSIONS: usize = 6;
const USER: &str = "user";

/// A call and its answer.
struct Event {
    session: usize,
    start: Instant,
    end: Instant,
    what: What,
}

enum What {
    /// A jti was swapped.
    Rotated { from: String, to: String },
    /// The jti presented is over, and the answer carries the one that lives.
    Told { presented: String, jti: String },
    /// A question about the session.
    Checked(TokenState),
    /// Whatever ended the session: a log-out, or a replay that was answered.
    Ended,
    /// Refused because the session is over.
    Refused,
}

/// One client: mostly rotates the jti that somebody was told last, asks, and now and then logs out.
async fn live(
    client: Arc<Registry>,
    n: usize,
    prefix: String,
    latest: Arc<Mutex<Vec<String>>>,
) -> Vec<Event> {
    let mut history = Vec::new();
    for call in 0..CALLS {
        let session = rand::random_range(0..SESSIONS);
        let name = format!("{prefix}-{session}");
        let start = Instant::now();
        let what = match rand::random_range(0..300) {
            0..210 => {
                let jti = latest.lock().unwrap()[session].clone();
                let next = format!("by-{n}-{call}");
                let answer = client.rotate(USER, &name, &jti, &next).await;
                let said = word(&answer);
                match (said.as_str(), answer) {
                    ("ROTATED", Ok(answer)) => {
                        let to = answer.token.unwrap().jti;
                        assert_eq!(to, next);
                        latest.lock().unwrap()[session].clone_from(&to);
                        What::Rotated { from: jti, to }
                    }
                    ("GRACE", Ok(answer)) => What::Told { presented: jti, jti: answer.token.unwrap().jti },
                    ("TOKEN_REPLAYED", _) => What::Ended,
                    ("SESSION_REVOKED", _) => What::Refused,
                    (other, _) => panic!("a rotation was answered {other}"),
                }
            }
            210..298 => What::Checked(client.check_session(USER, &name).await),
            _ => {
                client.log_out(USER, &name).await;
                What::Ended
            }
        };
        history.push(Event { session, start, end: Instant::now(), what });
    }
    history
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_all_clients_saw_together_is_one_line_of_rotations_and_one_end() {
    let arena = Arena::open().await;
    let (mut rotations, mut ends) = (0, 0);
    for round in 0..rounds() {
        let prefix = format!("session-{round}");
        for n in 0..SESSIONS {
            arena.client(n).add(USER, &format!("{prefix}-{n}"), "first").await.unwrap();
        }
        let latest = Arc::new(Mutex::new(vec!["first".to_owned(); SESSIONS]));
        let calls = (0..CLIENTS).map(|n| live(arena.client(n), n, prefix.clone(), Arc::clone(&latest)));
        let history: Vec<_> = at_once(calls).await.into_iter().flatten().collect();
        for session in 0..SESSIONS {
            let events: Vec<_> = history.iter().filter(|event| event.session == session).collect();
            let row = arena.client(round).get(USER, &format!("{prefix}-{session}")).await.unwrap();
            let line = line_of(&events);
            assert_eq!(line.last().unwrap(), &row.jti, "the line ends at the jti that lives");
            assert_eq!(line.len() - 1, usize::try_from(row.rotations).unwrap());
            check_order(&events, &line);
            check_end(&events, row.state());
            rotations += line.len() - 1;
            ends += usize::from(row.state() == TokenState::Revoked);
        }
    }
    println!("{rotations} rotations, {ends} of {} sessions ended", rounds() * SESSIONS);
    arena.close().await;
}

/// The jtis of a session in their order. No jti was rotated twice, and every rotation is on the line.
fn line_of(events: &[&Event]) -> Vec<String> {
    let mut next = HashMap::new();
    for event in events {
        if let What::Rotated { from, to } = &event.what {
            let before = next.insert(from.clone(), to.clone());
            assert!(before.is_none(), "{from} was rotated twice, to {to} and to {before:?}");
        }
    }
    let mut line = vec!["first".to_owned()];
    while let Some(to) = next.remove(line.last().unwrap()) {
        line.push(to);
    }
    assert!(next.is_empty(), "rotations beside the line: {next:?}");
    line
}

/// The line agrees with time: who was answered before another began stands before it; who was told a jti was told the
/// one after the jti presented.
fn check_order(events: &[&Event], line: &[String]) {
    let place = |jti: &String| line.iter().position(|on_line| on_line == jti).expect("a jti of the line");
    let mut rotated = Vec::new();
    for event in events {
        match &event.what {
            What::Rotated { to, .. } => rotated.push((event, place(to))),
            What::Told { presented, jti } => assert_eq!(place(presented) + 1, place(jti)),
            _ => {}
        }
    }
    for (one, place) in &rotated {
        for (other, later) in &rotated {
            assert!(one.end >= other.start || place < later, "the line goes back in time");
        }
    }
}

/// Nothing that began after an end was answered saw the session alive, and nothing saw it dead without an end.
fn check_end(events: &[&Event], now: TokenState) {
    let ended: Vec<_> = events.iter().filter(|event| matches!(event.what, What::Ended)).collect();
    let first_start = ended.iter().map(|event| event.start).min();
    let first_answer = ended.iter().map(|event| event.end).min();
    assert_eq!(now == TokenState::Revoked, !ended.is_empty());
    for event in events {
        let alive = match &event.what {
            What::Rotated { .. } | What::Told { .. } => true,
            What::Checked(state) => *state == TokenState::Active,
            What::Refused => false,
            What::Ended => continue,
        };
        if alive {
            assert!(
                first_answer.is_none_or(|answer| event.start <= answer),
                "alive after its end was answered"
            );
        } else {
            assert!(first_start.is_some_and(|start| start <= event.end), "dead before anybody ended it");
        }
    }
}
