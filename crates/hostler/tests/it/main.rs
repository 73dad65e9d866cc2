//! The one integration binary: stories across doors, the generic checks of every task kind, real components.

mod images;
mod native;
mod program;
mod real;
mod server;
mod tasks;
mod walls;
