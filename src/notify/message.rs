//! What is said: one JSON text for programs and chat services alike.
//!
//! `text` is what Slack and Mattermost show; `type`, `timestamp` and `data` are the form that
//! Standard Webhooks recommends. Whatever others wrote stands in code marks and mentions nobody.

use serde::Serialize;

use crate::engine::desk::Notice;
use crate::incident::progress::News;
use crate::incident::record::{Incident, State, Wait};
use crate::model::material::SecretBytes;
use crate::model::time::{Span, Timestamp};
use crate::signing::standard::MessageId;

/// One message: the same bytes and the same id on every attempt.
pub(super) struct Message {
    pub(super) id: MessageId,
    body: Vec<u8>,
}

#[derive(Serialize)]
struct Body<'a> {
    text: String,
    r#type: String,
    timestamp: Timestamp,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    news: &'static str,
    incident: &'a str,
    secret: &'a str,
    version: u64,
    stage: String,
    state: &'static str,
    waits: Option<&'static str>,
    action: &'static str,
    opened_at: Timestamp,
    deadline: Option<Timestamp>,
    refused_at: Option<Timestamp>,
    exposure: Option<Span>,
    reports: u64,
    found_at: Option<&'a str>,
    targets_holding: Vec<&'a str>,
}

impl Message {
    /// What is said of a notice.
    pub(super) fn of(notice: &Notice) -> Message {
        let Notice { news, incident } = notice;
        let moment = incident.timeline.last().map_or(incident.opened_at, |moment| moment.at);
        let body = Body {
            text: text(*news, incident),
            r#type: format!("rotord.incident.{}", news.code()),
            timestamp: moment,
            data: data(*news, incident),
        };
        // An incident may be asked about or stuck more than once.
        let id = format!("{}-{}-{}", incident.id, news.code(), incident.timeline.len());
        Message {
            id: MessageId::new(id).expect("ids and codes are letters, digits, '-' and '_'"),
            body: serde_json::to_vec(&body).expect("plain data is JSON"),
        }
    }

    /// The JSON.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The JSON, for whoever wipes what was sent.
    pub(super) fn to_bytes(&self) -> SecretBytes {
        SecretBytes::new(self.body.clone())
    }
}

fn data(news: News, incident: &Incident) -> Data<'_> {
    let place = incident.sightings.first().and_then(|sighting| sighting.found_at.as_ref());
    Data {
        news: news.code(),
        incident: &incident.id.0,
        secret: incident.secret.as_str(),
        version: incident.version.0,
        stage: incident.stage.to_string(),
        state: incident.state.name(),
        waits: match incident.state {
            State::Waiting(wait) => Some(wait.code()),
            _ => None,
        },
        action: incident.action.code(),
        opened_at: incident.opened_at,
        deadline: incident.deadline,
        refused_at: incident.refused_at(),
        exposure: incident.refused_at().map(|at| at.since(incident.opened_at)),
        reports: incident.reports(),
        found_at: place.map(|place| place.as_str()),
        targets_holding: incident.holding().map(|target| target.as_str()).collect(),
    }
}

/// Two lines: what happened, and the command that shows more.
fn text(news: News, incident: &Incident) -> String {
    let Incident { id, secret, version, stage, .. } = incident;
    let what = match (news, incident.state) {
        (News::Opened, _) => incident.action.meaning().to_owned(),
        (News::Waiting, State::Waiting(wait)) => {
            format!("needs a person: {}", wait.meaning())
        }
        (News::Waiting, _) => "needed a person".to_owned(),
        (News::Approved, _) => "a person agreed, it is acted on".to_owned(),
        (News::DeadlinePassed, _) => "PAST ITS DEADLINE AND STILL ACCEPTED".to_owned(),
        (News::NeedsHuman, _) => "the rotation waits for a person".to_owned(),
        (News::Done, _) => match incident.refused_at() {
            Some(at) => {
                format!("done, accepted by nobody {} after we knew", at.since(incident.opened_at))
            }
            None => "done".to_owned(),
        },
        (News::Closed, _) => "closed by a person".to_owned(),
    };
    let place = incident.sightings.first().and_then(|sighting| sighting.found_at.as_ref());
    let place = place.map(|p| format!(", found at `{}`", harmless(p.as_str()))).unwrap_or_default();
    let command = match (news, incident.state) {
        (News::Waiting, State::Waiting(Wait::Vanished)) => {
            format!("rotord incident close {id} --reason WHY")
        }
        (News::Waiting, State::Waiting(_)) => {
            format!("rotord incident approve {id} --reason WHY")
        }
        (News::NeedsHuman, _) => format!("rotord status {secret}"),
        (News::Done | News::Closed, _) => format!("rotord incident report {id}"),
        _ => format!("rotord incident show {id}"),
    };
    format!("*{secret} {version} leaked* (was {stage}){place}: {what}\n`{command}`")
}

/// Foreign text without what chat services act on: mark-up, links, mentions of everybody.
fn harmless(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('`', "'").replace('@', "(at)")
}
