//! Standard output that nobody reads any more, or that is full.

use super::*;
use std::io::Read;

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = Home::with(&[("/long", &bytes(1, 8 * MIB)), ("/f", b"f")]);
    let store = home.store();
    let many = home.at("source/many");
    fs::create_dir_all(&many).expect("directories");
    for number in 0..8000 {
        fs::write(many.join(format!("a-name-of-some-length-{number}")), b"").expect("a file");
    }
    ok(&run("import", &[&home.at("source"), &store]));
    let cases: [(&str, &[&str]); 6] = [
        ("cat", &["/long", "/f"]),
        ("ls", &["/many"]),
        ("ls", &["/many", "--json"]),
        ("glob", &["**"]),
        ("stat", &["/f"]),
        ("stats", &[]),
    ];
    for (command, args) in cases {
        for read in [0, 10] {
            let mut command = memfs(command, &[&store]);
            command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().expect("the binary runs");
            let mut pipe = child.stdout.take().expect("piped");
            pipe.read_exact(&mut vec![0; read]).expect("so much is printed");
            drop(pipe);
            let output = child.wait_with_output().expect("it ends");
            assert_eq!((output.status.code(), &*stderr(&output)), (Some(0), ""), "{args:?}");
        }
    }
}

#[test]
fn a_full_standard_output_is_an_error() {
    let home = Home::with(&[("/f", b"contents")]);
    for (command, args) in
        [("cat", &["/f"] as &[&str]), ("ls", &[]), ("stats", &[]), ("rm", &["/f", "--json"])]
    {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("the device");
        let output =
            memfs(command, &[&home.store()]).args(args).stdout(full).output().expect("the binary runs");
        failed(&output, 2, "standard output");
    }
}
