//! The one integration binary: a list of modules, nothing else.

mod systemd;
