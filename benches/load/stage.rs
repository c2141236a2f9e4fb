//! A filled database with a registry on it and a load generator before it, and measurements that take turns.

use crate::cluster::{Cluster, Filled};
use crate::cpu::{Cpu, Moment};
use crate::generator::{CONNECTIONS, Load, Outcome};
use crate::measurement::Measurement;
use crate::options::Plan;
use crate::pgbench::{CLIENTS, Pgbench};
use crate::process::{Generator, Server};
use crate::requests::Method;
use crate::scripts::Script;
use crate::spread::Spread;
use crate::{Failure, progress};

/// Who is measured.
#[derive(Debug, Clone, Copy)]
pub enum Contestant {
    /// A method of the server, with so many requests in flight.
    Server(Method, usize),
    /// The same of a server that doesn't gather requests.
    Ungathered(Method, usize),
    /// A method of the echo, on a tonic server that has nothing else.
    Bare(Method, usize),
    /// A script of pgbench, with so many clients.
    Pgbench(Script, u32),
}

impl Contestant {
    pub fn name(self) -> String {
        match self {
            Self::Server(method, in_flight) => format!("{method:?} at {in_flight}"),
            Self::Ungathered(method, in_flight) => format!("{method:?} ungathered at {in_flight}"),
            Self::Bare(method, in_flight) => format!("{method:?} bare at {in_flight}"),
            Self::Pgbench(script, clients) => format!("pgbench {script:?}, {clients} clients"),
        }
    }
}

/// A database, a server and a generator.
pub struct Stage {
    pub filled: Filled,
    pub server: Server,
    pub ungathered: Option<Server>,
    pub generator: Generator,
}

impl Stage {
    pub async fn set(
        cluster: &Cluster,
        sessions: u64,
        secrets: u64,
        seed: bool,
        rotate_all: bool,
    ) -> Result<Self, Failure> {
        let filled = cluster.fill(sessions, secrets, seed).await?;
        let server = Server::start(&filled, false)?;
        let ungathered = if server.ready.gathered { Some(Server::start(&filled, true)?) } else { None };
        let generator = Generator::start(&filled, rotate_all)?;
        Ok(Self { filled, server, ungathered, generator })
    }
}

/// What measures, and keeps all that was measured.
pub struct Bench {
    pub plan: Plan,
    pub pgbench: Pgbench,
    pub measurements: Vec<Measurement>,
}

impl Bench {
    pub fn load(&self, stage: &Stage, contestant: Contestant) -> Option<Load> {
        let (address, method, in_flight) = match contestant {
            Contestant::Server(method, in_flight) => (stage.server.ready.registry, method, in_flight),
            Contestant::Bare(method, in_flight) => (stage.server.ready.bare, method, in_flight),
            Contestant::Ungathered(method, in_flight) => {
                let server = stage.ungathered.as_ref().unwrap_or(&stage.server);
                (server.ready.registry, method, in_flight)
            }
            Contestant::Pgbench(..) => return None,
        };
        let (warm_up, length) = (self.plan.warm_up(), self.plan.length());
        Some(Load {
            address,
            others: [None; 2],
            method,
            connections: CONNECTIONS,
            in_flight,
            rate: None,
            warm_up,
            length,
            limit: None,
            overload: false,
        })
    }

    /// How many requests a second the server answers at best.
    pub async fn best_rate(&mut self, stage: &mut Stage, method: Method) -> Result<f64, Failure> {
        let at_best = Contestant::Server(method, 256);
        if self.known(at_best, stage.filled.sessions).next().is_none() {
            self.measure(stage, at_best, 0).await?;
        }
        let rates = self.known(at_best, stage.filled.sessions).map(|known| known.outcome.rate);
        Ok(Spread::of(rates).median)
    }

    /// So many requests a second, whether answers come or not.
    pub fn open_load(&self, stage: &Stage, method: Method, rate: f64) -> Result<Load, Failure> {
        let load = self.load(stage, Contestant::Server(method, 0)).ok_or("a server takes load")?;
        Ok(Load { rate: Some(rate), ..load })
    }

    pub async fn measure(
        &mut self,
        stage: &mut Stage,
        contestant: Contestant,
        round: u32,
    ) -> Result<Outcome, Failure> {
        let server = match contestant {
            Contestant::Ungathered(..) => stage.ungathered.as_ref().unwrap_or(&stage.server).id(),
            _ => stage.server.id(),
        };
        let (generator, backend) = (stage.generator.id(), stage.filled.backend);
        let before = Moment::now(server, generator, backend);
        let outcome = match (contestant, self.load(stage, contestant)) {
            (_, Some(load)) => stage.generator.load(load)?,
            (Contestant::Pgbench(script, clients), None) => {
                self.pgbench.run(script, &stage.filled, clients, self.plan.seconds).await?
            }
            (_, None) => return Err("only pgbench needs no load".into()),
        };
        let cpu = before.until(&Moment::now(server, generator, backend), outcome.answered);
        // pgbench's connections are closed and its processes gone: what they took isn't known.
        let cpu = cpu.filter(|_| !matches!(contestant, Contestant::Pgbench(..)));
        self.keep(contestant.name(), stage.filled.sessions, round, &outcome, cpu);
        Ok(outcome)
    }

    pub fn keep(&mut self, who: String, sessions: u64, round: u32, outcome: &Outcome, cpu: Option<Cpu>) {
        let errors = if outcome.errors > 0 { format!(", {} ERRORS", outcome.errors) } else { String::new() };
        let latency = if outcome.p50 > 0.0 { format!(", p50 {:.0} µs", outcome.p50) } else { String::new() };
        progress(&format!("{who}: {:.0}/s{latency}{errors}", outcome.rate));
        self.measurements.push(Measurement { who, sessions, round, outcome: outcome.clone(), cpu });
    }

    /// Lets them take turns: a round is one measurement of each. Answers the outcomes of each, one a round.
    pub async fn turns<const N: usize>(
        &mut self,
        stage: &mut Stage,
        contestants: [Contestant; N],
    ) -> Result<[Vec<Outcome>; N], Failure> {
        let mut outcomes = [const { Vec::new() }; N];
        for round in 1..=self.plan.rounds {
            for (contestant, outcomes) in contestants.into_iter().zip(&mut outcomes) {
                outcomes.push(self.measure(stage, contestant, round).await?);
            }
        }
        Ok(outcomes)
    }

    /// What was measured of them before.
    pub fn known(&self, contestant: Contestant, sessions: u64) -> impl Iterator<Item = &Measurement> {
        let who = contestant.name();
        self.measurements.iter().filter(move |known| known.who == who && known.sessions == sessions)
    }

    /// The number of clients with which pgbench is quickest.
    pub async fn best(&mut self, stage: &mut Stage, script: Script) -> Result<Contestant, Failure> {
        let mut best = (0.0, Contestant::Pgbench(script, 1));
        for clients in CLIENTS {
            let contestant = Contestant::Pgbench(script, clients);
            let rate = self.measure(stage, contestant, 0).await?.rate;
            if rate > best.0 {
                best = (rate, contestant);
            }
        }
        Ok(best.1)
    }
}
