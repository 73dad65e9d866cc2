//! The directory keeper: accounts of people from outside follow their directory.
//!
//! Apart from the housekeeper, because a directory may take its time, and nothing else shall wait for it.

use crate::core::Core;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks at which directory is due.
const ROUND: Duration = Duration::from_secs(60);

/// Synchronizes directories when they are due.
#[derive(Debug)]
pub struct DirectoryKeeper {
    core: Core,
}

impl DirectoryKeeper {
    /// A keeper for this core.
    pub fn new(core: Core) -> Self {
        Self { core }
    }

    /// Keeps accounts up to date until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let round = async {
                if let Err(error) = self.core.directories_follow().await {
                    tracing::warn!(
                        error = error.chain(),
                        "directories cannot be followed; the next round tries again"
                    );
                }
                self.core.clock().sleep(ROUND).await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = round => {}
            }
        }
    }
}
