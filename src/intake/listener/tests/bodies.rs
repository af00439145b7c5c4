//! Bodies that are large, too large, or do not come.

use std::sync::mpsc;

use super::*;

/// A source that reads a large body until a small one was read.
struct Slow {
    small: Mutex<mpsc::Receiver<()>>,
    was_read: mpsc::Sender<()>,
}

#[async_trait]
impl Source for Slow {
    async fn receive(&self, delivery: &Delivery<'_>) -> Result<Received, Rejected> {
        if delivery.body.len() < LARGE_BYTES {
            self.was_read.send(()).unwrap();
        } else if self.small.lock().unwrap().recv_timeout(Duration::from_secs(20)).is_err() {
            return Err(Rejected::Malformed("nothing else was read meanwhile".to_owned()));
        }
        let reply = Reply { status: StatusCode::OK, body: None };
        Ok(Received::Nothing { event: "read", reply })
    }

    fn answer(&self, _: &Message, _: &[Verdict]) -> Reply {
        unreachable!("nothing is reported")
    }

    fn trusted(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn nobody_waits_while_a_large_body_is_read() {
    let world = world(Rates::default(), &[]).await;
    let (was_read, small) = mpsc::channel();
    let source = Arc::new(Slow { small: Mutex::new(small), was_read });
    let name = SourceName::new("slow").unwrap();
    world.intake.open(vec![Named { name, kind: "slow", source }]);
    let mut large = TcpStream::connect(world.at).await.unwrap();
    large.write_all(&request("/alerts/slow", &[], &"x".repeat(LARGE_BYTES))).await.unwrap();
    let small = raw(world.at, &request("/alerts/slow", &[], "{}")).await;
    assert_eq!(small.status, 200, "{}", small.text);
    let mut heard = String::new();
    large.read_to_string(&mut heard).await.unwrap();
    assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_and_while_it_comes() {
    let world = open_world(Rates::default(), &[]).await;
    let lying = "POST /alerts/aws-health HTTP/1.1\r\nhost: r\r\n\
                 content-length: 1000000000\r\n\r\n";
    let heard = raw(world.at, lying.as_bytes()).await;
    assert_eq!((heard.status, heard.header("connection")), (413, Some("close")));
    let mut chunked = b"POST /alerts/aws-health HTTP/1.1\r\nhost: r\r\n\
                        transfer-encoding: chunked\r\n\r\n"
        .to_vec();
    for _ in 0..17 {
        chunked.extend_from_slice(b"10000\r\n");
        chunked.resize(chunked.len() + 0x10000, b'a');
        chunked.extend_from_slice(b"\r\n");
    }
    let mut stream = TcpStream::connect(world.at).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let write = async {
        let _ = writing.write_all(&chunked).await;
        std::future::pending::<()>().await;
    };
    let mut heard = [0; 12];
    tokio::select! {
        read = reading.read_exact(&mut heard) => read.map(drop).unwrap(),
        () = write => {}
    }
    assert_eq!(&heard, b"HTTP/1.1 413");
    let largest = format!("{}{}", aws(ID, "AKIA"), " ".repeat(ALERT_BYTES_MAX - 200));
    let heard = raw(world.at, &request("/alerts/aws-health", &[bearer()], &largest)).await;
    assert_eq!(heard.status, 200, "{}", heard.text);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_slow_is_cut_off() {
    let world = open_world(Rates::default(), &[]).await;
    let began = Instant::now();
    let heard = raw(world.at, b"POST /alerts/aws-health HTT").await;
    assert!(heard.status == 408 || heard.text.is_empty(), "{}", heard.text);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let began = Instant::now();
    let head = "POST /alerts/aws-health HTTP/1.1\r\nhost: r\r\ncontent-length: 9\r\n\r\n{";
    let heard = raw(world.at, head.as_bytes()).await;
    assert_eq!(heard.status, 408, "{}", heard.text);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let idle = TcpStream::connect(world.at).await.unwrap();
    let began = Instant::now();
    idle.readable().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
