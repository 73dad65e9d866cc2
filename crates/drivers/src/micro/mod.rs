//! The builder of the micro template.
