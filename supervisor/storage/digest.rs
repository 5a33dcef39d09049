//! XXH64: a fast 64-bit checksum against accidents, not against attacks.
//!
//! Implements the specification of xxHash by Yann Collet (doc/xxhash_spec.md of the project). Bytes may arrive in any
//! portions.

const PRIMES: [u64; 5] = [
    0x9e37_79b1_85eb_ca87,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0x85eb_ca77_c2b2_ae63,
    0x27d4_eb2f_1656_67c5,
];
/// Size of a block, in bytes.
const STRIPE: usize = 32;

/// A checksum in progress, with the seed 0.
#[derive(Debug, Clone)]
pub struct Digest {
    lanes: [u64; 4],
    rest: [u8; STRIPE],
    filled: usize,
    total: u64,
}

impl Default for Digest {
    fn default() -> Self {
        let [one, two, ..] = PRIMES;
        let lanes = [one.wrapping_add(two), two, 0, 0_u64.wrapping_sub(one)];
        Self { lanes, rest: [0; STRIPE], filled: 0, total: 0 }
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

fn round(lane: u64, input: u64) -> u64 {
    lane.wrapping_add(input.wrapping_mul(PRIMES[1])).rotate_left(31).wrapping_mul(PRIMES[0])
}

impl Digest {
    /// Adds bytes.
    pub fn add(&mut self, mut bytes: &[u8]) {
        self.total = self.total.wrapping_add(bytes.len() as u64);
        if self.filled > 0 {
            let count = bytes.len().min(STRIPE - self.filled);
            self.rest[self.filled..self.filled + count].copy_from_slice(&bytes[..count]);
            self.filled += count;
            bytes = &bytes[count..];
            if self.filled < STRIPE {
                return;
            }
            self.filled = 0;
            let rest = self.rest;
            self.take(&rest);
        }
        let mut stripes = bytes.chunks_exact(STRIPE);
        for stripe in &mut stripes {
            self.take(stripe);
        }
        let rest = stripes.remainder();
        self.rest[..rest.len()].copy_from_slice(rest);
        self.filled = rest.len();
    }

    fn take(&mut self, stripe: &[u8]) {
        for (lane, bytes) in self.lanes.iter_mut().zip(stripe.chunks_exact(8)) {
            // Written so that the compiler generates one load of eight bytes.
            let input = bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            *lane = round(*lane, input);
        }
    }

    /// The checksum of all bytes so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        let [one, two, three, four, five] = PRIMES;
        let mut sum = if self.total >= STRIPE as u64 {
            let [a, b, c, d] = self.lanes;
            let rotated = [a.rotate_left(1), b.rotate_left(7), c.rotate_left(12), d.rotate_left(18)];
            let joined = rotated.iter().fold(0_u64, |sum, lane| sum.wrapping_add(*lane));
            let merge = |sum: u64, lane: u64| (sum ^ round(0, lane)).wrapping_mul(one).wrapping_add(four);
            self.lanes.iter().fold(joined, |sum, lane| merge(sum, *lane))
        } else {
            five
        };
        sum = sum.wrapping_add(self.total);
        let mut rest = &self.rest[..self.filled];
        while rest.len() >= 8 {
            sum = (sum ^ round(0, word(&rest[..8]))).rotate_left(27).wrapping_mul(one).wrapping_add(four);
            rest = &rest[8..];
        }
        if rest.len() >= 4 {
            sum = (sum ^ word(&rest[..4]).wrapping_mul(one))
                .rotate_left(23)
                .wrapping_mul(two)
                .wrapping_add(three);
            rest = &rest[4..];
        }
        for byte in rest {
            sum = (sum ^ u64::from(*byte).wrapping_mul(five)).rotate_left(11).wrapping_mul(one);
        }
        sum = (sum ^ (sum >> 33)).wrapping_mul(two);
        sum = (sum ^ (sum >> 29)).wrapping_mul(three);
        sum ^ (sum >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(bytes: &[u8]) -> u64 {
        let mut digest = Digest::default();
        digest.add(bytes);
        digest.value()
    }

    /// The output of xxhsum(1).
    #[test]
    fn known_answers() {
        assert_eq!(of(b""), 0xef46_db37_51d8_e999);
        assert_eq!(of(b"a"), 0xd24e_c4f1_a98c_6e5b);
        assert_eq!(of(b"abc"), 0x44bc_2cf5_ad77_0999);
        let long = b"Nobody inspects the spammish repetition";
        assert_eq!(of(long), 0xfbce_a83c_8a37_8bf1);
    }

    proptest! {
        #[test]
        fn portions_do_not_matter(bytes in prop::collection::vec(any::<u8>(), 0..300), cuts in prop::collection::vec(0_usize..300, 0..6)) {
            let mut digest = Digest::default();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut at = 0;
            for cut in cuts {
                digest.add(&bytes[at..cut]);
                at = cut;
            }
            digest.add(&bytes[at..]);
            prop_assert_eq!(digest.value(), of(&bytes));
        }

        #[test]
        fn one_bit_is_noticed(mut bytes in prop::collection::vec(any::<u8>(), 1..200), at: usize, bit in 0..8) {
            let before = of(&bytes);
            let at = at % bytes.len();
            bytes[at] ^= 1_u8 << bit;
            prop_assert_ne!(of(&bytes), before);
        }
    }
}
