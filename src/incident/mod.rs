//! Leaks, as facts and answers: what a report says, and what is done about it.
//!
//! Decides, from what leaked and from what people decided in peace time, whether a version counts
//! as exposed now, whether a person has to agree first, or whether there is nothing to do. Must not
//! know how a report came in, how a value is recognised, or how a rotation runs: leaks have no
//! machine of their own. Pure: no clock, no IO.

pub mod alert;
pub mod decide;
pub mod guard;
mod moment;
pub mod progress;
pub mod record;
pub mod report;
pub mod scope;
mod timeline;

#[cfg(test)]
mod tests;
