//! Where templates and media come from, as it is said on the command line.

use crate::cli::show::units;
use crate::failure::Failure;
use clap::{Args, ValueEnum};
use hostler_doors::native::types::{ImageSource, SourceFormat};
use std::path::Path;

/// A file or an address, and what is known of it.
#[derive(Args, Debug)]
pub(in crate::cli) struct Origin {
    /// A file on the server's host, or an address (http or https); may be packed by gzip, xz, zstd or bzip2
    #[arg(value_name = "FILE|URL")]
    from: String,
    /// What the file adds up to as it is given: sha256:… or sha512:…
    #[arg(long, value_name = "NAME:DIGITS")]
    checksum: Option<String>,
    /// Largest virtual size to accept
    #[arg(long, value_name = "SIZE", default_value = "64G", value_parser = units::parse_mib)]
    max_size: u64,
}

/// Formats of disk images.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum FormatName {
    Raw,
    Qcow2,
    Vmdk,
    Vhdx,
    Vhd,
    Ova,
}

impl From<FormatName> for SourceFormat {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Raw => Self::Raw,
            FormatName::Qcow2 => Self::Qcow2,
            FormatName::Vmdk => Self::Vmdk,
            FormatName::Vhdx => Self::Vhdx,
            FormatName::Vhd => Self::Vhd,
            FormatName::Ova => Self::Ova,
        }
    }
}

impl Origin {
    /// As the server wants it told. What looks like an address is one; the server says which it takes.
    pub(super) fn source(self, format: Option<FormatName>) -> Result<ImageSource, Failure> {
        let (format, checksum, max_mib) = (format.map(SourceFormat::from), self.checksum, self.max_size);
        if self.from.contains("://") {
            return Ok(ImageSource::Url { url: self.from, format, checksum, max_mib });
        }
        let path = std::path::absolute(Path::new(&self.from))
            .map_err(|error| Failure::because("cannot tell the current directory", &error))?;
        let Some(path) = path.to_str() else {
            return Err(Failure::usage(format!("the path {} is not UTF-8", path.display())));
        };
        Ok(ImageSource::File { path: path.to_owned(), format, checksum, max_mib })
    }
}

/// A source in one line.
pub(super) fn shown(source: &ImageSource) -> String {
    let (place, format) = match source {
        ImageSource::Recipe { recipe, mirror } => {
            let mirror = mirror.as_ref().map(|mirror| format!(" from {mirror}")).unwrap_or_default();
            return format!("recipe {recipe}{mirror}");
        }
        ImageSource::File { path, format, .. } => (path, format),
        ImageSource::Url { url, format, .. } => (url, format),
    };
    format.map_or_else(|| place.clone(), |format| format!("{place} ({format})"))
}
