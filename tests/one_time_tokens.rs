//! One-time tokens: issued once, claimed once. What is particular to codes is in `codes`.

mod consuming;
mod issuing;
mod keeping;
mod listing;
mod retrying;
