//! Artifacts in an S3-compatible object store.
//!
//! - Address and credentials come from the server's environment: `AWS_ACCESS_KEY_ID` and so on, or the machine's role;
//!   `MLFLOW_S3_ENDPOINT_URL` or `AWS_ENDPOINT_URL` for stores other than Amazon's.
//! - There are no folders: a folder is a common prefix of object names.
//! - An upload of more than one part is a multipart upload of the store: its name appears once it is complete. An
//!   interrupted one is aborted; leftovers of a killed server are for the bucket's lifecycle rules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use futures_util::StreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt};
use runlode::mlflow::{ApiError, ApiResult, ErrorCode};

use super::local::{absent, is_folder};
use super::paths::{self, ArtifactPath, Entry};
use super::pieces::fill;

/// Size of a part; S3 takes 10,000 of them, so the largest file is 160 GB.
const PART_BYTES: usize = 16 << 20;

/// A prefix in a bucket.
#[derive(Debug)]
pub(crate) struct ObjectFolder {
    store: Arc<dyn ObjectStore>,
    prefix: ArtifactPath,
}

/// An existing object.
#[derive(Debug)]
pub(crate) struct ObjectFile {
    store: Arc<dyn ObjectStore>,
    location: Path,
    path: ArtifactPath,
    pub(crate) bytes: u64,
    pub(crate) modified: SystemTime,
    pub(crate) etag: String,
}

impl ObjectFolder {
    /// `bucket` is `s3://NAME`. Makes no network call yet.
    ///
    /// # Errors
    /// A text when the environment's settings make no client.
    pub(crate) fn new(bucket: &str, prefix: &ArtifactPath) -> Result<Self, String> {
        let mut builder = AmazonS3Builder::from_env().with_url(bucket);
        let endpoint = ["MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL"].iter().find_map(|name| std::env::var(name).ok());
        if let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_empty()) {
            builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
        }
        let store = builder.build().map_err(|error| format!("artifacts cannot be kept at {bucket}: {error}"))?;
        Ok(Self { store: Arc::new(store), prefix: prefix.clone() })
    }

    fn location(&self, path: &ArtifactPath) -> ApiResult<Path> {
        Path::parse(self.prefix.join(path).as_str()).map_err(|_| paths::invalid())
    }

    /// The objects below this folder, by name.
    ///
    /// # Errors
    /// `TEMPORARILY_UNAVAILABLE` when the store does not answer, `PERMISSION_DENIED`.
    pub(crate) async fn list(&self, path: &ArtifactPath) -> ApiResult<Vec<Entry>> {
        let location = self.location(path)?;
        let listed = self.store.list_with_delimiter(Some(&location)).await;
        let listed = listed.map_err(|error| failed("list", path, &error))?;
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for object in &listed.objects {
            // An object with the folder's own name is not one of its entries.
            let Some(name) = object.location.filename().filter(|_| object.location != location) else { continue };
            let entry = Entry {
                name: name.to_owned(),
                is_folder: false,
                bytes: object.size,
                modified_ms: Some(object.last_modified.timestamp_millis()),
            };
            entries.insert(name.to_owned(), entry);
        }
        for folder in &listed.common_prefixes {
            let Some(name) = folder.filename() else { continue };
            let entry = Entry { name: name.to_owned(), is_folder: true, bytes: 0, modified_ms: None };
            entries.insert(name.to_owned(), entry);
        }
        Ok(entries.into_values().collect())
    }

    /// Finds an object.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`; `INVALID_PARAMETER_VALUE` for a folder; as [`ObjectFolder::list`].
    pub(crate) async fn open(&self, path: &ArtifactPath) -> ApiResult<ObjectFile> {
        let location = self.location(path)?;
        let found = if path.is_root() { Err(None) } else { self.store.head(&location).await.map_err(Some) };
        match found {
            Ok(found) => Ok(ObjectFile {
                store: self.store.clone(),
                location,
                path: path.clone(),
                bytes: found.size,
                modified: found.last_modified.into(),
                etag: found.e_tag.unwrap_or_else(|| format!("\"{:x}\"", found.size)),
            }),
            Err(None | Some(Error::NotFound { .. })) => {
                let folder = path.is_root() || !self.list(path).await?.is_empty();
                Err(if folder { is_folder(path) } else { absent(path) })
            }
            Err(Some(error)) => Err(failed("read", path, &error)),
        }
    }

    /// Writes a body to an object; durable when it returns.
    ///
    /// # Errors
    /// As [`ObjectFolder::list`]; `BAD_REQUEST` when the body breaks off.
    pub(crate) async fn receive(&self, path: &ArtifactPath, body: &mut Body) -> ApiResult<()> {
        let location = self.location(path)?;
        let mut part = Vec::new();
        if !fill(body, &mut part, PART_BYTES).await? {
            let stored = self.store.put(&location, part.into()).await;
            return stored.map(drop).map_err(|error| failed("write", path, &error));
        }
        let begun = self.store.put_multipart(&location).await;
        let mut upload = begun.map_err(|error| failed("write", path, &error))?;
        let sent = send_parts(upload.as_mut(), part, path, body).await;
        if sent.is_err() {
            // If it cannot be aborted, the bucket's lifecycle rules clean up; the first error says more.
            let _ = upload.abort().await;
        }
        sent
    }

    /// Removes an object, and all objects below it as a folder.
    ///
    /// # Errors
    /// As [`ObjectFolder::list`].
    pub(crate) async fn remove(&self, path: &ArtifactPath) -> ApiResult<()> {
        let location = self.location(path)?;
        match self.store.delete(&location).await {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(failed("remove", path, &error)),
        }
        let below = self.store.list(Some(&location)).map(|object| object.map(|object| object.location)).boxed();
        let mut removed = self.store.delete_stream(below);
        while let Some(one) = removed.next().await {
            match one {
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(failed("remove", path, &error)),
            }
        }
        Ok(())
    }
}

async fn send_parts(
    upload: &mut dyn MultipartUpload,
    mut part: Vec<u8>,
    path: &ArtifactPath,
    body: &mut Body,
) -> ApiResult<()> {
    let fail = |error: Error| failed("write", path, &error);
    loop {
        let last = part.len() < PART_BYTES;
        if !part.is_empty() {
            upload.put_part(std::mem::take(&mut part).into()).await.map_err(fail)?;
        }
        if last {
            return upload.complete().await.map(drop).map_err(fail);
        }
        fill(body, &mut part, PART_BYTES).await?;
    }
}

impl ObjectFile {
    /// The bytes `start..end`.
    ///
    /// # Errors
    /// As [`ObjectFolder::list`].
    pub(crate) async fn body(self, start: u64, end: u64) -> ApiResult<Body> {
        if start == end {
            return Ok(Body::empty());
        }
        // The body must match the headers: an object that was replaced meanwhile is refused.
        let options = GetOptions {
            range: Some(GetRange::Bounded(start..end)),
            if_match: Some(self.etag.clone()).filter(|etag| !etag.starts_with("W/")),
            ..GetOptions::default()
        };
        let found = self.store.get_opts(&self.location, options).await;
        let found = found.map_err(|error| failed("read", &self.path, &error))?;
        Ok(Body::from_stream(found.into_stream()))
    }
}

fn failed(what: &str, path: &ArtifactPath, error: &Error) -> ApiError {
    let code = match error {
        Error::NotFound { .. } => return absent(path),
        Error::InvalidPath { .. } => return paths::invalid(),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => ErrorCode::PermissionDenied,
        _ => ErrorCode::TemporarilyUnavailable,
    };
    ApiError::new(code, format!("cannot {what} the artifact '{}': {error}", path.as_str()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::BodyExt;
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn write_list_read_remove() {
        let prefix = ArtifactPath::new("team/x").unwrap();
        let folder = ObjectFolder { store: Arc::new(InMemory::new()), prefix };
        let path = |text: &str| ArtifactPath::new(text).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            folder.receive(&path("1/r/a.txt"), &mut Body::from("hello world")).await.unwrap();
            folder.receive(&path("1/r/b/100% é"), &mut Body::empty()).await.unwrap();
            let large: Vec<u8> = (0..2 * PART_BYTES + 5).map(|i| (i % 251) as u8).collect();
            folder.receive(&path("1/r/large"), &mut Body::from(large.clone())).await.unwrap();
            folder.receive(&path("1/r/exact"), &mut Body::from(vec![7; PART_BYTES])).await.unwrap();
            let listed = folder.list(&path("1/r")).await.unwrap();
            let listed: Vec<_> = listed.iter().map(|one| (one.name.as_str(), one.is_folder, one.bytes)).collect();
            let (large_bytes, exact) = (large.len() as u64, PART_BYTES as u64);
            let wanted = [("a.txt", false, 11), ("b", true, 0), ("exact", false, exact), ("large", false, large_bytes)];
            assert_eq!(listed, wanted);
            assert!(folder.list(&path("1/r/a.txt")).await.unwrap().is_empty());

            let read = async |name: &str, start: u64, end: u64| -> Bytes {
                let file = folder.open(&path(name)).await.unwrap();
                file.body(start, end).await.unwrap().collect().await.unwrap().to_bytes()
            };
            assert_eq!(&read("1/r/a.txt", 6, 11).await[..], b"world");
            assert_eq!(read("1/r/large", 0, large_bytes).await, large);
            assert_eq!(folder.open(&path("1/r")).await.unwrap_err().code, ErrorCode::InvalidParameterValue);
            assert_eq!(folder.open(&path("1/none")).await.unwrap_err().message, "No such artifact: '1/none'");

            let broken = futures_util::stream::iter([
                Ok(Bytes::from(vec![0; PART_BYTES + 1])),
                Err(std::io::Error::other("gone")),
            ]);
            assert!(folder.receive(&path("1/r/broken"), &mut Body::from_stream(broken)).await.is_err());
            assert!(folder.open(&path("1/r/broken")).await.is_err());

            folder.remove(&path("1/r/a.txt")).await.unwrap();
            folder.remove(&path("1/r")).await.unwrap();
            folder.remove(&path("1/r")).await.unwrap();
            assert!(folder.list(&path("1")).await.unwrap().is_empty());
        });
    }
}
