//! SHA-256, for the identities discovery shows: a real server's `storageVersionHash` is made with it.

/// The first eight bytes of the digest in base64, as `storageVersionHash` shows them.
pub(super) fn storage(text: &str) -> String {
    base64(&sha256(text.as_bytes())[..8])
}

/// The digest in upper case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    sha256(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02X}");
            text
        })
}

/// Standard base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .enumerate()
            .fold(0_u32, |word, (at, byte)| word | u32::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * at)) as usize & 63];
            text.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// The fractional parts of the cube roots of the first 64 primes, from integer arithmetic.
fn round_constants() -> [u32; 64] {
    let mut constants = [0; 64];
    let mut found = 0;
    let mut candidate: u128 = 2;
    while found < 64 {
        if (2..candidate)
            .take_while(|d| d * d <= candidate)
            .all(|d| !candidate.is_multiple_of(d))
        {
            constants[found] = root_fraction(candidate, 3);
            found += 1;
        }
        candidate += 1;
    }
    constants
}

/// The first 32 bits of the fractional part of the `degree`-th root (2 or 3) of a small prime.
fn root_fraction(prime: u128, degree: u32) -> u32 {
    // root * 2^32 = integer root of prime * 2^(32 * degree)
    let target = prime << (32 * degree);
    let (mut low, mut high) = (0_u128, 1_u128 << 38);
    while low + 1 < high {
        let middle = low.midpoint(high);
        if middle.pow(degree) <= target {
            low = middle
        } else {
            high = middle
        }
    }
    (low & 0xffff_ffff) as u32
}

fn sha256(message: &[u8]) -> [u8; 32] {
    let constants = round_constants();
    let mut state = [2_u128, 3, 5, 7, 11, 13, 17, 19].map(|prime| root_fraction(prime, 2));
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks(64) {
        let mut w = [0_u32; 64];
        for (slot, bytes) in w.iter_mut().zip(block.chunks(4)) {
            *slot = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        }
        for i in 16..64 {
            let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
            let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
            w[i] = w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1);
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
        for (word, constant) in w.iter().zip(constants) {
            let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let choice = (e & f) ^ (!e & g);
            let t1 = h
                .wrapping_add(s1)
                .wrapping_add(choice)
                .wrapping_add(constant)
                .wrapping_add(*word);
            let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let majority = (a & b) ^ (a & c) ^ (b & c);
            (h, g, f, e, d, c, b, a) = (
                g,
                f,
                e,
                d.wrapping_add(t1),
                c,
                b,
                a,
                t1.wrapping_add(s0).wrapping_add(majority),
            );
        }
        for (slot, value) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *slot = slot.wrapping_add(value);
        }
    }
    let mut digest = [0; 32];
    for (slot, word) in digest.chunks_mut(4).zip(state) {
        slot.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_equal_published_vectors() {
        assert_eq!(
            hex(b""),
            "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"
        );
        assert_eq!(
            hex(b"abc"),
            "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"
        );
    }

    #[test]
    fn storage_hashes_equal_recorded_ones() {
        for (identity, hash) in [
            ("/v1/ConfigMap", "qFsyl6wFWjQ="),
            ("/v1/Endpoints", "fWeeMqaN/OA="),
            ("/v1/Namespace", "Q3oi5N2YM8M="),
        ] {
            assert_eq!(storage(identity), hash, "{identity}");
        }
    }
}
