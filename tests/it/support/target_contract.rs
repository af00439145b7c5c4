//! The contract of [`Target`], held against any implementation of it.

use std::future::Future;

use async_trait::async_trait;
use rotord::driver::target::Target;
use rotord::model::id::Generation;
use rotord::model::reason::Reason;
use rotord::model::target::Level;
use rotord::model::time::Timestamp;

use super::book::{Book, holds, value, wish};

/// A target on the bench: what the contract must be able to do beside it.
#[async_trait]
pub(crate) trait Bench: Send + Sync {
    /// The target under test, for secret `s` and target `t`.
    fn target(&self) -> &dyn Target;
    /// Whether a consumer of the target accepts this value.
    async fn accepts(&self, value: &str) -> bool;
    /// Whether a consumer of the target uses this value.
    async fn uses(&self, value: &str) -> bool;
    /// The target loses what it was told: a restart, an overwritten document.
    async fn lose(&self);
    /// Whether the value is still anywhere, in any history.
    async fn keeps_trace(&self, value: &str) -> bool;
}

/// Runs the whole contract, each part on a bench of its own.
pub(crate) async fn conforms<B: Bench, F: Future<Output = B>>(
    now: Timestamp,
    make: impl Fn() -> F,
) {
    let book = || Book::new("s", "t", now);
    an_untold_target_holds_nothing(&make().await, &book()).await;
    a_rotation_is_followed_step_by_step(&make().await, &book()).await;
    the_same_order_again_changes_nothing(&make().await, &book()).await;
    a_stale_order_is_refused(&make().await, &book()).await;
    what_was_lost_is_seen_and_given_again(&make().await, &book()).await;
    a_contained_secret_leaves_nothing_accepted(&make().await, &book()).await;
    a_purge_leaves_no_trace(&make().await, &book()).await;
}

async fn an_untold_target_holds_nothing(bench: &dyn Bench, book: &Book) {
    let seen = book.observe(bench.target(), &wish(1, &[1], 1)).await.unwrap();
    assert_eq!(seen.generation, Generation(0));
    assert_eq!((seen.accepted, seen.current), (vec![], None));
    assert!(!bench.accepts(&value(1)).await, "asking gave it the value");
    assert!(!bench.target().foreign().await.unwrap(), "nothing stands there");
}

async fn a_rotation_is_followed_step_by_step(bench: &dyn Bench, book: &Book) {
    let steps = [
        (wish(1, &[1], 1), vec![1]),
        (wish(2, &[2, 1], 1), vec![1, 2]), // admit
        (wish(3, &[2, 1], 2), vec![1, 2]), // switch
        (wish(7, &[2], 2), vec![2]),       // retire; generations may leap
    ];
    for (wanted, accepted) in steps {
        let pushed = book.push(bench.target(), &wanted).await.unwrap();
        assert!(holds(&pushed, &wanted), "{wanted:?}: {pushed:?}");
        assert!(pushed.level >= Level::Stored && !pushed.by.is_empty(), "{pushed:?}");
        let seen = book.observe(bench.target(), &wanted).await.unwrap();
        assert!(holds(&seen, &wanted), "{wanted:?}: {seen:?}");
        for version in [1, 2, 3] {
            let expected = accepted.contains(&version);
            assert_eq!(bench.accepts(&value(version)).await, expected, "{wanted:?} v{version}");
            let used = wanted.current.is_some_and(|current| current.0 == version);
            assert_eq!(bench.uses(&value(version)).await, used, "{wanted:?} v{version}");
        }
    }
    assert!(!bench.target().foreign().await.unwrap(), "our own values are not foreign");
}

async fn the_same_order_again_changes_nothing(bench: &dyn Bench, book: &Book) {
    let wanted = wish(4, &[2, 1], 2);
    let first = book.push(bench.target(), &wanted).await.unwrap();
    let again = book.push(bench.target(), &wanted).await.unwrap();
    assert!(holds(&first, &wanted) && holds(&again, &wanted), "{first:?} {again:?}");
    assert!(bench.uses(&value(2)).await && bench.accepts(&value(1)).await);
}

async fn a_stale_order_is_refused(bench: &dyn Bench, book: &Book) {
    book.push(bench.target(), &wish(5, &[3, 2], 3)).await.unwrap();
    let stale = book.push(bench.target(), &wish(4, &[2, 1], 2)).await.unwrap_err();
    assert_eq!(stale.reason, Reason::GenerationAhead, "{stale}");
    assert!(bench.uses(&value(3)).await, "a stale order was carried out");
    assert!(!bench.accepts(&value(1)).await, "a stale order was carried out");
    let asked = book.observe(bench.target(), &wish(4, &[2, 1], 2)).await.unwrap_err();
    assert_eq!(asked.reason, Reason::GenerationAhead, "{asked}");
    assert_eq!((stale.ahead, asked.ahead), (Some(Generation(5)), Some(Generation(5))));
    for text in [stale.to_string(), format!("{stale:?}"), format!("{asked:?}")] {
        assert!(!text.contains("whsec_"), "an error holds a secret: {text}");
    }
}

async fn what_was_lost_is_seen_and_given_again(bench: &dyn Bench, book: &Book) {
    let wanted = wish(6, &[2, 1], 2);
    book.push(bench.target(), &wanted).await.unwrap();
    bench.lose().await;
    let seen = book.observe(bench.target(), &wanted).await.unwrap();
    assert!(!holds(&seen, &wanted), "a loss goes unseen: {seen:?}");
    let again = book.push(bench.target(), &wanted).await.unwrap();
    assert!(holds(&again, &wanted), "{again:?}");
    assert!(bench.uses(&value(2)).await && bench.accepts(&value(1)).await);
}

async fn a_contained_secret_leaves_nothing_accepted(bench: &dyn Bench, book: &Book) {
    book.push(bench.target(), &wish(1, &[1], 1)).await.unwrap();
    let nothing = wish(2, &[], None);
    let pushed = book.push(bench.target(), &nothing).await.unwrap();
    assert!(holds(&pushed, &nothing), "{pushed:?}");
    let seen = book.observe(bench.target(), &nothing).await.unwrap();
    assert!(holds(&seen, &nothing), "{seen:?}");
    assert!(!bench.accepts(&value(1)).await && !bench.uses(&value(1)).await);
}

async fn a_purge_leaves_no_trace(bench: &dyn Bench, book: &Book) {
    book.push(bench.target(), &wish(1, &[1], 1)).await.unwrap();
    book.push(bench.target(), &wish(2, &[2, 1], 1)).await.unwrap();
    book.push(bench.target(), &wish(3, &[2, 1], 2)).await.unwrap();
    let last = wish(4, &[2], 2);
    book.push(bench.target(), &last).await.unwrap();
    book.purge(bench.target(), &last, &[1]).await.unwrap();
    assert!(!bench.keeps_trace(&value(1)).await, "a revoked value is still kept");
    assert!(bench.uses(&value(2)).await, "the purge took what is in use");
    book.purge(bench.target(), &last, &[1]).await.unwrap();
    let seen = book.observe(bench.target(), &last).await.unwrap();
    assert!(holds(&seen, &last), "{seen:?}");
}
