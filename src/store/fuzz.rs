//! Entries for fuzzing: what lies in Vault, as somebody else may have written it.

use serde::Deserialize;

use crate::incident::report;
use crate::model::fuzz::silent;
use crate::model::id::{IncidentId, SecretName};
use crate::model::time::Timestamp;
use crate::rotation::decide::decide;
use crate::store::lease::LeaseDocument;
use crate::store::record::{Record, RecordFault};
use crate::store::{folded, incident};
use crate::vault::KvPath;
use crate::vault::document::Document;

fn at(path: &str) -> KvPath {
    KvPath { mount: "rotord".to_owned(), path: path.to_owned() }
}

/// A record that is read can be written, is then the same, and can be acted on.
pub(crate) fn record(input: &[u8]) {
    #[derive(Deserialize)]
    struct Named {
        name: SecretName,
    }
    let document = Document::from_json(input.to_vec());
    let Ok(Named { name }) = folded::decode(&document) else {
        let name = SecretName::new("billing").expect("a name");
        return silent(&Record::decode("state", &name, &document).expect_err("it has no name"));
    };
    let record = match Record::decode("state", &name, &document) {
        Ok(record) => record,
        Err(error) => return silent(&error),
    };
    match record.encode() {
        Ok(again) => assert_eq!(Record::decode("state", &name, &again).as_ref(), Ok(&record)),
        Err(fault) => assert!(matches!(fault, RecordFault::TooLarge(_)), "unwritable: {fault}"),
    }
    assert_eq!(record.follows(&record), Ok(()));
    assert!(record.epoch.next() > record.epoch);
    assert!(record.rotation.generation.next() > record.rotation.generation);
    assert!(record.rotation.next_version.next() > record.rotation.next_version);
    for now in [Timestamp(i64::MIN), record.last_scheduled, Timestamp(i64::MAX)] {
        decide(&record.rotation, now);
    }
}

/// An incident that is read can be written, is then the same, and can be shown.
pub(crate) fn incident(input: &[u8]) {
    #[derive(Deserialize)]
    struct Identified {
        id: IncidentId,
    }
    let at = at("incident");
    let document = Document::from_json(input.to_vec());
    let Ok(Identified { id }) = folded::decode(&document) else {
        let id = IncidentId("i".to_owned());
        return silent(&incident::decode(&at, &id, &document).expect_err("it has no id"));
    };
    let incident = match incident::decode(&at, &id, &document) {
        Ok(incident) => incident,
        Err(error) => return silent(&error),
    };
    if let Ok(again) = incident::encode(&at, &incident) {
        assert_eq!(incident::decode(&at, &id, &again).as_ref(), Ok(&incident));
    }
    assert!(!report::markdown(&incident, incident.opened_at).is_empty());
}

/// A lease that is read leaves room for the next epoch, and is the same when it is written.
pub(crate) fn lease(input: &[u8]) {
    let at = at("lease");
    let lease = match LeaseDocument::decode(&at, &Document::from_json(input.to_vec())) {
        Ok(lease) => lease,
        Err(error) => return silent(&error),
    };
    assert!(lease.epoch.next() > lease.epoch);
    let again = Document::encode(&lease).expect("it was read");
    assert_eq!(LeaseDocument::decode(&at, &again).as_ref(), Ok(&lease));
}
