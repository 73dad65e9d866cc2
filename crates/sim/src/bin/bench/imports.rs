//! How fast a template is made of an image, beside `qemu-img convert` of the same file.

use crate::bed::Bed;
use crate::server::Server;
use crate::table::{Figure, ms};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Measures it. Both write qcow2 to the same disk and end with it durable.
pub(crate) async fn measure(bed: &Bed) -> Result<Vec<Figure>> {
    let mib: u64 = bed.choose(1024, 128);
    bed.say(&format!("importing an image of {mib} MiB"));
    let (image, copy) = (bed.folder.join("import.raw"), bed.folder.join("import.qcow2"));
    noise(&image, mib)?;
    let began = Instant::now();
    let converted = bed
        .command(Path::new("qemu-img"))
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .args([&image, &copy])
        .status()
        .await?;
    ensure!(converted.success(), "qemu-img ended with {converted}");
    std::fs::File::open(&copy)?.sync_all()?;
    let alone = began.elapsed();
    std::fs::remove_file(&copy)?;
    let server = Server::start(bed, &bed.real(), &bed.folder.join("imports"), &[]).await?;
    let path = image.to_str().context("a path in UTF-8")?;
    let source = json!({ "from": "file", "path": path, "max_mib": mib });
    let began = Instant::now();
    server.carry_out("POST", "/templates", Some(json!({ "name": "import", "source": source }))).await?;
    let ours = began.elapsed();
    server.stop().await?;
    std::fs::remove_file(&image)?;
    let rate = |took: Duration| format!("{} ({:.0} MiB/s)", ms(took), mib as f64 / took.as_secs_f64());
    Ok(vec![
        Figure::new(format!("qemu-img convert, raw to qcow2, {mib} MiB"), rate(alone)),
        Figure::new("template of the same file: inspected, converted, digest taken", rate(ours)),
        Figure::new("ratio", format!("{:.2}", ours.as_secs_f64() / alone.as_secs_f64())),
    ])
}

/// Bytes that no two blocks share.
fn noise(path: &Path, mib: u64) -> Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    let mut word = 1_u64;
    for _ in 0..mib << 17 {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        file.write_all(&word.to_le_bytes())?;
    }
    file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}
