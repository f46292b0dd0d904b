//! A debugger at QEMU's stub: the GDB remote serial protocol, spoken by hand (GDB
//! manual, appendix E), so that the tests need no gdb.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::{Call, Running};

/// A connection to the stub.
struct Stub(UnixStream);

impl Stub {
    fn send(&mut self, packet: &str) {
        let sum = packet.bytes().fold(0u8, u8::wrapping_add);
        write!(self.0, "${packet}#{sum:02x}").unwrap();
    }

    /// The next packet, acknowledged.
    fn receive(&mut self) -> String {
        let packet = self.packet();
        self.0.write_all(b"+").unwrap();
        packet
    }

    fn packet(&mut self) -> String {
        let mut byte = [0];
        let mut packet = String::new();
        let mut inside = false;
        loop {
            self.0.read_exact(&mut byte).unwrap();
            match byte[0] {
                b'$' => inside = true,
                b'#' if inside => break,
                byte if inside => packet.push(char::from(byte)),
                // Acknowledgements of ours.
                _ => {}
            }
        }
        self.0.read_exact(&mut [0; 2]).unwrap();
        packet
    }

    fn ask(&mut self, packet: &str) -> String {
        self.send(packet);
        self.receive()
    }

    /// Detaches; the guest goes on. That it had stopped because somebody came may still be
    /// on its way. Nothing is acknowledged: to QEMU any byte that it does not wait for,
    /// while the guest runs, is a wish to stop it (`gdbstub.c`, `gdb_read_byte`).
    fn leave(mut self) {
        self.send("D");
        while self.packet() != "OK" {}
    }
}

/// Reads the line that says how gdb is called; the socket and the file of symbols.
#[track_caller]
fn invitation(running: &mut Running) -> (Stub, String) {
    let mut stderr = BufReader::new(running.child.stderr.take().unwrap());
    let mut all = String::new();
    let line = loop {
        let mut line = String::new();
        assert!(
            stderr.read_line(&mut line).unwrap() > 0,
            "no invitation: {all}"
        );
        if let Some((_, command)) = line.split_once("waits for a debugger: ") {
            break command.to_owned();
        }
        all += &line;
    };
    // Nobody reads the rest, and nobody may be stuck on it.
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    let (socket, vmlinux) = line
        .trim()
        .strip_prefix("gdb -ex 'target remote ")
        .and_then(|rest| rest.split_once("' "))
        .unwrap_or_else(|| panic!("{line}"));
    let stream = UnixStream::connect(socket).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(120)))
        .unwrap();
    (Stub(stream), vmlinux.to_owned())
}

/// The address of a kernel's symbol.
#[allow(clippy::disallowed_methods, reason = "a short command of a test")]
fn address(vmlinux: &str, symbol: &str) -> u64 {
    let output = Command::new("nm").arg(vmlinux).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .find(|line| line.ends_with(&format!(" T {symbol}")));
    let line = line.unwrap_or_else(|| panic!("{vmlinux} has no {symbol}"));
    u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap()
}

#[test]
fn the_guest_waits_and_symbols_are_where_vmlinux_has_them() {
    // The limit is for what should not happen: a guest that waits for ever.
    let mut running = Call::vm("-q --gdb --timeout 5m")
        .script("echo ran; exit 7")
        .spawn();
    let (mut stub, vmlinux) = invitation(&mut running);
    assert!(Path::new(&vmlinux).is_file(), "{vmlinux}");
    // At the reset vector: nothing has run.
    let stopped = stub.ask("?");
    assert!(
        stopped.starts_with('T') || stopped.starts_with('S'),
        "{stopped}"
    );
    // A hardware breakpoint, because the kernel is not in memory yet.
    let start = address(&vmlinux, "start_kernel");
    assert_eq!(stub.ask(&format!("Z1,{start:x},1")), "OK");
    stub.send("c");
    let stopped = stub.receive();
    assert!(stopped.starts_with("T05"), "{stopped}");
    // Of the registers RIP is the 17th, of 8 bytes (gdb/features/i386/64bit-core.xml).
    let registers = stub.ask("g");
    let pointer = &registers[16 * 16..17 * 16];
    let bytes = (0..8).map(|n| u8::from_str_radix(&pointer[2 * n..2 * n + 2], 16).unwrap());
    let pointer = u64::from_le_bytes(bytes.collect::<Vec<_>>().try_into().unwrap());
    assert_eq!(pointer, start, "{registers}");
    assert_eq!(stub.ask(&format!("z1,{start:x},1")), "OK");
    stub.send("c");
    let ended = running.wait().expect(7);
    assert_eq!(ended.stdout(), "ran\n");
}

#[test]
fn a_debugger_may_go_and_another_one_come() {
    let mut running = Call::vm("--gdb --timeout 5m")
        .script("sleep 2; echo ran")
        .spawn();
    let (stub, _) = invitation(&mut running);
    let socket = stub.0.peer_addr().unwrap();
    let socket = socket.as_pathname().unwrap().to_owned();
    stub.leave();
    let mut again = Stub(UnixStream::connect(socket).unwrap());
    again
        .0
        .set_read_timeout(Some(Duration::from_secs(120)))
        .unwrap();
    let stopped = again.ask("?");
    assert!(
        stopped.starts_with('T') || stopped.starts_with('S'),
        "{stopped}"
    );
    again.leave();
    let ended = running.wait().expect(0);
    assert_eq!(ended.stdout(), "ran\n");
}
