//! The entries for fuzzing: each takes bytes as they may come from outside and fails when what is
//! made of them breaks a rule of its reader.
//!
//! libFuzzer calls them from `tests/fuzz/` (`make fuzz`), ordinary tests with every file of the
//! corpus. Decides which entries there are; what each asserts stands beside the reader, in a file
//! of this name. No program that runs holds any of it.

macro_rules! entries {
    ($($(#[$doc:meta])* $name:ident: $entry:path,)+) => {
        $(
            $(#[$doc])*
            pub fn $name(input: &[u8]) {
                $entry(input);
            }
        )+

        /// Every entry, by its name.
        #[cfg(test)]
        const ENTRIES: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $name),)+];
    };
}

entries! {
    /// The record of a secret in Vault.
    record: crate::store::fuzz::record,
    /// An incident in Vault.
    incident: crate::store::fuzz::incident,
    /// The lease in Vault.
    lease: crate::store::fuzz::lease,
    /// An answer of Vault.
    vault_reply: crate::vault::fuzz::reply,
    /// An answer of an issuer.
    issuer_reply: crate::driver::issuer::fuzz::reply,
    /// A service's reply to a push.
    push_reply: crate::driver::target::fuzz::reply,
    /// A cron expression in a zone.
    schedule: crate::plan::fuzz::schedule,
    /// A window in a zone.
    window: crate::plan::fuzz::window,
    /// The text of a config.
    config: crate::config::fuzz::config,
    /// The text of a preset.
    preset: crate::driver::issuer::fuzz::preset,
    /// A scanner's report.
    report: crate::intake::fuzz::report,
    /// What a source of alerts is sent.
    webhook: crate::intake::fuzz::webhook,
}

#[cfg(test)]
mod tests;
