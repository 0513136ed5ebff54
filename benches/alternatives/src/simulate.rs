//! MemFS's scoring rule by itself: what a cache that holds nothing but contents comes to on the same trace, with exact counters
//! where MemFS has a sketch. The figure a replay is to be held against.
//!
//! `S = T[f] - lg4(size) - lg4(8 + age)`, the lowest of 16 drawn at random leaves; `f` counts to 15 and is halved once per 40 x
//! resident files increments; eight epochs of age pass per as many requests as files are resident.

use crate::requests::Rng;

/// `round(8 * log2(f + 1/2))`.
const OF_FREQUENCY: [i32; 16] = [-8, 5, 11, 14, 17, 20, 22, 23, 25, 26, 27, 28, 29, 30, 31, 32];
const SAMPLE: usize = 16;
const INCREMENTS: u64 = 40;
const EPOCHS: u64 = 8;

/// Four times the logarithm, in whole steps.
fn lg4(x: u64) -> i32 {
    let top = x.max(1).ilog2();
    let below = if top >= 2 { x >> (top - 2) } else { x << (2 - top) } & 3;
    4 * top as i32 + below as i32
}

struct Cache<'a> {
    sizes: &'a [u32],
    resident: Vec<u32>,
    /// Where in `resident` an object is.
    place: Vec<Option<usize>>,
    frequency: Vec<u8>,
    used_in: Vec<u64>,
    epoch: u64,
    requests: u64,
    increments: u64,
    bytes: u64,
    rng: Rng,
}

impl Cache<'_> {
    fn score(&self, id: u32) -> i32 {
        let id = id as usize;
        let age = self.epoch - self.used_in[id];
        OF_FREQUENCY[usize::from(self.frequency[id])] - lg4(self.sizes[id].into()) - lg4(8 + age)
    }

    fn note(&mut self, id: u32) {
        let residents = self.resident.len().max(1) as u64;
        self.requests += 1;
        if self.requests * EPOCHS >= residents {
            self.epoch += 1;
            self.requests = 0;
        }
        let frequency = &mut self.frequency[id as usize];
        if *frequency < 15 {
            *frequency += 1;
            self.increments += 1;
        }
        if self.increments > INCREMENTS * residents {
            self.increments = 0;
            self.frequency.iter_mut().for_each(|frequency| *frequency /= 2);
        }
        self.used_in[id as usize] = self.epoch;
    }

    fn evict(&mut self) {
        let drawn =
            (0..SAMPLE).map(|_| self.rng.below(self.resident.len() as u32) as usize).collect::<Vec<_>>();
        let worst = drawn.into_iter().min_by_key(|&place| self.score(self.resident[place]));
        let Some(place) = worst else { return };
        let gone = self.resident.swap_remove(place) as usize;
        self.place[gone] = None;
        self.bytes -= u64::from(self.sizes[gone]);
        if let Some(&moved) = self.resident.get(place) {
            self.place[moved as usize] = Some(place);
        }
    }
}

/// (Object misses, byte misses) by request.
pub(crate) fn miss_ratios(requests: &[u32], sizes: &[u32], capacity: u64) -> (f64, f64) {
    let mut cache = Cache {
        sizes,
        resident: Vec::new(),
        place: vec![None; sizes.len()],
        frequency: vec![0; sizes.len()],
        used_in: vec![0; sizes.len()],
        epoch: 0,
        requests: 0,
        increments: 0,
        bytes: 0,
        rng: Rng::new(0x7369_6d75),
    };
    let (mut objects, mut bytes, mut requested) = (0u64, 0u64, 0u64);
    for &id in requests {
        let size = u64::from(sizes[id as usize]);
        requested += size;
        cache.note(id);
        if cache.place[id as usize].is_some() {
            continue;
        }
        objects += 1;
        bytes += size;
        if size > capacity {
            continue;
        }
        while cache.bytes + size > capacity {
            cache.evict();
        }
        cache.place[id as usize] = Some(cache.resident.len());
        cache.resident.push(id);
        cache.bytes += size;
    }
    (objects as f64 / requests.len() as f64, bytes as f64 / requested as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_misses_once_and_what_is_read_often_stays() {
        let requests: Vec<u32> = (0..1000).map(|i| i % 10).collect();
        assert_eq!(miss_ratios(&requests, &[1; 10], 10), (0.01, 0.01));
        // One popular object among many that come once.
        let requests: Vec<u32> = (0..1000).flat_map(|i| [0, i + 1]).collect();
        let (objects, _) = miss_ratios(&requests, &[1; 1001], 20);
        assert!((objects - 1001.0 / 2000.0).abs() < 0.005, "{objects}");
    }
}
