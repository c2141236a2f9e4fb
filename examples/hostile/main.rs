//! `cargo run --release --example hostile`: hostile input and hostile peers against the real server, and what it made of
//! them. It starts a PostgreSQL and servers of its own. `-- --help` tells the options.

#[path = "../../tests/hostile/attacks.rs"]
mod attacks;
#[path = "../../tests/hostile/good_client.rs"]
mod good_client;
#[path = "../../tests/hostile/http2.rs"]
mod http2;
mod input;
#[path = "../../tests/hostile/memory.rs"]
mod memory;
// The tests' own.
#[path = "../../tests/support/postgres/mod.rs"]
#[allow(dead_code, reason = "a part of what the tests do")]
mod postgres;
#[path = "../../tests/support/raw.rs"]
#[allow(dead_code, reason = "a part of what the tests do")]
mod raw;
#[path = "../../tests/hostile/report.rs"]
mod report;
#[path = "../../tests/hostile/requests.rs"]
mod requests;
mod server;
#[path = "../../fuzz/targets.rs"]
mod targets;
mod timing;
mod wire;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use good_client::GoodClient;
use server::Server;

/// Why it can't go on.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Hostile input and hostile peers against the registry. What is found is printed, and ends in an exit code of 1.
#[derive(Parser)]
struct Options {
    /// Inputs of every fuzz target, in this process and without a database.
    #[arg(long, default_value_t = 100_000)]
    inputs: u32,
    /// Random requests through the real server.
    #[arg(long, default_value_t = 100_000)]
    requests: u32,
    /// Seconds of each attack on HTTP/2.
    #[arg(long, default_value_t = 5)]
    attack_seconds: u64,
    /// Rounds of the comparison of right, wrong and unknown values in time.
    #[arg(long, default_value_t = 1000)]
    timing_rounds: u32,
    /// Only that comparison.
    #[arg(long)]
    timing: bool,
    /// Where the random inputs begin: the same seed gives the same inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    // The servers are processes of the same program, which run the same code as the binary.
    if std::env::args_os().nth(1).is_some_and(|first| first == "serve") {
        return token_registry::cli::run(["token-registry", "serve"].map(Into::into));
    }
    let options = Options::parse();
    match run(&options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(found) => {
            eprintln!("hostile: {found} broken promises; see above");
            ExitCode::FAILURE
        }
        Err(failure) => {
            eprintln!("hostile: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// All of it; answers how many promises were broken.
fn run(options: &Options) -> Result<usize, Failure> {
    let mut broken = 0;
    if options.inputs > 0 && !options.timing {
        input::fuzz(options.seed, options.inputs);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let cluster = postgres::Cluster::start(postgres::FAST);
    runtime.block_on(async {
        if options.requests > 0 && !options.timing {
            let server = Server::start(&cluster).await?;
            broken += wire::send(&server, options.seed, options.requests).await?;
        }
        if options.attack_seconds > 0 && !options.timing {
            println!("\n{}", report::HEAD);
            for name in attacks::ALL {
                broken += attack(&cluster, *name, Duration::from_secs(options.attack_seconds)).await?;
            }
        }
        if options.timing_rounds > 0 {
            let server = Server::start(&cluster).await?;
            timing::compare(&server, options.timing_rounds, options.seed).await?;
        }
        Ok(broken)
    })
}

async fn attack(cluster: &postgres::Cluster, name: attacks::Name, time: Duration) -> Result<usize, Failure> {
    let server = Server::start(cluster).await?;
    // What a first call costs, whoever makes it.
    GoodClient::start(server.address).end().await;
    let before = memory::resident(server.id());
    memory::peak(server.id());
    let good = GoodClient::start(server.address);
    let done = attacks::run(name, server.address, time).await;
    let good = good.end().await;
    println!("{}", report::row(name.text(), done, &good, [before, memory::peak(server.id())]));
    for failed in &good.failed {
        println!("  the good client failed: {failed}");
    }
    Ok(good.failed.len() + server.panics())
}
