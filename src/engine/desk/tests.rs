//! What is handed in at the desk, before it is judged.

use super::*;
use crate::incident::alert::{Claim, Finding};
use crate::model::id::SourceName;

fn alert(id: &str, findings: usize) -> Alert {
    let finding = |number: usize| Finding {
        clues: Vec::new(),
        label: number.to_string(),
        found_at: None,
        claim: Claim::Leaked,
    };
    Alert {
        source: SourceName::new("scanner").unwrap(),
        id: id.to_owned(),
        trusted: false,
        at: Timestamp(0),
        findings: (0..findings).map(finding).collect(),
    }
}

/// Each finding is answered with as many versions as its number says, up to three.
fn verdicts(report: &Report) -> Vec<Verdict> {
    let judged = Judged {
        secret: SecretName::new("key").unwrap(),
        version: VersionId(1),
        stage: Stage::Current,
        action: Action::Join,
        incident: None,
        rotation: None,
    };
    let versions = |finding: &Finding| finding.label.parse::<usize>().unwrap() % 4;
    let findings = report.alert.findings.iter();
    findings.map(|finding| Verdict { ours: vec![judged.clone(); versions(finding)] }).collect()
}

#[tokio::test]
async fn another_alert_is_judged_between_the_portions_of_a_large_one() {
    let (desk, mut ends) = DeskHandle::new();
    let actor = || Actor("test".to_owned());
    let judge = async {
        let mut order = Vec::new();
        while let Some(report) = ends.reports.recv().await {
            assert!(report.alert.findings.len() <= PORTION_LEN);
            order.push(report.alert.id.clone());
            let verdicts = verdicts(&report);
            let _ = report.reply.send(Ok(verdicts));
            if order.len() == 51 {
                break;
            }
        }
        order
    };
    let large = desk.report(actor(), alert("large", 50 * PORTION_LEN - 1));
    let (large, small, order) = tokio::join!(large, desk.report(actor(), alert("small", 0)), judge);
    let large: Vec<usize> = large.unwrap().iter().map(|verdict| verdict.ours.len()).collect();
    let expected: Vec<usize> = (0..50 * PORTION_LEN - 1).map(|number| number % 4).collect();
    assert_eq!((large, small.unwrap()), (expected, Vec::new()), "in the order of the findings");
    let at = order.iter().position(|id| id == "small").unwrap();
    assert!(at <= PORTIONS_AT_ONCE, "the small one waited for {at} portions");
}

#[tokio::test]
async fn a_portion_that_is_not_taken_has_the_whole_sent_again() {
    let (desk, mut ends) = DeskHandle::new();
    let judge = async {
        let mut taken = 0;
        while let Some(report) = ends.reports.recv().await {
            taken += 1;
            let verdicts = verdicts(&report);
            let answer = if taken == 2 { Err(away(Reason::Busy)) } else { Ok(verdicts) };
            let _ = report.reply.send(answer);
            if taken == 3 {
                break;
            }
        }
    };
    let report = desk.report(Actor("test".to_owned()), alert("large", 3 * PORTION_LEN));
    let (reported, ()) = tokio::join!(report, judge);
    assert_eq!(reported.unwrap_err().reason, Reason::Busy);
}
