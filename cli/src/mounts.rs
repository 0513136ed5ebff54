//! Which file systems are made of files. In the others (proc, sys, ..) reading an entry may block, never end or change the
//! machine.

use rustix::fs::statfs;
use std::path::Path;

/// Those that are not. `f_type` as in statfs(2).
const NOT_FILES: [u64; 19] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x7363_6673, // securityfs
    0x6165_676c, // pstore
    0xcafe_4a11, // bpf
    0xde5e_81e4, // efivarfs
    0x6265_6570, // configfs
    0x1cd1,      // devpts
    0x9584_58f6, // hugetlbfs
    0x4249_4e4d, // binfmt_misc
    0xf97c_ff8c, // selinuxfs
    0x6573_5543, // fusectl
    0x0187,      // autofs
    0x6e73_6673, // nsfs
    0x1980_0202, // mqueue
];

/// Devices met so far, and whether they hold files.
#[derive(Default)]
pub(crate) struct Mounts(Vec<(u64, bool)>);

impl Mounts {
    /// Whether the directory at `path`, on `device`, is on a file system of files.
    pub(crate) fn hold_files(&mut self, device: u64, path: &Path) -> bool {
        if let Some((_, holds)) = self.0.iter().find(|(known, _)| *known == device) {
            return *holds;
        }
        let holds = statfs(path).is_ok_and(|found| !NOT_FILES.contains(&(found.f_type as u64 & 0xffff_ffff)));
        self.0.push((device, holds));
        holds
    }
}
