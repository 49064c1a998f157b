//! gzip: large answers as a whole, watches one member per flush.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::BodyExt;

use super::negotiate::accepts_gzip;
use crate::body::Body;

/// Smaller answers are not worth it; the API server's own bound.
const WORTH_IT: u64 = 128 * 1024;

/// Compresses a large answer if the client takes it.
pub(crate) fn whole(response: Response<Body>, asked: &HeaderMap) -> Response<Body> {
    let large = response.body().known_len().is_some_and(|len| len > WORTH_IT);
    if !large || !accepts_gzip(asked) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = match body.into_bytes() {
        Ok(bytes) => Body::full(gzip(&bytes)),
        Err(body) => return Response::from_parts(parts, body),
    };
    mark(&mut parts.headers);
    Response::from_parts(parts, body)
}

/// Compresses a stream, each chunk as a gzip member of its own, so that each is readable on arrival.
pub(crate) fn per_flush(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    mark(&mut parts.headers);
    let members = body
        .into_data_stream()
        .map(|chunk| chunk.map(|chunk| gzip(&chunk)));
    Response::from_parts(parts, Body::stream(members))
}

fn mark(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(1));
    encoder.write_all(bytes).expect("writing to memory can't fail");
    Bytes::from(encoder.finish().expect("writing to memory can't fail"))
}
