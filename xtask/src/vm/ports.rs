//! The host's ends of a guest's ports.

use std::io::{IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::event::PollFlags;

use super::VmSink;
use crate::base::error::{Failure, FailureKind};
use crate::base::interrupt;
use crate::base::terminal::{self, Escape, in_foreground};
use crate::vm::protocol::Port;

const CHUNK: usize = 64 << 10;

/// A message from a port's thread.
pub(super) enum Message {
    Data(Port, Vec<u8>),
    Closed,
}

pub(super) fn deliver(port: Port, bytes: &[u8], sink: &mut dyn VmSink) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    match port {
        Port::Stdout | Port::Terminal => sink.stdout(bytes),
        Port::Stderr => sink.stderr(bytes),
        Port::Events => sink.events(bytes),
        Port::Status | Port::Kernel | Port::Stdin | Port::Monitor => Ok(()),
    }
}

pub(super) fn read_port(port: Port, mut stream: UnixStream, sender: SyncSender<Message>) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    let sent = sender.send(Message::Data(port, buffer[..n].to_vec()));
                    if sent.is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // A QEMU that was killed resets its connections.
                Err(_) => break,
            }
        }
        let _ = sender.send(Message::Closed);
    });
}

/// Copies our standard input to a port until its end, or until it is dropped. It
/// begins when the guest's command does: what is read before that would be gone if
/// the VM has to be started again, emulated.
#[derive(Default)]
pub(super) struct StdinPump {
    /// Set if somebody at the terminal wants the VM's end, or the terminal is gone.
    end: Arc<Mutex<Option<Failure>>>,
    /// Only one direction may be shut down at the end: when the socket is closed
    /// QEMU sees a hang-up and throws away what the guest has not yet taken.
    pub(super) stream: Option<UnixStream>,
    pub(super) terminal: bool,
}

impl StdinPump {
    /// An error if the terminal asks for the run's end or is gone.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.take().map_or(Ok(()), Err)
    }

    pub(super) fn start(&self) -> Result<()> {
        let Some(stream) = &self.stream else {
            return Ok(());
        };
        let mut stream = stream.try_clone().context("cannot share a socket")?;
        let pump = Arc::downgrade(&self.end);
        let raw = self.terminal;
        std::thread::spawn(move || {
            let mut stdin = std::io::stdin().lock();
            let mut buffer = vec![0; CHUNK];
            let mut escape = Escape::default();
            let is_terminal = stdin.is_terminal();
            while let Some(end) = pump.upgrade() {
                let fail = |failure| {
                    let mut end = end.lock().unwrap_or_else(PoisonError::into_inner);
                    end.get_or_insert(failure);
                };
                let ready = match interrupt::wait_for(&stdin, PollFlags::IN) {
                    Ok(ready) if ready.is_empty() => continue,
                    Ok(ready) => ready,
                    Err(_) => break,
                };
                if is_terminal && !in_foreground(&stdin) {
                    // Reading what is typed for another job would stop us.
                    std::thread::sleep(interrupt::POLL);
                    continue;
                }
                let hung_up = ready.contains(PollFlags::HUP);
                let bytes = match stdin.read(&mut buffer) {
                    Ok(n @ 1..) => &buffer[..n],
                    read => {
                        // Raw, a terminal has no end-of-file.
                        if is_terminal && (hung_up || raw || read.is_err()) {
                            fail(terminal::gone());
                        }
                        break;
                    }
                };
                let sent = if raw {
                    let (bytes, wanted) = escape.feed(bytes);
                    if wanted {
                        let kind = FailureKind::Interrupted(signal_hook::consts::SIGINT);
                        fail(Failure::new(kind, "ended from the terminal by Ctrl-A X"));
                    }
                    stream.write_all(&bytes)
                } else {
                    stream.write_all(bytes)
                };
                if sent.is_err() {
                    return;
                }
            }
            if !raw {
                // The guest reads what is on its way, and then an end-of-file.
                let _ = stream.shutdown(std::net::Shutdown::Write);
            }
        });
        Ok(())
    }
}
