//! The processor's cores as the system numbers them. Known on Linux; elsewhere there is nothing to choose.
//! Source: `thread_siblings_list` of /sys/devices/system/cpu names the logical processors of a core.

/// One logical processor of each core that this process may use; empty where that is not known.
pub(crate) fn physical() -> Vec<usize> {
    one_of_each(&allowed(), |cpu| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        std::fs::read_to_string(path).ok()
    })
}

/// The first of `cpus` of each core; one whose siblings are unknown is a core of its own.
fn one_of_each(cpus: &[usize], siblings: impl Fn(usize) -> Option<String>) -> Vec<usize> {
    let mut chosen: Vec<usize> = Vec::new();
    for cpu in cpus {
        let list = siblings(*cpu).unwrap_or_default();
        if !chosen.iter().any(|other| is_listed(&list, *other)) {
            chosen.push(*cpu);
        }
    }
    chosen
}

/// Whether a list like `0,4-6` has a number.
fn is_listed(list: &str, cpu: usize) -> bool {
    list.trim().split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        matches!((first.parse(), last.parse()), (Ok(first), Ok(last)) if (first..=last).contains(&cpu))
    })
}

/// The logical processors that this thread may run on.
#[cfg(target_os = "linux")]
fn allowed() -> Vec<usize> {
    // SAFETY: a set of processors is plain bits, and zeros are the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is as large as is said.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } != 0 {
        return Vec::new();
    }
    let all = 8 * size_of::<libc::cpu_set_t>();
    // SAFETY: the numbers are below the set's size.
    (0..all).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> Vec<usize> {
    Vec::new()
}

/// Has the calling thread run on this logical processor alone, if the system agrees.
pub(crate) fn pin(cpu: usize) {
    #[cfg(target_os = "linux")]
    // SAFETY: a set of processors is plain bits; it is as large as is said, and `cpu` came from one.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if cpu < 8 * size_of::<libc::cpu_set_t>() {
            libc::CPU_SET(cpu, &mut set);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = cpu;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_are_one_core() {
        let lists = ["0,4", "1,5", "2-3", "2-3", "0,4", "1,5"];
        let siblings = |cpu: usize| lists.get(cpu).map(|list| format!("{list}\n"));
        assert_eq!(one_of_each(&[0, 1, 2, 3, 4, 5], siblings), [0, 1, 2]);
        assert_eq!(one_of_each(&[3, 4, 5], siblings), [3, 4, 5]);
        assert_eq!(one_of_each(&[0, 4, 6, 7], siblings), [0, 6, 7]);
        assert!(!is_listed("", 0) && !is_listed("x-3", 2) && is_listed("7,9-11", 10));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_pinned_thread_stays_where_it_is() {
        let cores = physical();
        let last = *cores.last().unwrap();
        let seen = std::thread::spawn(move || {
            pin(last);
            allowed()
        });
        assert_eq!(seen.join().unwrap(), [last]);
        assert_eq!(physical(), cores);
    }
}
