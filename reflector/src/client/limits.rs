//! [`Limits`] and [`Compression`]: in what form and up to what size answers are taken.

/// Caps on what a server may send in one answer; how many objects may be held is for
/// [`Config::max_objects`](crate::Config::max_objects) to say.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The largest item of a list and line of a watch, in bytes. Default: 16 MiB; etcd keeps at most 1.5 MiB.
    pub object_bytes: usize,
    /// The largest page token, in bytes. Default: 64 KiB.
    pub token_bytes: usize,
    /// How much of an answer with an error status is read, in bytes. Default: 64 KiB.
    pub error_bytes: usize,
    /// How deep objects may nest. Default: 128.
    pub depth: u32,
    /// The most bytes of one list, all pages apart. Default: none.
    pub list_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            object_bytes: 16 << 20,
            token_bytes: 64 << 10,
            error_bytes: 64 << 10,
            depth: 128,
            list_bytes: None,
        }
    }
}

/// Which answers may be compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// None.
    #[default]
    Off,
    /// Lists: for networks slower than 10 Gbit/s.
    Lists,
    /// Lists and watches; saves a server that compresses watches most of its traffic.
    All,
}
