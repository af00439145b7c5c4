//! Whatever the pieces, places are those of the whole text; and a stream that stops for a while
//! keeps nothing back.

use std::sync::mpsc as blocking;

use tokio::sync::mpsc;
use tokio::time::advance;

use super::*;

fn pieces(source: Source, piece_bytes_max: usize, overlap: usize) -> Pieces {
    let begun = wire::Begun { scan: 1, piece_bytes_max, overlap, versions: 0, unread: Vec::new() };
    Pieces::new(Path::new("f"), source, &begun)
}

/// A stream of which every read blocks until the test sends something, and says that it does.
struct Fed {
    from: blocking::Receiver<io::Result<&'static str>>,
    asked: mpsc::UnboundedSender<()>,
}

impl Read for Fed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let _ = self.asked.send(());
        let Ok(text) = self.from.recv() else { return Ok(0) };
        let text = text?;
        into[..text.len()].copy_from_slice(text.as_bytes());
        Ok(text.len())
    }
}

type Feed = blocking::Sender<io::Result<&'static str>>;

fn fed() -> (Feed, mpsc::UnboundedReceiver<()>, Source) {
    let (feed, from) = blocking::channel();
    let (asked, asks) = mpsc::unbounded_channel();
    (feed, asks, Source::Stream(Box::new(Fed { from, asked })))
}

fn text(piece: Option<Piece>) -> String {
    piece.map_or_else(String::new, |piece| String::from_utf8(piece.text.to_vec()).unwrap())
}

#[tokio::test]
async fn places_are_those_of_the_whole_text() {
    const TEXT: &[u8] = b"one\ntwo two\n\nfour-NEEDLE\nfive NEEDLE";
    let sources: [fn() -> Source; 2] =
        [|| Source::Whole(Box::new(TEXT)), || Source::Stream(Box::new(TEXT))];
    for (piece, source) in (14..60).flat_map(|piece| sources.map(|source| (piece, source))) {
        let mut pieces = pieces(source(), piece, 5);
        let mut places = Vec::new();
        let mut told = 0;
        while let Some(piece) = pieces.next().await.unwrap() {
            told += piece.fresh();
            for start in 0..piece.text.len() {
                let end = start + 6;
                if piece.text.get(start..end) == Some(b"NEEDLE") && end > piece.seen {
                    places.push(piece.place(start));
                }
            }
        }
        assert_eq!(places, [(4, 6), (5, 6)], "pieces of {piece}");
        assert_eq!(told, TEXT.len() as u64);
    }
}

#[tokio::test]
async fn nothing_is_one_empty_piece() {
    for source in [Source::Whole(Box::new(io::empty())), Source::Stream(Box::new(io::empty()))] {
        let mut pieces = pieces(source, 16, 4);
        let piece = pieces.next().await.unwrap().unwrap();
        assert!(piece.text.is_empty() && piece.is_last);
        assert!(pieces.next().await.unwrap().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_slow_stream_brought_does_not_wait_for_a_full_piece() {
    let (feed, mut asks, source) = fed();
    let mut pieces = pieces(source, 64, 3);
    feed.send(Ok("one ")).unwrap();
    feed.send(Ok("two")).unwrap();
    let begun = Instant::now();
    let passing = async {
        // It asks a third time once it has taken both in.
        for _ in 0..3 {
            asks.recv().await.unwrap();
        }
        advance(PATIENCE).await;
    };
    let (first, ()) = tokio::join!(pieces.next(), passing);
    let first = first.unwrap();
    assert_eq!(begun.elapsed(), PATIENCE);
    assert!(first.as_ref().is_some_and(|piece| piece.is_last));
    assert_eq!(text(first), "one two");
    feed.send(Ok(" three")).unwrap();
    drop(feed);
    let second = pieces.next().await.unwrap();
    assert_eq!(second.as_ref().map(|piece| (piece.seen, piece.place(3))), Some((3, (1, 8))));
    assert_eq!(text(second), "two three");
    assert!(pieces.next().await.unwrap().is_none());
}

#[tokio::test]
async fn what_came_before_an_error_is_looked_at_before_it_is_told() {
    let (feed, _asks, source) = fed();
    let mut pieces = pieces(source, 64, 3);
    feed.send(Ok("one two")).unwrap();
    feed.send(Err(io::Error::other("gone"))).unwrap();
    assert_eq!(text(pieces.next().await.unwrap()), "one two");
    assert_eq!(pieces.next().await.map(|_| ()).unwrap_err().to_string(), "gone");
    assert!(pieces.next().await.unwrap().is_none());
}
