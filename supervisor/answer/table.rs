//! The answer to each call, and its reason.
//!
//! | call | condition | answer | reason |
//! |---|---|---|---|
//! | getpid | of PID 1 | 1 | init systems refuse to run as another process |
//! | getpid | else | the kernel's | |
//! | getppid | the parent is PID 1 | 1 | services of systemd verify that their parent lives |
//! | getppid | the parent is outside | 0 for the first process of a session, else 1 | as in a PID namespace |
//! | kill, rt_sigqueueinfo | own process | the kernel's | the number cannot change its owner during the call |
//! | kill | 1, any process, group or all of the container | sent by the monitor | through a descriptor: the number may change its owner |
//! | tgkill, tkill, rt_tgsigqueueinfo | the container's | the kernel's; for PID 1 sent by the monitor | |
//! | pidfd_open | the container's | a descriptor of the monitor | the number may change its owner |
//! | pidfd_send_signal | the container's | sent by the monitor | the caller can replace its descriptor during the call |
//! | ptrace, process_vm_*, setpriority, ioprio_set, sched_*, prlimit, migrate_pages, move_pages, F_SETOWN | the container's | the kernel's | |
//! | setpriority, ioprio_set | all processes of a user | ESRCH | the user also has processes outside |
//! | kcmp | both the container's | the kernel's; for PID 1, the monitor's | systemd compares its own descriptors |
//! | all of these | of PID 1, by its number on the machine | ESRCH | systemd-shutdown signals all processes except 1 and waits for their end |
//! | all of these | a process outside | ESRCH | it does not exist for the container |
//! | write | "1" to a list of processes of a control group | the monitor moves PID 1 | systemd moves itself by its own number |
//! | reboot | with CAP_SYS_BOOT | the container ends | the kernel would reboot the machine |

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::{Pid, getpgid};

use super::caller::{self, BOOT, Facts};
use super::context::{CONTINUE, Context, Outcome, Pending, duplicate, low, read_memory};
use super::reboot::meaning;
use super::signals::Signal;
use super::writing;
use crate::privilege::answered::{self, Call};
use crate::sys::notification::{Notification, Reply};
use crate::sys::process::{self, SignalInfo};

/// `SI_QUEUE` and `SI_TKILL`, sigaction(2).
const QUEUED: libc::c_int = -1;
const THREAD: libc::c_int = -6;
/// `__AUDIT_ARCH_64BIT`.
const WIDE: u32 = 0x8000_0000;

fn fail(errno: Errno) -> Outcome {
    Outcome::Reply(Reply::Error(errno))
}

fn done(result: Result<(), Errno>) -> Outcome {
    result.map_or_else(fail, |()| Outcome::Reply(Reply::Value(0)))
}

/// Decides on one call.
pub(super) fn decide(context: &Context<'_>, question: &Notification) -> Outcome {
    let Some(call) = answered::call(question.audit, question.number) else { return fail(Errno::ENOSYS) };
    let thread = Pid::from_raw(question.thread.cast_signed());
    // The most frequent calls. Nobody receives the reply to a caller that has ended, so these do not check that the call
    // still waits.
    match call {
        Call::GetPid => {
            let is_managers = context.is_managers() && context.place.is_managers(thread);
            return if is_managers { Outcome::Reply(Reply::Value(1)) } else { CONTINUE };
        }
        Call::GetParent => return parent(context, thread),
        Call::Write => return writing::answer(context, question, thread),
        _ => {}
    }
    let Some(caller) = Facts::of(thread) else { return fail(Errno::ESRCH) };
    Asked { context, question, thread, caller }.answer(call)
}

fn parent(context: &Context<'_>, thread: Pid) -> Outcome {
    let Some(parent) = caller::parent(thread) else { return fail(Errno::ESRCH) };
    let place = context.place;
    if parent == place.manager {
        return Outcome::Reply(Reply::Value(1));
    }
    // PID 1 adopts the orphans among its descendants.
    let is_inside = if context.is_managers() { parent != place.creator } else { place.holds(parent) };
    if is_inside {
        return CONTINUE;
    }
    let is_first = Facts::of(thread).is_some_and(|caller| caller.process == context.first);
    Outcome::Reply(Reply::Value(if is_first { 0 } else { 1 }))
}

/// A call and its caller.
struct Asked<'a> {
    context: &'a Context<'a>,
    question: &'a Notification,
    thread: Pid,
    caller: Facts,
}

impl Asked<'_> {
    fn answer(&self, call: Call) -> Outcome {
        match call {
            // Answered before.
            Call::GetPid | Call::GetParent | Call::Write => CONTINUE,
            Call::Kill => self.kill(),
            Call::KillThread => self.thread(self.pid(0)),
            Call::KillThreadOf => self.thread_of(self.number(2)),
            Call::Queue => self.queue(),
            Call::QueueToThread => self.thread_of(self.number(2)),
            Call::OpenProcess => self.open_process(),
            Call::SignalProcess => self.signal_process(),
            Call::Trace => self.pass(self.pid(1)),
            Call::Memory | Call::Adjust => self.pass(self.pid(0)),
            Call::SetPriority => self.priority(self.number(0)),
            // Its kinds begin with 1.
            Call::SetIoPriority => self.priority(self.number(0).wrapping_sub(1)),
            Call::Compare => self.compare(),
            Call::SetOwner => self.owner(),
            Call::Reboot => self.reboot(),
        }
    }

    fn number(&self, argument: usize) -> i32 {
        low(self.question.arguments[argument]).cast_signed()
    }

    fn pid(&self, argument: usize) -> Pid {
        Pid::from_raw(self.number(argument))
    }

    fn pending(&self) -> Pending<'_> {
        self.context.pending(self.question)
    }

    /// The process that a number refers to in the container.
    fn named(&self, pid: Pid) -> Pid {
        if pid.as_raw() == 1 { self.context.place.manager } else { pid }
    }

    fn is_manager(&self) -> bool {
        self.caller.process == self.context.place.manager
    }

    /// Lets the kernel execute a call on a process of the container. Refuses PID 1, because the number in the call cannot
    /// be replaced.
    fn pass(&self, target: Pid) -> Outcome {
        if target == self.caller.process || target == self.thread || self.context.place.holds(target) {
            CONTINUE
        } else {
            fail(if target.as_raw() == 1 { Errno::EPERM } else { Errno::ESRCH })
        }
    }

    /// A signal of the caller, with the information of kill(2).
    fn signal(&self, number: i32) -> Signal<'_> {
        let sender = if self.is_manager() { Pid::from_raw(1) } else { self.caller.process };
        let info = SignalInfo::new(number, QUEUED, sender, self.caller.users[0], 0);
        self.with_info(number, info)
    }

    fn with_info(&self, number: i32, info: SignalInfo) -> Signal<'_> {
        Signal {
            place: self.context.place,
            pending: self.pending(),
            thread: self.thread,
            sender: self.caller,
            number,
            info,
        }
    }

    fn kill(&self) -> Outcome {
        let signal = self.signal(self.number(1));
        match self.number(0) {
            i32::MIN => fail(Errno::ESRCH),
            -1 => done(signal.send_to_all(self.context.cgroup)),
            group @ ..0 => self.kill_group(&signal, Pid::from_raw(-group)),
            target if target == self.caller.process.as_raw() => self.itself(),
            target => {
                let target = self.named(Pid::from_raw(target));
                if target == self.caller.process { self.own(&signal) } else { done(signal.send_to(target)) }
            }
        }
    }

    /// The caller's own number. PID 1 does not know its number on the machine: it has read it in /proc and takes it for
    /// another process.
    fn itself(&self) -> Outcome {
        if self.is_manager() { fail(Errno::ESRCH) } else { CONTINUE }
    }

    /// PID 1 signals itself.
    fn own(&self, signal: &Signal<'_>) -> Outcome {
        match signal.find(self.caller.process) {
            Ok((pidfd, _)) => last(pidfd, signal),
            Err(errno) => fail(errno),
        }
    }

    fn kill_group(&self, signal: &Signal<'_>, group: Pid) -> Outcome {
        match signal.send_to_group(group, self.context.cgroup) {
            Ok(Some(own)) => last(own, signal),
            Ok(None) => Outcome::Reply(Reply::Value(0)),
            Err(errno) => fail(errno),
        }
    }

    fn thread(&self, target: Pid) -> Outcome {
        match Facts::of(target) {
            Some(facts) if facts.process == self.caller.process => CONTINUE,
            Some(facts) if facts.process == self.context.place.manager => {
                done(self.signal(self.number(1)).send_to(facts.process))
            }
            Some(_) if self.context.place.holds(target) => CONTINUE,
            _ => fail(Errno::ESRCH),
        }
    }

    fn thread_of(&self, number: i32) -> Outcome {
        let (process, target) = (self.pid(0), self.pid(1));
        let manager = self.context.place.manager;
        if !self.is_manager() && self.named(process) == manager {
            return done(self.signal(number).send_to(manager));
        }
        if process.as_raw() != 1 {
            return self.pass(process);
        }
        if self.signal(number).is_dropped_by(manager) {
            return Outcome::Reply(Reply::Value(0));
        }
        // While its call waits, the thread is not reaped and keeps its number.
        Outcome::ReplyFirst(
            Reply::Value(0),
            Box::new(move || {
                let _ = process::tgkill(manager, target, number);
            }),
        )
    }

    fn queue(&self) -> Outcome {
        let target = self.named(self.pid(0));
        if target == self.caller.process && self.number(0) != 1 {
            return self.itself();
        }
        match self.info(2) {
            Ok(info) => done(self.with_info(self.number(1), info).send_to(target)),
            Err(errno) => fail(errno),
        }
    }

    /// The `siginfo_t` at the address in an argument.
    fn info(&self, argument: usize) -> Result<SignalInfo, Errno> {
        let bytes: [u8; 32] = read_memory(self.context, self.question, self.question.arguments[argument])?;
        let word = |at: usize| bytes[at..at + 4].try_into().map_or(0, u32::from_ne_bytes);
        // In a 32-bit program, no padding precedes the sender.
        let (sender, value) =
            if self.question.audit & WIDE == 0 { (12, word(20).into()) } else { (16, wide(&bytes)) };
        let code = word(8).cast_signed();
        if code >= 0 || code == THREAD {
            return Err(Errno::EPERM);
        }
        let (pid, user) = (Pid::from_raw(word(sender).cast_signed()), word(sender + 4));
        let value = usize::try_from(value).unwrap_or_default();
        Ok(SignalInfo::new(self.number(1), code, pid, user, value))
    }

    fn open_process(&self) -> Outcome {
        let target = self.named(self.pid(0));
        if target.as_raw() <= 0 {
            return CONTINUE;
        }
        if self.is_manager() && self.pid(0) == target && target == self.caller.process {
            return self.itself();
        }
        // Checked after it was opened, as in `signals`.
        match process::pidfd_open_with(target, low(self.question.arguments[1])) {
            _ if !self.context.place.holds(target) => fail(Errno::ESRCH),
            Ok(pidfd) => Outcome::Descriptor(pidfd),
            Err(errno) => fail(errno),
        }
    }

    fn signal_process(&self) -> Outcome {
        match self.try_signal_process() {
            Ok(outcome) => outcome,
            Err(errno) => fail(errno),
        }
    }

    fn try_signal_process(&self) -> Result<Outcome, Errno> {
        /// `PIDFD_SIGNAL_PROCESS_GROUP` (6.9).
        const GROUP: u32 = 4;
        /// `PIDFD_SELF_THREAD` and `PIDFD_SELF_THREAD_GROUP` (6.14).
        const SELF: [i32; 2] = [-10000, -10001];
        if SELF.contains(&self.number(0)) {
            return Ok(CONTINUE);
        }
        let pidfd = duplicate(self.pending(), self.caller.process, self.number(0))?;
        let target = owner(&pidfd)?;
        let facts = Facts::of(target).ok_or(Errno::ESRCH)?;
        // If it still has the number, the facts are those of this process.
        if !self.context.place.holds(target) || owner(&pidfd)? != target {
            return Err(Errno::ESRCH);
        }
        let number = self.number(1);
        let signal = match self.question.arguments[2] {
            0 => self.signal(number),
            _ => self.with_info(number, self.info(2)?),
        };
        let flags = low(self.question.arguments[3]);
        if flags & GROUP != 0 {
            return Ok(self.kill_group(&signal, getpgid(Some(target))?));
        }
        if facts.process == self.caller.process {
            return Ok(if self.is_manager() { fail(Errno::ESRCH) } else { last(pidfd, &signal) });
        }
        signal.send(&pidfd, &facts, flags)?;
        Ok(Outcome::Reply(Reply::Value(0)))
    }

    /// `kind`: a process, a process group, or all processes of a user.
    fn priority(&self, kind: i32) -> Outcome {
        match (kind, self.pid(1)) {
            (0, target) => self.pass(target),
            (1, group) if self.has_group(group) => CONTINUE,
            (1 | 2, _) => fail(Errno::ESRCH),
            _ => CONTINUE,
        }
    }

    fn has_group(&self, group: Pid) -> bool {
        let mut members = self.context.cgroup.members().into_iter();
        group.as_raw() == 0 || members.any(|process| getpgid(Some(process)) == Ok(group))
    }

    fn owner(&self) -> Outcome {
        match self.number(2) {
            0 => CONTINUE,
            i32::MIN..0 if self.has_group(Pid::from_raw(self.number(2).wrapping_neg())) => CONTINUE,
            i32::MIN..0 => fail(Errno::ESRCH),
            target => self.pass(Pid::from_raw(target)),
        }
    }

    fn compare(&self) -> Outcome {
        let named = [self.pid(0), self.pid(1)];
        let processes = named.map(|pid| self.named(pid));
        if !processes.iter().all(|process| self.context.place.holds(*process)) {
            return fail(Errno::ESRCH);
        }
        if named == processes {
            return CONTINUE;
        }
        if !self.is_manager() {
            return fail(Errno::EPERM);
        }
        // For these, the indices are descriptor numbers.
        let indices = [3, 4].map(|argument| libc::c_ulong::from(low(self.question.arguments[argument])));
        let compared = process::kcmp(processes, self.number(2), indices);
        Outcome::Reply(compared.map_or_else(Reply::Error, Reply::Value))
    }

    fn reboot(&self) -> Outcome {
        if !self.caller.is_capable(self.thread, BOOT) || !self.pending().is_waiting() {
            return fail(Errno::EPERM);
        }
        let [first, second, command, ..] = self.question.arguments.map(low);
        meaning(first, second, command).map_or_else(fail, Outcome::End)
    }
}

/// Signals the caller after the reply.
fn last(pidfd: OwnedFd, signal: &Signal<'_>) -> Outcome {
    let info = signal.info;
    if signal.is_dropped_by(signal.sender.process) {
        return Outcome::Reply(Reply::Value(0));
    }
    Outcome::ReplyFirst(
        Reply::Value(0),
        Box::new(move || {
            let _ = process::pidfd_send_signal(pidfd.as_fd(), &info, 0);
        }),
    )
}

/// The value of a 64-bit `siginfo_t`.
fn wide(bytes: &[u8; 32]) -> u64 {
    bytes[24..].try_into().map_or(0, u64::from_ne_bytes)
}

/// The process of a pidfd, proc_pid_fdinfo(5).
///
/// # Errors
/// EBADF if it is something else, ESRCH if the process has ended.
fn owner(pidfd: &OwnedFd) -> Result<Pid, Errno> {
    let text = caller::read(&format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok_or(Errno::EBADF)?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")).ok_or(Errno::EBADF)?;
    match pid.trim().parse() {
        Ok(pid @ 1..) => Ok(Pid::from_raw(pid)),
        _ => Err(Errno::ESRCH),
    }
}
