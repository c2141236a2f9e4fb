//! The contract as a model: what every call may be answered, written as plainly as rules can be, to be read as the
//! specification and to judge the real server by.
//!
//! | file | what it is for |
//! |---|---|
//! | `words.rs` | calls and answers, without gRPC |
//! | `session.rs` | the specification of one session |
//! | `one_time.rs` | the specification of the one-time tokens of one purpose |
//! | `keys.rs` | the specification of a user's API keys |
//! | `user.rs` | the specification of a user, which has all of these, and of what ends everything at once |
//! | `purge.rs` | the specification of a purge: which of that may be gone |
//! | `history.rs` | what many callers saw at once |
//! | `check.rs` | can it be put in one order that the specification allows? |
//! | `names_seen.rs`, `listed.rs` | what a history tells beforehand: names that servers made up, and in what order |
//! | `shrink.rs` | the part of such a history that shows why not |
//! | `timeline.rs` | a history for people |
//! | `caller.rs` | carries out a call on a real server |
//! | `program.rs` | what callers do: random, and mean |
//!
//! Nothing here knows how the server does it. A user is the unit: no call but a batch of questions concerns two.
//! Times are kept out of it: windows are either shut (0) or so long that no test sees their end, which other tests look
//! at by moving the rows' times.

// The tests and the torture use their part of it.
#![allow(dead_code)]

pub mod caller;
pub mod check;
pub mod history;
pub mod keys;
mod listed;
mod names_seen;
pub mod one_time;
pub mod program;
pub mod purge;
pub mod session;
pub mod shrink;
pub mod timeline;
pub mod user;
pub mod words;
