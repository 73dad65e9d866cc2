//! Turning the machine off: asked by the host over the port, or by the power button.

use crate::sys::{self, Ending};
use crate::{NAME, Place, complain, files};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `EV_KEY` and `KEY_POWER` of the kernel's input events.
const KEY_EVENT: u16 = 1;
const POWER_KEY: u16 = 116;

/// What the first process of micro understands, as busybox's does.
pub(crate) const POWER_OFF_SIGNAL: i32 = libc::SIGUSR2;
pub(crate) const REBOOT_SIGNAL: i32 = libc::SIGTERM;

/// Asks whoever is in charge to end the machine in order. Returns before it happens.
pub(crate) fn ask(how: Ending, place: Place) -> io::Result<()> {
    if place == Place::Micro {
        return sys::signal(1, if how == Ending::PowerOff { POWER_OFF_SIGNAL } else { REBOOT_SIGNAL });
    }
    if Path::new("/run/systemd/system").exists() {
        // systemd(1): SIGRTMIN+4 starts poweroff.target, SIGRTMIN+5 reboot.target.
        let offset = if how == Ending::PowerOff { 4 } else { 5 };
        return sys::signal(1, sys::first_real_time_signal() + offset);
    }
    let program = if how == Ending::PowerOff { "poweroff" } else { "reboot" };
    Command::new(program).stdin(Stdio::null()).spawn()?;
    Ok(())
}

/// Watches the power button for ever. Only for micro, which has nobody else to do so.
pub(crate) fn watch_button() {
    let Some(path) = find_button() else {
        complain(&format!("{NAME}: there is no power button\n"));
        return;
    };
    let pressed = File::open(&path).and_then(until_pressed);
    match pressed {
        Ok(()) => drop(sys::signal(1, POWER_OFF_SIGNAL)),
        Err(error) => complain(&format!("{NAME}: {}: {error}\n", path.display())),
    }
}

fn find_button() -> Option<PathBuf> {
    let devices = fs::read_dir("/sys/class/input").ok()?;
    let found = devices.flatten().find(|entry| {
        let is_event = entry.file_name().to_str().is_some_and(|name| name.starts_with("event"));
        is_event && files::text(entry.path().join("device/name")) == "Power Button"
    })?;
    Some(Path::new("/dev/input").join(found.file_name()))
}

/// Reads `struct input_event`s: two words of time, then type, code and value.
fn until_pressed(mut device: impl Read) -> io::Result<()> {
    const SIZE: usize = size_of::<libc::input_event>();
    const KIND: usize = size_of::<libc::timeval>();
    let mut event = [0; SIZE];
    loop {
        device.read_exact(&mut event)?;
        let kind = u16::from_ne_bytes([event[KIND], event[KIND + 1]]);
        let code = u16::from_ne_bytes([event[KIND + 2], event[KIND + 3]]);
        let down = event[KIND + 4..].iter().any(|&byte| byte != 0);
        if kind == KEY_EVENT && code == POWER_KEY && down {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KEY_EVENT, POWER_KEY, until_pressed};

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        let mut bytes = vec![7; size_of::<libc::timeval>()];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(code.to_ne_bytes());
        bytes.extend(value.to_ne_bytes());
        bytes
    }

    #[test]
    fn only_pressing_the_power_key_counts() {
        let others = [event(0, 0, 0), event(KEY_EVENT, POWER_KEY, 0), event(KEY_EVENT, 30, 1)].concat();
        assert!(until_pressed(others.as_slice()).is_err());
        let pressed = [others, event(KEY_EVENT, POWER_KEY, 1)].concat();
        assert!(until_pressed(pressed.as_slice()).is_ok());
    }
}
