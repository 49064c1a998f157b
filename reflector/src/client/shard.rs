//! [`Shard`]: a part of all objects, by a hash of their uid or namespace.

/// The objects whose hash lies in a range: several reflectors share a kind without sharing an object.
///
/// The hash is FNV-1a of 64 bits, as the API server computes it.
///
/// # Source
/// KEP-5866; apimachinery `pkg/sharding`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    field: ShardField,
    start: u64,
    /// Exclusive; `None` for all the rest.
    end: Option<u64>,
}

/// What is hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShardField {
    /// The uid: spreads evenly.
    #[default]
    Uid,
    /// The namespace: keeps a namespace together.
    Namespace,
}

impl Shard {
    /// Part `index` of `count` equal parts, by uid.
    ///
    /// # Panics
    /// If there is no such part.
    #[must_use]
    #[track_caller]
    pub fn nth(index: u32, count: u32) -> Self {
        assert!(index < count, "shard {index} of {count} does not exist");
        let bound = |part: u32| (u128::from(part) << 64) / u128::from(count);
        Self {
            field: ShardField::Uid,
            start: u64::try_from(bound(index)).unwrap_or(u64::MAX),
            end: u64::try_from(bound(index + 1)).ok(),
        }
    }

    /// The same range over another field.
    #[must_use]
    pub fn by(mut self, field: ShardField) -> Self {
        self.field = field;
        self
    }

    /// Whether an object belongs to it.
    #[must_use]
    pub fn has(&self, uid: &str, namespace: &str) -> bool {
        let hash = fnv1a(match self.field {
            ShardField::Uid => uid,
            ShardField::Namespace => namespace,
        });
        hash >= self.start && self.end.is_none_or(|end| hash < end)
    }

    /// As the API server takes it.
    #[must_use]
    pub fn selector(&self) -> String {
        let field = match self.field {
            ShardField::Uid => "object.metadata.uid",
            ShardField::Namespace => "object.metadata.namespace",
        };
        let end = self.end.map_or_else(
            || String::from("0x10000000000000000"),
            |end| format!("{end:#018x}"),
        );
        format!("shardRange({field}, '{:#018x}', '{end}')", self.start)
    }
}

fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
