//! `stats`: what there is, counted.

use serde::Serialize;

use super::client::Connection;
use super::failure::Failure;
use super::output::{Output, Show, cell, columns, state, timestamp, word};
use crate::proto::{GetStatisticsRequest, GetStatisticsResponse};

#[derive(clap::Args)]
pub(super) struct Stats {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(stats: Stats) -> Result<(), Failure> {
    let client = stats.connection.open().await?;
    let answer = client.maintenance().get_statistics(client.request(GetStatisticsRequest {})).await?;
    stats.output.show(&Statistics::from(answer.into_inner()));
    Ok(())
}

#[derive(Serialize)]
struct Statistics {
    as_of: Option<String>,
    /// In seconds; `null`: nothing is over.
    oldest_expired_age: Option<f64>,
    counts: Vec<Counted>,
    tables: Vec<Size>,
}

#[derive(Serialize)]
struct Counted {
    kind: String,
    state: String,
    /// `null` of what has no purpose.
    purpose: Option<String>,
    count: i64,
}

#[derive(Serialize)]
struct Size {
    table: String,
    total_bytes: i64,
    updates: i64,
    hot_updates: i64,
    hot_share: Option<f64>,
}

impl From<GetStatisticsResponse> for Statistics {
    fn from(answer: GetStatisticsResponse) -> Self {
        let counts = answer.counts.into_iter().map(|counted| Counted {
            kind: word(counted.kind().as_str_name(), "TOKEN_KIND_"),
            state: word(counted.state().as_str_name(), "TOKEN_STATE_"),
            count: counted.count,
            purpose: Some(counted.purpose).filter(|purpose| !purpose.is_empty()),
        });
        let age = answer.oldest_expired_age.and_then(|age| std::time::Duration::try_from(age).ok());
        Self {
            as_of: timestamp(answer.as_of),
            oldest_expired_age: age.map(|age| age.as_secs_f64()),
            counts: counts.collect(),
            tables: answer
                .tables
                .into_iter()
                .map(|table| Size {
                    table: table.table,
                    total_bytes: table.total_bytes,
                    updates: table.updates,
                    hot_updates: table.hot_updates,
                    hot_share: table.hot_share,
                })
                .collect(),
        }
    }
}

impl Show for Statistics {
    fn text(&self) -> String {
        let counts = columns(
            &["kind", "state", "purpose", "count"],
            self.counts.iter().map(|count| {
                vec![
                    cell(count.kind.clone()),
                    state(&count.state, None),
                    cell(count.purpose.clone()),
                    cell(count.count.to_string()),
                ]
            }),
        );
        let tables = columns(
            &["table", "bytes", "updates", "hot"],
            self.tables.iter().map(|table| {
                vec![
                    cell(table.table.clone()),
                    cell(table.total_bytes.to_string()),
                    cell(table.updates.to_string()),
                    cell(table.hot_share.map(|share| format!("{:.1} %", share * 100.0))),
                ]
            }),
        );
        let oldest = self.oldest_expired_age.map_or("nothing is over".to_owned(), |age| {
            let age = std::time::Duration::try_from_secs_f64(age.round()).unwrap_or_default();
            format!("over for longest: {}", humantime::format_duration(age))
        });
        let as_of = self.as_of.clone().unwrap_or_default();
        format!("{counts}\n{tables}\n{oldest}\nas of {as_of}\n")
    }
}
