//! Bytes come back as they were written, or not at all.

use super::{
    super::{ReadError, RealDisk, SegmentHold},
    store::{Store, TestDisk, bytes, slice},
};
use crate::{
    Error,
    sync::{Arc, thread},
};
use std::os::unix::fs::FileExt;

const CHUNK: usize = 4096;

#[test]
fn every_length_comes_back_from_every_thread() {
    let store = Store::new(Arc::new(RealDisk), 64 << 10, CHUNK, None);
    let appended: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..3u64)
            .map(|thread| {
                let store = &store;
                scope.spawn(move || {
                    let append = |len| {
                        (thread << 32 | len as u64, store.append(thread << 32 | len as u64, len).unwrap())
                    };
                    (0..=CHUNK).map(append).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    for (owner, extent) in &appended {
        assert_eq!(store.segments.len(*extent) as u64, owner & 0xffff_ffff);
        store.assert_holds(*owner, *extent);
    }
    store.segments.validate(Some(3 * Store::live_bytes(0..=CHUNK)));
    for (_, extent) in appended {
        store.kill(extent);
    }
    store.segments.validate(Some(0));
}

#[test]
fn long_extents_come_back() {
    let store = Store::new(Arc::new(RealDisk), 1, 3 << 20, None);
    for len in [16 << 10, (16 << 10) + 1, 1 << 20, 3 << 20] {
        let extent = store.append(9, len).unwrap();
        store.assert_holds(9, extent);
        let hold = store.segments.hold(extent).unwrap();
        if let Some(slice) = slice(&hold, 9).unwrap() {
            assert!(slice == bytes(9, len));
        }
    }
}

#[test]
fn a_flipped_byte_is_corruption_that_names_the_place() {
    let disk = TestDisk::new();
    let store = Store::new(disk.clone(), 64 << 10, CHUNK, None);
    store.append(1, 1000).unwrap();
    let (victim, neighbour) = (store.append(2, 300).unwrap(), store.append(3, 300).unwrap());
    let (segment, offset) = store.segments.location(victim);
    assert_eq!((segment, offset), (0, 256 + 1280));
    let file = disk.files.lock().unwrap()[0].try_clone().unwrap();
    for at in offset..offset + 32 + 300 {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
        let error = store.segments.read(victim, 2, &mut [0; 300]).unwrap_err();
        assert!(
            matches!(error, ReadError::Corrupt { segment: 0, offset: o, .. } if o == offset),
            "{error:?}"
        );
        let hold = store.segments.hold(victim).unwrap();
        assert!(matches!(slice(&hold, 2), Err(ReadError::Corrupt { .. }) | Ok(None)), "byte {at}");
        file.write_all_at(&byte, at).unwrap();
    }
    store.assert_holds(2, victim);
    store.assert_holds(3, neighbour);
}

#[test]
fn what_is_reported_names_segment_and_offset_and_is_counted() {
    let store = Store::new(TestDisk::new(), 64 << 10, CHUNK, None);
    let extent = store.append(1, 10).unwrap();
    let error = store.segments.read(extent, 2, &mut [0; 10]).unwrap_err();
    assert_eq!(store.segments.stats().checksum_failures, 0, "not known to be current yet");
    let error = store.segments.report(error).about("/a");
    assert!(
        matches!(&error, Error::Corrupt { path, segment: 0, offset: 256, .. } if path == "/a"),
        "{error}"
    );
    assert_eq!(store.segments.stats().checksum_failures, 1);
}

#[test]
fn a_truncated_file_is_an_error_and_no_signal() {
    let disk = TestDisk::new();
    let store = Store::new(disk.clone(), 64 << 10, CHUNK, None);
    let extents: Vec<_> = (0..12).map(|owner| store.append(owner, CHUNK).unwrap()).collect();
    let held: Vec<_> = extents.iter().map(|extent| store.segments.hold(*extent).unwrap()).collect();
    assert!(slice(&held[11], 11).unwrap().is_none_or(|slice| slice == bytes(11, CHUNK)));
    disk.files.lock().unwrap()[0].set_len(20 << 10).unwrap();
    for (owner, extent) in extents.iter().enumerate().take(11) {
        let hold = store.segments.hold(*extent).unwrap();
        let whole = store.segments.location(*extent).1 + 32 + CHUNK as u64 <= 20 << 10;
        let mut dst = [0; CHUNK];
        let read = store.segments.read(*extent, owner as u64, &mut dst);
        let slice = slice(&hold, owner as u64);
        if whole {
            read.unwrap();
            assert!(slice.unwrap().is_none_or(|slice| slice == bytes(owner as u64, CHUNK)));
        } else {
            assert!(matches!(read, Err(ReadError::Io { .. })), "{read:?}");
            // The rest of the last page reads as zeros through the mapping: a bad checksum.
            assert!(matches!(slice, Err(_) | Ok(None)), "{owner} was verified");
        }
    }
    let error = store.segments.read(extents[11], 11, &mut [0; CHUNK]).unwrap_err();
    let said = Error::from(error).to_string();
    assert!(said.contains("segment 0 at offset"), "{said}");
}

#[test]
fn held_bytes_outlive_their_extent_and_their_store() {
    let store = Store::new(TestDisk::new(), 16 << 10, CHUNK, Some(128 << 10));
    let extent = store.append(7, 3000).unwrap();
    let hold = store.segments.hold(extent).unwrap();
    store.kill(extent);
    for owner in 0..500 {
        let extent = store.append(owner, 3000).unwrap();
        store.kill(extent);
    }
    assert!(store.segments.stats().compactions > 50);
    let check = |hold: &SegmentHold| {
        let mut dst = [0; 3000];
        hold.read(7, &mut dst).unwrap();
        assert!(dst[..] == bytes(7, 3000));
        assert!(slice(hold, 7).unwrap().is_none_or(|slice| slice == bytes(7, 3000)));
    };
    check(&hold);
    drop(store);
    check(&hold);
}

#[test]
fn slices_keep_the_resident_mappings_bounded() {
    use super::super::hold::MAPPED_BOUND_BYTES;
    let store = Store::new(TestDisk::new(), 32 << 20, 1 << 20, None);
    let held: Vec<_> = (0..24)
        .map(|owner| {
            let extent = store.append(owner, 1 << 20).unwrap();
            store.segments.hold(extent).unwrap()
        })
        .collect();
    let most = held
        .iter()
        .enumerate()
        .filter_map(|(owner, hold)| {
            slice(hold, owner as u64).unwrap()?;
            Some(resident_bytes_of_the_mapping(slice(hold, owner as u64).unwrap().unwrap().as_ptr() as usize))
        })
        .max();
    if let Some(most) = most {
        // One use beyond the bound, and what the kernel maps along with it.
        assert!((1 << 20..=MAPPED_BOUND_BYTES + (3 << 20)).contains(&most), "{most} bytes are resident");
    }
}

/// What the kernel counts for the mapping around `address`.
fn resident_bytes_of_the_mapping(address: usize) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut is_ours = false;
    for line in maps.lines() {
        let first = line.split_whitespace().next().unwrap_or("");
        if let Some((start, end)) = first.split_once('-') {
            let parse = |text| usize::from_str_radix(text, 16);
            if let (Ok(start), Ok(end)) = (parse(start), parse(end)) {
                is_ours = (start..end).contains(&address);
            }
        } else if is_ours && first == "Rss:" {
            return line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10;
        }
    }
    panic!("no mapping at {address:#x}")
}
