//! Values without effects: what all rooms speak of.

pub mod arch;
pub mod catalog;
pub mod complaint;
pub mod expectation;
pub mod kernel;
pub mod kernel_request;
pub mod package_name;
pub mod project;
pub mod results;
pub mod retention;
pub mod run_event;
pub mod test_event;
pub mod version;
pub mod version_range;
