//! The filter of system calls that functions run under.
//!
//! Every call up to the newest one known here is permitted unless it is listed; newer ones do not exist for a function
//! until somebody has looked at them. The filter is a binary tree over call numbers, because the kernel evaluates it
//! for every number when it is installed (measured: that is most of its cost).
//!
//! Where functions see the host's processes, and share its System V IPC and its message queues, the filter keeps them from
//! these, too: Landlock knows nothing of them, and the kernel asks for no more than the same user.

use libc::c_long;

use super::sys::Instruction;

/// `mseal` (6.10): the newest call that was looked at.
const NEWEST_KNOWN: u32 = 462;

/// `CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET`
const NEW_NAMESPACES: u32 = 0x7e02_0000;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allow,
    /// `EPERM`: it exists, but not for you.
    Refuse,
    /// `ENOSYS`: callers fall back to an older call that can be checked.
    Absent,
    /// `clone`: without namespace flags.
    CheckClone,
    /// `personality`: query and default only (others switch off address space randomisation).
    CheckPersonality,
    /// `socket`: Unix, IPv4, IPv6 and route netlink.
    CheckSocket,
    /// `ioctl`: nothing that types into a terminal.
    CheckIoctl,
    /// First argument: the caller itself, as zero. (A filter does not know by which other number a process would call itself.)
    CheckCaller,
    /// `setpriority` and `ioprio_set`: the caller itself or its group, as zero; not the kind of this number, which is all
    /// processes of the user.
    CheckPriority(u32),
}

/// Calls that change what a sandbox consists of, look into other processes, or reach kernel parts with a bad record.
const REFUSED: &[c_long] = &[
    // mounts and namespaces
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    457, // statmount
    458, // listmount
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    443, // quotactl_fd
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    // other processes
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    440, // process_madvise
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // kernel parts with a large surface
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_vhangup,
    libc::SYS_syslog,
    // the machine
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
    #[cfg(target_arch = "x86_64")]
    libc::SYS__sysctl,
    #[cfg(target_arch = "x86_64")]
    174, // create_module
    #[cfg(target_arch = "x86_64")]
    177, // get_kernel_syms
    #[cfg(target_arch = "x86_64")]
    178, // query_module
];

const SPECIAL: &[(c_long, Verdict)] = &[
    (libc::SYS_clone, Verdict::CheckClone),
    (libc::SYS_clone3, Verdict::Absent),
    (libc::SYS_io_uring_setup, Verdict::Absent),
    (libc::SYS_io_uring_enter, Verdict::Absent),
    (libc::SYS_io_uring_register, Verdict::Absent),
    (libc::SYS_personality, Verdict::CheckPersonality),
    (libc::SYS_socket, Verdict::CheckSocket),
    (libc::SYS_ioctl, Verdict::CheckIoctl),
];

/// What reaches beyond a sandbox that has no namespaces of its own.
const SHARED: &[(c_long, Verdict)] = &[
    // How other processes run, and what they may have
    (libc::SYS_setpriority, Verdict::CheckPriority(2)), // PRIO_USER
    (libc::SYS_ioprio_set, Verdict::CheckPriority(3)),  // IOPRIO_WHO_USER
    (libc::SYS_prlimit64, Verdict::CheckCaller),
    (libc::SYS_sched_setaffinity, Verdict::CheckCaller),
    (libc::SYS_sched_setattr, Verdict::CheckCaller),
    (libc::SYS_sched_setparam, Verdict::CheckCaller),
    (libc::SYS_sched_setscheduler, Verdict::CheckCaller),
    // System V IPC, as on a kernel without it
    (libc::SYS_shmget, Verdict::Absent),
    (libc::SYS_shmat, Verdict::Absent),
    (libc::SYS_shmctl, Verdict::Absent),
    (libc::SYS_semget, Verdict::Absent),
    (libc::SYS_semop, Verdict::Absent),
    (libc::SYS_semtimedop, Verdict::Absent),
    (libc::SYS_semctl, Verdict::Absent),
    (libc::SYS_msgget, Verdict::Absent),
    (libc::SYS_msgsnd, Verdict::Absent),
    (libc::SYS_msgrcv, Verdict::Absent),
    (libc::SYS_msgctl, Verdict::Absent),
    // Message queues of POSIX
    (libc::SYS_mq_open, Verdict::Absent),
    (libc::SYS_mq_unlink, Verdict::Absent),
];

/// The filter's program. `shared`: for sandboxes without namespaces of their own.
pub(super) fn filter(shared: bool) -> Vec<Instruction> {
    let mut special: Vec<(u32, Verdict)> = REFUSED
        .iter()
        .map(|number| (*number, Verdict::Refuse))
        .chain(SPECIAL.iter().copied())
        .chain(SHARED.iter().copied().filter(|_| shared))
        .filter_map(|(number, verdict)| u32::try_from(number).ok().map(|number| (number, verdict)))
        .collect();
    special.sort_by_key(|(number, _)| *number);

    // Intervals: each starts at its number and ends where the next one starts.
    let mut intervals = vec![(0, Verdict::Allow)];
    for (number, verdict) in special {
        push(&mut intervals, number, verdict);
        push(&mut intervals, number + 1, Verdict::Allow);
    }
    push(&mut intervals, NEWEST_KNOWN + 1, Verdict::Absent);

    let mut program = vec![
        load(4), // seccomp_data.arch
        jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        load(0), // seccomp_data.nr; x32 numbers are above all known ones
    ];
    program.extend(tree(&intervals));
    program
}

fn push(intervals: &mut Vec<(u32, Verdict)>, start: u32, verdict: Verdict) {
    if intervals.last().is_some_and(|(last, _)| *last == start) {
        intervals.pop();
    }
    if intervals.last().is_none_or(|(_, last)| *last != verdict) {
        intervals.push((start, verdict));
    }
}

fn tree(intervals: &[(u32, Verdict)]) -> Vec<Instruction> {
    if let [(_, verdict)] = intervals {
        return leaf(*verdict);
    }
    let (low, high) = intervals.split_at(intervals.len() / 2);
    let low_code = tree(low);
    // A conditional jump reaches 255 instructions, an unconditional one any.
    let mut code = vec![
        jump(libc::BPF_JGE, high[0].0, 0, 1),
        statement(libc::BPF_JMP | libc::BPF_JA, u32::try_from(low_code.len()).unwrap_or(u32::MAX)),
    ];
    code.extend(low_code);
    code.extend(tree(high));
    code
}

fn leaf(verdict: Verdict) -> Vec<Instruction> {
    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    let refuse = errno(libc::EPERM);
    match verdict {
        Verdict::Allow => vec![answer(ALLOW)],
        Verdict::Refuse => vec![answer(refuse)],
        Verdict::Absent => vec![answer(errno(libc::ENOSYS))],
        Verdict::CheckClone => {
            vec![load_argument(0), jump(libc::BPF_JSET, NEW_NAMESPACES, 0, 1), answer(refuse), answer(ALLOW)]
        }
        Verdict::CheckPersonality => vec![
            load_argument(0),
            jump(libc::BPF_JEQ, 0, 1, 0),
            jump(libc::BPF_JEQ, u32::MAX, 0, 1),
            answer(ALLOW),
            answer(refuse),
        ],
        Verdict::CheckSocket => vec![
            load_argument(0),
            jump(libc::BPF_JEQ, 1, 5, 0),  // AF_UNIX
            jump(libc::BPF_JEQ, 2, 4, 0),  // AF_INET
            jump(libc::BPF_JEQ, 10, 3, 0), // AF_INET6
            jump(libc::BPF_JEQ, 16, 0, 3), // AF_NETLINK
            load_argument(2),
            jump(libc::BPF_JEQ, 0, 0, 1), // NETLINK_ROUTE
            answer(ALLOW),
            answer(errno(libc::EAFNOSUPPORT)),
        ],
        Verdict::CheckIoctl => vec![
            load_argument(1),
            jump(libc::BPF_JEQ, 0x5412, 1, 0), // TIOCSTI
            jump(libc::BPF_JEQ, 0x541c, 0, 1), // TIOCLINUX
            answer(refuse),
            answer(ALLOW),
        ],
        Verdict::CheckCaller => {
            vec![load_argument(0), jump(libc::BPF_JEQ, 0, 0, 1), answer(ALLOW), answer(refuse)]
        }
        Verdict::CheckPriority(of_user) => vec![
            load_argument(0),
            jump(libc::BPF_JEQ, of_user, 2, 0),
            load_argument(1),
            jump(libc::BPF_JEQ, 0, 1, 0),
            answer(refuse),
            answer(ALLOW),
        ],
    }
}

fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number.unsigned_abs()
}

/// The lower half of an argument: all that are checked are `int` or have no meaning in the upper half. (Both supported
/// architectures are little-endian.)
fn load_argument(index: u32) -> Instruction {
    load(16 + 8 * index)
}

fn load(offset: u32) -> Instruction {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn answer(action: u32) -> Instruction {
    statement(libc::BPF_RET | libc::BPF_K, action)
}

fn jump(condition: u32, value: u32, when_true: u8, when_false: u8) -> Instruction {
    let code = code(libc::BPF_JMP | condition | libc::BPF_K);
    Instruction { code, jt: when_true, jf: when_false, k: value }
}

fn statement(operation: u32, value: u32) -> Instruction {
    Instruction { code: code(operation), jt: 0, jf: 0, k: value }
}

fn code(operation: u32) -> u16 {
    u16::try_from(operation).expect("BPF operation codes are eight bits wide")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Just enough of the machine to ask the filter what it answers.
    fn run(program: &[Instruction], architecture: u32, number: c_long, arguments: [u32; 3]) -> u32 {
        let word = |offset: u32| match offset {
            0 => u32::try_from(number).unwrap(),
            4 => architecture,
            offset => arguments[usize::try_from((offset - 16) / 8).unwrap()],
        };
        let (mut at, mut accumulator) = (0_usize, 0_u32);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            match u32::from(code) {
                0x20 => accumulator = word(k),
                0x06 => return k,
                0x05 => at += usize::try_from(k).unwrap(),
                condition => {
                    let holds = match condition & 0xf0 {
                        0x10 => accumulator == k,
                        0x30 => accumulator >= k,
                        0x40 => accumulator & k != 0,
                        other => panic!("operation {other:x}"),
                    };
                    at += usize::from(if holds { jt } else { jf });
                }
            }
        }
    }

    #[test]
    fn the_filter_says_what_the_lists_say() {
        let program = filter(false);
        assert!(program.len() < 600, "{} instructions", program.len());
        let ask = |number, arguments| run(&program, ARCHITECTURE, number, arguments);
        let (allow, refuse, absent) = (libc::SECCOMP_RET_ALLOW, errno(libc::EPERM), errno(libc::ENOSYS));

        for number in REFUSED {
            assert_eq!(ask(*number, [0; 3]), refuse, "call {number}");
        }
        for number in
            [libc::SYS_read, libc::SYS_execve, libc::SYS_mmap, libc::SYS_futex, libc::SYS_openat2, 462]
        {
            assert_eq!(ask(number, [0; 3]), allow, "call {number}");
        }
        for number in [libc::SYS_clone3, libc::SYS_io_uring_setup, 463, 0x4000_0000, 0x4000_0001] {
            assert_eq!(ask(number, [0; 3]), absent, "call {number}");
        }
        assert_eq!(ask(libc::SYS_clone, [0x003d_0f00, 0, 0]), allow); // pthread_create
        assert_eq!(ask(libc::SYS_clone, [0x1000_0011, 0, 0]), refuse); // CLONE_NEWUSER
        assert_eq!(ask(libc::SYS_personality, [u32::MAX, 0, 0]), allow);
        assert_eq!(ask(libc::SYS_personality, [0x0004_0000, 0, 0]), refuse); // ADDR_NO_RANDOMIZE
        assert_eq!(ask(libc::SYS_socket, [2, 1, 0]), allow);
        assert_eq!(ask(libc::SYS_socket, [16, 3, 0]), allow);
        assert_eq!(ask(libc::SYS_socket, [16, 3, 12]), errno(libc::EAFNOSUPPORT)); // NETLINK_NETFILTER
        assert_eq!(ask(libc::SYS_socket, [40, 1, 0]), errno(libc::EAFNOSUPPORT)); // AF_VSOCK
        assert_eq!(ask(libc::SYS_ioctl, [0, 0x5412, 0]), refuse);
        assert_eq!(ask(libc::SYS_ioctl, [0, 0x5401, 0]), allow);
        assert_eq!(run(&program, 0x4000_0003, libc::SYS_read, [0; 3]), libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn what_is_shared_with_the_host_is_fenced_off_too() {
        let (alone, shared) = (filter(false), filter(true));
        assert!(shared.len() < 700, "{} instructions", shared.len());
        let (allow, refuse, absent) = (libc::SECCOMP_RET_ALLOW, errno(libc::EPERM), errno(libc::ENOSYS));
        for (number, arguments, expected) in [
            (libc::SYS_shmget, [0; 3], absent),
            (libc::SYS_mq_open, [0; 3], absent),
            (libc::SYS_prlimit64, [0, 7, 0], allow),
            (libc::SYS_prlimit64, [1, 7, 0], refuse),
            (libc::SYS_sched_setscheduler, [0; 3], allow),
            (libc::SYS_sched_setscheduler, [1, 0, 0], refuse),
            (libc::SYS_setpriority, [0, 0, 19], allow),
            (libc::SYS_setpriority, [0, 1, 19], refuse),
            (libc::SYS_setpriority, [2, 0, 19], refuse), // PRIO_USER
            (libc::SYS_ioprio_set, [2, 0, 0], allow),    // IOPRIO_WHO_PGRP
            (libc::SYS_ioprio_set, [3, 0, 0], refuse),
            (libc::SYS_sched_getaffinity, [1, 0, 0], allow),
            (libc::SYS_mount, [0; 3], refuse),
        ] {
            assert_eq!(
                run(&shared, ARCHITECTURE, number, arguments),
                expected,
                "call {number} {arguments:?}"
            );
            let expected = if number == libc::SYS_mount { refuse } else { allow };
            assert_eq!(run(&alone, ARCHITECTURE, number, arguments), expected, "call {number} {arguments:?}");
        }
    }
}
