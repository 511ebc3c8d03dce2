//! The most memory that this process has held, as the system tells it.

use std::fs;

/// Bytes; `None` where the system does not tell.
pub fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Has the system count anew, from what is held now; whether it does.
pub fn forget_peak() -> bool {
    // Linux: `5` resets the high-water mark, see proc(5).
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn a_peak_is_seen_and_forgotten() {
        use super::{forget_peak, peak_bytes};
        let before = peak_bytes().unwrap();
        let held = vec![1u8; 64 << 20];
        let with = peak_bytes().unwrap();
        assert!(with >= before && with >= 64 << 20, "{before} {with} {}", held.len());
        drop(std::hint::black_box(held));
        if forget_peak() {
            assert!(peak_bytes().unwrap() <= with);
        }
    }
}
