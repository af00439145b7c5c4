//! Entry for fuzzing: an answer of Vault, to every request that reads something from it.

use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use crate::model::fuzz::{answer, silent};
use crate::model::time::{Span, Timestamp};
use crate::vault::KvPath;
use crate::vault::answer::{Answer, Settled};
use crate::vault::document::Document;
use crate::vault::error::VaultError;
use crate::vault::kv::{content, history, names, written};
use crate::vault::order::Order;

/// Only a 404 is "nothing there", only a 2xx is "done", and what is refused is not repeated.
pub(crate) fn reply(input: &[u8]) {
    let Some((status, headers, body)) = answer(input) else { return };
    let at = &KvPath { mount: "kv".to_owned(), path: "a/b".to_owned() };
    let document = &Document::from_json(b"{}".to_vec());
    for order in [
        Order::Read { at, version: None },
        Order::Write { at, document, cas: 1 },
        Order::Patch { at, patch: document, cas: 1 },
        Order::List { at },
        Order::Metadata { at },
    ] {
        let answer = Answer::new(status, &headers, Zeroizing::new(body.to_vec()));
        assert!(answer.redirect().is_none() || status == 307);
        assert!(!answer.denied_by_policy() || status == 403);
        let read = match answer.settle(&order) {
            Ok(Settled::Done(answer)) => {
                assert!((200..300).contains(&status), "{status} is no success");
                read(&order, &answer)
            }
            Ok(Settled::Absent) => {
                assert!(status == 404 && !matches!(order, Order::Patch { .. }));
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = read {
            refused(&error);
        }
    }
}

fn read(order: &Order<'_>, answer: &Answer) -> Result<(), VaultError> {
    match order {
        Order::Read { .. } => {
            let read = content(order, answer)?;
            read.document.decode::<IgnoredAny>().expect("a part of JSON is JSON");
        }
        Order::List { .. } => drop(names(order, answer)?),
        Order::Metadata { .. } => drop(history(order, answer, Timestamp(0))?),
        _ => drop(written(order, answer)?),
    }
    Ok(())
}

fn refused(error: &VaultError) {
    silent(error);
    silent(&format!("{error:?}"));
    if let VaultError::Throttled { after } = error {
        assert!((Span::from_secs(1)..=Span::from_secs(60)).contains(after), "{after}");
    }
}
