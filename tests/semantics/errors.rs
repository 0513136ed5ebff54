//! What errors say, and what they become in std's terms.

use crate::common::{
    rng::bytes,
    stores::{on_each, tiny},
};
use memfs::Error;
use std::io::{self, ErrorKind};

#[test]
fn errors_name_the_path_in_canonical_form() {
    on_each(|fs| {
        fs.write("/d/f", "x").unwrap();
        for error in [
            fs.read("d//nothing").unwrap_err(),
            fs.read("/d/./nothing").unwrap_err(),
            fs.remove_file("\\d\\nothing").unwrap_err(),
        ] {
            match &error {
                Error::NotFound { path } => assert_eq!(path, "/d/nothing"),
                other => panic!("{other:?}"),
            }
            assert!(error.to_string().contains("/d/nothing"), "{error}");
        }
        assert!(fs.read("/d").unwrap_err().to_string().contains("/d"));
        assert!(fs.remove_dir("/d").unwrap_err().to_string().contains("/d"));
    });
}

#[test]
fn each_variant_has_its_error_kind() {
    let fs = tiny().build().unwrap();
    fs.write("/d/f", "x").unwrap();
    let kind = |error: Error| io::Error::from(error).kind();
    assert_eq!(kind(fs.read("/nothing").unwrap_err()), ErrorKind::NotFound);
    assert_eq!(kind(fs.create_dir("/d").unwrap_err()), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.read("/d/f/g").unwrap_err()), ErrorKind::NotADirectory);
    assert_eq!(kind(fs.read("/d").unwrap_err()), ErrorKind::IsADirectory);
    assert_eq!(kind(fs.remove_dir("/d").unwrap_err()), ErrorKind::DirectoryNotEmpty);
    assert_eq!(kind(fs.read("/..").unwrap_err()), ErrorKind::InvalidInput);
    assert_eq!(kind(fs.gc(f64::NAN).unwrap_err()), ErrorKind::InvalidInput);
    fs.write("/large", bytes(1, 2 << 20)).unwrap();
    assert_eq!(kind(fs.read_with("/large", |_| ()).unwrap_err()), ErrorKind::OutOfMemory);
    fs.close().unwrap();
    assert_eq!(kind(fs.read("/d/f").unwrap_err()), ErrorKind::Other);
}

#[test]
fn an_io_error_made_from_an_error_still_holds_it() {
    let fs = tiny().build().unwrap();
    let error = io::Error::from(fs.read("/nothing").unwrap_err());
    let inner = error.get_ref().unwrap().downcast_ref::<Error>();
    assert!(matches!(inner, Some(Error::NotFound { path }) if path == "/nothing"));
}

#[test]
fn a_question_mark_turns_errors_into_ios() {
    fn read(fs: &memfs::MemFs) -> io::Result<Vec<u8>> {
        Ok(fs.read("/nothing")?)
    }
    assert_eq!(read(&tiny().build().unwrap()).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_full_storage_limit_is_storage_full_and_loses_nothing() {
    let fs = tiny().storage_limit_bytes(2 << 20).build().unwrap();
    let mut written = 0;
    let error = loop {
        match fs.write(format!("/{written}"), bytes(written, 30_000)) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1000, "30 MB in 2.5 MiB");
    };
    assert!(matches!(error, Error::StorageFull { .. }), "{error:?}");
    assert_eq!(io::Error::from(error).kind(), ErrorKind::StorageFull);
    assert!(written > 30, "full after {written} files of 30 KB");
    for i in 0..written {
        assert!(fs.read(format!("/{i}")).unwrap() == bytes(i, 30_000), "file {i}");
    }
    // Room that is made is used.
    for i in 0..written {
        fs.remove_file(format!("/{i}")).unwrap();
    }
    for i in 0..30 {
        fs.write(format!("/again/{i}"), bytes(i, 30_000)).unwrap();
    }
    for i in 0..30 {
        assert!(fs.read(format!("/again/{i}")).unwrap() == bytes(i, 30_000));
    }
    crate::common::stores::validate(&fs);
}
