//! The bench's own processes: servers and load generators. Each ends when its standard input does, so none outlives
//! the bench.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::Failure;
use crate::cluster::Filled;
use crate::generator::{Load, Order, Outcome};
use crate::server::Ready;

/// How long a process may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);

struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Process {
    fn start(arguments: &[&str]) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take();
        let answers = child.stdout.take().ok_or("no standard output")?;
        Ok(Self { child, orders, answers: BufReader::new(answers) })
    }

    fn answer<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err("a process of the bench ended; what it wrote above says why".into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.orders.take();
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A registry in a process of its own.
pub struct Server {
    process: Process,
    pub ready: Ready,
}

impl Server {
    pub fn start(filled: &Filled, ungathered: bool) -> Result<Self, Failure> {
        let mut arguments = vec!["server", &filled.database.url];
        if ungathered {
            arguments.push("--ungathered");
        }
        let mut process = Process::start(&arguments)?;
        let ready = process.answer()?;
        Ok(Self { process, ready })
    }

    /// Memory that is resident now, in bytes; `None` where `/proc` doesn't tell.
    pub fn resident(&self) -> Option<u64> {
        resident(self.process.child.id())
    }

    pub fn id(&self) -> u32 {
        self.process.child.id()
    }
}

/// Memory of a process that is resident now, in bytes.
pub fn resident(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

/// A load generator in a process of its own.
pub struct Generator(Process);

impl Generator {
    pub fn start(filled: &Filled, rotate_all: bool) -> Result<Self, Failure> {
        let (sessions, secrets) = (filled.sessions.to_string(), filled.secrets.to_string());
        let mut arguments = vec!["generator", &sessions, &secrets];
        if rotate_all {
            arguments.push("--rotate-all");
        }
        Ok(Self(Process::start(&arguments)?))
    }

    pub fn id(&self) -> u32 {
        self.0.child.id()
    }

    pub fn load(&mut self, load: Load) -> Result<Outcome, Failure> {
        self.order(&Order::Load(load))
    }

    pub fn order(&mut self, order: &Order) -> Result<Outcome, Failure> {
        self.send(order)?;
        self.0.answer()
    }

    /// Two generators at work at once.
    pub fn both(&mut self, other: &mut Self, load: Load) -> Result<[Outcome; 2], Failure> {
        self.send(&Order::Load(load))?;
        other.send(&Order::Load(load))?;
        Ok([self.0.answer()?, other.0.answer()?])
    }

    fn send(&mut self, order: &Order) -> Result<(), Failure> {
        let mut line = serde_json::to_string(order)?;
        line.push('\n');
        let orders = self.0.orders.as_mut().ok_or("no standard input")?;
        orders.write_all(line.as_bytes())?;
        Ok(orders.flush()?)
    }
}
