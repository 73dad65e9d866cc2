//! Bad input of every kind: each is answered with what is wrong, and changes nothing.
//!
//! [`start`] is about what keeps a server from starting, [`requests`] about requests, [`images`] about files that
//! templates shall be made of.

mod images;
mod requests;
mod start;
