//! Secrets whose one target is a document in OpenBao that nobody acknowledges: what a rotation
//! costs where no dependent service takes its time.

use std::fmt::Write as _;

use crate::Fallible;
use crate::fleet::secret_table;
use crate::rig::{APPS, FOLDER, Rig};
use crate::scanner::now;

/// Such secrets, in rotord's config.
pub(crate) struct Documents {
    pub(crate) names: Vec<String>,
    /// How long old and new are both there.
    pub(crate) overlap: &'static str,
}

impl Documents {
    /// So many secrets.
    pub(crate) fn new(secrets: usize, overlap: &'static str) -> Documents {
        Documents { names: (0..secrets).map(|n| format!("s{n:05}")).collect(), overlap }
    }

    /// Their tables, with a schedule or without.
    pub(crate) fn config(&self, schedule: Option<&str>) -> String {
        let schedule = schedule.map(|cron| format!("schedule = \"{cron}\"\n")).unwrap_or_default();
        let mut text = String::new();
        for name in &self.names {
            text += &secret_table(name, self.overlap);
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "{schedule}[secrets.{name}.targets.document]\ntype = \"vault_kv\"\n\
                 role = \"both\"\nmount = \"{APPS}\"\npath = \"{FOLDER}/{name}\"\n\
                 propagation = \"0s\"\nretry_horizon = \"0s\"\nretire_unattested = true\n"
            );
        }
        text
    }

    /// Has all of them become due at one moment, so many seconds from now. Answers the moment, in
    /// milliseconds since 1970.
    pub(crate) async fn due_in(&self, rig: &Rig, seconds: i64) -> Fallible<i64> {
        let moment = (now().seconds() + seconds) * 1_000;
        let at = chrono::DateTime::from_timestamp_millis(moment).ok_or("no such moment")?;
        let cron = at.format("%-S %-M %-H %-d %-m *").to_string();
        rig.reload(&self.config(Some(&cron))).await?;
        Ok(moment)
    }
}
