//! The one integration binary: stories across doors, the generic checks of every task kind, real components.

mod tasks;
mod walls;
