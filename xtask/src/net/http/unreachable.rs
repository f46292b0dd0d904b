//! Servers that could not be reached in this run. Without a network each attempt may take
//! seconds, so nobody asks them again where something else will do.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

static SERVERS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Notes that a server, by whatever name the caller has for it, could not be reached.
pub fn note(server: &str) {
    let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    servers.insert(server.to_owned());
}

pub fn is_noted(server: &str) -> bool {
    let servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    servers.contains(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_could_not_be_reached_is_remembered_for_this_run() {
        // No other test notes these addresses.
        let server = "http://127.0.0.1:9/unreachable";
        assert!(!is_noted(server));
        note(server);
        note(server);
        assert!(is_noted(server));
        assert!(!is_noted("http://127.0.0.1:10/unreachable"));
    }
}
