//! The driver against a real QEMU, emulating.
