//! User agents are read beside the runtime, by one thread, and what was read is remembered.
//!
//! Reading takes from some ten microseconds to a fraction of a millisecond, and the first one waits until the rules are
//! built: too long for a thread that answers calls. The rules' regular expressions keep some 45 MB of working memory for
//! each thread that uses them, so one thread does. What devices tell repeats all the time, so most are looked up.
//!
//! A login never fails because of its user agent, and never waits long for it: when too many wait to be read, the next
//! one isn't, and the login goes on without.

use std::hash::{BuildHasher as _, RandomState};
use std::panic;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock};
use std::thread;

use quick_cache::sync::Cache;
use tokio::sync::oneshot;

use super::user_agent::{Device, parse, significant};

/// How many user agents are remembered, at about half a kilobyte each. The cache is one that keeps what repeats: a flood
/// of made-up user agents doesn't drive the real ones out.
const REMEMBERED: usize = 4096;

/// How many may wait to be read: less than a tenth of a second's work.
const WAITING_MAX: usize = 256;

static READER: LazyLock<Reader> = LazyLock::new(|| Reader::start(WAITING_MAX, parse));

/// What became of a user agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// It was read before, and remembered.
    Remembered(Arc<Device>),
    /// It was read now.
    Read(Arc<Device>),
    /// Too many waited, so it wasn't read.
    Skipped,
}

impl Reading {
    /// What was read.
    #[must_use]
    pub fn device(self) -> Option<Arc<Device>> {
        match self {
            Self::Remembered(device) | Self::Read(device) => Some(device),
            Self::Skipped => None,
        }
    }
}

/// Reads a user agent as [`parse`] does, without holding up the thread of the caller.
pub async fn read(user_agent: &str) -> Reading {
    READER.read(user_agent).await
}

struct Reader {
    memory: Arc<Memory>,
    queue: SyncSender<Question>,
}

/// What was read of the user agents that are remembered. They themselves may tell who somebody is and aren't kept: they
/// are known by two keyed hashes, 128 bits together.
struct Memory {
    hashers: [RandomState; 2],
    devices: Cache<[u64; 2], Arc<Device>>,
}

/// A user agent to be read.
struct Question {
    user_agent: String,
    answer: oneshot::Sender<Reading>,
}

impl Memory {
    fn key(&self, user_agent: &str) -> [u64; 2] {
        self.hashers.each_ref().map(|hasher| hasher.hash_one(user_agent))
    }
}

impl Reader {
    fn start(waiting_max: usize, parse: impl Fn(&str) -> Device + Send + 'static) -> Self {
        let hashers = [RandomState::new(), RandomState::new()];
        let memory = Arc::new(Memory { hashers, devices: Cache::new(REMEMBERED) });
        let (queue, questions) = sync_channel(waiting_max);
        let remembered = Arc::clone(&memory);
        let work = move || answer_all(&questions, &remembered, parse);
        if let Err(error) = thread::Builder::new().name("user-agents".to_owned()).spawn(work) {
            // Then nobody takes from the queue, and all are skipped.
            tracing::error!(%error, "user agents can't be read: no thread");
        }
        Self { memory, queue }
    }

    async fn read(&self, user_agent: &str) -> Reading {
        let user_agent = significant(user_agent);
        if let Some(device) = self.memory.devices.get(&self.memory.key(user_agent)) {
            return Reading::Remembered(device);
        }
        let (answer, answered) = oneshot::channel();
        if self.queue.try_send(Question { user_agent: user_agent.to_owned(), answer }).is_err() {
            return Reading::Skipped;
        }
        answered.await.unwrap_or(Reading::Skipped)
    }
}

fn answer_all(questions: &Receiver<Question>, memory: &Memory, parse: impl Fn(&str) -> Device) {
    for Question { user_agent, answer } in questions {
        if answer.is_closed() {
            continue; // the caller has left
        }
        let key = memory.key(&user_agent);
        let reading = if let Some(device) = memory.devices.get(&key) {
            Reading::Remembered(device) // several asked at once
        } else if let Ok(device) = panic::catch_unwind(panic::AssertUnwindSafe(|| parse(&user_agent))) {
            let device = Arc::new(device);
            memory.devices.insert(key, Arc::clone(&device));
            Reading::Read(device)
        } else {
            // Which would be a bug of the parser, has been logged as one, and must not end this thread.
            Reading::Skipped
        };
        let _ = answer.send(reading);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use futures_util::future::join_all;

    use super::*;

    const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X)";

    #[tokio::test]
    async fn what_was_read_is_remembered_and_the_same() {
        let reader = Reader::start(WAITING_MAX, parse);
        let expected = Arc::new(parse(PHONE));
        assert_eq!(reader.read(PHONE).await, Reading::Read(Arc::clone(&expected)));
        assert_eq!(reader.read(PHONE).await, Reading::Remembered(expected));
        assert_eq!(reader.read("curl/8.5.0").await, Reading::Read(Arc::new(parse("curl/8.5.0"))));
        // What is beyond the part that is read makes no other client.
        let long = |end: &str| format!("{}{end}", "x".repeat(10_240));
        assert!(matches!(reader.read(&long("a")).await, Reading::Read(_)));
        assert!(matches!(reader.read(&long("b")).await, Reading::Remembered(_)));
    }

    #[tokio::test]
    async fn a_user_agent_that_many_ask_for_at_once_is_read_once() {
        let parsed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&parsed);
        let reader = Reader::start(WAITING_MAX, move |text| {
            count.fetch_add(1, Ordering::Relaxed);
            parse(text)
        });
        let readings = join_all((0..100).map(|_| reader.read(PHONE))).await;
        assert_eq!(readings.into_iter().filter(|reading| matches!(reading, Reading::Read(_))).count(), 1);
        assert_eq!(parsed.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn when_too_many_wait_the_next_one_goes_without() {
        let (go, wait) = mpsc::channel::<()>();
        let (begun, is_begun) = mpsc::channel();
        let reader = Arc::new(Reader::start(2, move |text| {
            begun.send(()).unwrap();
            wait.recv().unwrap();
            parse(text)
        }));
        let ask = |text: &'static str| {
            let reader = Arc::clone(&reader);
            tokio::spawn(async move { reader.read(text).await })
        };
        let first = ask("first");
        tokio::task::yield_now().await;
        is_begun.recv().unwrap(); // taken from the queue, and held
        let waiting = [ask("second"), ask("third")];
        tokio::task::yield_now().await;
        // Answered at once, while the others wait.
        assert_eq!(reader.read("fourth").await, Reading::Skipped);
        assert!(!first.is_finished() && waiting.iter().all(|task| !task.is_finished()));
        for _ in 0..3 {
            go.send(()).unwrap();
        }
        for task in [first].into_iter().chain(waiting) {
            assert!(matches!(task.await.unwrap(), Reading::Read(_)));
        }
        // What was skipped isn't remembered as unknown.
        go.send(()).unwrap();
        assert!(matches!(reader.read("fourth").await, Reading::Read(_)));
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_read() {
        let (go, wait) = mpsc::channel::<()>();
        let (begun, is_begun) = mpsc::channel();
        let reader = Arc::new(Reader::start(WAITING_MAX, move |text| {
            begun.send(text.to_owned()).unwrap();
            wait.recv().unwrap();
            parse(text)
        }));
        let ask = |text: &'static str| {
            let reader = Arc::clone(&reader);
            tokio::spawn(async move { reader.read(text).await })
        };
        let first = ask("first");
        let second = ask("second");
        tokio::task::yield_now().await;
        second.abort();
        assert!(second.await.unwrap_err().is_cancelled());
        for _ in 0..3 {
            go.send(()).unwrap();
        }
        first.await.unwrap();
        assert!(matches!(reader.read("third").await, Reading::Read(_)));
        assert_eq!(is_begun.try_iter().collect::<Vec<_>>(), ["first", "third"]);
    }

    #[tokio::test]
    async fn a_bug_of_the_parser_ends_neither_a_login_nor_the_thread() {
        let reader = Reader::start(WAITING_MAX, |text| {
            assert_ne!(text, "bad");
            parse(text)
        });
        assert_eq!(reader.read("bad").await, Reading::Skipped);
        assert!(matches!(reader.read("good").await, Reading::Read(_)));
    }

    #[tokio::test]
    async fn made_up_user_agents_do_not_grow_it_nor_drive_out_the_real_ones() {
        let reader = Reader::start(WAITING_MAX, |_| parse(""));
        for n in 0..5 * REMEMBERED {
            // A real client comes back now and then.
            reader.read(PHONE).await;
            reader.read(&format!("made up {n}")).await;
        }
        assert!(matches!(reader.read(PHONE).await, Reading::Remembered(_)));
        assert!(reader.memory.devices.len() <= REMEMBERED, "{}", reader.memory.devices.len());
    }
}
