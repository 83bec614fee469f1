//! The seccomp program (SANDBOX.md, layer 4): what no agent needs is refused here for good, what changes the world asks
//! the supervisor, the rest runs at full speed. Decides on registers alone.
//!
//! x86-64 only: the numbers and the argument order below are that architecture's.

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("flyball-sandbox mediates x86-64 Linux system calls only; build for x86_64-unknown-linux-*");

use libc::sock_filter;

/// Opens with any of these change something (or can).
pub(super) const WRITE_FLAGS: i32 =
    libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | (libc::O_TMPFILE & !libc::O_DIRECTORY);

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const X32_BIT: u32 = 0x4000_0000;
/// The last call that was known when this list was made (`listns`); later ones answer ENOSYS until someone has read them.
const LAST_KNOWN: u32 = 470;

// Calls that `libc` has no name for yet.
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const OPEN_TREE_ATTR: i64 = 467;
const FILE_SETATTR: i64 = 469;
const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | 0x80) as u32; // CLONE_NEWTIME
/// Landlock's calls: see where they are refused.
const LANDLOCK: [i64; 3] = [444, 445, 446];
/// `FS_IOC_SETFLAGS` in both widths, `FS_IOC_FSSETXATTR`: attributes of a file, changed by a descriptor for reading.
const FILE_ATTRIBUTES: [u32; 3] = [0x4008_6602, 0x4004_6602, 0x401c_5820];
/// Sharing of blocks between files, which takes a descriptor for writing: `FICLONE`, `FICLONERANGE`, `FIDEDUPERANGE`.
const SHARING: [u32; 3] = [0x4004_9409, 0x4020_940d, 0xc018_9436];
/// The others with that letter make and remove subvolumes below a folder that is open for reading.
const BTRFS_LETTER: u32 = 0x9400;
/// `FS_IOC_ENABLE_VERITY`, `FS_IOC_SET_ENCRYPTION_POLICY`: done to a file or folder that is open for reading.
const SEALING: [u32; 2] = [0x4080_6685, 0x800c_6613];
/// `F_SETLEASE`: with a lease, one process inside could make the supervisor's own open wait for it.
const F_SETLEASE: u32 = 1024;

/// Typing into the user's terminal, and what changes files with no call that would be asked about. The kernel reads 32 bits of
/// the command, and so does the filter.
const IOCTLS: &[u32] =
    &[libc::TIOCSTI as u32, libc::TIOCLINUX as u32, FILE_ATTRIBUTES[0], FILE_ATTRIBUTES[1], FILE_ATTRIBUTES[2]];

/// What is done with one system call.
#[derive(Clone, Copy)]
enum Rule {
    Errno(i32),
    Notify,
    /// Notify when these flags of `open` lack `O_PATH` and write (or `reads` too).
    Open {
        flags_at: u32,
        reads: bool,
    },
    /// EPERM when the low word of this argument has one of these bits.
    DenyBits {
        at: u32,
        bits: u32,
        errno: i32,
    },
    /// The errno when the low word of this argument is one of these.
    DenyValues {
        at: u32,
        values: &'static [u32],
        errno: i32,
    },
    /// Let through when one of these pointers is null, notify otherwise.
    NotifyUnlessNull {
        at: &'static [u32],
    },
    /// `socket` and `socketpair`, with datagrams between unix sockets or without.
    Socket {
        datagrams: bool,
    },
    /// No internet, and no datagrams.
    SocketApart,
    SocketPair {
        datagrams: bool,
    },
    Seccomp,
    /// Errno unless the low word of this argument is zero: the caller itself. And, if given, when another has that value.
    OwnOnly {
        at: u32,
        but: Option<(u32, u32)>,
    },
    /// As `OwnOnly`, where something is set and not only asked for.
    Limits,
    /// The commands of `ioctl` that change what lies behind a descriptor for reading; of those that make one, the supervisor's.
    IoctlApart,
}

/// The program. `reads`: opens for reading are mediated too. `host_sockets`: unix sockets of the host's may be in sight.
/// `is_apart`: there are no namespaces. `gives`: time, random bytes and what is in folders
/// are asked for.
pub(crate) fn program(reads: bool, host_sockets: bool, is_apart: bool, gives: bool) -> Vec<sock_filter> {
    // The first rule of a call is the one that counts.
    let mut rules = if is_apart { rules_apart() } else { Vec::new() };
    // Of what is opened for reading, random devices are given.
    rules.extend(rules_of_all(reads || gives, host_sockets || is_apart));
    if gives {
        let calls = super::given::CALLS.iter().chain(&super::listing::CALLS);
        rules.extend(calls.map(|nr| (*nr as u32, Rule::Notify)));
    }
    rules.sort_by_key(|(nr, _)| *nr);
    rules.dedup_by_key(|(nr, _)| *nr);

    let mut out = Assembler::default();
    out.load(4); // arch
    out.unless_eq(AUDIT_ARCH_X86_64, libc::SECCOMP_RET_KILL_PROCESS);
    out.load(0); // nr
    // x32 numbers, and every number that this list does not know.
    out.if_ge(LAST_KNOWN + 1, errno(libc::ENOSYS));
    const { assert!(X32_BIT > LAST_KNOWN) };
    out.search(&rules);
    out.0
}

/// What namespaces would bound, and Landlock does not: other processes of the user, the machine's network, shared memory and
/// queues, and the names that a datagram can be sent to past any `connect`. Signals, tracing and abstract sockets Landlock
/// keeps within the tree.
fn rules_apart() -> Vec<(u32, Rule)> {
    use Rule::{Errno, IoctlApart, Limits, Notify, OwnOnly, SocketApart};
    let mut rules = Vec::new();
    let mut all = |rule: Rule, calls: &[i64]| rules.extend(calls.iter().map(|nr| (*nr as u32, rule)));
    all(SocketApart, &[libc::SYS_socket]);
    // Which files change is told whoever may read them.
    all(Notify, &[libc::SYS_inotify_add_watch]);
    // Times by descriptor, and of now: no mount is read-only here.
    all(Notify, &[libc::SYS_utimensat, libc::SYS_futimesat, libc::SYS_utime, libc::SYS_utimes]);
    all(IoctlApart, &[libc::SYS_ioctl]);
    all(
        Errno(libc::ENOSYS),
        &[
            libc::SYS_shmget,
            libc::SYS_shmat,
            libc::SYS_shmctl,
            libc::SYS_shmdt,
            libc::SYS_semget,
            libc::SYS_semop,
            libc::SYS_semctl,
            libc::SYS_semtimedop,
            libc::SYS_msgget,
            libc::SYS_msgsnd,
            libc::SYS_msgrcv,
            libc::SYS_msgctl,
            libc::SYS_mq_open,
            libc::SYS_mq_unlink,
            libc::SYS_mq_timedsend,
            libc::SYS_mq_timedreceive,
            libc::SYS_mq_notify,
            libc::SYS_mq_getsetattr,
        ],
    );
    all(Errno(libc::EPERM), &[libc::SYS_migrate_pages, libc::SYS_move_pages]);
    all(
        OwnOnly { at: 0, but: None },
        &[libc::SYS_sched_setaffinity, libc::SYS_sched_setscheduler, libc::SYS_sched_setparam, libc::SYS_sched_setattr],
    );
    const PRIO_USER: u32 = 2;
    const IOPRIO_WHO_USER: u32 = 3;
    all(OwnOnly { at: 1, but: Some((0, PRIO_USER)) }, &[libc::SYS_setpriority]);
    all(OwnOnly { at: 1, but: Some((0, IOPRIO_WHO_USER)) }, &[libc::SYS_ioprio_set]);
    all(Limits, &[libc::SYS_prlimit64]);
    rules
}

fn rules_of_all(reads: bool, host_sockets: bool) -> Vec<(u32, Rule)> {
    use Rule::{DenyBits, DenyValues, Errno, Notify, NotifyUnlessNull, Open, Seccomp, Socket, SocketPair};
    let mut rules = Vec::new();
    let mut all = |rule: Rule, calls: &[i64]| rules.extend(calls.iter().map(|nr| (*nr as u32, rule)));

    all(
        Notify,
        &[
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_creat,
            libc::SYS_mkdir,
            libc::SYS_mkdirat,
            libc::SYS_rmdir,
            libc::SYS_unlink,
            libc::SYS_unlinkat,
            libc::SYS_rename,
            libc::SYS_renameat,
            libc::SYS_renameat2,
            libc::SYS_link,
            libc::SYS_linkat,
            libc::SYS_symlink,
            libc::SYS_symlinkat,
            libc::SYS_mknod,
            libc::SYS_mknodat,
            libc::SYS_truncate,
            libc::SYS_chmod,
            libc::SYS_fchmod,
            libc::SYS_fchmodat,
            libc::SYS_fchmodat2,
            libc::SYS_chown,
            libc::SYS_lchown,
            libc::SYS_fchown,
            libc::SYS_fchownat,
            libc::SYS_setxattr,
            libc::SYS_lsetxattr,
            libc::SYS_fsetxattr,
            libc::SYS_removexattr,
            libc::SYS_lremovexattr,
            libc::SYS_fremovexattr,
            libc::SYS_bind,
            libc::SYS_connect,
            // Register-only, always continued: the supervisor must know that a umask that it remembers is stale.
            libc::SYS_umask,
        ],
    );
    // A null path means the descriptor's own times: writes by descriptor are the barrier's. Null times mean now, which no
    // charter has a say in: where it may not be, a mount is read-only. git sets them by the thousand.
    all(NotifyUnlessNull { at: &[1, 2] }, &[libc::SYS_utimensat, libc::SYS_futimesat]);
    all(NotifyUnlessNull { at: &[1] }, &[libc::SYS_utime, libc::SYS_utimes]);
    all(Open { flags_at: 1, reads }, &[libc::SYS_open]);
    all(Open { flags_at: 2, reads }, &[libc::SYS_openat]);

    all(DenyBits { at: 0, bits: NEW_NAMESPACES, errno: libc::EPERM }, &[libc::SYS_clone, libc::SYS_unshare]);
    // Flags behind a pointer (`clone3`, `openat2`): libraries fall back to what a filter can read.
    all(
        Errno(libc::ENOSYS),
        &[
            libc::SYS_clone3,
            libc::SYS_openat2,
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
            SETXATTRAT,
            REMOVEXATTRAT,
            FILE_SETATTR,
            libc::SYS_uselib,
            libc::SYS__sysctl,
            libc::SYS_modify_ldt,
            libc::SYS_nfsservctl,
            libc::SYS_lookup_dcookie,
        ],
    );
    all(Errno(libc::EOPNOTSUPP), &[libc::SYS_name_to_handle_at]);
    // What a program gives up by a Landlock of its own it would still get through mediation, which acts for it from
    // outside of that: better that it hears that there is none than that it relies on it.
    all(Errno(libc::EOPNOTSUPP), &LANDLOCK);
    all(
        Errno(libc::EPERM),
        &[
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_open_by_handle_at,
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_fsopen,
            libc::SYS_fsconfig,
            libc::SYS_fsmount,
            libc::SYS_fspick,
            libc::SYS_move_mount,
            libc::SYS_open_tree,
            OPEN_TREE_ATTR,
            libc::SYS_mount_setattr,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_process_madvise,
            libc::SYS_kcmp,
            libc::SYS_pidfd_getfd,
            libc::SYS_kexec_load,
            libc::SYS_kexec_file_load,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_setns,
            libc::SYS_acct,
            libc::SYS_swapon,
            libc::SYS_swapoff,
            libc::SYS_quotactl,
            libc::SYS_quotactl_fd,
            libc::SYS_reboot,
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_adjtimex,
            libc::SYS_clock_adjtime,
            libc::SYS_iopl,
            libc::SYS_ioperm,
            libc::SYS_vhangup,
            libc::SYS_syslog,
            libc::SYS_sethostname,
            libc::SYS_setdomainname,
            libc::SYS_fanotify_init,
        ],
    );
    all(DenyValues { at: 1, values: IOCTLS, errno: libc::EPERM }, &[libc::SYS_ioctl]);
    all(DenyValues { at: 1, values: &[F_SETLEASE], errno: libc::EPERM }, &[libc::SYS_fcntl]);
    // A datagram names its receiver with each send, in memory that a filter can't read and a supervisor can't hold still:
    // with sockets of the host's in sight there are none. All other kinds must be connected, which is asked about.
    let datagrams = !host_sockets;
    all(Socket { datagrams }, &[libc::SYS_socket]);
    all(SocketPair { datagrams }, &[libc::SYS_socketpair]);
    all(Seccomp, &[libc::SYS_seccomp]);
    // Let through on purpose. Signals: the pid namespace bounds them and its init is immune. Sends with addresses: the
    // only unix sockets that a datagram can name inside are the tree's own (mounts, and see `Socket`), an abstract or inet address is the
    // network namespace's own, and the broker accepts nothing there that was not asked for by `connect`.
    rules
}

fn errno(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno as u32
}

const LD_ABS: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const JEQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JGE: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const JSET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const JA: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const RET: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Byte offset in `seccomp_data` of the low word of an argument.
const fn argument(at: u32) -> u32 {
    16 + 8 * at
}

#[derive(Default)]
struct Assembler(Vec<sock_filter>);

impl Assembler {
    fn push(&mut self, code: u16, k: u32, jt: u8, jf: u8) {
        self.0.push(sock_filter { code, jt, jf, k });
    }

    fn load(&mut self, offset: u32) {
        self.push(LD_ABS, offset, 0, 0);
    }

    fn ret(&mut self, value: u32) {
        self.push(RET, value, 0, 0);
    }

    fn unless_eq(&mut self, k: u32, ret: u32) {
        self.push(JEQ, k, 1, 0);
        self.ret(ret);
    }

    fn if_eq(&mut self, k: u32, ret: u32) {
        self.push(JEQ, k, 0, 1);
        self.ret(ret);
    }

    fn if_ge(&mut self, k: u32, ret: u32) {
        self.push(JGE, k, 0, 1);
        self.ret(ret);
    }

    fn if_any(&mut self, bits: u32, ret: u32) {
        self.push(JSET, bits, 0, 1);
        self.ret(ret);
    }

    /// A balanced search over the sorted rules; conditional jumps reach 255 instructions only, so the far side is
    /// reached by an unconditional one.
    fn search(&mut self, rules: &[(u32, Rule)]) {
        match rules {
            [] => self.ret(libc::SECCOMP_RET_ALLOW),
            [(nr, rule)] => {
                self.push(JEQ, *nr, 1, 0);
                self.ret(libc::SECCOMP_RET_ALLOW);
                self.rule(*rule);
            }
            _ => {
                let (low, high) = rules.split_at(rules.len() / 2);
                let first_high = high.first().map_or(0, |(nr, _)| *nr);
                self.push(JGE, first_high, 0, 1);
                let jump = self.0.len();
                self.push(JA, 0, 0, 0);
                self.search(low);
                let distance = (self.0.len() - jump - 1) as u32;
                if let Some(instruction) = self.0.get_mut(jump) {
                    instruction.k = distance;
                }
                self.search(high);
            }
        }
    }

    fn rule(&mut self, rule: Rule) {
        use libc::{SECCOMP_RET_ALLOW as ALLOW, SECCOMP_RET_USER_NOTIF as NOTIFY};
        match rule {
            Rule::Errno(number) => self.ret(errno(number)),
            Rule::Notify => self.ret(NOTIFY),
            Rule::Open { flags_at, reads } => {
                self.load(argument(flags_at));
                self.if_any(libc::O_PATH as u32, ALLOW);
                self.if_any(WRITE_FLAGS as u32, NOTIFY);
                self.ret(if reads { NOTIFY } else { ALLOW });
            }
            Rule::DenyBits { at, bits, errno: number } => {
                self.load(argument(at));
                self.if_any(bits, errno(number));
                self.ret(ALLOW);
            }
            Rule::DenyValues { at, values, errno: number } => {
                self.load(argument(at));
                for value in values {
                    self.if_eq(*value, errno(number));
                }
                self.ret(ALLOW);
            }
            Rule::NotifyUnlessNull { at } => {
                for at in at {
                    // Not null in its low word, or in its high one: on to the next.
                    self.load(argument(*at));
                    self.push(JEQ, 0, 0, 3);
                    self.load(argument(*at) + 4);
                    self.push(JEQ, 0, 0, 1);
                    self.ret(ALLOW);
                }
                self.ret(NOTIFY);
            }
            Rule::Socket { datagrams } => self.socket(datagrams),
            // Of the families that can make pairs all but this one would be loaded as modules.
            Rule::SocketPair { datagrams } => {
                self.load(argument(0));
                self.unless_eq(libc::AF_UNIX as u32, errno(libc::EAFNOSUPPORT));
                self.unless_datagram(datagrams);
                self.ret(ALLOW);
            }
            Rule::SocketApart => self.socket_apart(),
            Rule::OwnOnly { at, but } => {
                if let Some((at, value)) = but {
                    self.load(argument(at));
                    self.if_eq(value, errno(libc::EPERM));
                }
                self.load(argument(at));
                self.unless_eq(0, errno(libc::EPERM));
                self.ret(ALLOW);
            }
            Rule::IoctlApart => {
                self.load(argument(1));
                for command in IOCTLS.iter().chain(&SEALING) {
                    self.if_eq(*command, errno(libc::EPERM));
                }
                self.if_eq(libc::TIOCGPTPEER as u32, NOTIFY);
                for command in SHARING {
                    self.if_eq(command, ALLOW);
                }
                self.push(AND, 0xff00, 0, 0);
                self.if_eq(BTRFS_LETTER, errno(libc::EPERM));
                self.ret(ALLOW);
            }
            Rule::Limits => {
                self.load(argument(0));
                self.if_eq(0, ALLOW);
                for half in [0, 4] {
                    self.load(argument(2) + half);
                    self.unless_eq(0, errno(libc::EPERM));
                }
                self.ret(ALLOW);
            }
            Rule::Seccomp => {
                self.load(argument(0));
                self.unless_eq(libc::SECCOMP_SET_MODE_FILTER, ALLOW);
                self.load(argument(1));
                self.if_any(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32, errno(libc::EPERM));
                self.ret(ALLOW);
            }
        }
    }

    /// Unix, TCP, UDP and route netlink (which `getaddrinfo` asks for interfaces). No raw, packet, vsock, ICMP, SCTP.
    fn socket(&mut self, datagrams: bool) {
        use libc::SECCOMP_RET_ALLOW as ALLOW;
        self.load(argument(0));
        if datagrams {
            self.if_eq(libc::AF_UNIX as u32, ALLOW);
        } else {
            self.push(JEQ, libc::AF_UNIX as u32, 0, 6);
            self.unless_datagram(false);
            self.ret(ALLOW);
        }
        self.push(JEQ, libc::AF_NETLINK as u32, 0, 3);
        self.load(argument(2));
        self.if_eq(libc::NETLINK_ROUTE as u32, ALLOW);
        // NETLINK_ROUTE is 0 and so are no other protocols; fall through with the protocol loaded: reload the domain.
        self.load(argument(0));
        self.push(JEQ, libc::AF_INET as u32, 2, 0);
        self.push(JEQ, libc::AF_INET6 as u32, 1, 0);
        self.ret(errno(libc::EAFNOSUPPORT));
        self.load(argument(1));
        self.push(AND, 0xf, 0, 0); // the rest are SOCK_CLOEXEC and SOCK_NONBLOCK
        self.push(JEQ, libc::SOCK_STREAM as u32, 2, 0);
        self.push(JEQ, libc::SOCK_DGRAM as u32, 7, 0);
        self.ret(errno(libc::EPERM));
        self.load(argument(2));
        self.if_eq(0, ALLOW);
        self.unless_eq_then_allow(libc::IPPROTO_TCP as u32);
        self.load(argument(2));
        self.if_eq(0, ALLOW);
        self.unless_eq_then_allow(libc::IPPROTO_UDP as u32);
    }

    /// Refuses a unix socket of datagrams, for which `SOCK_RAW` is another name; five instructions.
    fn unless_datagram(&mut self, datagrams: bool) {
        if !datagrams {
            self.load(argument(1));
            self.push(AND, 0xf, 0, 0);
            self.push(JEQ, libc::SOCK_DGRAM as u32, 1, 0);
            self.push(JEQ, libc::SOCK_RAW as u32, 0, 1);
            self.ret(errno(libc::ESOCKTNOSUPPORT));
        }
    }

    /// Unix and route netlink. The network is the machine's own, so there is none of it.
    fn socket_apart(&mut self) {
        self.load(argument(0));
        // No netlink: over the next four.
        self.push(JEQ, libc::AF_NETLINK as u32, 0, 4);
        self.load(argument(2));
        self.unless_eq(libc::NETLINK_ROUTE as u32, errno(libc::EAFNOSUPPORT));
        self.ret(libc::SECCOMP_RET_ALLOW);
        for family in [libc::AF_INET, libc::AF_INET6] {
            self.if_eq(family as u32, errno(libc::EACCES));
        }
        self.unless_eq(libc::AF_UNIX as u32, errno(libc::EAFNOSUPPORT));
        self.unless_datagram(false);
        self.ret(libc::SECCOMP_RET_ALLOW);
    }

    fn unless_eq_then_allow(&mut self, k: u32) {
        self.unless_eq(k, errno(libc::EPROTONOSUPPORT));
        self.ret(libc::SECCOMP_RET_ALLOW);
    }
}
