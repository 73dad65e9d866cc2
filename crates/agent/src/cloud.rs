//! cloud-init's idea of which machine this is.
//!
//! A fork has everything that cloud-init did for the machine it was forked from, done under that machine's name. The name
//! is changed where cloud-init keeps it, so that after the next boot it finds its own machine and does nothing twice.

use crate::files;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Makes what cloud-init has done count for the machine of this id, 32 hexadecimal digits. Nothing happens where it has
/// never run or knows the machine already.
pub(crate) fn take_over(root: &Path, machine_id: &str) -> io::Result<()> {
    let state = root.join("var/lib/cloud");
    let recorded = state.join("data/instance-id");
    let old = files::text(&recorded);
    let new = dashed(machine_id);
    if old.is_empty() || old == new || old.contains('/') {
        return Ok(());
    }
    let (from, to) = (state.join("instances").join(&old), state.join("instances").join(&new));
    if from.is_dir() && !to.exists() {
        fs::rename(&from, &to)?;
        let link = state.join("instance");
        let _ = fs::remove_file(&link);
        symlink(Path::new("/var/lib/cloud/instances").join(&new), &link)?;
    }
    let line = format!("{new}\n");
    for name in ["data/previous-instance-id", "data/instance-id"] {
        files::write(&state.join(name), line.as_bytes(), 0o644)?;
    }
    let running = root.join("run/cloud-init/.instance-id");
    if running.exists() { files::write(&running, line.as_bytes(), 0o644) } else { Ok(()) }
}

/// The id as a seed's meta-data has it.
fn dashed(id: &str) -> String {
    let ends = [0, 8, 12, 16, 20, id.len()];
    let parts: Vec<&str> = ends.windows(2).filter_map(|part| id.get(part[0]..part[1])).collect();
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::{dashed, take_over};
    use std::fs;

    const ID: &str = "0123456789abcdef0123456789abcdef";
    const DASHED: &str = "01234567-89ab-cdef-0123-456789abcdef";

    #[test]
    fn what_was_done_for_the_golden_machine_counts_for_its_fork() {
        let root = tempfile::tempdir().unwrap();
        take_over(root.path(), ID).unwrap();
        assert!(!root.path().join("var").exists(), "cloud-init has never run here");
        let state = root.path().join("var/lib/cloud");
        fs::create_dir_all(state.join("instances/golden/sem")).unwrap();
        fs::create_dir_all(state.join("data")).unwrap();
        fs::write(state.join("instances/golden/sem/config_ssh"), "done").unwrap();
        fs::write(state.join("data/instance-id"), "golden\n").unwrap();
        for _ in 0..2 {
            take_over(root.path(), ID).unwrap();
            assert_eq!(fs::read_to_string(state.join("data/instance-id")).unwrap(), format!("{DASHED}\n"));
            assert!(state.join("instances").join(DASHED).join("sem/config_ssh").exists());
            assert!(!state.join("instances/golden").exists());
            let link = fs::read_link(state.join("instance")).unwrap();
            assert_eq!(link, std::path::Path::new("/var/lib/cloud/instances").join(DASHED));
        }
    }

    #[test]
    fn ids_are_written_as_seeds_have_them() {
        assert_eq!(dashed(ID), DASHED);
    }
}
