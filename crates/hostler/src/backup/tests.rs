//! What was written is read again, and whatever else is in the file is refused.

use super::read::Checked;
use super::{File, Writer, check, items};
use crate::failure::Failure;
use hostler_core::time::Timestamp;
use hostler_store::state::Item;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn written(path: &Path) -> Vec<Item> {
    let all: Vec<Item> = (1..=3).map(|next| Item::Counter { kind: "machine".into(), next }).collect();
    let key = File { name: "key".into(), text: "secret\n".into() };
    let mut writer = Writer::new(path, Timestamp(0), vec![key]).unwrap();
    for item in &all {
        writer.put(item.clone()).unwrap();
    }
    writer.finish().unwrap();
    all
}

fn cause(checked: Result<Checked, Failure>) -> String {
    checked.unwrap_err().causes.join(" ")
}

#[test]
fn what_was_written_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("backup");
    std::fs::write(&path, "an older one").unwrap();
    let all = written(&path);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let checked = check(&path).unwrap();
    assert_eq!((checked.items, checked.files[0].text.as_str()), (3, "secret\n"));
    let read: Result<Vec<Item>, Failure> = items(&path, &checked).unwrap().collect();
    assert_eq!(read.unwrap(), all);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn every_way_to_be_damaged_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("backup");
    written(&path);
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let cause = cause(check(&path));
        assert!(cause.contains("cut off") || cause.contains("no backup"), "{length}: {cause}");
    }
    for place in 0..whole.len() {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        check(&path).expect_err("a changed byte is noticed");
    }
    std::fs::write(&path, [whole.as_slice(), b"{}\n"].concat()).unwrap();
    assert!(cause(check(&path)).contains("damaged"));
    std::fs::write(&path, vec![0xff; 5000]).unwrap();
    assert!(cause(check(&path)).contains("no backup"));
    let newer = String::from_utf8(whole).unwrap().replace("\"schema\":", "\"schema\":9");
    std::fs::write(&path, newer).unwrap();
    assert!(cause(check(&path)).contains("newer"));
}

#[test]
fn a_file_that_changes_after_it_was_checked_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let (path, other) = (directory.path().join("backup"), directory.path().join("other"));
    written(&path);
    let checked = check(&path).unwrap();
    let mut writer = Writer::new(&other, Timestamp(0), Vec::new()).unwrap();
    writer.put(Item::Counter { kind: "machine".into(), next: 9 }).unwrap();
    writer.finish().unwrap();
    std::fs::rename(&other, &path).unwrap();
    assert!(items(&path, &checked).unwrap().any(|item| item.is_err()));
}
