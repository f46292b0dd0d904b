//! Doors to the operating system, and what every room needs: errors, paths, processes, files,
//! time, the terminal.

pub mod bounded_log;
pub mod color;
pub mod disk;
pub mod embedded;
pub mod env;
pub mod environment;
pub mod error;
pub mod format;
pub mod input;
pub mod interrupt;
pub mod live_terminal;
pub mod lock;
pub mod parallel;
pub mod paths;
pub mod process;
pub mod programs;
pub mod route;
pub mod secrets;
pub mod sha256;
pub mod shown;
pub mod stdout;
pub mod suggest;
pub mod table;
pub mod temporary;
pub mod terminal;
pub mod time;
pub mod ui;
