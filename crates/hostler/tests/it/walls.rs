//! The walls: which crate may see which. A forbidden edge fails here before it is ever used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What each crate may see of the others, and what it must never see of the world.
const WALLS: [(&str, &[&str], &[&str]); 7] = [
    ("core", &[], &["axum", "hyper", "sqlx", "reqwest", "tower", "tower-http", "rustix", "libc", "clap"]),
    ("store", &["hostler-core"], &["axum", "hyper", "reqwest", "rustix", "libc", "clap"]),
    ("drivers", &["hostler-core"], &["axum", "sqlx", "clap", "utoipa"]),
    ("doors", &["hostler-core"], &["sqlx", "rustix", "libc", "clap"]),
    ("agent", &[], &["tokio", "axum", "sqlx", "reqwest"]),
    ("hostler", &["hostler-core", "hostler-store", "hostler-drivers", "hostler-doors"], &["sqlx", "libc"]),
    ("sim", &["hostler", "hostler-core", "hostler-store", "hostler-drivers", "hostler-doors"], &["sqlx"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn dependencies(krate: &str) -> Vec<String> {
    let manifest = std::fs::read_to_string(root().join("crates").join(krate).join("Cargo.toml")).unwrap();
    let manifest: BTreeMap<String, toml::Value> = toml::from_str(&manifest).unwrap();
    let table = manifest.get("dependencies").and_then(toml::Value::as_table).cloned().unwrap_or_default();
    table.keys().cloned().collect()
}

#[test]
fn crates_see_only_what_they_may() {
    for (krate, allowed, forbidden) in WALLS {
        for dependency in dependencies(krate) {
            if dependency == "hostler" || dependency.starts_with("hostler-") {
                assert!(allowed.contains(&dependency.as_str()), "{krate} must not see {dependency}");
            }
            assert!(!forbidden.contains(&dependency.as_str()), "{krate} must not use {dependency}");
        }
    }
}

#[test]
fn every_crate_has_its_wall() {
    let mut crates: Vec<String> = std::fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    crates.sort();
    let mut walled: Vec<&str> = WALLS.iter().map(|(krate, ..)| *krate).collect();
    walled.sort_unstable();
    assert_eq!(crates, walled, "a new crate needs its wall named here");
}

#[test]
fn dialects_do_not_see_each_other() {
    let doors = root().join("crates/doors/src");
    let dialects = ["native", "vmpooler", "vmemperor", "vmmanager", "dcimanager"];
    for dialect in dialects {
        for file in sources(&doors.join(dialect)) {
            let text = std::fs::read_to_string(&file).unwrap();
            for other in dialects.iter().filter(|other| **other != dialect) {
                assert!(!text.contains(&format!("crate::{other}")), "{} looks into {other}", file.display());
            }
        }
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
