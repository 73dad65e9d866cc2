//! The few things that must be known of an ELF file: its loader, its libraries, and whether it boots by PVH.

/// Program header: dynamic section.
const PT_DYNAMIC: u64 = 2;
/// Program header: path of the loader.
const PT_INTERP: u64 = 3;
/// Program header: notes.
const PT_NOTE: u64 = 4;
/// Program header: what is loaded.
const PT_LOAD: u64 = 1;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
/// Note of the owner `Xen` that holds the 32-bit entry point.
const PVH_ENTRY: u64 = 18;

/// What a program wants to be loaded with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Absolute path of its loader; none for a static program or a library.
    pub(super) loader: Option<String>,
    /// Names of its libraries.
    pub(super) libraries: Vec<String>,
}

/// Reads a 64-bit little-endian file; none when it is not one.
pub(super) fn needs(file: &[u8]) -> Option<Needs> {
    let segments = segments(file)?;
    let of_kind = |kind| segments.iter().find(move |segment| segment.kind == kind);
    let loader = match of_kind(PT_INTERP) {
        Some(segment) => Some(text(segment.bytes(file)?)?),
        None => None,
    };
    let Some(dynamic) = of_kind(PT_DYNAMIC) else { return Some(Needs { loader, libraries: vec![] }) };
    let entries: Vec<(u64, u64)> = dynamic
        .bytes(file)?
        .as_chunks::<16>()
        .0
        .iter()
        .filter_map(|entry| Some((number(entry, 0, 8)?, number(entry, 8, 8)?)))
        .take_while(|&(tag, _)| tag != 0)
        .collect();
    let (_, strings) = *entries.iter().find(|(tag, _)| *tag == DT_STRTAB)?;
    // The table is named by its address in memory; which bytes of the file go there, the loaded segments say.
    let loaded = segments.iter().filter(|segment| segment.kind == PT_LOAD);
    let holder = loaded.into_iter().find(|segment| (segment.address..segment.end()).contains(&strings))?;
    let table = holder.bytes(file)?.get(usize::try_from(strings - holder.address).ok()?..)?;
    let name = |&(_, at): &(u64, u64)| text(table.get(usize::try_from(at).ok()?..)?);
    let wanted = entries.iter().filter(|(tag, _)| *tag == DT_NEEDED);
    Some(Needs { loader, libraries: wanted.map(name).collect::<Option<_>>()? })
}

/// Whether QEMU can start this kernel directly.
pub(super) fn has_pvh_entry(file: &[u8]) -> bool {
    let segments = segments(file).unwrap_or_default();
    let mut notes = segments.iter().filter(|segment| segment.kind == PT_NOTE);
    notes.any(|segment| segment.bytes(file).is_some_and(has_pvh_note))
}

fn has_pvh_note(mut notes: &[u8]) -> bool {
    while let (Some(name), Some(value), Some(kind)) =
        (number(notes, 0, 4), number(notes, 4, 4), number(notes, 8, 4))
    {
        if kind == PVH_ENTRY && notes.get(12..16) == Some(b"Xen\0") {
            return true;
        }
        let next = 12 + name.next_multiple_of(4) + value.next_multiple_of(4);
        notes = usize::try_from(next).ok().and_then(|next| notes.get(next..)).unwrap_or_default();
    }
    false
}

#[derive(Debug)]
struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    size: u64,
}

impl Segment {
    fn bytes<'a>(&self, file: &'a [u8]) -> Option<&'a [u8]> {
        file.get(usize::try_from(self.offset).ok()?..)?.get(..usize::try_from(self.size).ok()?)
    }

    fn end(&self) -> u64 {
        self.address.saturating_add(self.size)
    }
}

fn segments(file: &[u8]) -> Option<Vec<Segment>> {
    // Magic, 64 bits, little-endian.
    if file.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let start = usize::try_from(number(file, 32, 8)?).ok()?;
    let size = usize::try_from(number(file, 54, 2)?).ok().filter(|&size| size >= 56)?;
    let count = usize::try_from(number(file, 56, 2)?).ok()?;
    let headers = file.get(start..)?.chunks_exact(size).take(count);
    headers
        .map(|header| {
            Some(Segment {
                kind: number(header, 0, 4)?,
                offset: number(header, 8, 8)?,
                address: number(header, 16, 8)?,
                size: number(header, 32, 8)?,
            })
        })
        .collect()
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.get(..length)?;
    Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

/// Text up to its zero byte.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    String::from_utf8(bytes[..end].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::{has_pvh_entry, has_pvh_note, needs};
    use proptest::prelude::*;

    #[test]
    fn the_needs_of_this_very_test_are_found() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let needs = needs(&file).unwrap();
        assert!(needs.loader.unwrap().contains("ld-linux"));
        assert!(needs.libraries.iter().any(|name| name.starts_with("libc.so")), "{:?}", needs.libraries);
        assert!(!has_pvh_entry(&file));
    }

    #[test]
    fn a_pvh_note_is_found_behind_another_one() {
        let note = |kind: u32, value: &[u8]| {
            let mut bytes = [4, value.len() as u32, kind].map(u32::to_le_bytes).concat();
            bytes.extend_from_slice(b"Xen\0");
            bytes.extend_from_slice(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        assert!(has_pvh_note(&[note(6, b"linux"), note(18, &[0; 4])].concat()));
        assert!(!has_pvh_note(&note(6, b"linux")));
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(rest: Vec<u8>, header in proptest::collection::vec(0u8..80, 58)) {
            for file in [rest.clone(), [b"\x7fELF\x02\x01".to_vec(), header, rest.clone()].concat()] {
                let _ = needs(&file);
                let _ = has_pvh_entry(&file);
                let _ = has_pvh_note(&file);
            }
        }
    }
}
