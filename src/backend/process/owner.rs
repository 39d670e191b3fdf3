//! Who listens at a port: the instance that was given it, or somebody else.
//!
//! A port can't be kept free for a worker, so whoever is quicker may listen there. Before a first
//! byte is sent, every socket that would take a connection to the port is traced to its process,
//! by the kernel's tables of sockets and the descriptors of the instance's processes.

use std::{collections::HashSet, fs, io, net::Ipv4Addr};

use rustix::process::Pid;

const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// The state of a listening socket in the tables.
const LISTENING: &str = "0A";

/// What stands at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listener {
    /// Nothing.
    Nobody,
    /// The instance, and nothing else.
    Instance,
    /// Something else.
    Stranger,
}

/// A listening socket in the tables.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    inode: u64,
    user: u32,
}

/// Finds out what listens at a loopback port. `own_user` is the instance's user where no other
/// process has it: then its sockets are known by that too, which needs no right to look into its
/// processes.
pub(super) fn listener(port: u16, group: Pid, own_user: Option<u32>) -> io::Result<Listener> {
    let mut sockets = Vec::new();
    for table in TABLES {
        match fs::read_to_string(table) {
            Ok(table) => sockets.extend(table.lines().filter_map(|line| socket(line, port))),
            // No IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if sockets.is_empty() {
        return Ok(Listener::Nobody);
    }
    sockets.retain(|socket| own_user != Some(socket.user));
    let mut foreign: HashSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
    let leader = group.as_raw_pid();
    strike_out(&mut foreign, leader);
    if !foreign.is_empty() {
        for process in members(leader)? {
            strike_out(&mut foreign, process);
        }
    }
    Ok(match foreign.is_empty() {
        true => Listener::Instance,
        false => Listener::Stranger,
    })
}

/// Reads a line of the tables, where it is a listening socket that a connection to this port of
/// 127.0.0.1 may end at. Addresses stand there as hex digits of 32-bit words in the machine's own
/// order.
fn socket(line: &str, port: u16) -> Option<Socket> {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let (address, hex_port) = columns.next()?.split_once(':')?;
    let state = columns.nth(1)?;
    if state != LISTENING || u16::from_str_radix(hex_port, 16) != Ok(port) {
        return None;
    }
    let loopback = u32::from_ne_bytes(Ipv4Addr::LOCALHOST.octets());
    let marker = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
    let takes_it = address.bytes().all(|digit| digit == b'0')
        || address == format!("{loopback:08X}")
        || address == format!("{:016X}{marker:08X}{loopback:08X}", 0);
    let user = columns.nth(3)?.parse().ok()?;
    let inode = columns.nth(1)?.parse().ok()?;
    takes_it.then_some(Socket { inode, user })
}

/// Strikes out the sockets that a process has.
fn strike_out(foreign: &mut HashSet<u64>, process: i32) {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else {
        // Gone, or not ours to look into: then it isn't known to have any.
        return;
    };
    for descriptor in descriptors.flatten() {
        let target = fs::read_link(descriptor.path()).ok();
        let inode = target.as_deref().and_then(|target| {
            let inode = target.to_str()?.strip_prefix("socket:[")?;
            inode.strip_suffix(']')?.parse().ok()
        });
        if let Some(inode) = inode {
            foreign.remove(&inode);
        }
    }
}

/// The processes of a group but its leader.
fn members(leader: i32) -> io::Result<Vec<i32>> {
    let processes = fs::read_dir("/proc")?.flatten().filter_map(|entry| {
        let process: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let group = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(2)?;
        (process != leader && group.parse() == Ok(leader)).then_some(process)
    });
    Ok(processes.collect())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_socket_is_read_where_it_would_take_the_connection() {
        let line = |address: &str, state: &str| {
            format!("  0: {address}:1F90 00000000:0000 {state} 0:0 00:0 0 1000 0 4711 1 0 100")
        };
        let found = Some(Socket {
            inode: 4711,
            user: 1000,
        });
        for address in [
            "00000000",
            "0100007F",
            "00000000000000000000000000000000",
            "0000000000000000FFFF00000100007F",
        ] {
            assert_eq!(socket(&line(address, "0A"), 8080), found, "{address}");
            assert_eq!(socket(&line(address, "0A"), 8081), None);
            assert_eq!(socket(&line(address, "01"), 8080), None);
        }
        for address in ["0200007F", "00000000000000000000000001000000"] {
            assert_eq!(socket(&line(address, "0A"), 8080), None, "{address}");
        }
        assert_eq!(socket("sl local_address rem_address st", 8080), None);
    }

    #[test]
    fn our_own_socket_is_ours_and_no_other_groups() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let ourselves = rustix::process::getpid();
        assert_eq!(listener(port, ourselves, None).unwrap(), Listener::Instance);
        let init = Pid::INIT;
        assert_eq!(listener(port, init, None).unwrap(), Listener::Stranger);
        let user = rustix::process::geteuid().as_raw();
        assert_eq!(
            listener(port, init, Some(user)).unwrap(),
            Listener::Instance
        );
        drop(taken);
        assert_eq!(listener(port, ourselves, None).unwrap(), Listener::Nobody);
    }

    #[test]
    fn the_members_of_a_group_are_found() {
        use std::os::unix::process::CommandExt;

        let sleep = |group| {
            let mut command = std::process::Command::new("sleep");
            command.arg("1000").process_group(group).spawn().unwrap()
        };
        let mut leader = sleep(0);
        let mut member = sleep(i32::try_from(leader.id()).unwrap());
        let found = members(i32::try_from(leader.id()).unwrap()).unwrap();
        for child in [&mut leader, &mut member] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(found, [i32::try_from(member.id()).unwrap()]);
    }
}
