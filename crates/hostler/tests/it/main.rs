//! The one integration binary: stories across doors, the generic checks of every task kind, real components.

mod bad_input;
mod crash;
mod images;
mod native;
mod real;
mod server;
mod tasks;
mod walls;
