//! What the types promise to the compiler.

use memfs::{
    Builder, DirEntry, Durability, Error, File, FileKind, FileRef, GcReport, Location, MemFs, Metadata,
    OpenOptions, Preload, Priority, Stats, StorageMode, WriteOptions,
};

const fn shared<T: Send + Sync + 'static>() {}
const fn sent<T: Send + 'static>() {}
const fn cheap<T: Clone + Send + Sync + 'static>() {}

const _: () = {
    cheap::<MemFs>();
    cheap::<Builder>();
    cheap::<Metadata>();
    cheap::<DirEntry>();
    cheap::<Priority>();
    cheap::<WriteOptions>();
    cheap::<OpenOptions>();
    cheap::<Stats>();
    shared::<FileRef>();
    shared::<File>();
    shared::<Error>();
    shared::<GcReport>();
    shared::<Location>();
    shared::<FileKind>();
    shared::<Durability>();
    shared::<StorageMode>();
    sent::<Preload>();
};

#[test]
fn results_cross_threads_with_or_without_the_store() {
    let fs = crate::common::stores::tiny().build().unwrap();
    fs.write("/f", "abc").unwrap();
    let (held, file) = (fs.get("/f").unwrap(), fs.open("/f").unwrap());
    let there = std::thread::spawn(move || {
        let mut buf = [0; 3];
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), 3);
        assert_eq!(*held, buf);
        held
    });
    let held = there.join().unwrap();
    drop(fs);
    assert_eq!(held.len(), 3);
    assert_eq!(*held, *b"abc");
}

#[test]
fn paths_and_contents_come_in_every_form() {
    let fs = crate::common::stores::tiny().build().unwrap();
    fs.write("/a", "str").unwrap();
    fs.write(String::from("/b"), String::from("string")).unwrap();
    fs.write(&String::from("/c"), vec![1, 2, 3]).unwrap();
    fs.write("/d", [1u8, 2, 3]).unwrap();
    fs.write(std::borrow::Cow::from("/e"), &b"slice"[..]).unwrap();
    assert_eq!(fs.glob("/*").unwrap().len(), 5);
}

#[test]
fn a_default_store_needs_no_settings() {
    let fs = MemFs::new().unwrap();
    fs.write("/f", "x").unwrap();
    assert_eq!(fs.read("/f").unwrap(), b"x");
    assert!(fs.stats().memory.limit > 0);
    fs.close().unwrap();
}
