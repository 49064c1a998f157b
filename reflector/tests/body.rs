//! The body of any answer: whatever frames it arrives in, and whether it is compressed or not, the same comes out. Also
//! a fuzz target.
#![allow(unreachable_pub, reason = "public to the fuzz target")]

use std::{
    convert::Infallible,
    fmt::Debug,
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use flate2::write::GzEncoder;
use futures::{Stream, StreamExt, stream};
use http::{Request, Response};
use http_body_util::StreamBody;
use informer_reflector::{
    ApiListWatch, Compression, Decode, Error, Event, Held, Json, Limits, ListRequest, ListWatch, Listed,
    Purpose, ReadAt, WatchRequest,
};
use informer_store::Object;
use k8s_openapi::api::core::v1::ConfigMap;
use kube_client::{
    Client,
    client::Body,
    core::{Resource, metadata::PartialObjectMeta},
};
use serde::{Deserialize, de::DeserializeOwned};

/// A list or a watch comes out the same whatever frames its body arrives in and however it is compressed, under every
/// decode policy. The first byte says which, the second how many bytes arrive at a time.
pub fn body(data: &[u8]) {
    let Some(([kind, size], data)) = data.split_first_chunk() else {
        return;
    };
    let body = Arrival {
        data,
        size: usize::from(*size).max(1),
        watch: kind & 1 != 0,
        purpose: if kind & 2 == 0 {
            Purpose::Contents
        } else {
            Purpose::Audit
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        match kind >> 2 & 3 {
            0 => body.check::<ConfigMap, ConfigMap>(Json::whole()).await,
            1 => {
                body.check::<ConfigMap, ConfigMap>(Json::new().hide(["data", "k"]))
                    .await
            }
            2 => body.check::<Metadata, Metadata>(Json::new()).await,
            _ => body.check::<Slim, ConfigMap>(Json::new()).await,
        }
    });
}

type Metadata = PartialObjectMeta<ConfigMap>;

/// A type of a user's that has little of what is sent.
#[derive(Debug, Deserialize)]
struct Slim {
    metadata: SlimMeta,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimMeta {
    name: Box<str>,
    resource_version: Box<str>,
}

impl Object for Slim {
    fn namespace(&self) -> Option<&str> {
        None
    }

    fn name(&self) -> Option<&str> {
        Some(&self.metadata.name)
    }

    fn uid(&self) -> Option<&str> {
        None
    }

    fn resource_version(&self) -> Option<&str> {
        Some(&self.metadata.resource_version)
    }
}

/// A body and the way in which it arrives.
struct Arrival<'a> {
    data: &'a [u8],
    /// How many bytes arrive at a time.
    size: usize,
    watch: bool,
    purpose: Purpose,
}

impl Arrival<'_> {
    async fn check<K, R>(&self, decode: impl Decode<K> + 'static)
    where
        K: Object + Debug + DeserializeOwned,
        R: Resource<DynamicType = ()>,
    {
        let next: Arc<Mutex<Arrived>> = Arc::default();
        let source = ApiListWatch::<K>::of::<R>(client(Arc::clone(&next)), None, &())
            .decode(decode)
            .compression(Compression::All)
            .limits(limits());
        let read = async |frames: Vec<Bytes>, zipped| {
            *next.lock().expect("nothing panics under it") = Arrived { frames, zipped };
            self.read(&source).await
        };
        let whole = read(vec![Bytes::copy_from_slice(self.data)], false).await;
        assert_eq!(read(self.frames(self.data), false).await, whole, "in pieces");
        // Members so small that some end in the middle of everything, though not so many that it takes long.
        let member = self.size.max(self.data.len() / 8);
        let zipped: Vec<u8> = self.data.chunks(member).flat_map(gzip).collect();
        assert_eq!(
            read(self.frames(&zipped), true).await,
            whole,
            "compressed, in pieces"
        );
        assert_eq!(read(vec![zipped.into()], true).await, whole, "compressed");
    }

    fn frames(&self, bytes: &[u8]) -> Vec<Bytes> {
        bytes.chunks(self.size).map(Bytes::copy_from_slice).collect()
    }

    /// What comes of the answer, told as text.
    async fn read<K: Object + Debug>(&self, source: &ApiListWatch<K>) -> Vec<String> {
        if self.watch {
            let request = WatchRequest::new("1".into(), Duration::from_secs(300));
            let events = source.watch(&request, &Held::nothing()).await;
            let tell = |event: &Event<K>| match event {
                Event::Progress { .. } => None,
                // The name of one that is too long is looked for in as much of it as has arrived.
                Event::Unreadable(poison) => Some(format!("unreadable {}", poison.error)),
                Event::Added(item) | Event::Modified(item) | Event::Deleted(item) => {
                    Some(format!("{event:?} {:?}", item.object))
                }
                _ => Some(format!("{event:?}")),
            };
            all(events.expect("it begins well"), tell).await
        } else {
            let mut request = ListRequest::new(ReadAt::Latest);
            request.purpose = self.purpose;
            let parts = source.list(&request, &Held::nothing()).await;
            let tell = |part: &Listed<K>| match part {
                Listed::Progress(_) => None,
                Listed::Object(item) => Some(format!("{part:?} {:?}", item.object)),
                _ => Some(format!("{part:?}")),
            };
            all(parts.expect("it begins well"), tell).await
        }
    }
}

/// Small enough for a fuzzer to reach.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.object_bytes = 2048;
    limits.token_bytes = 256;
    limits.depth = 20;
    limits
}

/// The body of the next answer.
#[derive(Default)]
struct Arrived {
    frames: Vec<Bytes>,
    zipped: bool,
}

/// A client to which every answer is the next one.
fn client(next: Arc<Mutex<Arrived>>) -> Client {
    let answer = move |_: Request<Body>| {
        let Arrived { frames, zipped } = std::mem::take(&mut *next.lock().expect("nothing panics under it"));
        let frames = frames
            .into_iter()
            .map(|frame| Ok::<_, Infallible>(http_body::Frame::data(frame)));
        let response =
            Response::builder().header("content-encoding", if zipped { "gzip" } else { "identity" });
        let response = response.body(StreamBody::new(stream::iter(frames)));
        std::future::ready(Ok::<_, Infallible>(response.expect("the header is valid")))
    };
    Client::new(tower::service_fn(answer), "default")
}

/// All that a stream has to tell.
async fn all<T>(
    stream: impl Stream<Item = Result<T, Error>>,
    tell: impl Fn(&T) -> Option<String>,
) -> Vec<String> {
    let told = stream.filter_map(|part| {
        let told = match &part {
            Ok(part) => tell(part),
            Err(error) => Some(format!("{error:?}")),
        };
        std::future::ready(told)
    });
    told.collect().await
}

/// A member of its own.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let done = encoder.write_all(bytes).and_then(|()| encoder.finish());
    done.expect("memory takes it")
}

#[test]
fn bodies_come_out_the_same_for_the_corpus_and_its_mutations() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/body");
    let files = std::fs::read_dir(folder).expect("the corpus is committed");
    let mut paths: Vec<_> = files.map(|file| file.expect("it can be read").path()).collect();
    paths.sort();
    assert!(paths.len() >= 100, "{} files", paths.len());
    let mut rng = fastrand::Rng::with_seed(42);
    for path in paths {
        let mut data = std::fs::read(path).expect("it can be read");
        body(&data);
        for _ in 0..8 {
            if data.len() > 2 {
                let at = rng.usize(2..data.len());
                data[at] = b"{}[]\",:\\\n x"[rng.usize(..11)];
                data[1] = rng.u8(..);
            }
            body(&data);
        }
    }
}
