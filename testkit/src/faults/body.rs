//! Damage to the bytes of an answer.

use std::{collections::VecDeque, future, io};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, Response, header};
use http_body_util::BodyExt;

use super::Fault;
use crate::body::Body;

/// Wraps an answer's body so that the byte-level faults among `faults` happen to it.
pub(crate) fn damage(response: Response<Body>, faults: &[Fault]) -> Response<Body> {
    faults.iter().fold(response, |mut response, fault| {
        if let Fault::EofAt { byte } = *fault {
            shorten(response.headers_mut(), byte);
        }
        response.map(|body| match *fault {
            Fault::ResetAt { byte } => end_at(body, byte, End::Error(io::ErrorKind::ConnectionReset)),
            Fault::CutAt { byte } => end_at(body, byte, End::Error(io::ErrorKind::UnexpectedEof)),
            Fault::EofAt { byte } => end_at(body, byte, End::Clean),
            Fault::StallAt { byte } => end_at(body, byte, End::Never),
            Fault::Drip { bytes, every } => drip(body, bytes.max(1), every),
            _ => body,
        })
    })
}

/// A body that looks complete has the length that was announced.
fn shorten(headers: &mut HeaderMap, byte: u64) {
    if let Some(length) = headers.get_mut(header::CONTENT_LENGTH) {
        let announced = length.to_str().ok().and_then(|text| text.parse().ok());
        *length = announced.unwrap_or(byte).min(byte).into();
    }
}

#[derive(Clone, Copy)]
enum End {
    Clean,
    Error(io::ErrorKind),
    Never,
}

fn chunks(body: Body) -> impl Stream<Item = io::Result<Bytes>> + Send {
    body.into_data_stream()
}

fn end_at(body: Body, byte: u64, end: End) -> Body {
    let state = (Some(Box::pin(chunks(body))), byte);
    Body::stream(stream::unfold(state, move |(body, left)| async move {
        let mut body = body?;
        if left > 0 {
            match body.next().await {
                Some(Ok(mut chunk)) => {
                    chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    let left = left - chunk.len() as u64;
                    return Some((Ok(chunk), (Some(body), left)));
                }
                Some(Err(error)) => return Some((Err(error), (None, 0))),
                // Shorter than the offset: the fault strikes at its end.
                None => {}
            }
        }
        match end {
            End::Clean => None,
            End::Error(kind) => Some((Err(kind.into()), (None, 0))),
            End::Never => future::pending().await,
        }
    }))
}

fn drip(body: Body, size: usize, every: std::time::Duration) -> Body {
    let state = (Box::pin(chunks(body)), VecDeque::<Bytes>::new());
    Body::stream(stream::unfold(state, move |(mut body, mut drops)| async move {
        while drops.is_empty() {
            match body.next().await? {
                Ok(mut chunk) => {
                    while !chunk.is_empty() {
                        drops.push_back(chunk.split_to(size.min(chunk.len())));
                    }
                }
                Err(error) => return Some((Err(error), (body, drops))),
            }
        }
        tokio::time::sleep(every).await;
        drops.pop_front().map(|one| (Ok(one), (body, drops)))
    }))
}
