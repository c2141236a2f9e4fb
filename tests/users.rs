//! Users: what holds for all of a user's tokens at once.

mod credentials;
mod deleting;
mod knowing;
mod suspending;
