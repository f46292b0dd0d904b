//! Clients of servers. They know no kernel on this machine.

pub mod apt;
pub mod github;
pub mod http;
