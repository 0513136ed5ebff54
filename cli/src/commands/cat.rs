//! `memfs cat`: contents, as they are.

use super::{pieces::Pieces, store::Store};
use crate::{output::Output, trouble::Trouble};

/// Print files, one after the other, as they are
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    store: Store,
    /// Files in the store
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
}

/// Why a file was not printed to its end.
enum Stopped {
    Store(memfs::Error),
    Output(Trouble),
}

impl From<memfs::Error> for Stopped {
    fn from(error: memfs::Error) -> Self {
        Stopped::Store(error)
    }
}

pub(crate) fn run(options: &Options, out: &mut Output) -> Result<bool, Trouble> {
    options.store.open(|fs, failures| {
        let mut pieces = Pieces::new();
        for path in &options.paths {
            let printed = pieces.give_out(fs, path, |_, piece| {
                out.bytes(piece).map_err(Stopped::Output)?;
                Ok(!out.is_closed())
            });
            match printed {
                Err(Stopped::Output(trouble)) => return Err(trouble),
                Err(Stopped::Store(error)) => failures.add_store(path, &error),
                Ok(()) => {}
            }
        }
        Ok(())
    })
}
