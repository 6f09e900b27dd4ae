//! The key by which the Contacts of users at a PBX are made: in a file, so that they are the same after a restart.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Its file in the data directory: 64 hexadecimal digits.
const FILE: &str = "contact.key";

/// The key of this data directory, made where there is none yet.
///
/// # Errors
/// The file cannot be read or made, or holds no key.
pub(super) fn contact_key(data_dir: &Path) -> io::Result<[u8; 32]> {
    let path = data_dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => parse(text.trim()).ok_or_else(|| {
            let why = format!("{}: holds no key; remove the file to get one", path.display());
            io::Error::new(io::ErrorKind::InvalidData, why)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(io::Error::other)?;
            let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            keep(&path, |file| writeln!(file, "{text}"))?;
            Ok(key)
        }
        Err(error) => Err(error),
    }
}

/// Makes the file, on the disk when this returns. One that could not be written whole does not stay: the next start would
/// find no key in it, and begin none.
fn keep(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let kept = write(&mut file).and_then(|()| file.sync_all());
    if kept.is_err() {
        let _ = fs::remove_file(path);
    }
    kept
}

fn parse(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_made_once_whole_and_a_file_that_holds_none_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let key = contact_key(dir.path()).unwrap();
        assert_ne!(key, [0; 32]);
        assert_eq!(contact_key(dir.path()).unwrap(), key);
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_file(&path).unwrap();
        let full = keep(&path, |file| {
            file.write_all(b"0123")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(full.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_ne!(contact_key(dir.path()).unwrap(), key, "a disk that was full leaves nothing behind");
        fs::write(&path, "zz").unwrap();
        assert!(contact_key(dir.path()).unwrap_err().to_string().contains("contact.key"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "zz");
    }
}
