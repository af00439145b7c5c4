//! The words of the trade, as types.
//!
//! Decides what a name, a version, a moment or a piece of secret material *is*; must not know how
//! anything is stored, sent or scheduled. Nothing here does IO, reads a clock or draws a number.
//!
//! A **secret** is one managed credential. It has numbered **versions**; each version's
//! **material** is minted by an **issuer** and handed to **targets**. One **rotation** brings an
//! incoming version to `current` and takes the outgoing ones out, on **evidence**.

pub mod capability;
pub mod clue;
pub mod failure;
pub mod fingerprint;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod id;
pub mod marks;
pub mod mask;
pub mod material;
pub mod policy;
pub mod reason;
pub mod target;
pub mod time;
pub mod version;
