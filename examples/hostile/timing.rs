//! Right, wrong and unknown values, in turns: how long each takes. Figures to look at and no test, since a machine's
//! noise is larger than what is looked for: an answer that tells by its time what it doesn't tell by its words.

use std::mem::discriminant;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use token_registry::proto::auth_token_service_client::AuthTokenServiceClient;
use token_registry::proto::generic_token_service_client::GenericTokenServiceClient;
use token_registry::proto::whitelist_service_client::WhitelistServiceClient;
use token_registry::proto::{
    AddRefreshTokenRequest, AuthenticateAuthTokenRequest, CheckGenericTokenRequest, CheckRefreshTokenRequest,
    CheckSessionRequest, ConsumeGenericTokenRequest, CreateAuthTokenRequest, IssueGenericTokenRequest,
};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::Failure;
use crate::server::Server;

/// Questions to warm up with.
const WARM_UP: usize = 50;

/// A question.
enum Ask {
    Secret(CheckGenericTokenRequest),
    Code(ConsumeGenericTokenRequest),
    Session(CheckSessionRequest),
    Jti(CheckRefreshTokenRequest),
    Key(AuthenticateAuthTokenRequest),
}

/// One kind of question, and what it took each time, in microseconds. Those of one method are compared with its first.
struct Kind {
    name: &'static str,
    ask: Ask,
    took: Vec<f64>,
}

struct Clients {
    generic: GenericTokenServiceClient<Channel>,
    whitelist: WhitelistServiceClient<Channel>,
    auth: AuthTokenServiceClient<Channel>,
}

impl Clients {
    /// What is answered is tested elsewhere, but for faults.
    async fn ask(&mut self, ask: &Ask) -> Result<(), Failure> {
        let refused = match ask {
            Ask::Secret(request) => self.generic.check_generic_token(request.clone()).await.err(),
            Ask::Code(request) => self.generic.consume_generic_token(request.clone()).await.err(),
            Ask::Session(request) => self.whitelist.check_session(request.clone()).await.err(),
            Ask::Jti(request) => self.whitelist.check_refresh_token(request.clone()).await.err(),
            Ask::Key(request) => self.auth.authenticate_auth_token(request.clone()).await.err(),
        };
        match refused {
            Some(status) if status.code() != Code::NotFound => Err(status.into()),
            _ => Ok(()),
        }
    }
}

/// Asks each kind so many times, in turns whose order is drawn anew each time, and prints a table.
pub async fn compare(server: &Server, rounds: u32, seed: u64) -> Result<(), Failure> {
    let channel = Endpoint::from_shared(format!("http://{}", server.address))?.connect().await?;
    let mut clients = Clients {
        generic: GenericTokenServiceClient::new(channel.clone()),
        whitelist: WhitelistServiceClient::new(channel.clone()),
        auth: AuthTokenServiceClient::new(channel),
    };
    let mut kinds = prepare(&mut clients).await?;
    let mut random = StdRng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..kinds.len()).collect();
    for round in 0..WARM_UP + usize::try_from(rounds)? {
        order.shuffle(&mut random);
        for n in &order {
            let began = Instant::now();
            clients.ask(&kinds[*n].ask).await?;
            if round >= WARM_UP {
                kinds[*n].took.push(began.elapsed().as_secs_f64() * 1e6);
            }
        }
    }
    println!(
        "\nMicroseconds, {rounds} times in turns. The difference is that to the first of the same method in the"
    );
    println!("same turn: its median, and where that lies with a probability of 95 %.\n");
    println!("| question | p50 | difference | between |\n|---|---|---|---|");
    for kind in &kinds {
        let first = kinds.iter().find(|other| discriminant(&other.ask) == discriminant(&kind.ask));
        let first = first.map_or(&kind.took, |first| &first.took);
        let (median, ..) = spread(kind.took.clone());
        let (difference, low, high) = spread(kind.took.iter().zip(first).map(|(a, b)| a - b).collect());
        println!("| {} | {median:.1} | {difference:+.1} | {low:+.1} and {high:+.1} |", kind.name);
    }
    Ok(())
}

/// The median, and the interval that has it with a probability of 95 %, whatever the distribution.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "places in a list"
)]
fn spread(mut took: Vec<f64>) -> (f64, f64, f64) {
    took.sort_unstable_by(f64::total_cmp);
    let (last, half) = (took.len().saturating_sub(1), took.len() as f64 / 2.0);
    let around = 0.98 * (took.len() as f64).sqrt();
    let at = |place: f64| took.get((place.max(0.0) as usize).min(last)).copied().unwrap_or_default();
    (at(half), at(half - around), at(half + around))
}

/// Makes a session, a secret and a key of a user, and the questions about them.
async fn prepare(clients: &mut Clients) -> Result<Vec<Kind>, Failure> {
    let (user_id, session) = ("ada", "laptop");
    let add = AddRefreshTokenRequest {
        user_id: user_id.into(),
        session: session.into(),
        jti: "one".into(),
        ..Default::default()
    };
    clients.whitelist.add_refresh_token(add).await?;
    let issue =
        IssueGenericTokenRequest { user_id: user_id.into(), purpose: "secret".into(), ..Default::default() };
    let value = clients.generic.issue_generic_token(issue).await?.into_inner().value;
    let create = CreateAuthTokenRequest { user_id: user_id.into(), ..Default::default() };
    let key = clients.auth.create_auth_token(create).await?.into_inner().key;

    let secret = |purpose: &str, value: &str| {
        Ask::Secret(CheckGenericTokenRequest { purpose: purpose.into(), value: value.into(), user_id: None })
    };
    let code = |user_id: &str| {
        Ask::Code(ConsumeGenericTokenRequest {
            purpose: "code".into(),
            value: "123456".into(),
            user_id: Some(user_id.into()),
            ..Default::default()
        })
    };
    let asked = |user_id: &str, session: &str| {
        Ask::Session(CheckSessionRequest { user_id: user_id.into(), session: session.into() })
    };
    let jti = |user_id: &str, jti: &str| {
        Ask::Jti(CheckRefreshTokenRequest {
            user_id: user_id.into(),
            session: session.into(),
            jti: jti.into(),
        })
    };
    let presented = |key: &str| Ask::Key(AuthenticateAuthTokenRequest { key: key.into() });
    // As long as the right one; other in all, from its first or from its last character on.
    let first = |right: &str| format!("{}{}", other(&right[..1]), &right[1..]);
    let last = |right: &str| format!("{}{}", &right[..right.len() - 1], other(&right[right.len() - 1..]));
    let hex: String =
        (0..40).map(|_| char::from(b"0123456789abcdef"[rand::rng().random_range(0..16)])).collect();
    let kinds = [
        ("secret: unknown", secret("secret", &"A".repeat(value.len()))),
        ("secret: wrong in its first character", secret("secret", &first(&value))),
        ("secret: wrong in its last character", secret("secret", &last(&value))),
        ("secret: right, of another purpose", secret("other", &value)),
        ("secret: right", secret("secret", &value)),
        ("code: of a user who is none", code("nobody")),
        ("code: of a user who has none", code(user_id)),
        ("session: of a user who is none", asked("nobody", session)),
        ("session: of another user", asked("ben", session)),
        ("session: unknown", asked(user_id, "nowhere")),
        ("session: right", asked(user_id, session)),
        ("jti: of a user who is none", jti("nobody", "one")),
        ("jti: wrong", jti(user_id, "two")),
        ("jti: right", jti(user_id, "one")),
        ("key: unknown", presented(&hex)),
        ("key: wrong in its first character", presented(&first(&key))),
        ("key: wrong in its last character, with the right prefix", presented(&last(&key))),
        ("key: malformed", presented("no key")),
        ("key: right", presented(&key)),
    ];
    Ok(kinds.map(|(name, ask)| Kind { name, ask, took: Vec::new() }).into())
}

/// Another character than this, which a secret and a key may have.
fn other(character: &str) -> &'static str {
    if character == "a" { "b" } else { "a" }
}
