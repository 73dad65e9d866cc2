//! Media on the wire.

use super::{ImageSource, MediumState};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// An ISO image that can be inserted into machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Medium {
    /// The key.
    pub id: Uuid,
    /// The small integer.
    pub number: i64,
    /// Unique name.
    pub name: String,
    /// Words of the owner.
    pub description: String,
    /// The account whose it is.
    pub owner: Uuid,
    /// Where it lies.
    pub storage: Uuid,
    /// Where it came from; shown to administrators only, because it names files of the host.
    pub source: Option<ImageSource>,
    /// Size of its file, once ready.
    pub bytes: Option<u64>,
    /// SHA-256 of its file, hexadecimal, once ready.
    pub digest: Option<String>,
    /// Where it is in its life.
    pub state: MediumState,
    /// Why it failed.
    pub reason: Option<String>,
    /// The task that holds it.
    pub task: Option<Uuid>,
    /// When it was asked for.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// A medium to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MediumCreate {
    /// Its name, which no other medium has.
    pub name: String,
    /// A file of the host or an address; a format is not said, and a recipe makes none.
    pub source: ImageSource,
    /// Words of the owner.
    #[serde(default)]
    pub description: String,
}

/// Which media. Orders: id, number, name, created_at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MediaAsk {
    /// The name contains this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// One of these (comma-separated): creating, ready, deleting, failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}
