//! API keys, of both models: made, asked about, ended.

mod authenticating;
mod creating;
mod ending;
