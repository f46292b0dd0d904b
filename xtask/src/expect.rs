//! Expectations: failures that a project's `vmtest.toml` lists.

use serde::{Deserialize, Serialize};

/// One entry `[[expect]]`: on these kernels, these tests fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// The dotted name of tests, with shell wildcards.
    pub test: String,
    /// The kernels, e.g. `>=5.11, <5.19`; all of them without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernels: Option<String>,
    /// The flavor; any without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flavor: Option<String>,
    /// The architecture; any without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Why, for people.
    pub reason: String,
    /// The last day on which it counts, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}
