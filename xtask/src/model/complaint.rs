//! What a kernel says of its own faults while it goes on.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// `WARNING`, `KASAN`, `stall` and so on.
    pub kind: String,
    /// Its first line; that of a warning with its message.
    pub title: String,
    /// All lines, with source lines where they are known.
    pub report: String,
    /// The test that ran at that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// Why it makes no run fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
    /// Microseconds of the kernel's clock, by which it belongs to a test.
    #[serde(skip)]
    pub time: Option<u64>,
}

/// Something does not go on in time. On a busy host these are false alarms where the
/// processors are emulated.
pub const STALL: &str = "stall";

impl Complaint {
    pub fn is_bad(&self) -> bool {
        self.allowed.is_none()
    }
}
