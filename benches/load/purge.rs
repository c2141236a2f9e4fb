//! Whether calls notice a purge that goes on beside them.

use std::time::Duration;

use token_registry::proto::PurgeExpiredRequest;
use token_registry::proto::maintenance_service_client::MaintenanceServiceClient;

use crate::Failure;
use crate::cluster::Cluster;
use crate::compare::ratio;
use crate::generator::Outcome;
use crate::process::Server;
use crate::requests::Method;
use crate::spread::Spread;
use crate::stage::{Bench, Stage};
use crate::table::Goal::AtMost;
use crate::table::Row;

/// Calls at half of their best rate, in turns with a purge and without, on a database where as many sessions have been
/// over for long as are alive.
pub async fn purge(bench: &mut Bench, cluster: &Cluster) -> Result<Vec<Row>, Failure> {
    if !bench.plan.wants(&["purge-check", "purge-rotate"]) {
        return Ok(Vec::new());
    }
    let sessions = bench.plan.sessions;
    let mut stage = Stage::set(cluster, sessions, 0, false, false).await?;
    stage.filled.add_sessions_that_are_over(sessions).await?;
    let mut purge = Purge { place: String::new(), gone: 0 };
    let mut rows = Vec::new();
    for (name, method, called) in [
        ("purge-check", Method::Check, "CheckSession"),
        ("purge-rotate", Method::Rotate, "RotateRefreshToken"),
    ] {
        if !bench.plan.wants(&[name]) {
            continue;
        }
        let rate = bench.best_rate(&mut stage, method).await? / 2.0;
        let load = bench.open_load(&stage, method, rate)?;
        let (mut without, mut with) = (Vec::new(), Vec::new());
        let before = purge.gone;
        for round in 1..=bench.plan.rounds {
            let outcome = stage.generator.load(load)?;
            bench.keep(format!("{method:?} without a purge"), sessions, round, &outcome, None);
            without.push(outcome);
            let purging = purge.begin(&stage.server, load.warm_up + load.length);
            let outcome = stage.generator.load(load)?;
            purge = purging.await??;
            bench.keep(format!("{method:?} beside a purge"), sessions, round, &outcome, None);
            with.push(outcome);
        }
        let what = format!("p99 of {called} at half its best rate beside a purge, of without");
        let gone = purge.gone - before;
        let p99 =
            |outcomes: &[Outcome]| Spread::of(outcomes.iter().map(|outcome| outcome.p99 / 1000.0)).median;
        let each = (load.warm_up + load.length) * bench.plan.rounds;
        rows.push(Row::new(name, what, AtMost(1.5), ratio(&with, &without, |outcome| outcome.p99)).detail(format!(
            "{:.2} ms against {:.2} ms at {rate:.0}/s; {gone} of {sessions} sessions that were over went in {:.0} s",
            p99(&with),
            p99(&without),
            each.as_secs_f64()
        )));
    }
    Ok(rows)
}

/// A purge, as far as it has come.
struct Purge {
    /// The page token to go on with.
    place: String,
    /// How many sessions it has removed.
    gone: i64,
}

impl Purge {
    /// Goes on for so long.
    fn begin(self, server: &Server, length: Duration) -> tokio::task::JoinHandle<Result<Self, Failure>> {
        let url = format!("http://{}", server.ready.registry);
        tokio::spawn(async move {
            let mut client = MaintenanceServiceClient::connect(url).await?;
            let request = PurgeExpiredRequest { apply: true, page_token: self.place, ..Default::default() };
            let mut request = tonic::Request::new(request);
            // A call purges for half of the time that it has.
            request.set_timeout(length * 2);
            let purged = client.purge_expired(request).await?.into_inner();
            if purged.next_page_token.is_empty() {
                return Err("the purge was through before the calls were: measure for a shorter time, or with more sessions".into());
            }
            let gone = self.gone + purged.counts.unwrap_or_default().sessions;
            Ok(Self { place: purged.next_page_token, gone })
        })
    }
}
