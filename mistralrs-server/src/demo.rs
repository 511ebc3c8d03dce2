//! The model inside the program: what is served when no other is named. Trained from scratch by
//! `examples/demo-model`, which says what it can do and how it was made.

use mistralrs_core::LoadOptions;

/// What requests name it by.
pub const NAME: &str = "mistralrs-demo";

/// How to get a real one, in one line.
pub const NOTICE: &str = "no model was named, so this is the small built-in demo model. A real one: \
                          -m Qwen/Qwen2.5-1.5B-Instruct, -m ./folder or -m ./model.gguf";

/// What the terminal chat says below its first line.
pub const OPENING: &str = "This is the small built-in demo model: it shows how things work, and it is often wrong. \
                           A real one: -m Qwen/Qwen2.5-1.5B-Instruct\n\
                           Try: What is the capital of Norway?\n\
                           Try: My name is Ada. (and then) What is my name?";

/// The file: GGUF, Q8_0.
pub static GGUF: &[u8] = include_bytes!("../demo-model/demo.gguf");

/// Loads it.
pub fn load_options() -> LoadOptions {
    LoadOptions { embedded: Some(GGUF), ..LoadOptions::new(NAME) }
}

#[cfg(test)]
mod tests {
    use super::GGUF;
    use sha2::{Digest, Sha256};

    /// The file is a product of `examples/demo-model`: whoever replaces it states the new size and the
    /// new figures in its README.
    #[test]
    fn the_file_is_the_one_described() {
        assert!(GGUF.len() <= 12 << 20, "{} bytes", GGUF.len());
        let sum = Sha256::digest(GGUF);
        let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        let readme = include_str!("../../examples/demo-model/README.md");
        assert!(
            readme.contains(&format!("{} bytes, sha256 {sum}", GGUF.len())),
            "{} {sum}",
            GGUF.len()
        );
    }
}
