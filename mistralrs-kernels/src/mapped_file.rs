//! A file mapped into memory for reading, or one that is part of the program: the one place where the
//! project maps files.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

/// A whole file as read-only memory.
#[derive(Debug)]
pub struct MappedFile(Content);

#[derive(Debug)]
enum Content {
    Mapped(memmap2::Mmap),
    /// Part of the program; also an empty file, which cannot be mapped everywhere.
    Static(&'static [u8]),
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
            return Ok(Self(Content::Static(&[])));
        }
        // SAFETY: the map is read-only. That nobody changes the file meanwhile cannot be ensured
        // by a program; weights are plain numbers, so changed bytes give wrong numbers, no worse.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Self(Content::Mapped(map)))
    }

    /// A file that was compiled into the program (`include_bytes!`).
    pub fn embedded(bytes: &'static [u8]) -> Self {
        Self(Content::Static(bytes))
    }

    /// The file's content.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Content::Mapped(map) => map,
            Content::Static(bytes) => bytes,
        }
    }

    /// Tells the system that this range of bytes will not be needed soon, so that its pages stop
    /// counting as the process's own. What is read again comes back from the file.
    pub fn release(&self, range: Range<usize>) {
        /// So much the system maps around what is read: of hundreds of tensors it adds up. Where that is
        /// another tensor's, reading it costs a fault more.
        #[cfg(target_os = "linux")]
        const AROUND: usize = 64 << 10;
        #[cfg(target_os = "linux")]
        if let Content::Mapped(map) = &self.0 {
            let start = range.start.saturating_sub(AROUND);
            let end = range.end.saturating_add(AROUND).min(map.len());
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the map is read-only and of a file, so dropped pages are read anew, the same.
            let _ = unsafe { map.unchecked_advise_range(advice, start, end.saturating_sub(start)) };
        }
        #[cfg(not(target_os = "linux"))]
        let _ = range;
    }
}

#[cfg(test)]
mod tests {
    use super::MappedFile;

    #[test]
    fn released_bytes_come_back() {
        let name = format!("released-file-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let content: Vec<u8> = (0..400_000_u32).map(|i| (i * 7 % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let file = MappedFile::open(&path).unwrap();
        assert_eq!(file.bytes(), content);
        for range in [0..0, 1..2, 0..400_000, 70_000..300_000, 399_999..usize::MAX] {
            file.release(range);
            assert_eq!(file.bytes(), content);
        }
        std::fs::remove_file(&path).unwrap();
    }

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
