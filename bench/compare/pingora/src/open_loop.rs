//! Calls on a fixed schedule, whatever the answers take: an open loop.
//!
//! `open_loop PORT RATE CONNECTIONS WARM-UP-SECONDS SECONDS REQUEST-FILE`
//!
//! Call number i is due at i / RATE seconds, and its latency counts from then to the last byte of
//! its answer: a call that has to wait for a free connection is late, never left out. One thread;
//! its waits are those of a timer without slack. A line `begin` goes out when the warm-up is over,
//! `end` when the schedule is, then one line of JSON. Anything but answers of status 200 ends it
//! with status 1.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{ErrorKind, Read, Write, stdout};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What is still under way when the schedule ends has so long to be answered.
const DRAIN: Duration = Duration::from_secs(1);
const TIMER: u64 = u64::MAX;

struct Connection {
    stream: TcpStream,
    /// Number of the call under way.
    call: u64,
    written: usize,
    answer: Vec<u8>,
    idle_since: Duration,
}

struct Load {
    request: Vec<u8>,
    rate: f64,
    /// Numbers of the first measured call and of the first that isn't made.
    first: u64,
    last: u64,
    began: Instant,
    poll: OwnedFd,
    timer: OwnedFd,
    connections: Vec<Connection>,
    idle: VecDeque<usize>,
    sent: u64,
    answered: u64,
    /// Nanoseconds from due to answered, and how late this program itself sent.
    latencies: Vec<u64>,
    late: Vec<u64>,
}

impl Load {
    fn due(&self, call: u64) -> Duration {
        Duration::from_secs_f64(call as f64 / self.rate)
    }

    /// How many calls are due by then.
    fn due_by(&self, now: Duration) -> u64 {
        ((now.as_secs_f64() * self.rate) as u64 + 1).min(self.last)
    }

    /// Sends what is due, as far as there are free connections.
    fn send_due(&mut self) -> Result<()> {
        loop {
            let now = self.began.elapsed();
            if self.sent >= self.due_by(now) {
                return Ok(());
            }
            let Some(index) = self.idle.pop_front() else {
                return Ok(());
            };
            let due = self.due(self.sent);
            let connection = &mut self.connections[index];
            connection.call = self.sent;
            connection.written = 0;
            self.late.push(
                now.saturating_sub(due.max(connection.idle_since))
                    .as_nanos() as u64,
            );
            self.sent += 1;
            self.write(index, false)?;
        }
    }

    /// Writes what the socket takes; asks to be told where it takes no more.
    fn write(&mut self, index: usize, was_waiting: bool) -> Result<()> {
        let connection = &mut self.connections[index];
        let rest = &self.request[connection.written..];
        match connection.stream.write(rest) {
            Ok(count) => connection.written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(format!("a call couldn't be sent: {error}").into()),
        }
        let waits = connection.written < self.request.len();
        if waits != was_waiting {
            let mut interest = epoll::EventFlags::IN;
            interest.set(epoll::EventFlags::OUT, waits);
            let data = epoll::EventData::new_u64(index as u64);
            epoll::modify(&self.poll, &connection.stream, data, interest)?;
        }
        Ok(())
    }

    fn read(&mut self, index: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        let mut chunk = [0; 16384];
        match connection.stream.read(&mut chunk) {
            Ok(0) => return Err("a connection was closed".into()),
            Ok(count) => connection.answer.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(format!("an answer couldn't be read: {error}").into()),
        }
        if !is_whole(&connection.answer)? {
            return Ok(());
        }
        if connection.written < self.request.len() {
            return Err("an answer came before its call was sent".into());
        }
        connection.answer.clear();
        let call = connection.call;
        let now = self.began.elapsed();
        connection.idle_since = now;
        self.idle.push_back(index);
        if now >= self.due(self.first) && now < self.due(self.last) {
            self.answered += 1;
        }
        if call >= self.first {
            let latency = now.saturating_sub(self.due(call));
            self.latencies.push(latency.as_nanos() as u64);
        }
        Ok(())
    }

    /// Sleeps until a call is due that could be sent, something came, or this moment.
    fn wait(&mut self, events: &mut Vec<epoll::Event>, latest: Duration) -> Result<()> {
        let mut wake = latest;
        if !self.idle.is_empty() && self.sent < self.last {
            wake = wake.min(self.due(self.sent));
        }
        let left = wake
            .saturating_sub(self.began.elapsed())
            .max(Duration::from_nanos(1));
        let value = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let setting = Itimerspec {
            it_interval: zero,
            it_value: value,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &setting)?;
        events.clear();
        epoll::wait(&self.poll, spare_capacity(events), None)?;
        Ok(())
    }

    /// Until this moment, or until all is answered where nothing more is to be sent.
    fn run_until(&mut self, latest: Duration) -> Result<()> {
        let mut events = Vec::with_capacity(512);
        while self.began.elapsed() < latest {
            self.send_due()?;
            if self.sent == self.last && self.idle.len() == self.connections.len() {
                if self.began.elapsed() >= self.due(self.last) {
                    return Ok(());
                }
            }
            self.wait(&mut events, latest)?;
            for event in &events {
                let (data, flags) = (event.data.u64(), event.flags);
                if data == TIMER {
                    continue; // It is set anew before each sleep, which also clears it.
                }
                if flags.contains(epoll::EventFlags::OUT) {
                    self.write(data as usize, true)?;
                }
                if !flags.difference(epoll::EventFlags::OUT).is_empty() {
                    self.read(data as usize)?;
                }
            }
        }
        Ok(())
    }
}

/// Whether all of an answer is there. The end of a chunked one is looked for at the end of what
/// came: there is one call at a time on a connection.
fn is_whole(answer: &[u8]) -> Result<bool> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(false);
    };
    let (head, body) = (
        str::from_utf8(&answer[..end])?.to_ascii_lowercase(),
        &answer[end + 4..],
    );
    if head.get(9..12) != Some("200") {
        let body = String::from_utf8_lossy(body);
        return Err(format!("an answer other than 200: {head}\n{body}").into());
    }
    for line in head.lines().skip(1) {
        if let Some(length) = line.strip_prefix("content-length:") {
            return Ok(body.len() >= length.trim().parse::<usize>()?);
        }
        if line.starts_with("transfer-encoding:") {
            return Ok(body.ends_with(b"0\r\n\r\n"));
        }
    }
    Err(format!("an answer without a length: {head}").into())
}

/// Microseconds at these parts of the whole: the least value that so many don't exceed.
fn percentiles(values: &mut [u64]) -> String {
    values.sort_unstable();
    let at = |part: f64| {
        let rank = (values.len() as f64 * part).ceil() as usize;
        let nanoseconds = values.get(rank.clamp(1, values.len().max(1)) - 1);
        nanoseconds.copied().unwrap_or_default() as f64 / 1000.0
    };
    format!(
        r#"{{"p50":{:.1},"p99":{:.1},"p99.9":{:.1},"max":{:.1}}}"#,
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    )
}

fn say(line: &str) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn load() -> Result<Load> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, rate, connections, warm_up, seconds, file] = &arguments[..] else {
        return Err("usage: open_loop PORT RATE CONNECTIONS WARM-UP SECONDS REQUEST-FILE".into());
    };
    let (rate, warm_up, seconds): (f64, f64, f64) =
        (rate.parse()?, warm_up.parse()?, seconds.parse()?);
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
    let data = epoll::EventData::new_u64(TIMER);
    epoll::add(&poll, &timer, data, epoll::EventFlags::IN)?;
    let mut open = Vec::new();
    for index in 0..connections.parse()? {
        let stream = TcpStream::connect(("127.0.0.1", port.parse()?))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(
            &poll,
            &stream,
            epoll::EventData::new_u64(index),
            epoll::EventFlags::IN,
        )?;
        let idle_since = Duration::ZERO;
        open.push(Connection {
            stream,
            call: 0,
            written: 0,
            answer: Vec::new(),
            idle_since,
        });
    }
    let last = ((warm_up + seconds) * rate) as u64;
    Ok(Load {
        request: std::fs::read(file)?,
        rate,
        first: (warm_up * rate) as u64,
        last,
        began: Instant::now(),
        poll,
        timer,
        idle: (0..open.len()).collect(),
        connections: open,
        sent: 0,
        answered: 0,
        latencies: Vec::with_capacity(last as usize),
        late: Vec::with_capacity(last as usize),
    })
}

fn run() -> Result<()> {
    let mut load = load()?;
    load.began = Instant::now();
    load.run_until(load.due(load.first))?;
    say("begin")?;
    load.late.clear();
    let end = load.due(load.last);
    load.run_until(end)?;
    say("end")?;
    let planned = load.last - load.first;
    let backlog = planned - load.latencies.len() as u64;
    load.run_until(end + DRAIN)?;
    // What wasn't answered took at least until now.
    let unanswered = planned - load.latencies.len() as u64;
    let now = load.began.elapsed();
    for call in load.last - unanswered..load.last {
        load.latencies
            .push(now.saturating_sub(load.due(call)).as_nanos() as u64);
    }
    let latency = percentiles(&mut load.latencies);
    let late = percentiles(&mut load.late);
    let counts = format!(
        r#""planned":{planned},"answered":{},"backlog":{backlog},"unanswered":{unanswered}"#,
        load.answered
    );
    say(&format!(
        r#"{{{counts},"latency_us":{latency},"late_us":{late}}}"#
    ))
}

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
