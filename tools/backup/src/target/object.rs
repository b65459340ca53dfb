//! Backups below a prefix of a bucket of an S3-compatible object store: each value an object.
//!
//! Address and credentials come from the environment, as for artifacts of `runlode serve`: `AWS_ACCESS_KEY_ID` and so on,
//! or the machine's role; `MLFLOW_S3_ENDPOINT_URL` or `AWS_ENDPOINT_URL` for stores other than Amazon's. Plain http goes to
//! this machine only. An object is durable when its upload is answered.

use std::sync::Arc;

use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::{Target, value_bytes_max};
use crate::error::{Error, Result};

/// A prefix in a bucket.
#[derive(Debug)]
pub(crate) struct Objects {
    place: String,
    prefix: String,
    store: Arc<dyn ObjectStore>,
    runtime: tokio::runtime::Runtime,
}

impl Objects {
    pub(crate) fn open(place: &str) -> Result<Self> {
        let refuse = |why: String| Error::Target { place: place.to_owned(), why };
        let rest = place.strip_prefix("s3://").unwrap_or_default();
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(refuse("it names no bucket; give s3://BUCKET/PREFIX".into()));
        }
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        let endpoint = ["MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL"].iter().find_map(|name| std::env::var(name).ok());
        if let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_empty()) {
            let plain = endpoint.starts_with("http://");
            if plain && !is_loopback(&endpoint) {
                return Err(refuse(format!("{endpoint} is not encrypted, and not on this machine; use https")));
            }
            builder = builder.with_allow_http(plain).with_endpoint(endpoint);
        }
        let store = builder.build().map_err(|error| refuse(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::io("start a thread for", place, error))?;
        let prefix = prefix.trim_matches('/').to_owned();
        Ok(Self { place: place.to_owned(), prefix, store: Arc::new(store), runtime })
    }

    fn path(&self, name: &str) -> Path {
        if self.prefix.is_empty() { Path::from(name) } else { Path::from(format!("{}/{name}", self.prefix)) }
    }

    fn failed(&self, op: &str, error: &object_store::Error) -> Error {
        Error::Target { place: self.place.clone(), why: format!("cannot {op}: {error}") }
    }
}

/// Whether a plain URL leads to this machine.
fn is_loopback(url: &str) -> bool {
    let host = url.strip_prefix("http://").unwrap_or_default().split(['/', '?']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Target for Objects {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let most = value_bytes_max(name);
        let got = self.runtime.block_on(async {
            let found = self.store.get(&self.path(name)).await?;
            if found.meta.size > most { Ok(Err(found.meta.size)) } else { found.bytes().await.map(Ok) }
        });
        match got {
            Ok(Ok(bytes)) => Ok(Some(bytes.to_vec())),
            Ok(Err(len)) => Err(Error::damaged(name, format!("it has {len} bytes, more than any value ({most})"))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(&format!("read {name}"), &error)),
        }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let put = self.runtime.block_on(self.store.put(&self.path(name), bytes.to_vec().into()));
        put.map(drop).map_err(|error| self.failed(&format!("write {name}"), &error))
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>> {
        // Prefixes of this crate end with `/` or are empty: whole parts, as the object store counts them.
        let whole = self.path(prefix.trim_end_matches('/'));
        let below = (!whole.as_ref().is_empty()).then_some(&whole);
        let listed = self.runtime.block_on(self.store.list(below).try_collect::<Vec<_>>());
        let listed = listed.map_err(|error| self.failed("list", &error))?;
        let own = if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        let name = |path: &Path| path.as_ref().strip_prefix(&own).map(str::to_owned);
        let named = listed.into_iter().filter_map(|object| Some((name(&object.location)?, object.size)));
        let mut all: Vec<_> = named.filter(|(name, _)| name.starts_with(prefix)).collect();
        all.sort();
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        for url in ["http://127.0.0.1:9000", "http://localhost/x", "http://[::1]:80", "http://u@127.1.2.3"] {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["http://10.0.0.1", "http://localhost.example.com", "http://127.0.0.1.example.com", "http://", ""] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
