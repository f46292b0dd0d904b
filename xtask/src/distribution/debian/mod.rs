//! The kernels of Debian's archive: `-k debian:WHAT`.

pub mod select;
