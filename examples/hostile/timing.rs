//! Right, wrong and unknown values, in turns: how long each takes. Figures to look at, since a machine's noise is larger
//! than what is looked for: an answer that tells by its time what it doesn't tell by its words.

use std::time::{Duration, Instant};

use token_registry::proto::generic_token_service_client::GenericTokenServiceClient;
use token_registry::proto::whitelist_service_client::WhitelistServiceClient;
use token_registry::proto::{
    AddRefreshTokenRequest, CheckGenericTokenRequest, CheckRefreshTokenRequest, ConsumeGenericTokenRequest,
    IssueGenericTokenRequest,
};
use tonic::transport::{Channel, Endpoint};

use crate::Failure;
use crate::server::Server;

/// One kind of question, and what it took each time.
struct Kind {
    name: &'static str,
    took: Vec<Duration>,
}

/// Asks each kind so many times, in turns.
pub async fn compare(server: &Server, rounds: u32) -> Result<(), Failure> {
    let channel = Endpoint::from_shared(format!("http://{}", server.address))?.connect().await?;
    let value = prepare(&channel).await?;
    // As long as the right one, and other from its first, or from its last character on.
    let first = format!("{}{}", other(&value[..1]), &value[1..]);
    let last = format!("{}{}", &value[..value.len() - 1], other(&value[value.len() - 1..]));
    let unknown = "A".repeat(value.len());
    let secret = |purpose: &str, value: &str| CheckGenericTokenRequest {
        purpose: purpose.into(),
        value: value.into(),
        user_id: None,
    };
    let code = |user_id: &str, value: &str| ConsumeGenericTokenRequest {
        purpose: "code".into(),
        value: value.into(),
        user_id: Some(user_id.into()),
        ..Default::default()
    };
    let jti = |user_id: &str, jti: &str| CheckRefreshTokenRequest {
        user_id: user_id.into(),
        session: "laptop".into(),
        jti: jti.into(),
    };
    let names = [
        "check a secret: right",
        "check a secret: wrong in its first character",
        "check a secret: wrong in its last character",
        "check a secret: unknown",
        "check a secret: right, of another purpose",
        "consume a code: of a user who has none",
        "consume a code: of a user who is none",
        "check a jti: right",
        "check a jti: wrong",
        "check a jti: of a user who is none",
    ];
    let mut kinds = names.map(|name| Kind { name, took: Vec::new() });
    let mut generic = GenericTokenServiceClient::new(channel.clone());
    let mut whitelist = WhitelistServiceClient::new(channel);
    for _ in 0..rounds {
        for (n, kind) in kinds.iter_mut().enumerate() {
            let began = Instant::now();
            // What is answered is tested elsewhere.
            let answered = match n {
                0 => generic.check_generic_token(secret("secret", &value)).await.err(),
                1 => generic.check_generic_token(secret("secret", &first)).await.err(),
                2 => generic.check_generic_token(secret("secret", &last)).await.err(),
                3 => generic.check_generic_token(secret("secret", &unknown)).await.err(),
                4 => generic.check_generic_token(secret("other", &value)).await.err(),
                5 => generic.consume_generic_token(code("ada", "123456")).await.err(),
                6 => generic.consume_generic_token(code("nobody", "123456")).await.err(),
                7 => whitelist.check_refresh_token(jti("ada", "one")).await.err(),
                8 => whitelist.check_refresh_token(jti("ada", "two")).await.err(),
                _ => whitelist.check_refresh_token(jti("nobody", "one")).await.err(),
            };
            if answered.is_some_and(|status| status.code() != tonic::Code::NotFound) {
                return Err(format!("{}: not answered as it should be", kind.name).into());
            }
            kind.took.push(began.elapsed());
        }
    }
    println!("\n| question, {rounds} times in turns | p25 | p50 | p75 |\n|---|---|---|---|");
    for kind in &mut kinds {
        kind.took.sort_unstable();
        let at = |percent: usize| kind.took[(kind.took.len() - 1) * percent / 100];
        println!("| {} | {:.1?} | {:.1?} | {:.1?} |", kind.name, at(25), at(50), at(75));
    }
    Ok(())
}

/// A session and a secret of a user; answers the secret.
async fn prepare(channel: &Channel) -> Result<String, Failure> {
    let add = AddRefreshTokenRequest {
        user_id: "ada".into(),
        session: "laptop".into(),
        jti: "one".into(),
        ..Default::default()
    };
    WhitelistServiceClient::new(channel.clone()).add_refresh_token(add).await?;
    let issue =
        IssueGenericTokenRequest { user_id: "ada".into(), purpose: "secret".into(), ..Default::default() };
    let issued = GenericTokenServiceClient::new(channel.clone()).issue_generic_token(issue).await?;
    Ok(issued.into_inner().value)
}

/// Another character than this.
fn other(character: &str) -> &'static str {
    if character == "x" { "y" } else { "x" }
}
