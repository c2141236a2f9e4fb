//! Random programs of one caller, against the contract's model (`contract/`) and the real server.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use token_registry::config::Config;
use token_registry::proto::user_service_client::UserServiceClient;

use crate::contract::caller::{Caller, Outcome};
use crate::contract::check::{Verdict, check};
use crate::contract::history::{Event, NEVER};
use crate::contract::one_time::WINDOW_ATTEMPTS;
use crate::contract::program::{Known, Theme};
use crate::contract::shrink::shrink;
use crate::contract::timeline::timeline;
use crate::contract::words::{Call, KeyModel, Names};
use crate::support::Registry;
use crate::support::keys;

/// Servers on one database.
struct Servers {
    /// Makes API keys with a prefix, and answers whatever any server does.
    prefixed: Registry,
    /// Makes those of 40 digits.
    drf: Registry,
}

impl Servers {
    /// Configured as the model has it, but for a change.
    async fn start(change: impl Fn(&mut Config)) -> Self {
        let as_the_model = |config: &mut Config| {
            config.generic_tokens.window_attempts = u32::try_from(WINDOW_ATTEMPTS).unwrap();
            change(config);
        };
        let prefixed = Registry::start_with(|config| {
            keys::prefixed(config);
            as_the_model(config);
        })
        .await;
        let drf = Registry::on(&prefixed.database_url, as_the_model).await;
        Self { prefixed, drf }
    }

    /// A caller of each; there is one channel to each for all programs.
    fn callers(&self, user_id: &str, names: &Arc<Mutex<Names>>) -> [Caller; 2] {
        [&self.prefixed, &self.drf].map(|registry| Caller {
            whitelist: registry.whitelist.clone(),
            generic: registry.generic.clone(),
            auth: registry.auth.clone(),
            users: UserServiceClient::clone(&registry.users),
            ..Caller::new(crate::support::channel(registry.address), user_id, names)
        })
    }
}

/// Runs a program, a call after the other; each number says a call. Answers its history.
async fn run(
    servers: &Servers,
    user_id: &str,
    theme: Theme,
    program: &[u64],
) -> (Vec<Event>, Arc<Mutex<Names>>) {
    let names = Arc::<Mutex<Names>>::default();
    let [prefixed, drf] = servers.callers(user_id, &names);
    let mut known = Known::of_servers(vec![KeyModel::Prefixed, KeyModel::Drf]);
    let mut history = Vec::new();
    for (n, seed) in (0..).zip(program) {
        let mut rng = StdRng::seed_from_u64(*seed);
        let call = known.next(theme, &mut rng, &mut names.lock().unwrap());
        let caller = if call.model() == Some(KeyModel::Drf) { &drf } else { &prefixed };
        let outcome = caller.call(&call).await;
        let Outcome::Answered(answer) = outcome else { panic!("{call:?} was answered {outcome:?}") };
        known.learn(&call, &answer);
        history.push(Event { who: 0, call, answer: Some(answer), began: 2 * n, ended: 2 * n + 1 });
    }
    // Whatever went wrong unseen is seen now.
    let mut questions = vec![Call::GetUser, Call::ListSessions, Call::ListKeys];
    questions.extend(Known::purposes().map(|purpose| Call::ListTokens { purpose }));
    for (n, call) in (2 * program.len() as u64..).step_by(2).zip(questions) {
        let outcome = prefixed.call(&call).await;
        let Outcome::Answered(answer) = outcome else { panic!("{call:?} was answered {outcome:?}") };
        history.push(Event { who: 0, call, answer: Some(answer), began: n, ended: n + 1 });
    }
    (history, names)
}

/// Runs random programs against servers that are configured as the model has it, but for a change.
fn compare(change: impl Fn(&mut Config), config: proptest::test_runner::Config) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let servers = runtime.block_on(Servers::start(change));
    let themes = prop::sample::select(Theme::ALL.to_vec());
    let programs = prop::collection::vec(any::<u64>(), 1..120);
    let users = AtomicUsize::new(0);
    let outcome = TestRunner::new(config).run(&(themes, programs), |(theme, program)| {
        let user = users.fetch_add(1, Relaxed);
        let (history, names) = runtime.block_on(run(&servers, &format!("user-{user}"), theme, &program));
        let verdict = check(&history);
        if verdict == Verdict::Allowed {
            return Ok(());
        }
        let shrunk = shrink(&history, NEVER);
        let told = timeline(&shrunk.essence, &names.lock().unwrap());
        Err(TestCaseError::fail(format!("{verdict:?}:\n{told}")))
    });
    outcome.map_err(|failure| failure.to_string())
}

#[test]
fn the_server_answers_random_programs_as_the_contract_says() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24);
    let config = proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() };
    compare(|_| {}, config).unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_server_that_differs_in_a_rule_is_found() {
    let config = || proptest::test_runner::Config {
        cases: 100,
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Default::default()
    };
    // Every predecessor is a replay at once.
    let strict = compare(|server| server.rotation_grace = Duration::ZERO, config());
    assert!(strict.is_err(), "no program met the grace");
    // Fewer guesses.
    let fewer = compare(|server| server.generic_tokens.window_attempts = 2, config());
    assert!(fewer.is_err(), "no program guessed so often");
    // Nobody is made known by what is done for them.
    let known = compare(|server| server.require_known_users = true, config());
    assert!(known.is_err(), "no program began with a user who wasn't known");
}
