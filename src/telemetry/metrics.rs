//! Every metric rotord has: name, labels, help; and the methods that move them.
//!
//! Decides what is counted. Label values are `&'static str`: they come from the code (a reason, a
//! phase, a verb), never from data, so the number of series is bounded whatever is configured, and
//! no secret's value can become a label. Names of secrets are no labels either: ten thousand
//! secrets stay one line, and `rotord status` answers for each.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::model::policy::Lane;
use crate::model::reason::Reason;
use crate::model::target::Level;
use crate::model::time::{Span, Timestamp};

/// What a scrape is answered with.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds in seconds for one call to another machine: from a loopback Vault to the longest
/// time-out of a driver.
const CALL_SECONDS: [f64; 9] = [0.005, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0];

/// Bounds in seconds for a phase: from one push to an overlap of a week.
const PHASE_SECONDS: [f64; 9] =
    [1.0, 10.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0];

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// A metric with named labels.
struct Labelled<M, const N: usize> {
    names: [&'static str; N],
    family: Family<Labels<N>, M, fn() -> M>,
}

impl<M: Clone, const N: usize> Labelled<M, N> {
    fn at(&self, values: [&'static str; N]) -> M {
        self.family.get_or_create_owned(&std::array::from_fn(|i| (self.names[i], values[i])))
    }
}

fn call_histogram() -> Histogram {
    Histogram::new(CALL_SECONDS)
}

fn phase_histogram() -> Histogram {
    Histogram::new(PHASE_SECONDS)
}

/// One metric as it is documented.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// The name as it is scraped.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The labels' names.
    pub labels: &'static [&'static str],
    /// What it says, in one sentence.
    pub help: &'static str,
}

/// Turns the table below into the families, their registration and [`DEFINITIONS`], so that none
/// of the three can miss a metric.
macro_rules! metrics {
    (@name counter $name:ident) => { concat!("rotord_", stringify!($name), "_total") };
    (@name $kind:ident $name:ident) => { concat!("rotord_", stringify!($name)) };
    (@type counter) => { Counter };
    (@type gauge) => { Gauge };
    (@type histogram) => { Histogram };
    (@count $($label:ident)*) => { <[&str]>::len(&[$(stringify!($label)),*]) };
    ($($kind:ident $name:ident [$($label:ident)*] $make:expr, $help:literal;)+) => {
        struct Families {
            $($name: Labelled<metrics!(@type $kind), { metrics!(@count $($label)*) }>,)+
        }

        impl Families {
            fn registered(registry: &mut Registry) -> Families {
                $(let $name = Labelled {
                    names: [$(stringify!($label)),*],
                    family: Family::new_with_constructor($make as fn() -> metrics!(@type $kind)),
                };
                registry.register(stringify!($name), $help, $name.family.clone());)+
                Families { $($name,)+ }
            }
        }

        /// Every metric, in the order of the source.
        pub const DEFINITIONS: &[Definition] = &[$(Definition {
            name: metrics!(@name $kind $name),
            kind: stringify!($kind),
            labels: &[$(stringify!($label)),*],
            help: concat!($help, "."),
        },)+];
    };
}

metrics! {
    gauge build_info [version] Gauge::default,
        "Always 1; the label says which rotord this is";
    gauge start_time_seconds [] Gauge::default,
        "When the process started, in seconds since 1970";
    gauge loop_turned_seconds [] Gauge::default,
        "When the engine's loop last came round, in seconds since 1970";
    gauge leader [] Gauge::default,
        "1 while this replica holds the lease, else 0";
    counter lease_changes [change] Counter::default,
        "Times the lease was taken, lost or given back";
    gauge secrets [standing] Gauge::default,
        "Secrets by standing: idle, rotating, held, exposed, needs_human, not_adopted, unmanaged";
    counter rotations_started [trigger lane] Counter::default,
        "Rotations opened, by what set them off and by lane";
    counter rotations_closed [trigger outcome] Counter::default,
        "Rotations closed, by what set them off and how they ended";
    gauge rotations_open [lane] Gauge::default,
        "Rotations open at this moment";
    histogram phase_left_seconds [phase] phase_histogram,
        "How long after its opening a rotation left a phase";
    counter effects [effect result] Counter::default,
        "Effects on the world, by kind and result (ok or a failure class)";
    histogram effect_duration_seconds [effect] call_histogram,
        "How long an effect took";
    gauge needs_human [reason] Gauge::default,
        "Rotations that wait for a person, by reason code";
    gauge targets [evidence] Gauge::default,
        "Targets by the level of their last evidence; none if there is none yet";
    gauge targets_behind [] Gauge::default,
        "Targets that were last seen with something else than they should have";
    gauge next_due_seconds [] Gauge::default,
        "When the next rotation is due, in seconds since 1970; 0 if none is";
    gauge breaker_open [] Gauge::default,
        "1 while too many failures keep routine rotations from starting, else 0";
    counter findings [action] Counter::default,
        "Findings of alerts, by what was done about each; unknown if the value is none of ours";
    gauge incidents [state] Gauge::default,
        "Open incidents: waiting for a person, acting, or overdue (past the deadline)";
    counter exposures_overdue [] Counter::default,
        "Exposed versions that were still accepted when their deadline passed";
    counter incident_writes [result] Counter::default,
        "Writes of incidents to Vault, by result";
    gauge alert_exposures [] Gauge::default,
        "Versions that alerts had marked as exposed within the window of the alert breaker";
    gauge alert_breaker_open [] Gauge::default,
        "1 while alerts came for so many secrets that each waits for a person, else 0";
    counter notices [result] Counter::default,
        "Notices to people, by result: delivered, failed (to be tried again), undelivered, dropped";
    counter vault_requests [verb] Counter::default,
        "Requests sent to Vault, by verb";
    counter audit_lines [line] Counter::default,
        "Lines written to the audit chain, by kind";
    gauge audit_unanchored_lines [] Gauge::default,
        "Lines of the audit chain that Vault does not know of yet";
    counter alert_requests [source outcome] Counter::default,
        "Requests at the alert listener, by type of source and what became of them";
    counter alerts_held_back [by] Counter::default,
        "Requests and connections at the alert listener that were held back, by what was used up";
    counter alert_entries_odd [by] Counter::default,
        "Entries of alerts that could not be read and were stepped over: of webhooks, or of polls";
    gauge audit_alarms [reason] Gauge::default,
        "1 while an alarm about the audit chain stands, by reason code, else 0";
    counter config_reloads [result] Counter::default,
        "Reloads of the config, by result";
}

/// Where everything stands at one moment, counted by the engine when it publishes a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Secrets by standing; the words are those of `rotord_secrets`' help.
    pub secrets: BTreeMap<&'static str, u64>,
    /// Open rotations in the routine and the emergency lane.
    pub open: BTreeMap<Lane, u64>,
    /// Rotations that wait for a person.
    pub needs_human: BTreeMap<Reason, u64>,
    /// Targets by last evidence.
    pub targets: BTreeMap<Option<Level>, u64>,
    /// Targets last seen with something else than they should have.
    pub targets_behind: u64,
    /// The next due time, if anything is scheduled.
    pub next_due: Option<Timestamp>,
    /// Whether the breaker keeps routine rotations from starting.
    pub breaker_open: bool,
}

/// Open incidents at one moment, counted by the desk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IncidentCount {
    /// Those that wait for a person.
    pub waiting: u64,
    /// Those that are acted on.
    pub acting: u64,
    /// Those whose version is still accepted past its deadline.
    pub overdue: u64,
    /// Exposures by alerts within the breaker's window.
    pub exposures: u64,
    /// Whether the breaker is open.
    pub breaker_open: bool,
}

/// The metrics of this process. A clone is the same set.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    families: Arc<Families>,
}

impl Metrics {
    /// A fresh set for a process of this version, started at this moment.
    pub fn new(version: &'static str, started: Timestamp) -> Metrics {
        let mut registry = Registry::with_prefix("rotord");
        let families = Families::registered(&mut registry);
        families.build_info.at([version]).set(1);
        families.start_time_seconds.at([]).set(started.seconds());
        Metrics { registry: Arc::new(registry), families: Arc::new(families) }
    }

    /// Everything as OpenMetrics text, to be sent as [`CONTENT_TYPE`].
    pub fn encode(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a String does not fail");
        text
    }

    /// The engine's loop has come round.
    pub fn loop_turned(&self, now: Timestamp) {
        self.families.loop_turned_seconds.at([]).set(now.seconds());
    }

    /// The lease was `taken`, `lost` or `given_back`; `leader` says where that leaves us.
    pub fn lease_changed(&self, change: &'static str, leader: bool) {
        self.families.lease_changes.at([change]).inc();
        self.families.leader.at([]).set(i64::from(leader));
    }

    /// A rotation was opened.
    pub fn rotation_started(&self, trigger: &'static str, lane: Lane) {
        self.families.rotations_started.at([trigger, lane_label(lane)]).inc();
    }

    /// A rotation was closed.
    pub fn rotation_closed(&self, trigger: &'static str, outcome: &'static str) {
        self.families.rotations_closed.at([trigger, outcome]).inc();
    }

    /// A phase came to its end.
    pub fn phase_ended(&self, phase: &'static str, took: Span) {
        self.families.phase_left_seconds.at([phase]).observe(seconds(took));
    }

    /// An effect came back; `result` is `ok` or the failure's class.
    pub fn effect_ended(&self, effect: &'static str, result: &'static str, took: Span) {
        self.families.effects.at([effect, result]).inc();
        self.families.effect_duration_seconds.at([effect]).observe(seconds(took));
    }

    /// A finding of an alert was judged.
    pub fn finding(&self, action: &'static str) {
        self.families.findings.at([action]).inc();
    }

    /// Where incidents and what holds alerts back stand.
    pub fn incidents_stand(&self, count: &IncidentCount) {
        let f = &self.families;
        for (state, number) in
            [("waiting", count.waiting), ("acting", count.acting), ("overdue", count.overdue)]
        {
            f.incidents.at([state]).set(gauge(number));
        }
        f.alert_exposures.at([]).set(gauge(count.exposures));
        f.alert_breaker_open.at([]).set(i64::from(count.breaker_open));
    }

    /// An exposed version was still accepted at its deadline.
    pub fn exposure_overdue(&self) {
        self.families.exposures_overdue.at([]).inc();
    }

    /// A write of an incident was answered: `ok`, `conflict` or `failed`; or it was `deleted`.
    pub fn incident_written(&self, result: &'static str) {
        self.families.incident_writes.at([result]).inc();
    }

    /// A notice was `delivered`, `failed`, given up (`undelivered`) or `dropped` for want of room.
    pub fn notice(&self, result: &'static str) {
        self.families.notices.at([result]).inc();
    }

    /// So many more requests were sent to Vault.
    pub fn vault_requested(&self, verb: &'static str, requests: u64) {
        self.families.vault_requests.at([verb]).inc_by(requests);
    }

    /// A line was added to the audit chain; `unanchored` counts those that Vault does not know.
    pub fn audit_written(&self, line: &'static str, unanchored: u64) {
        self.families.audit_lines.at([line]).inc();
        self.audit_unanchored(unanchored);
    }

    /// The head of the audit chain was anchored, or the wait for it grew.
    pub fn audit_unanchored(&self, lines: u64) {
        self.families.audit_unanchored_lines.at([]).set(gauge(lines));
    }

    /// A request came to the alert listener, for a source of this type.
    pub fn alert_requested(&self, source: &'static str, outcome: &'static str) {
        self.families.alert_requests.at([source, outcome]).inc();
    }

    /// A limit of the alert listener held somebody back.
    pub fn alert_held_back(&self, by: &'static str) {
        self.families.alerts_held_back.at([by]).inc();
    }

    /// Entries of a message or of a list could not be read.
    pub fn alert_entries_odd(&self, by: &'static str, entries: u64) {
        self.families.alert_entries_odd.at([by]).inc_by(entries);
    }

    /// An alarm about the audit chain was raised, or is over.
    pub fn audit_alarm(&self, reason: Reason, stands: bool) {
        self.families.audit_alarms.at([reason.code()]).set(i64::from(stands));
    }

    /// The config was reloaded, or refused.
    pub fn config_reloaded(&self, result: &'static str) {
        self.families.config_reloads.at([result]).inc();
    }

    /// Shows where everything stands. What the standing does not name becomes 0, so that a gauge
    /// falls back when its cause is gone.
    pub fn show(&self, standing: &Standing) {
        let f = &self.families;
        for word in
            ["idle", "rotating", "held", "exposed", "needs_human", "not_adopted", "unmanaged"]
        {
            f.secrets.at([word]).set(count(&standing.secrets, &word));
        }
        for lane in [Lane::Routine, Lane::Emergency] {
            f.rotations_open.at([lane_label(lane)]).set(count(&standing.open, &lane));
        }
        for reason in Reason::ALL {
            f.needs_human.at([reason.code()]).set(count(&standing.needs_human, reason));
        }
        for (level, label) in LEVELS {
            f.targets.at([label]).set(count(&standing.targets, &level));
        }
        f.targets_behind.at([]).set(gauge(standing.targets_behind));
        f.next_due_seconds.at([]).set(standing.next_due.map_or(0, Timestamp::seconds));
        f.breaker_open.at([]).set(i64::from(standing.breaker_open));
    }
}

/// The page `docs/metrics.md`; a test compares the file with it.
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Served as OpenMetrics text at `/metrics`. Generated from `src/telemetry/metrics.rs`.\n\n\
         No label ever holds the name or the value of a secret: `rotord status` answers for each\n\
         secret, these numbers for all of them.\n\n\
         | Metric | Kind | Labels | Meaning |\n| --- | --- | --- | --- |\n",
    );
    for d in DEFINITIONS {
        let labels: Vec<String> = d.labels.iter().map(|label| format!("`{label}`")).collect();
        let row = format!("| `{}` | {} | {} | {} |", d.name, d.kind, labels.join(", "), d.help);
        writeln!(page, "{row}").expect("writing to a String does not fail");
    }
    page
}

const LEVELS: [(Option<Level>, &str); 7] = [
    (None, "none"),
    (Some(Level::Sent), "sent"),
    (Some(Level::Stored), "stored"),
    (Some(Level::Applied), "applied"),
    (Some(Level::Acknowledged), "acknowledged"),
    (Some(Level::Proved), "proved"),
    (Some(Level::Observed), "observed"),
];

fn lane_label(lane: Lane) -> &'static str {
    match lane {
        Lane::Routine => "routine",
        Lane::Emergency => "emergency",
    }
}

fn count<K: Ord>(counts: &BTreeMap<K, u64>, key: &K) -> i64 {
    gauge(counts.get(key).copied().unwrap_or(0))
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn seconds(span: Span) -> f64 {
    span.to_std().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        Metrics::new("1.2.3", Timestamp::from_seconds(1_790_000_000))
    }

    /// A set in which every method was called once.
    fn moved() -> String {
        let m = metrics();
        m.rotation_started("schedule", Lane::Routine);
        m.rotation_closed("schedule", "done");
        m.phase_ended("overlap", Span::from_secs(3_600));
        m.effect_ended("push", "transient", Span(20));
        m.vault_requested("write", 3);
        m.finding("rotate");
        m.incidents_stand(&IncidentCount { acting: 2, ..IncidentCount::default() });
        m.exposure_overdue();
        m.incident_written("ok");
        m.notice("delivered");
        m.lease_changed("taken", true);
        m.audit_written("intent", 4);
        m.audit_alarm(Reason::AuditBroken, true);
        m.config_reloaded("refused");
        m.alert_requested("gitguardian", "alert");
        m.alert_held_back("failures");
        m.alert_entries_odd("poll", 2);
        m.loop_turned(Timestamp::from_seconds(1_790_000_060));
        m.show(&Standing::default());
        m.encode()
    }

    #[test]
    fn what_happened_is_what_is_scraped() {
        let text = moved();
        for line in [
            r#"rotord_build_info{version="1.2.3"} 1"#,
            "rotord_start_time_seconds{} 1790000000",
            "rotord_loop_turned_seconds{} 1790000060",
            "rotord_leader{} 1",
            r#"rotord_rotations_started_total{trigger="schedule",lane="routine"} 1"#,
            r#"rotord_rotations_closed_total{trigger="schedule",outcome="done"} 1"#,
            r#"rotord_phase_left_seconds_bucket{le="3600.0",phase="overlap"} 1"#,
            r#"rotord_effects_total{effect="push",result="transient"} 1"#,
            r#"rotord_vault_requests_total{verb="write"} 3"#,
            r#"rotord_findings_total{action="rotate"} 1"#,
            r#"rotord_incidents{state="acting"} 2"#,
            "rotord_exposures_overdue_total{} 1",
            r#"rotord_notices_total{result="delivered"} 1"#,
            r#"rotord_audit_lines_total{line="intent"} 1"#,
            "rotord_audit_unanchored_lines{} 4",
            r#"rotord_audit_alarms{reason="audit_broken"} 1"#,
            r#"rotord_config_reloads_total{result="refused"} 1"#,
            r#"rotord_alert_requests_total{source="gitguardian",outcome="alert"} 1"#,
            r#"rotord_alerts_held_back_total{by="failures"} 1"#,
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn gauges_fall_back_when_their_cause_is_gone() {
        let m = metrics();
        m.show(&Standing {
            needs_human: BTreeMap::from([(Reason::IssuerFull, 2)]),
            open: BTreeMap::from([(Lane::Emergency, 1)]),
            targets: BTreeMap::from([(None, 3)]),
            next_due: Some(Timestamp::from_seconds(5)),
            ..Standing::default()
        });
        let text = m.encode();
        assert!(text.contains(r#"rotord_needs_human{reason="issuer_full"} 2"#), "{text}");
        assert!(text.contains(r#"rotord_rotations_open{lane="emergency"} 1"#), "{text}");
        assert!(text.contains(r#"rotord_targets{evidence="none"} 3"#), "{text}");
        assert!(text.contains("rotord_next_due_seconds{} 5"), "{text}");
        m.show(&Standing::default());
        let text = m.encode();
        assert!(text.contains(r#"rotord_needs_human{reason="issuer_full"} 0"#), "{text}");
        assert!(text.contains("rotord_next_due_seconds{} 0"), "{text}");
    }

    #[test]
    fn every_metric_that_is_defined_is_registered_under_that_name() {
        let text = moved();
        for d in DEFINITIONS {
            let family = d.name.strip_suffix("_total").unwrap_or(d.name);
            let help = format!("# HELP {family} {}", d.help);
            assert!(text.lines().any(|line| line == help), "{help} is missing in\n{text}");
            assert!(text.contains(&format!("# TYPE {family} {}", d.kind)), "{family}\n{text}");
        }
        let defined = text.lines().filter(|line| line.starts_with("# TYPE")).count();
        assert_eq!(defined, DEFINITIONS.len());
    }
}
