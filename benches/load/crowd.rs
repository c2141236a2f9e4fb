//! How much it matters over how many connections requests come, and how many others are open beside them.

use crate::Failure;
use crate::compare::{rates, ratio};
use crate::generator::{Load, Order};
use crate::process::Generator;
use crate::requests::Method;
use crate::stage::{Bench, Contestant, Stage};
use crate::table::Goal::AtLeast;
use crate::table::Row;

/// Connections by which the 256 requests come; fewer can't carry them.
pub const BUSY: [usize; 3] = [4, 64, 256];
/// Connections beside four busy ones, each of which has asked once.
pub const IDLE: [usize; 2] = [1000, 10_000];

/// What a measurement is called.
pub fn name(connections: usize) -> String {
    format!("Check at 256 with {connections} connections")
}

pub fn crowd(bench: &mut Bench, stage: &mut Stage) -> Result<Vec<Row>, Failure> {
    if !bench.plan.wants(&["crowd"]) {
        return Ok(Vec::new());
    }
    let mut bystander = Generator::start(&stage.filled, false)?;
    let address = stage.server.ready.registry;
    let load = bench.load(stage, Contestant::Server(Method::Check, 256)).ok_or("a server takes load")?;
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for round in 1..=bench.plan.rounds {
        for connections in BUSY {
            let outcome = stage.generator.load(Load { connections, ..load })?;
            bench.keep(name(connections), stage.filled.sessions, round, &outcome, None);
            if connections == load.connections {
                few.push(outcome);
            }
        }
        for connections in IDLE {
            bystander.order(&Order::Idle { address, connections })?;
            let outcome = stage.generator.load(load)?;
            bench.keep(name(connections), stage.filled.sessions, round, &outcome, None);
            if connections == IDLE[IDLE.len() - 1] {
                many.push(outcome);
            }
        }
        bystander.order(&Order::Idle { address, connections: 0 })?;
    }
    let what =
        format!("CheckSession beside {} idle connections of the same beside none", IDLE[IDLE.len() - 1]);
    let row = Row::new("crowd", what, AtLeast(0.9), ratio(&many, &few, |outcome| outcome.rate));
    Ok(vec![row.detail(rates(&many, &few))])
}
