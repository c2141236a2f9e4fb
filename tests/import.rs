//! Moving a Django system over: what `import django` brings, what it leaves alone, and what it says of the rest.

mod broken;
pub mod django;
mod following;
mod keys;
mod living;
mod sample;
mod shapes;
mod tokens;
