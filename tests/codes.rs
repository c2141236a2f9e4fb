//! Codes: short one-time values. What keeps them safe is that guesses at them are counted.

mod guessing;
mod server_keys;
mod window;
