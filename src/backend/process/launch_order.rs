//! What a launcher that was started ahead is told: the command and its variables.
//!
//! It goes over a pair of Unix sockets that nobody else has an end of, so that it is never in an
//! argument or a file: four bytes that say how many follow, and the strings of the command and the
//! variables, each behind its length. A listening socket for the worker goes with the first byte.

use std::{
    ffi::OsString,
    io::{self, IoSlice, IoSliceMut, Read},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            net::UnixStream,
        },
    },
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncWriteExt, Interest};
use zeroize::Zeroizing;

use crate::env::Env;

/// Bytes of a length.
const LENGTH: usize = size_of::<u32>();

/// What a launcher is told that was started ahead.
#[derive(Debug)]
pub struct LaunchOrder {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// All variables that it is to have.
    pub variables: Vec<(OsString, OsString)>,
    /// The listening socket that the worker gets as descriptor 3.
    pub socket: Option<OwnedFd>,
}

impl LaunchOrder {
    /// Waits for an order; `None` where there will be none.
    ///
    /// # Errors
    ///
    /// It can't be read, or breaks off.
    pub fn receive(mut stream: UnixStream) -> io::Result<Option<Self>> {
        let mut length = [0; LENGTH];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let mut into = [IoSliceMut::new(&mut length)];
            recvmsg(&stream, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)
        })?;
        if received.bytes == 0 {
            return Ok(None);
        }
        stream.read_exact(length.get_mut(received.bytes..).unwrap_or_default())?;
        let passed = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let socket = passed.flatten().next();
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes)?;
        let (command, variables) = decode(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Some(Self {
            command,
            variables,
            socket,
        }))
    }
}

/// Sends an order.
pub(super) async fn send(
    stream: &mut tokio::net::UnixStream,
    command: &[OsString],
    variables: &Env,
    socket: Option<&OwnedFd>,
) -> io::Result<()> {
    let bytes = encode(command, variables)?;
    let socket = socket.map(|socket| [socket.as_fd()]);
    let send_first = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if let Some(socket) = &socket {
            // The room is made for one.
            control.push(SendAncillaryMessage::ScmRights(socket));
        }
        let first = [IoSlice::new(&bytes)];
        Ok(sendmsg(
            &*stream,
            &first,
            &mut control,
            SendFlags::NOSIGNAL,
        )?)
    };
    let sent = stream.async_io(Interest::WRITABLE, send_first).await?;
    stream
        .write_all(bytes.get(sent..).unwrap_or_default())
        .await
}

fn encode(command: &[OsString], variables: &Env) -> io::Result<Zeroizing<Vec<u8>>> {
    let strings = || {
        let variables = variables.iter().flat_map(|(name, value)| [name, value]);
        let command = command.iter().map(|argument| argument.as_bytes());
        command.chain(variables)
    };
    let number = |bytes: &mut Vec<u8>, number: usize| {
        let number = u32::try_from(number).map_err(|_| io::ErrorKind::InvalidInput)?;
        bytes.extend(number.to_le_bytes());
        io::Result::Ok(())
    };
    let length = LENGTH + strings().map(|string| LENGTH + string.len()).sum::<usize>();
    // It never grows, so no copy of it is left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH + length));
    number(&mut bytes, length)?;
    number(&mut bytes, command.len())?;
    for string in strings() {
        number(&mut bytes, string.len())?;
        bytes.extend(string);
    }
    Ok(bytes)
}

type Decoded = (Vec<OsString>, Vec<(OsString, OsString)>);

fn decode(bytes: &[u8]) -> Option<Decoded> {
    let (mut count, mut rest) = number(bytes)?;
    let mut command = Vec::new();
    while count > 0 {
        command.push(string(&mut rest)?);
        count -= 1;
    }
    let mut variables = Vec::new();
    while !rest.is_empty() {
        variables.push((string(&mut rest)?, string(&mut rest)?));
    }
    Some((command, variables))
}

fn string(bytes: &mut &[u8]) -> Option<OsString> {
    let (length, rest) = number(bytes)?;
    let (string, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(OsString::from_vec(string.to_vec()))
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends an order of this size; what is received.
    async fn pass(size: usize, socket: Option<&OwnedFd>) -> LaunchOrder {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let receiver = std::thread::spawn(|| LaunchOrder::receive(theirs).unwrap().unwrap());
        ours.set_nonblocking(true).unwrap();
        let mut ours = tokio::net::UnixStream::from_std(ours).unwrap();
        let variables = Env::from_variables([("A", "1".repeat(size)), ("B", String::new())]);
        let command = ["w".into(), "".into(), "a b".into()];
        let sent = send(&mut ours, &command, &variables.unwrap(), socket).await;
        sent.unwrap();
        receiver.join().unwrap()
    }

    #[tokio::test]
    async fn an_order_of_any_size_arrives_as_it_was_sent() {
        for size in [0, 1, 2 << 20] {
            let order = pass(size, None).await;
            assert_eq!(order.command, ["w", "", "a b"]);
            let expected = [
                ("A".into(), "1".repeat(size).into()),
                ("B".into(), OsString::new()),
            ];
            assert!(order.variables == expected);
            assert!(order.socket.is_none());
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let order = pass(1, Some(&listener.into())).await;
        let passed = std::net::TcpListener::from(order.socket.unwrap());
        assert_eq!(passed.local_addr().unwrap(), address);
    }

    #[test]
    fn none_is_told_from_one_that_breaks_off() {
        use std::io::Write;

        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(ours);
        assert!(LaunchOrder::receive(theirs).unwrap().is_none());
        for part in [&[1][..], &[8, 0, 0, 0, 1], &[4, 0, 0, 0, 1, 0, 0, 0]] {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(part).unwrap();
            drop(ours);
            assert!(LaunchOrder::receive(theirs).is_err(), "{part:?}");
        }
    }
}
