//! Time and random bytes that the mediator gives, so that they can be given again: what the kernel would say without asking is asked
//! for, and the code by which programs tell the time without a call (the vDSO) is not told to them.
//!
//! INVARIANT: nothing is decided here: what is written goes where the caller said, and to nobody else's memory.

use super::sys::{self, Errno};
use rustix::fd::OwnedFd;
use sha2::{Digest, Sha256};

/// Random bytes of one call, at most: callers ask again for the rest.
const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// Words of a new program's stack that are looked through.
const STACK_WORDS_MAX: usize = 1 << 19;
/// Clocks that tell the time of day or of the machine; others tell how long a process ran, which is its own.
const CLOCKS: [u64; 7] = [0, 1, 4, 5, 6, 7, 11];

/// The calls that are asked about.
pub(super) const CALLS: [i64; 4] =
    [libc::SYS_clock_gettime, libc::SYS_gettimeofday, libc::SYS_time, libc::SYS_getrandom];

/// What a caller wants.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    number: i64,
    clock: u64,
    length: u64,
    address: u64,
}

/// What this call wants; `None`: it is none of these, or goes on by itself.
pub(super) fn wanted(data: &libc::seccomp_data) -> Option<Wanted> {
    let [a, b, ..] = data.args;
    let number = i64::from(data.nr);
    let (clock, length, address) = match number {
        libc::SYS_clock_gettime if CLOCKS.contains(&a) => (a, 16, b),
        libc::SYS_gettimeofday => (0, 16, a),
        libc::SYS_time => (0, 8, a),
        libc::SYS_getrandom => (0, b.min(RANDOM_BYTES_MAX), a),
        _ => return None,
    };
    Some(Wanted { number, clock, length, address })
}

impl Wanted {
    /// By which a later run asks for the same: the call, the clock, and of random bytes how many.
    pub(super) fn kind(self) -> u64 {
        let length = if self.number == libc::SYS_getrandom { self.length & u64::from(u32::MAX) } else { 0 };
        (self.number as u64) << 40 | (self.clock & 0xff) << 32 | length
    }

    /// What the kernel says now.
    pub(super) fn fresh(self) -> Vec<u8> {
        use rustix::time::ClockId;
        let clock = match self.clock {
            1 => ClockId::Monotonic,
            4 => ClockId::MonotonicRaw,
            5 => ClockId::RealtimeCoarse,
            6 => ClockId::MonotonicCoarse,
            7 => ClockId::Boottime,
            _ => ClockId::Realtime,
        };
        let now = rustix::time::clock_gettime(clock);
        let pair = |fraction: i64| [now.tv_sec.to_ne_bytes(), fraction.to_ne_bytes()].concat();
        match self.number {
            libc::SYS_getrandom if self.clock == OF_BOOT => boot(),
            libc::SYS_getrandom => {
                let mut bytes = vec![0; usize::try_from(self.length).unwrap_or_default()];
                // The kernel gives what is asked for once it is up; zeros would be no randomness, so that less is told as less.
                let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap_or(0);
                bytes.truncate(got);
                bytes
            }
            libc::SYS_time => now.tv_sec.to_ne_bytes().to_vec(),
            libc::SYS_gettimeofday => pair(now.tv_nsec / 1000),
            _ => pair(now.tv_nsec),
        }
    }

    /// Hands it over; gives the call's result.
    pub(super) fn hand(self, tid: i32, bytes: &[u8]) -> Result<i64, Errno> {
        let bytes = bytes.get(..usize::try_from(self.length).unwrap_or_default()).unwrap_or(bytes);
        if self.address != 0 && sys::write_memory(tid, self.address, bytes)? != bytes.len() {
            return Err(libc::EFAULT);
        }
        Ok(match self.number {
            libc::SYS_getrandom => bytes.len() as i64,
            libc::SYS_time => bytes.try_into().map_or(0, i64::from_ne_bytes),
            _ => 0,
        })
    }
}

/// Bytes that one open of a random device gives: behind them it ends.
const DEVICE_BYTES: usize = 256 << 10;
/// Of these so many are asked for; the rest follows from them.
const SEED_BYTES: u64 = 32;
/// Random bytes by which others than `getrandom` are told apart, in a clock's place.
const OF_DEVICE: u64 = 1;
const OF_PROGRAM: u64 = 2;
const OF_UUID: u64 = 3;
const OF_BOOT: u64 = 4;
/// What tells one start of the machine from another: for all of a session the same, and in its replay that of then.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
/// What a new program finds beside its arguments (`AT_RANDOM`).
const PROGRAM_BYTES: u64 = 16;

/// A file that says something else each time.
#[derive(Clone, Copy)]
pub(super) enum Device {
    Random,
    Uuid,
    Boot,
}

/// What they are called.
const DEVICES: [(&[u8], Device); 4] = [
    (b"/dev/urandom\0", Device::Random),
    (b"/dev/random\0", Device::Random),
    (b"/proc/sys/kernel/random/uuid\0", Device::Uuid),
    (b"/proc/sys/kernel/random/boot_id\0", Device::Boot),
];

/// Whether this call opens a file for reading, and which where that is a random one.
pub(super) fn opened(tid: i32, data: &libc::seccomp_data) -> Option<Option<Device>> {
    let number = i64::from(data.nr);
    let [a, b, c, ..] = data.args;
    let (path, flags) = match number {
        libc::SYS_open => (a, b),
        libc::SYS_openat => (b, c),
        _ => return None,
    };
    if flags as i32 & super::filter::WRITE_FLAGS != 0 {
        return None;
    }
    let is_it = |(name, _): &&(&[u8], Device)| {
        let mut found = vec![0; name.len()];
        sys::read_memory(tid, path, &mut found) == Ok(name.len()) && found == *name
    };
    Some(DEVICES.iter().find(is_it).map(|(_, device)| *device))
}

impl Device {
    pub(super) fn wanted(self) -> Wanted {
        let (clock, length) = match self {
            Self::Random => (OF_DEVICE, SEED_BYTES),
            Self::Uuid => (OF_UUID, 16),
            Self::Boot => (OF_BOOT, 16),
        };
        Wanted { number: libc::SYS_getrandom, clock, length, address: 0 }
    }

    /// A file with what follows from these bytes, and nothing else can be written to.
    pub(super) fn file(self, seed: &[u8]) -> Result<OwnedFd, Errno> {
        use rustix::fs::{MemfdFlags, SealFlags};
        let raw = |errno: rustix::io::Errno| errno.raw_os_error();
        let file = rustix::fs::memfd_create("random", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).map_err(raw)?;
        let bytes = match self {
            Self::Random => stretched(seed),
            Self::Uuid => uuid(seed)?,
            Self::Boot => text(u128::from_be_bytes(*seed.first_chunk().ok_or(libc::EIO)?)),
        };
        if rustix::io::pwrite(&file, &bytes, 0).map_err(raw)? != bytes.len() {
            return Err(libc::EIO);
        }
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        rustix::fs::fcntl_add_seals(&file, seals).map_err(raw)?;
        Ok(file)
    }
}

fn stretched(seed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(DEVICE_BYTES);
    for n in 0_u64.. {
        if bytes.len() >= DEVICE_BYTES {
            break;
        }
        bytes.extend_from_slice(&Sha256::new().chain_update(seed).chain_update(n.to_le_bytes()).finalize());
    }
    bytes
}

/// A random one (RFC 9562, version 4), and a line feed.
fn uuid(bytes: &[u8]) -> Result<Vec<u8>, Errno> {
    let random = u128::from_be_bytes(*bytes.first_chunk().ok_or(libc::EIO)?);
    Ok(text(random & !(0xf << 76 | 0x3 << 62) | 4 << 76 | 2 << 62))
}

fn text(all: u128) -> Vec<u8> {
    let part = |from: u32, digits: usize| format!("{:0digits$x}", all >> from & ((1 << (4 * digits)) - 1));
    format!("{}-{}-{}-{}-{}\n", part(96, 8), part(80, 4), part(64, 4), part(48, 4), part(0, 12)).into_bytes()
}

/// The number of this start of the machine.
fn boot() -> Vec<u8> {
    let told = std::fs::read_to_string(BOOT).unwrap_or_default();
    u128::from_str_radix(&told.trim().replace('-', ""), 16).map_or(Vec::new(), |all| all.to_be_bytes().to_vec())
}

/// What a program that begins is given.
pub(super) fn of_a_program() -> Wanted {
    Wanted { number: libc::SYS_getrandom, clock: OF_PROGRAM, length: PROGRAM_BYTES, address: 0 }
}

/// Changes what a new program is told beside its arguments, before its first instruction: the vDSO is taken out, so that it makes calls for
/// the time, and its random bytes are these.
pub(super) fn prepare(pid: i32, random: Option<&[u8]>) -> Option<()> {
    const SYSINFO_EHDR: u64 = 33;
    const RANDOM: u64 = 25;
    const IGNORE: u64 = 1;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc(5): field 28, the 26th after the name in parentheses.
    let at: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(25)?.parse().ok()?;
    let word = |n: usize| {
        let mut bytes = [0; 8];
        let read = sys::read_memory(pid, at.checked_add(8 * n as u64)?, &mut bytes).ok()?;
        (read == 8).then(|| u64::from_ne_bytes(bytes))
    };
    // The count of arguments, they and a null, the environment and a null, then pairs up to one of type null.
    let arguments = usize::try_from(word(0)?).ok()?;
    let mut n = arguments.checked_add(2)?;
    while word(n)? != 0 {
        n = n.checked_add(1).filter(|n| *n < STACK_WORDS_MAX)?;
    }
    n += 1;
    loop {
        match word(n)? {
            0 => return Some(()),
            SYSINFO_EHDR => {
                let place = at.checked_add(8 * n as u64)?;
                sys::write_memory(pid, place, &IGNORE.to_ne_bytes()).ok()?;
            }
            RANDOM => {
                let random = random.unwrap_or_default();
                let bytes = random.get(..PROGRAM_BYTES as usize).unwrap_or_default();
                sys::write_memory(pid, word(n.checked_add(1)?)?, bytes).ok()?;
            }
            _ => {}
        }
        n = n.checked_add(2).filter(|n| *n < STACK_WORDS_MAX)?;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_uuid_is_one_of_version_4() {
        assert_eq!(uuid(&[0xff; 16]).unwrap(), b"ffffffff-ffff-4fff-bfff-ffffffffffff\n");
        assert_eq!(uuid(&[0; 16]).unwrap(), b"00000000-0000-4000-8000-000000000000\n");
        let bytes: Vec<u8> = (0..16).collect();
        assert_eq!(uuid(&bytes).unwrap(), b"00010203-0405-4607-8809-0a0b0c0d0e0f\n");
        assert_eq!(uuid(&[1; 15]), Err(libc::EIO));
        let told = std::fs::read(BOOT).unwrap();
        assert_eq!(text(u128::from_be_bytes(*boot().first_chunk().unwrap())), told);
    }
}
