//! pgbench, the rival: PostgreSQL's own benchmark, in C, which does no gRPC at all.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Failure;
use crate::cluster::Filled;
use crate::generator::Outcome;
use crate::scripts::{Script, variables};

/// Numbers of clients of which the best counts.
pub const CLIENTS: [u32; 4] = [1, 4, 16, 64];

/// pgbench with a directory for its files, which goes with it.
pub struct Pgbench {
    program: PathBuf,
    directory: PathBuf,
    runs: u64,
    /// One-time tokens that a run may consume.
    pub secrets_a_run: u64,
    secrets_used: u64,
    /// One-time tokens that earlier runs consumed.
    consumed: u64,
}

impl Pgbench {
    pub fn new(program: PathBuf, secrets_a_run: u64) -> Result<Self, Failure> {
        let directory = std::env::temp_dir().join(format!("token-registry-load-{}", std::process::id()));
        fs::create_dir(&directory)?;
        Ok(Self { program, directory, runs: 0, secrets_a_run, secrets_used: 0, consumed: 0 })
    }

    /// Runs a script.
    pub async fn run(
        &mut self,
        script: Script,
        filled: &Filled,
        clients: u32,
        seconds: u32,
    ) -> Result<Outcome, Failure> {
        self.runs += 1;
        let file = self.directory.join("script.sql");
        fs::write(&file, script.text()?)?;
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.args(["--no-vacuum", "--protocol=prepared"]).current_dir(&self.directory);
        command.arg(format!("--client={clients}")).arg(format!("--jobs={}", clients.min(2)));
        command.arg(format!("--time={seconds}")).arg("--file").arg(&file);
        if clients == 1 {
            // A line a transaction. With more clients only the rate counts, which the log would lessen.
            command.arg("--log");
        }
        let numbers = [
            ("turn", 0),
            ("run", self.runs),
            ("clients", clients.into()),
            ("sessions", filled.sessions),
            ("first", self.secrets_used),
        ];
        for variable in
            numbers.map(|(name, number)| format!("{name}={number}")).into_iter().chain(variables())
        {
            command.arg("--define").arg(variable);
        }
        let output = command.arg(&filled.database.url).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(format!("pgbench failed: {said}{}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let number = |before: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(before));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse::<f64>().ok())
                .ok_or_else(|| format!("pgbench doesn't say {before}"))
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a count")]
        let transactions = number("number of transactions actually processed: ")? as u64;
        // Of nothing it tells no rate: on a crowded machine a second may pass before all its clients are connected.
        let rate = if transactions > 0 { number("tps = ")? } else { 0.0 };
        let outcome = Outcome { rate, answered: transactions, ..self.latencies()? };
        self.check(script, filled, &outcome).await?;
        Ok(outcome)
    }

    /// Holds pgbench to what it says: a statement that changes nothing would be quick, and no rival.
    async fn check(&mut self, script: Script, filled: &Filled, outcome: &Outcome) -> Result<(), Failure> {
        if script == Script::Consume {
            self.secrets_used += self.secrets_a_run;
            if outcome.answered > self.secrets_a_run {
                return Err("pgbench consumed more one-time tokens than there were for it".into());
            }
            // Its digests are shorter than those of servers.
            let sql =
                "select count(*) from generic_tokens where consumed_at is not null and length(digest) < 32";
            let consumed: i64 = filled.client.query_one(sql, &[]).await?.get(0);
            let consumed = u64::try_from(consumed)?;
            if consumed - self.consumed < outcome.answered {
                return Err("pgbench consumed one-time tokens that weren't there".into());
            }
            self.consumed = consumed;
        }
        let Some(undo) = script.undo().filter(|_| outcome.answered > 0) else { return Ok(()) };
        let done: i64 = filled.client.query_one(&undo, &[]).await?.get(0);
        if script == Script::Seed {
            filled.client.batch_execute("vacuum seed_token").await?;
            let rows: i64 = filled.client.query_one("select count(*) from seed_token", &[]).await?.get(0);
            // Of several rotations of one session only the last row is left to be counted.
            let right = done > 0 && u64::try_from(rows)? == filled.sessions;
            return if right { Ok(()) } else { Err("pgbench didn't rotate in the seed's way".into()) };
        }
        if u64::try_from(done)? < outcome.answered {
            return Err(format!("pgbench counts {} rotations, and {done} happened", outcome.answered).into());
        }
        Ok(())
    }

    /// Reads the latencies from the logs, and removes them.
    fn latencies(&self) -> Result<Outcome, Failure> {
        let mut latencies = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pgbench_log")) {
                // `client number microseconds …`
                for line in fs::read_to_string(&path)?.lines() {
                    let word = line.split_ascii_whitespace().nth(2).unwrap_or_default();
                    latencies.push(word.parse::<f64>()?);
                }
                fs::remove_file(path)?;
            }
        }
        latencies.sort_unstable_by(f64::total_cmp);
        let at = |per_mille: usize| {
            let place = latencies.len().saturating_sub(1) * per_mille / 1000;
            latencies.get(place).copied().unwrap_or_default()
        };
        Ok(Outcome {
            p50: at(500),
            p90: at(900),
            p99: at(990),
            p999: at(999),
            max: at(1000),
            ..Outcome::default()
        })
    }
}

impl Drop for Pgbench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
