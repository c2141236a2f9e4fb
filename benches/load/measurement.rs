//! What was measured.

use serde::Serialize;

use crate::cpu::Cpu;
use crate::generator::Outcome;

/// One measurement, as the JSON file has it.
#[derive(Debug, Serialize)]
pub struct Measurement {
    pub who: String,
    pub sessions: u64,
    pub round: u32,
    #[serde(flatten)]
    pub outcome: Outcome,
    pub cpu: Option<Cpu>,
}
