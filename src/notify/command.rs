//! A recipient that is a program: started without a shell, with an empty environment, the JSON on
//! its standard input, and ended when its time is over.

use std::process::Stdio;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::model::time::Span;
use crate::notify::message::Message;
use crate::notify::{Deliver, Undelivered};

/// A program and how long it may run.
pub(super) struct Program {
    pub(super) argv: Vec<String>,
    pub(super) timeout: Span,
}

#[async_trait]
impl Deliver for Program {
    async fn deliver(&self, message: &Message) -> Result<(), Undelivered> {
        let ran = tokio::time::timeout(self.timeout.to_std(), self.run(message)).await;
        // Dropped, it is killed.
        ran.unwrap_or_else(|_| Err(failed(format!("it did not end within {}", self.timeout))))
    }
}

impl Program {
    async fn run(&self, message: &Message) -> Result<(), Undelivered> {
        let (program, arguments) =
            self.argv.split_first().ok_or_else(|| failed("there is no program".to_owned()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(format!("it cannot be started: {error}")))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read its input may still do what it is for.
            let _ = stdin.write_all(message.body()).await;
        }
        let status = child.wait().await.map_err(|error| failed(error.to_string()))?;
        if status.success() { Ok(()) } else { Err(failed(format!("it ended with {status}"))) }
    }
}

fn failed(text: String) -> Undelivered {
    Undelivered { text, after: None }
}
