//! What the C# worker reports of the machine, read where it reads it: the cgroup (version 2, then
//! 1), then the process itself; network octets of the network namespace.

use std::{collections::VecDeque, fs, time::Duration};

/// How often CPU time is sampled for the utilization windows.
pub(super) const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// CPU seconds used so far; 0 where nothing tells.
pub(super) fn cpu_seconds() -> f64 {
    if let Some(usage) = read("/sys/fs/cgroup/cpu.stat")
        .as_deref()
        .and_then(cgroup_usage)
    {
        return usage;
    }
    let version_1 = [
        "/sys/fs/cgroup/cpu/cpuacct.usage",
        "/sys/fs/cgroup/cpuacct/cpuacct.usage",
    ];
    if let Some(nanoseconds) = version_1.into_iter().find_map(read_number) {
        return nanoseconds * 1e-9;
    }
    read("/proc/self/stat")
        .as_deref()
        .and_then(process_cpu)
        .unwrap_or(0.0)
}

/// Memory in use, in bytes; 0 where nothing tells.
pub(super) fn memory_bytes() -> f64 {
    const PAGE: f64 = 4096.0;
    read_number("/sys/fs/cgroup/memory.current")
        .or_else(|| read_number("/sys/fs/cgroup/memory/memory.usage_in_bytes"))
        .or_else(|| {
            let pages: f64 = read("/proc/self/statm")?.split(' ').nth(1)?.parse().ok()?;
            Some(pages * PAGE)
        })
        .unwrap_or(0.0)
}

/// Octets received and sent over IP; zeros where nothing tells.
pub(super) fn network_octets() -> (f64, f64) {
    let text = read("/proc/net/netstat").unwrap_or_default();
    (netstat(&text, "InOctets"), netstat(&text, "OutOctets"))
}

/// CPU seconds at steady intervals, for utilization over the last minutes.
#[derive(Debug)]
pub(super) struct CpuSamples {
    seconds: VecDeque<f64>,
}

impl CpuSamples {
    /// Room for five minutes, begun with `now`.
    pub(super) fn new(now: f64) -> Self {
        Self {
            seconds: VecDeque::from([now]),
        }
    }

    pub(super) fn push(&mut self, now: f64) {
        const FIVE_MINUTES: usize = 31;
        if self.seconds.len() == FIVE_MINUTES {
            self.seconds.pop_front();
        }
        self.seconds.push_back(now);
    }

    /// CPU seconds a second over the last `window`, in the reference's way: before a window has
    /// passed, what came earlier counts as idle.
    pub(super) fn utilization(&self, window: Duration) -> f64 {
        let steps = (window.as_secs() / SAMPLE_EVERY.as_secs()) as usize;
        let Some(last) = self.seconds.back() else {
            return 0.0;
        };
        let first = self.seconds.len().saturating_sub(steps + 1);
        let first = self.seconds.get(first).unwrap_or(last);
        (last - first) / window.as_secs_f64()
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn read_number(path: &str) -> Option<f64> {
    read(path)?.trim().parse().ok()
}

fn cgroup_usage(stat: &str) -> Option<f64> {
    let line = stat.lines().find(|line| line.starts_with("usage_usec"))?;
    line.split(' ')
        .nth(1)?
        .parse::<f64>()
        .ok()
        .map(|microseconds| microseconds * 1e-6)
}

/// User and system time of this process: fields 14 and 15, in ticks of 10 ms on every Linux that
/// we run on.
fn process_cpu(stat: &str) -> Option<f64> {
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / 100.0)
}

fn netstat(text: &str, name: &str) -> f64 {
    let mut lines = text.lines().filter(|line| line.starts_with("IpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        return 0.0;
    };
    let column = names.split_whitespace().position(|column| column == name);
    let value = column.and_then(|column| values.split_whitespace().nth(column));
    value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netstat_is_read_by_column_name() {
        let text = "TcpExt: A\nTcpExt: 1\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 1 22 333\n";
        assert_eq!(netstat(text, "InOctets"), 22.0);
        assert_eq!(netstat(text, "OutOctets"), 333.0);
        assert_eq!(netstat(text, "Missing"), 0.0);
    }

    #[test]
    fn cpu_is_read_from_a_cgroup_or_the_process() {
        assert_eq!(cgroup_usage("usage_usec 2500000\nuser_usec 1\n"), Some(2.5));
        let stat = "7 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(process_cpu(stat), Some(2.0));
    }

    #[test]
    fn utilization_is_over_the_whole_window() {
        let mut samples = CpuSamples::new(0.0);
        assert_eq!(samples.utilization(Duration::from_secs(60)), 0.0);
        for sample in 1..=30 {
            samples.push(f64::from(sample) * 5.0);
        }
        assert_eq!(samples.utilization(Duration::from_secs(60)), 0.5);
        assert_eq!(samples.utilization(Duration::from_secs(300)), 0.5);
    }
}
