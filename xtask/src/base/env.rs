//! What nearly every effect needs: where things are, and whom to tell.

use super::paths::Paths;
use super::ui::Ui;

/// The surroundings of a command; the first parameter of whatever touches files and tells the user.
#[derive(Clone, Debug)]
pub struct Env {
    pub paths: Paths,
    pub ui: Ui,
}

#[cfg(test)]
impl Env {
    /// A silent one whose work directory is `work`, without configurations and assets.
    pub fn for_tests(work: impl Into<std::path::PathBuf>) -> Self {
        use super::paths::Files;
        use super::ui::Verbosity;
        Self {
            paths: Paths::new(work, Files::Embedded(&[]), Files::Embedded(&[])),
            ui: Ui::new(Verbosity::Quiet),
        }
    }
}
