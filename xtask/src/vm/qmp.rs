//! QEMU's own control connection, QMP: commands and answers are JSON, one per line.
//! <https://www.qemu.org/docs/master/interop/qmp-spec.html>

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::base::interrupt;

/// How long QEMU may take to accept a command's bytes.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// The longest line that is looked at; ours have below 1 KiB.
const LONGEST_LINE: usize = 1 << 20;

#[derive(Debug)]
pub struct Monitor {
    stream: UnixStream,
    line: Vec<u8>,
    /// The number of the last command.
    last: u64,
    /// The answer to it.
    answer: Option<Value>,
    stopped: Option<String>,
    paused: bool,
    closed: bool,
}

impl Monitor {
    /// Takes a connection that QEMU has just made, and asks for its events.
    pub fn new(mut stream: UnixStream) -> Result<Self> {
        let context = "cannot set up the connection to QEMU's monitor";
        stream.set_nonblocking(false).context(context)?;
        stream
            .set_write_timeout(Some(WRITE_LIMIT))
            .context(context)?;
        // A read must not wait: see `poll`.
        let moment = Duration::from_millis(1);
        stream.set_read_timeout(Some(moment)).context(context)?;
        // QEMU greets first and obeys nothing before this; it may do so later.
        match stream.write_all(b"{\"execute\":\"qmp_capabilities\"}\n") {
            // QEMU has ended already: the VM is lost, for a reason that its process knows.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            written => written.context(context)?,
        }
        Ok(Self {
            stream,
            line: Vec::new(),
            last: 0,
            answer: None,
            stopped: None,
            paused: false,
            closed: false,
        })
    }

    /// Why the guest has stopped for good, once it has: `guest-reset`, `guest-shutdown`,
    /// `guest-panic` (`qapi/run-state.json`, `ShutdownCause`).
    pub fn stopped(&mut self) -> Option<&str> {
        self.poll();
        self.stopped.as_deref()
    }

    /// Whether the guest stands still because somebody paused it, or QEMU did so itself
    /// (`qapi/run-state.json`, STOP and RESUME), when [`Monitor::stopped`] looked last.
    pub fn paused(&self) -> bool {
        self.paused
    }

    /// Takes what QEMU has said.
    fn poll(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            // An error: nothing more for now.
            let Ok(n) = self.stream.read(&mut buffer) else {
                return;
            };
            if n == 0 {
                self.closed = true;
                return;
            }
            for &byte in &buffer[..n] {
                if byte == b'\n' {
                    let line = std::mem::take(&mut self.line);
                    if let Ok(value) = serde_json::from_slice(&line) {
                        self.take(value);
                    }
                } else if self.line.len() < LONGEST_LINE {
                    self.line.push(byte);
                }
            }
        }
    }

    fn take(&mut self, value: Value) {
        match value["event"].as_str() {
            Some("SHUTDOWN") => {
                let reason = value["data"]["reason"].as_str().unwrap_or("for no reason");
                self.stopped.get_or_insert_with(|| reason.to_owned());
            }
            Some("STOP") => self.paused = true,
            Some("RESUME") => self.paused = false,
            _ if value["id"] == self.last && self.last > 0 => self.answer = Some(value),
            _ => {}
        }
    }

    /// Executes a command; what it returns. `meanwhile` is called again and again until
    /// the answer is there, and says whether it had something to do.
    pub fn execute(
        &mut self,
        command: &str,
        arguments: &Value,
        limit: Duration,
        mut meanwhile: impl FnMut() -> Result<bool>,
    ) -> Result<Value> {
        self.poll();
        self.last += 1;
        self.answer = None;
        let line = json!({"execute": command, "arguments": arguments, "id": self.last});
        let sent = self.stream.write_all(format!("{line}\n").as_bytes());
        sent.with_context(|| format!("cannot send {command} to QEMU"))?;
        let end = Instant::now() + limit;
        loop {
            interrupt::check()?;
            if !meanwhile()? {
                self.poll();
            }
            if let Some(answer) = self.answer.take() {
                if let Some(value) = answer.get("return") {
                    return Ok(value.clone());
                }
                let words = answer["error"]["desc"].as_str().unwrap_or("an error");
                bail!("QEMU cannot do {command}: {words}");
            }
            ensure!(!self.closed, "QEMU ended while it was to do {command}");
            ensure!(
                Instant::now() < end,
                "QEMU does not answer {command} within {} s",
                limit.as_secs()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection whose other end is played by `part`.
    fn monitor(part: impl FnOnce(UnixStream) + Send + 'static) -> Monitor {
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || part(theirs));
        Monitor::new(ours).unwrap()
    }

    /// Reads a command.
    fn command(stream: &mut UnixStream) -> Value {
        let mut line = Vec::new();
        let mut byte = [0];
        while stream.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        serde_json::from_slice(&line).unwrap()
    }

    const GREETING: &[u8] = b"{\"QMP\":{\"version\":{}}}\r\nnonsense\r\n{\"return\":{}}\r\n";

    #[test]
    fn commands_are_answered_among_events() {
        let mut monitor = monitor(|mut stream| {
            assert_eq!(command(&mut stream)["execute"], "qmp_capabilities");
            stream.write_all(GREETING).unwrap();
            let asked = command(&mut stream);
            assert_eq!(asked["arguments"]["x"], 7);
            writeln!(stream, "{}", json!({"event": "STOP"})).unwrap();
            let stop = json!({"event": "SHUTDOWN", "data": {"reason": "guest-reset"}});
            let answer = json!({"return": [1], "id": asked["id"]});
            // An older answer is not ours.
            let other = json!({"return": [2], "id": 99});
            write!(stream, "{stop}\r\n{other}\r\n{answer}\r\n").unwrap();
            let asked = command(&mut stream);
            let answer = json!({"error": {"class": "X", "desc": "no"}, "id": asked["id"]});
            write!(stream, "{answer}\r\n").unwrap();
        });
        let limit = Duration::from_secs(60);
        let answer = monitor.execute("x", &json!({"x": 7}), limit, || Ok(false));
        assert_eq!(answer.unwrap(), json!([1]));
        assert_eq!(monitor.stopped(), Some("guest-reset"));
        assert!(monitor.paused());
        let error = monitor.execute("y", &json!({}), limit, || Ok(false));
        assert_eq!(error.unwrap_err().to_string(), "QEMU cannot do y: no");
    }

    #[test]
    fn silence_and_a_failure_meanwhile_end_it() {
        let mut monitor = monitor(|mut stream| {
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let none = Duration::ZERO;
        let silent = monitor.execute("x", &json!({}), none, || Ok(false));
        let text = silent.unwrap_err().to_string();
        assert_eq!(text, "QEMU does not answer x within 0 s");
        let limit = Duration::from_secs(60);
        let failed = monitor.execute("x", &json!({}), limit, || bail!("no room"));
        assert_eq!(failed.unwrap_err().to_string(), "no room");
        assert_eq!(monitor.stopped(), None);
    }

    #[test]
    fn a_qemu_that_has_ended_is_no_error_of_the_connection() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert_eq!(Monitor::new(ours).unwrap().stopped(), None);
    }

    #[test]
    fn an_end_of_qemu_is_noticed() {
        let mut monitor = monitor(|mut stream| {
            command(&mut stream);
            command(&mut stream);
        });
        let limit = Duration::from_secs(3600);
        let ended = monitor.execute("x", &json!({}), limit, || Ok(false));
        let text = ended.unwrap_err().to_string();
        assert_eq!(text, "QEMU ended while it was to do x");
    }
}
