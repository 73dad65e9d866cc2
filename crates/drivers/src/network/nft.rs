//! Runs `nft`: our text on its standard input, one transaction a run.

use crate::spawn::unconfined;
use hostler_core::ports::{DriverError, DriverErrorKind};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// `nft` waits for nothing but the kernel.
const PATIENCE: Duration = Duration::from_secs(30);

/// Carries out the whole text, or nothing of it.
pub(super) async fn load(nft: &Path, text: &str) -> Result<(), DriverError> {
    run(nft, &["-f", "-"], text).await.map(drop)
}

/// A network's tables as the kernel has them; none when one is missing.
pub(super) async fn listing(nft: &Path, table: &str) -> Result<Option<String>, DriverError> {
    let mut all = String::new();
    for family in ["bridge", "inet"] {
        match run(nft, &["-s", "list", "table", family, table], "").await {
            Ok(text) => all.push_str(&text),
            Err(error) if error.detail.contains("No such file or directory") => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(all))
}

async fn run(nft: &Path, arguments: &[&str], input: &str) -> Result<String, DriverError> {
    let failed = |error: std::io::Error| {
        DriverError::new(DriverErrorKind::Refused, format!("cannot run {}: {error}", nft.display()))
    };
    let mut command = unconfined(nft);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn().map_err(failed)?;
    let stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A child that ends early says why on its standard error.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let both = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = tokio::time::timeout(PATIENCE, both)
        .await
        .map_err(|_| DriverError::timeout("nft does not end"))?
        .map_err(failed)?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let first = words.lines().next().unwrap_or("it said nothing");
        return Err(DriverError::refused(format!("nft refused: {first}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
