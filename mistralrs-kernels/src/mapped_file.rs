//! A file mapped into memory for reading: the one place where the project maps files.

use std::fs::File;
use std::io;
use std::path::Path;

/// A read-only memory map of a whole file.
#[derive(Debug)]
pub struct MappedFile {
    /// `None` for an empty file, which cannot be mapped everywhere.
    map: Option<memmap2::Mmap>,
}

impl MappedFile {
    /// Maps the file at `path`. The file must not be shortened while the map lives: reading past
    /// the new end would end the process.
    ///
    /// # Errors
    /// If the file cannot be opened or mapped.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Self { map: None });
        }
        // SAFETY: the map is read-only. That nobody changes the file meanwhile cannot be ensured
        // by a program; weights are plain numbers, so changed bytes give wrong numbers, no worse.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Self { map: Some(map) })
    }

    /// The file's content.
    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::MappedFile;

    #[test]
    fn maps_what_the_file_holds() {
        let folder = std::env::temp_dir().join(format!("mapped-file-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for content in [&b""[..], b"x", &[7; 10_000]] {
            let path = folder.join(content.len().to_string());
            std::fs::write(&path, content).unwrap();
            assert_eq!(MappedFile::open(&path).unwrap().bytes(), content);
        }
        assert!(MappedFile::open(&folder.join("absent")).is_err());
        assert!(MappedFile::open(&folder).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
