//! Appliances: a tar archive with a description (OVF, DSP0243) and one disk. Nothing is unpacked by its name.

use crate::durable::io_failed;
use hostler_core::ports::DriverError;
use roxmltree::{Document, Node};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

const MOST_MEMBERS: usize = 1000;
const MOST_DESCRIPTION: u64 = 1 << 20;
/// Kinds of hardware by their numbers in the standard.
const PROCESSORS: &str = "3";
const MEMORY: &str = "4";

/// First byte and length of each member, by its name.
type Places = BTreeMap<String, (u64, u64)>;

/// What an appliance is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Appliance {
    /// Name of the disk's file.
    pub(super) disk: String,
    /// Where that file lies in the archive: its first byte and its length.
    pub(super) place: (u64, u64),
    pub(super) vcpus: Option<u32>,
    pub(super) memory_mib: Option<u64>,
}

/// Reads the table of contents and the description.
pub(super) fn read(archive: &mut File) -> Result<Appliance, DriverError> {
    let length = archive.metadata().map_err(|error| io_failed("cannot read the image", &error))?.len();
    let (members, description) = members(archive)?;
    let hardware = describe(&description)?;
    let Some(place) = members.get(&hardware.disk).copied() else {
        return Err(DriverError::refused("the archive lacks the disk that its description names"));
    };
    if place.0.checked_add(place.1).is_none_or(|end| end > length) {
        return Err(DriverError::refused("the archive is cut off"));
    }
    Ok(Appliance { place, ..hardware })
}

/// Every member with its place, and the text of the only description.
fn members(archive: &mut File) -> Result<(Places, String), DriverError> {
    let damaged = |error: std::io::Error| DriverError::refused(format!("the archive is damaged: {error}"));
    archive.seek(SeekFrom::Start(0)).map_err(|error| io_failed("cannot read the image", &error))?;
    let mut archive = tar::Archive::new(archive);
    let (mut members, mut description) = (BTreeMap::new(), None);
    for entry in archive.entries_with_seek().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = plain_name(&entry.path_bytes())?;
        if !entry.header().entry_type().is_file() {
            return Err(DriverError::refused(format!("`{name}` in the archive is not a plain file")));
        }
        if name.to_ascii_lowercase().ends_with(".ovf") {
            let mut text = String::new();
            entry.by_ref().take(MOST_DESCRIPTION + 1).read_to_string(&mut text).map_err(damaged)?;
            if text.len() as u64 > MOST_DESCRIPTION || description.replace(text).is_some() {
                return Err(DriverError::refused("the archive has no single description of sensible size"));
            }
        }
        let place = (entry.raw_file_position(), entry.size());
        if members.insert(name, place).is_some() || members.len() > MOST_MEMBERS {
            return Err(DriverError::refused("the archive has members of the same name, or too many"));
        }
    }
    let description =
        description.ok_or_else(|| DriverError::refused("the archive has no description (.ovf)"))?;
    Ok((members, description))
}

/// A name without any path. Names are only compared, but one that leads elsewhere shows what the archive is for.
fn plain_name(bytes: &[u8]) -> Result<String, DriverError> {
    let name = std::str::from_utf8(bytes).ok().map(|name| name.strip_prefix("./").unwrap_or(name));
    match name {
        Some(name)
            if !name.is_empty()
                && name != ".."
                && !name.contains(['/', '\\'])
                && !name.contains(char::is_control) =>
        {
            Ok(name.to_owned())
        }
        _ => {
            let shown: String =
                String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(80).collect();
            Err(DriverError::refused(format!("the archive has a member that leads elsewhere: `{shown}`")))
        }
    }
}

/// What the description says of the machine and its disk.
fn describe(text: &str) -> Result<Appliance, DriverError> {
    let refuse = |why: String| Err(DriverError::refused(why));
    // Document types, and with them entities that grow, are refused by the parser.
    let document = Document::parse(text)
        .map_err(|error| DriverError::refused(format!("the description makes no sense: {error}")))?;
    let all = |name: &'static str| document.descendants().filter(move |node| node.tag_name().name() == name);
    let machines = all("VirtualSystem").count();
    if machines != 1 {
        return refuse(format!("the archive describes {machines} machines, not one"));
    }
    let disks: Vec<Node<'_, '_>> = all("Disk").filter(|disk| attribute(*disk, "fileRef").is_some()).collect();
    let [disk] = disks.as_slice() else {
        return refuse(format!("the archive has {} disks, not one", disks.len()));
    };
    if attribute(*disk, "parentRef").is_some() {
        return refuse("the image has a parent in another file".to_owned());
    }
    let wanted = attribute(*disk, "fileRef");
    let file = all("File").find(|file| attribute(*file, "id") == wanted);
    let Some(href) = file.and_then(|file| attribute(file, "href")) else {
        return refuse("the description does not name the disk's file".to_owned());
    };
    if file.is_some_and(|file| attribute(file, "chunkSize").is_some()) {
        return refuse("the disk is split into several files".to_owned());
    }
    let amount = |kind: &str| {
        let item = all("Item").find(|item| child(*item, "ResourceType") == Some(kind))?;
        let count: u64 = child(item, "VirtualQuantity")?.parse().ok()?;
        Some((count, child(item, "AllocationUnits").unwrap_or("byte * 2^20")))
    };
    let vcpus = amount(PROCESSORS).and_then(|(count, _)| u32::try_from(count).ok());
    Ok(Appliance {
        disk: plain_name(href.as_bytes())?,
        place: (0, 0),
        vcpus: vcpus.filter(|count| (1..=512).contains(count)),
        memory_mib: amount(MEMORY)
            .and_then(|(count, unit)| mib(count, unit))
            .filter(|mib| (32..1 << 30).contains(mib)),
    })
}

fn attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.attributes().find(|attribute| attribute.name() == name).map(|attribute| attribute.value())
}

fn child<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.children().find(|child| child.tag_name().name() == name)?.text().map(str::trim)
}

/// Units of the standard, and those of its first version.
fn mib(count: u64, unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase().replace(' ', "");
    let shift: u32 = match unit.as_str() {
        "byte*2^10" | "kilobytes" | "kb" => 10,
        "byte*2^20" | "megabytes" | "mb" => 20,
        "byte*2^30" | "gigabytes" | "gb" => 30,
        "byte" | "bytes" => 0,
        _ => return None,
    };
    count.checked_mul(1 << shift).map(|bytes| bytes >> 20)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) const DESCRIPTION: &str = r#"<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
 <References><File ovf:id="file1" ovf:href="disk.vmdk"/></References>
 <DiskSection><Info/><Disk ovf:diskId="d1" ovf:fileRef="file1" ovf:capacity="8"/></DiskSection>
 <VirtualSystem ovf:id="vm"><VirtualHardwareSection>
  <Item><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>3</rasd:VirtualQuantity></Item>
  <Item><rasd:AllocationUnits>byte * 2^30</rasd:AllocationUnits><rasd:ResourceType>4</rasd:ResourceType>
   <rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
 </VirtualHardwareSection></VirtualSystem>
</Envelope>"#;

    /// An archive of these members, whatever they are called.
    pub(crate) fn archive(members: &[(&str, &[u8])]) -> File {
        let mut builder = tar::Builder::new(tempfile::tempfile().unwrap());
        for (name, bytes) in members {
            let mut header = tar::Header::new_ustar();
            // The library would refuse some of these names, an attacker does not.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_entry_type(tar::EntryType::Regular);
            header.set_cksum();
            builder.append(&header, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn refused(members: &[(&str, &[u8])]) -> String {
        read(&mut archive(members)).unwrap_err().detail
    }

    #[test]
    fn an_appliance_tells_its_disk_and_its_size() {
        let found =
            read(&mut archive(&[("./a.ovf", DESCRIPTION.as_bytes()), ("disk.vmdk", b"KDMV")])).unwrap();
        assert_eq!((found.disk.as_str(), found.vcpus, found.memory_mib), ("disk.vmdk", Some(3), Some(2048)));
        assert_eq!(found.place.1, 4);
    }

    #[test]
    fn members_that_lead_elsewhere_are_refused() {
        let good = ("a.ovf", DESCRIPTION.as_bytes());
        for name in ["../disk.vmdk", "/etc/cron.d/x", "a/../../b", "..", "sub/disk.vmdk"] {
            assert!(refused(&[good, (name, b"x")]).contains("leads elsewhere"), "{name}");
        }
        let outside = DESCRIPTION.replace("disk.vmdk", "../../etc/passwd");
        assert!(refused(&[("a.ovf", outside.as_bytes())]).contains("leads elsewhere"));
        let mut builder = tar::Builder::new(tempfile::tempfile().unwrap());
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "disk.vmdk", "/etc/passwd").unwrap();
        let error = read(&mut builder.into_inner().unwrap()).unwrap_err();
        assert!(error.detail.contains("not a plain file"), "{error}");
    }

    #[test]
    fn what_is_not_one_machine_with_one_disk_is_refused() {
        let disk: (&str, &[u8]) = ("disk.vmdk", b"KDMV");
        assert!(refused(&[disk]).contains("no description"));
        assert!(refused(&[("a.ovf", DESCRIPTION.as_bytes())]).contains("lacks the disk"));
        assert!(refused(&[("a.ovf", b"<a/>"), ("b.ovf", b"<a/>")]).contains("single"));
        assert!(refused(&[("a.ovf", b"<a>")]).contains("makes no sense"));
        let bomb = b"<!DOCTYPE a [<!ENTITY b \"cc\">]><a>&b;</a>";
        assert!(refused(&[("a.ovf", bomb)]).contains("makes no sense"));
        let changed =
            |from: &str, to: &str| refused(&[("a.ovf", DESCRIPTION.replace(from, to).as_bytes()), disk]);
        assert!(changed("<Info/>", "<Disk fileRef=\"file1\"/>").contains("2 disks"));
        assert!(changed("ovf:capacity", "parentRef").contains("parent"));
        assert!(changed("VirtualSystem", "Nothing").contains("0 machines"));
    }

    #[test]
    fn sizes_are_read_in_their_units() {
        assert_eq!(mib(512, "MegaBytes"), Some(512));
        assert_eq!(mib(2, "byte * 2^30"), Some(2048));
        assert_eq!(mib(u64::MAX, "GB"), None);
        assert_eq!(mib(1, "furlongs"), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2000), text in ".{0,200}") {
            use std::io::Write;
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let _ = read(&mut file);
            let _ = describe(&text);
        }
    }
}
