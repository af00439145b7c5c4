//! Issuers and targets: the two kinds of driver.
//!
//! Decides what a driver promises. Small traits with long contracts; optional powers are data
//! (`Capabilities`), never a cast. A driver knows nothing of rotations, records or schedules: it
//! is told what to do once, does it, and says what it saw.

pub mod error;
pub mod issuer;
pub mod registry;
pub mod secret_ref;
pub mod target;
