//! The end: every old value is tried once more, everybody's counts are put side by side, and the
//! audit chain is checked.
//!
//! Decides whether the demo has succeeded. Believes nobody's word alone: what is sent and what is
//! refused are counted at both ends.

use std::path::Path;

use reqwest::Client;
use rotord::store::audit::verify::verify;
use serde::Deserialize;

use crate::Fallible;
use crate::cast::Cast;
use crate::play::{PLANNED, Play};
use crate::processes::House;
use crate::proof::Secret;
use crate::screen::{Screen, Tone, grouped};
use crate::traffic::Traffic;

/// What is left to say.
pub(crate) struct Report {
    rows: Vec<[String; 6]>,
    problems: Vec<String>,
    rotations: u32,
    old_refused: u32,
    /// The demo's own refusals, at the receivers and at the key service.
    refusals: [u64; 2],
    before: Traffic,
}

/// What the client says when it is stopped.
#[derive(Deserialize)]
struct Parting {
    counts: Counts,
}

#[derive(Deserialize)]
struct Counts {
    accepted: u64,
    rejected: u64,
    failed: u64,
}

impl Report {
    /// Tries every value that was ever in use. Everybody still runs.
    pub(crate) async fn of(play: &Play<'_>, before: Traffic) -> Fallible<Report> {
        let traffic = Traffic::now(&play.http, play.cast).await?;
        let mut report = Report {
            rows: Vec::new(),
            problems: play.problems.take(),
            rotations: Secret::ALL.iter().map(|secret| play.rotations(*secret)).sum(),
            old_refused: 0,
            refusals: [0; 2],
            before,
        };
        for (secret, planned) in PLANNED {
            if play.rotations(secret) < planned {
                report.problems.push(format!("{}: too few rotations", secret.name()));
            }
        }
        let versions = play.proof.versions();
        for (secret, version) in &versions {
            let is_current = !versions.contains(&(*secret, version + 1));
            report.version(play, &traffic, (*secret, *version), is_current).await?;
        }
        report.refusals = play.proof.refusals();
        Ok(report)
    }

    async fn version(
        &mut self,
        play: &Play<'_>,
        traffic: &Traffic,
        (secret, version): (Secret, u64),
        is_current: bool,
    ) -> Fallible<()> {
        let brought = play.versions.borrow().get(&(secret, version)).cloned();
        let brought = brought.ok_or("a version that nobody brought in")?;
        let requests = match (secret, &brought.key_id) {
            (Secret::Webhook, _) => traffic.webhooks.get(&version).copied(),
            // The service counts the demo's own try as well.
            (Secret::Key, Some(id)) => traffic.requests.get(id).map(|served| served - 1),
            (Secret::Key, None) => None,
        };
        let requests = requests.unwrap_or_default();
        let name = secret.name();
        let tried = play.proof.try_again(play.cast, secret, version).await?;
        let value = play.proof.value(secret, version)?;
        let is_erased = play.cast.bao.is_erased(name, version, &value).await?;
        let mut wrong = |what: &str| self.problems.push(format!("{name} v{version} {what}"));
        if requests == 0 {
            wrong("was never used");
        }
        match is_current {
            true if !tried.is_accepted() => wrong("is in use, and refused"),
            false if !tried.is_refused() => wrong("is old, and still works"),
            false if !is_erased => wrong("is old, and still in OpenBao"),
            _ => {}
        }
        self.old_refused += u32::from(!is_current && tried.is_refused());
        let kept = match (is_current, is_erased) {
            (true, false) => "kept",
            (false, false) => "STILL THERE",
            (_, true) => "erased",
        };
        let used = if is_current { "in use" } else { "old" };
        let by = match brought.by.as_str() {
            "initial" => "first version",
            "scheduled" => "schedule",
            "manual" => "hand",
            other => other,
        };
        let requests = grouped(requests);
        let row = [&format!("{name} v{version}"), by, &requests, used, &tried.words(), kept];
        self.rows.push(row.map(str::to_owned));
        Ok(())
    }

    /// Stops those who have more to say, and says it all. Answers whether all is as it must be.
    pub(crate) async fn close(
        mut self,
        house: &mut House,
        cast: &Cast,
        http: &Client,
        screen: &Screen,
    ) -> Fallible<bool> {
        let (_, last) = house.stop("client").await?;
        let Parting { counts } = serde_json::from_str(&last.unwrap_or_default())?;
        let traffic = Traffic::now(http, cast).await?;
        let (status, _) = house.stop("rotord").await?;
        if !status.success() {
            self.problems.push(format!("rotord ended with {status}"));
        }
        let audit = self.audit(cast, &house.path("state")).await?;
        self.table(screen);

        let [at_receivers, at_service] = self.refusals;
        let unsigned = traffic.unsigned - self.before.unsigned;
        let refused = traffic.refused_by_receivers.saturating_sub(at_receivers);
        let webhooks: u64 = traffic.webhooks.values().sum();
        let webhooks_rejected = traffic.webhooks_rejected.max(refused) + unsigned;
        let refused = traffic.refused_by_service.saturating_sub(at_service);
        let works = counts.accepted + counts.rejected + counts.failed;
        let works_rejected = counts.rejected.max(refused) + counts.failed;
        let line = |who: &str, requests: u64, rejected: u64| {
            screen.line(&format!("  {who:<44} {:>10}  {rejected:>8}", grouped(requests)));
        };
        screen.line("\n  TRAFFIC                                        REQUESTS  REJECTED");
        line("sender ==> receiver-a, receiver-b", webhooks, webhooks_rejected);
        line("client ==> key service", works, works_rejected);
        screen.line(&format!("\n  audit: {audit}"));

        let rejected = webhooks_rejected + works_rejected;
        if rejected > 0 {
            self.problems.push(format!("{rejected} requests were rejected"));
        }
        for problem in &self.problems {
            screen.toned(Tone::Bad, &format!("  problem: {problem}"));
        }
        let is_good = self.problems.is_empty();
        let (rotations, old_refused) = (self.rotations, self.old_refused);
        let requests = webhooks + works;
        screen.toned(
            if is_good { Tone::Good } else { Tone::Bad },
            &format!(
                "demo: rotations={rotations} requests={requests} rejected={rejected} \
                 old_refused={old_refused}"
            ),
        );
        Ok(is_good)
    }

    fn table(&self, screen: &Screen) {
        screen.line("");
        let header = ["VERSION", "BROUGHT IN BY", "REQUESTS", "NOW", "TRIED NOW", "IN OPENBAO"];
        let header = header.map(str::to_owned);
        for [version, by, requests, now, tried, kept] in [&header].into_iter().chain(&self.rows) {
            screen.line(&format!(
                "  {version:<18}  {by:<13}  {requests:>8}  {now:<6}  {tried:<30}  {kept}"
            ));
        }
    }

    /// Checks rotord's audit chain against the head that it has anchored in OpenBao.
    async fn audit(&mut self, cast: &Cast, state: &Path) -> Fallible<String> {
        let head = cast.bao.audit_head().await?;
        match verify(state, head) {
            Ok(chain) => Ok(format!(
                "{} lines, one unbroken chain; its head is anchored in OpenBao",
                chain.head.seq.0
            )),
            Err(broken) => {
                self.problems.push(format!("the audit chain is broken: {broken}"));
                Ok("broken".to_owned())
            }
        }
    }
}
