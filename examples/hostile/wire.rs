//! Random requests through the real server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt as _;

use crate::raw::call;
use crate::requests::Requests;
use crate::server::Server;
use crate::{Failure, memory};

/// Calls that are under way at once.
const AT_ONCE: u32 = 64;
/// How often it is told how far it came.
const TOLD_EVERY: Duration = Duration::from_secs(20);

/// Sends so many; answers how many were answered with a fault, or not at all.
pub async fn send(server: &Server, seed: u64, requests: u32) -> Result<usize, Failure> {
    let before = memory::resident(server.id());
    memory::peak(server.id());
    let began = Instant::now();
    let sent = Arc::new(AtomicU32::new(0));
    let telling = tokio::spawn(tell(Arc::clone(&sent), requests, server.id()));
    let mut callers = JoinSet::new();
    for caller in 0..AT_ONCE {
        let channel = Endpoint::from_shared(format!("http://{}", server.address))?.connect().await?;
        let share = requests / AT_ONCE + u32::from(caller < requests % AT_ONCE);
        callers.spawn(call_all(
            channel,
            seed.wrapping_mul(AT_ONCE.into()).wrapping_add(caller.into()),
            share,
            Arc::clone(&sent),
        ));
    }
    let (mut seen, mut faults) = (BTreeMap::<String, u64>::new(), Vec::new());
    for (answers, mut broken) in callers.join_all().await {
        for (what, times) in answers {
            *seen.entry(what).or_default() += times;
        }
        faults.append(&mut broken);
    }
    telling.abort();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "\n{requests} random requests through the server, seed {seed}: {seconds:.1} s, {:.0} a second",
        f64::from(requests) / seconds
    );
    println!(
        "memory: {} MiB before, {} MiB at most, {} MiB after; panics: {}",
        before >> 20,
        memory::peak(server.id()) >> 20,
        memory::resident(server.id()) >> 20,
        server.panics(),
    );
    println!("\n| answer | times |\n|---|---|");
    for (what, times) in seen {
        println!("| {what} | {times} |");
    }
    for fault in faults.iter().take(20) {
        println!("FAULT {fault}");
    }
    Ok(faults.len() + server.panics())
}

/// Tells how many were sent, and what memory the server has by then.
async fn tell(sent: Arc<AtomicU32>, requests: u32, server: u32) {
    loop {
        sleep(TOLD_EVERY).await;
        eprintln!("{} of {requests} sent, {} MiB", sent.load(Relaxed), memory::resident(server) >> 20);
    }
}

async fn call_all(
    channel: Channel,
    seed: u64,
    requests: u32,
    sent: Arc<AtomicU32>,
) -> (BTreeMap<String, u64>, Vec<String>) {
    let mut random = Requests::new(seed);
    let (mut seen, mut faults) = (BTreeMap::new(), Vec::new());
    for _ in 0..requests {
        let (n, request) = random.next();
        let path = &random.methods[n].path;
        let what = match call(&channel, path, request.clone()).await {
            Ok(_) => "OK".to_owned(),
            Err(status) => {
                let reason = status.get_details_error_info().map(|info| info.reason);
                let is_expected = !matches!(
                    status.code(),
                    Code::Internal | Code::Unknown | Code::DataLoss | Code::Cancelled
                );
                if !is_expected || reason.is_none() {
                    faults.push(format!("{path} {request:?}: {status:?}"));
                }
                format!("{:?} {}", status.code(), reason.unwrap_or_default())
            }
        };
        *seen.entry(what).or_default() += 1;
        sent.fetch_add(1, Relaxed);
    }
    (seen, faults)
}
