//! Processor time, which says where it goes even where other programs take some of the machine.

use std::fs;

use serde::Serialize;

/// Linux counts processor time for `/proc` in hundredths of a second, on every machine.
const TICK_US: f64 = 10_000.0;

/// Processor time a request, in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cpu {
    pub server: f64,
    pub postgresql: f64,
    pub generator: f64,
}

/// Processor time of three programs at one moment. All 0 where there is no `/proc`.
pub struct Moment {
    server: u64,
    postgresql: Vec<(u32, u64)>,
    generator: u64,
}

impl Moment {
    /// `backend` is any of PostgreSQL's processes but the first.
    pub fn now(server: u32, generator: u32, backend: u32) -> Self {
        let parent = stat(backend).map_or(0, |stat| stat.parent);
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let postgresql = processes
            .filter_map(|id| stat(id).filter(|stat| stat.parent == parent).map(|stat| (id, stat.ticks)))
            .collect();
        let ticks = |id| stat(id).map_or(0, |stat| stat.ticks);
        Self { server: ticks(server), postgresql, generator: ticks(generator) }
    }

    /// What was used since, a request.
    pub fn until(&self, later: &Self, requests: u64) -> Option<Cpu> {
        // A process of PostgreSQL that wasn't there before began at nothing.
        let used = later.postgresql.iter().map(|(id, ticks)| {
            let before = self.postgresql.iter().find(|(known, _)| known == id).map_or(0, |(_, ticks)| *ticks);
            ticks.saturating_sub(before)
        });
        #[expect(clippy::cast_precision_loss, reason = "hundredths of seconds")]
        let each = |ticks: u64| ticks as f64 * TICK_US / requests as f64;
        (requests > 0).then(|| Cpu {
            server: each(later.server - self.server),
            postgresql: each(used.sum()),
            generator: each(later.generator - self.generator),
        })
    }
}

struct Stat {
    parent: u32,
    ticks: u64,
}

fn stat(process: u32) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // `1 (name) S 0 …`, where the name may contain anything.
    let fields: Vec<_> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some(Stat { parent: fields.get(1)?.parse().ok()?, ticks: number(11)? + number(12)? })
}
