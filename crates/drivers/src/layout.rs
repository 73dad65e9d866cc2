//! Where things lie in the data directory. Both drivers find each other's files by these names and by nothing else.

use hostler_core::ids::{GoldenId, MachineId, MediumId, TemplateId, VolumeId};
use hostler_core::ports::DriverError;
use hostler_core::templates::ImageFormat;
use std::path::{Component, Path, PathBuf};

/// Name of what is unfinished: `.making-` and the key.
pub(crate) const MAKING: &str = ".making-";

/// Name of what is being fetched, and kept for going on after a break: `.fetching-` and the key.
pub(crate) const FETCHING: &str = ".fetching-";

/// What a golden machine's disk is called, after its key.
pub(crate) const GOLDEN_DISK: &str = "qcow2";

/// The data directory and the names in it.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    /// Whose homes and disks are meant.
    of: Of,
}

/// What runs in a home of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Machines,
    Goldens,
}

impl Layout {
    /// The directory is made absolute, so that children with another working directory find the files too.
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self { root: std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned()), of: Of::Machines }
    }

    /// The same names as a machine's process sees them, which works in its own directory: it may pass through the data
    /// directory, but perhaps not through those above.
    pub(crate) fn seen_by_machine() -> Self {
        Self { root: PathBuf::from("../.."), of: Of::Machines }
    }

    /// The same names as a process of whatever this is the layout of sees them.
    pub(crate) fn seen_from_home(&self) -> Self {
        Self { of: self.of, ..Self::seen_by_machine() }
    }

    /// The same for golden machines: their homes and disks lie in a directory of their own, so that nobody takes one
    /// for a machine or its disk for a volume.
    pub(crate) fn for_goldens(&self) -> Self {
        Self { root: self.root.clone(), of: Of::Goldens }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn image(&self, template: TemplateId) -> PathBuf {
        self.images().join(template.to_string())
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        match self.of {
            Of::Machines => self.root.join("volumes"),
            Of::Goldens => self.goldens(),
        }
    }

    pub(crate) fn goldens(&self) -> PathBuf {
        self.root.join("goldens")
    }

    /// A file of a golden machine.
    pub(crate) fn golden(&self, id: GoldenId, what: &str) -> PathBuf {
        self.goldens().join(format!("{id}.{what}"))
    }

    pub(crate) fn volume(&self, id: VolumeId, format: ImageFormat) -> PathBuf {
        self.volumes().join(format!("{id}.{}", format.word()))
    }

    pub(crate) fn media(&self) -> PathBuf {
        self.root.join("media")
    }

    pub(crate) fn networks(&self) -> PathBuf {
        self.root.join("networks")
    }

    pub(crate) fn medium(&self, id: MediumId) -> PathBuf {
        self.media().join(format!("{id}.iso"))
    }

    pub(crate) fn machines(&self) -> PathBuf {
        match self.of {
            Of::Machines => self.root.join("machines"),
            Of::Goldens => self.goldens(),
        }
    }

    pub(crate) fn machine(&self, id: MachineId) -> PathBuf {
        self.machines().join(id.to_string())
    }
}

/// Refuses a name that could lead out of its directory.
pub(crate) fn plain_file_name(name: &str) -> Result<&str, DriverError> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(only)), None) if only == name && !name.contains('\0') => Ok(name),
        _ => Err(DriverError::refused(format!("{name:?} is not the plain name of a file"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        assert_eq!(plain_file_name("disk.qcow2").unwrap(), "disk.qcow2");
        for bad in ["", ".", "..", "/etc/passwd", "a/b", "../a", "a/", "a\0b"] {
            assert!(plain_file_name(bad).is_err(), "{bad:?}");
        }
    }
}
