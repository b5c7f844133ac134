---@meta uring
-- luacheck: ignore 212 241

-- Types for editors (LuaCATS). Nothing here is ever run: this file describes
-- the module `uring`, which is mostly C. For each function: its arguments and
-- results, the man page of liburing's call behind it, and the first kernel
-- that has it.
--
-- What all functions have in common:
--
-- * A programmer's mistake raises. What can happen at run time is returned:
--   nil, a message for people, and an errno to compare with `uring.errno`.
-- * Times are seconds, as integers or floats. A timeout is the last argument;
--   without one, or with math.huge, a wait is for ever. When it is over the
--   result is nil, "timed out", uring.errno.ETIME.
-- * Integers are integers: "10" and 1.5 raise.
-- * What has a close() can be a to-be-closed variable, and closes when it is
--   collected.
-- * A function with `---@async` waits: it suspends its task and lets the
--   others run. It works in tasks only; elsewhere it raises. For an iterator
--   that is each step of the loop.
-- * In a task that is cancelled a wait raises `uring.cancelled`. What it would
--   have taken is put back, or disposed of. One exception: if all bytes of a
--   send, or the connect, had gone by then, the call returns that result, and
--   the task's next wait raises.


--- What stands for a descriptor: its number, or an object that has one.
---@alias uring.descriptor
---| integer
---| uring.Fd
---| uring.Socket
---| uring.Stream
---| uring.Ring
---| file*

--- Where a message goes: a ring of this state, a reference, or the number of
--- a ring's descriptor. A number is not checked: see doc/guide.md.
---@alias uring.target uring.Ring | uring.Ref | integer

---@alias uring.seconds number

--- What stands for an address: "127.0.0.1:53", "[::1]:53",
--- "[fe80::1%eth0]:53", "unix:/run/x", "unix:@abstract", or an object. Port 0
--- is a free one. Names of hosts raise, but where uring.name is said.
---@alias uring.address uring.Sockaddr | string

--- The same, or the name of a host: "example.org:80", "localhost:http",
--- "127.0.0.1:domain". Then the call waits, as only a task can, for a helper
--- thread that asks getaddrinfo(3). It may also fail as uring.resolve does.
---@alias uring.name uring.Sockaddr | string


---@class uring
---@field cancelled uring.Cancelled the error value that ends a cancelled task
---@field errno table<string, integer> errno numbers by name: errno.EAGAIN
---@field eai table<string, integer> codes of uring.resolve by name, negative:
---eai.NONAME, AGAIN, FAIL, SERVICE, MEMORY... (gai_strerror(3))
---@field stdin uring.Stream
---@field stdout uring.Stream first what print has written goes out; a line at
---once to a terminal, and all of it by the end of run
---@field stderr uring.Stream
local uring = {}

--- Waits in a cancelled task raise this value, a userdata: compare with ==.
--- Code that catches it raises it again. The reason is
--- uring.current():reason().
---@class uring.Cancelled


--- Make a ring. Without `flags` it is made with SINGLE_ISSUER, DEFER_TASKRUN,
--- TASKRUN_FLAG and SUBMIT_ALL, each left out only where the kernel refuses
--- it, and a CQ of eight times the SQ. (io_uring_queue_init_params(3), 5.1)
---@param options? uring.RingOptions
---@return uring.Ring? ring
---@return string? message
---@return integer? errno
---@nodiscard
function uring.ring(options) end

---@class uring.RingOptions
---@field entries? integer of the SQ: 1 to 32768, 64 if not given
---@field cq_entries? integer of the CQ: 1 to 65536
---@field flags? integer exactly these, IORING_SETUP_...
---@field sq_thread_cpu? integer with SQ_AFF: where the SQPOLL thread runs
---@field sq_thread_idle? integer milliseconds until the SQPOLL thread sleeps
---@field attach_wq? uring.Ring share the worker threads of this ring

--- An empty request. Prepare it by one of its prep_ methods.
---@return uring.Sqe
---@nodiscard
function uring.sqe() end

--- C memory: so many zero bytes, or a copy of a string. A file that was opened
--- with O_DIRECT needs an alignment, mostly of 512 or 4096, here and of places
--- and sizes.
---@param what integer | string
---@param alignment? integer a power of two up to 1048576: 16 if not given
---@return uring.Buffer
---@nodiscard
function uring.buffer(what, alignment) end

--- Own a descriptor's number: from now on only the new object may close it.
--- nil, message, EEXIST where a uring.fd, a socket or a ring of this state has
--- the number already. (What other states own is not known here.)
---@param number integer
---@return uring.Fd? fd
---@return string? message
---@return integer? errno
---@nodiscard
function uring.fd(number) end

--- An address of a socket, from text or from a host and a port:
--- "127.0.0.1:53", "[::1]:53", "[fe80::1%eth0]:53", "unix:/run/x",
--- "unix:@name" (abstract), "unix:" (unnamed). For the name of a host there is
--- uring.resolve. (ip(7), ipv6(7), unix(7))
---@param address uring.address or a host without brackets, if a port follows
---@param port? integer 0 to 65535
---@return uring.Sockaddr
---@nodiscard
function uring.sockaddr(address, port) end

--- What sendmsg and recvmsg are told, all of it in C memory that stays for as
--- long as the kernel uses it. It may be used again and again, by one request
--- at a time. (sendmsg(2), recvmsg(2), 5.3)
---@param options? uring.MsghdrOptions
---@return uring.Msghdr? msghdr
---@return string? message
---@return integer? errno
---@nodiscard
function uring.msghdr(options) end

--- `namelen` is 16 for IPv4, 28 for IPv6, 110 for unix. `iov` has at most 1024
--- parts: to send, or in buffers to receive into.
---@class uring.MsghdrOptions
---@field name? uring.address the receiver
---@field namelen? integer bytes for the sender's address: 0 to 128
---@field control? uring.ControlOut control messages to send
---@field controllen? integer bytes for control messages: 0 to 20480
---@field iov? (uring.bytes|uring.Part)[]
---@field flags? integer

--- What can be sent: a string is copied, a buffer or lease is not. A prep that
--- takes a string, and a message that has one, copy it whole at once, and no
--- task runs meanwhile: hundreds of MiB should be in a buffer, or go by
--- a stream or Socket:send, which copy a piece at a time.
---@alias uring.bytes string | uring.Buffer | uring.Lease

---@class uring.Part
---@field [1] uring.bytes
---@field [2]? integer offset, counted from 0
---@field [3]? integer length

--- A control message that has no name here.
---@class uring.RawControl
---@field [1] integer its level: SOL_...
---@field [2] integer its type
---@field [3] string its data

--- Control messages as they are sent. (cmsg(3))
---@class uring.ControlOut
---@field fds? uring.descriptor[] SCM_RIGHTS: dups of at most 253; no rings
---@field creds? uring.Creds SCM_CREDENTIALS: this process where none is given
---@field pktinfo? uring.Pktinfo IP_PKTINFO, IPV6_PKTINFO: the source address
---@field [integer] uring.RawControl

--- Control messages as they were received. All but fds have to be asked for by
--- setsockopt. (cmsg(3))
---@class uring.Control
---@field fds? uring.Fd[] SCM_RIGHTS: close-on-exec
---@field creds? uring.Creds of the sender: SO_PASSCRED
---@field pktinfo? uring.Pktinfo the destination: IP_PKTINFO, IPV6_RECVPKTINFO
---@field origdst? uring.Sockaddr the first one: IP_, IPV6_RECVORIGDSTADDR
---@field pidfd? uring.Fd the sender's process: SO_PASSPIDFD (6.5)
---@field [integer] uring.RawControl

---@class uring.Creds
---@field pid? integer
---@field uid? integer
---@field gid? integer

--- What a datagram was sent to, or is to be sent from.
---@class uring.Pktinfo
---@field addr uring.address the port says nothing
---@field ifindex? integer of the network interface; 0: any

--- Decode what prep_recvmsg_multishot has put into a buffer. The first call on
--- a lease or buffer takes the descriptors out of it; those in a string stay
--- numbers in a raw control message. nil, message, EBADMSG where the bytes are
--- too short. (io_uring_recvmsg_out(3), 6.0)
---@param bytes uring.bytes
---@param msghdr uring.Msghdr the one that the request was prepared with
---@param len? integer so many of the bytes
---@return uring.RecvmsgOut? out
---@return string? message
---@return integer? errno
function uring.recvmsg_out(bytes, msghdr, len) end

---@class uring.RecvmsgOut
---@field name? uring.Sockaddr the sender, where the msghdr has room for it
---@field control uring.Control
---@field payload string
---@field payloadlen integer with MSG_TRUNC in the request: the datagram's own
---@field flags integer MSG_...
---@field truncated { name: boolean, control: boolean, payload: boolean }

--- Send the message of an SQE prepared by prep_msg_ring or
--- prep_msg_ring_cqe_flags at once, without a ring to send from: for threads
--- and states that have none. (io_uring_register_sync_msg(3), 6.13)
---@param sqe uring.Sqe
---@return true? sent
---@return string? message
---@return integer? errno
function uring.register_sync_msg(sqe) end

--- What works here, found by trying it. Takes a few milliseconds.
---@return uring.Probe
---@nodiscard
function uring.probe() end

---@class uring.Probe
---@field available boolean can a ring be made at all?
---@field reason? string if not: why, and what would help
---@field kernel string "6.1.0"
---@field liburing { built: string, running: string }
---@field features table<string, uring.Feature> by name: "sync_msg"
---@field ops table<string, boolean> opcodes by name: "msg_ring"

---@class uring.Feature
---@field works boolean
---@field since string the first kernel that has it: "6.13"
---@field note? string why it does not work here

--- Run this state's loop until all tasks of this run have ended. The first is
--- `main(...)`. Returns main's results, or nil, message, ECANCELED if it was
--- cancelled. It is a scope: the error of the first task that failed is
--- raised, with its traceback, after the others were cancelled and have ended.
--- Tasks that were spawned outside a task go on meanwhile. The error of one of
--- them is raised at the end, if the loop has no on_error.
--- Raises inside a task or a step; where all tasks wait for each other, or at
--- mailboxes that no other thread can send to (a deadlock); where the loop's
--- time is a host's; and where no loop can be made: `uring.loop()` returns
--- that last error.
---@param main (async fun(...): ...) | uring.RunOptions
---@param ... any
---@return any ...
function uring.run(main, ...) end

---@class uring.RunOptions
---@field main async fun(...): ...
---@field name? string
---@field slow? uring.seconds more than 0: see on_slow. Without it, or with
--- math.huge, that is told of tasks and workers that ignore a cancellation
---@field on_slow? uring.OnSlow

--- Called when a task has run for longer than `slow` without waiting, once
--- each time; in that task, if it still runs. Called once, too, for a
--- cancelled task that goes on: whose waits have raised for longer than that,
--- even if it let others run in between. Also for a worker, in the place of
--- the task, that has gone on for longer than that, or a second, since it was
--- cancelled. It cannot wait.
---@alias uring.OnSlow
---| fun(task: uring.Task|uring.Worker, seconds: uring.seconds, trace: string)

--- Start another task, in the innermost scope of the one that is running; it
--- first runs when that one waits. In a scope that was cancelled it never
--- does, and is cancelled too. Outside a task it is a scope of its own, as by
--- loop:spawn, and begins with the next run or step; nil, message, errno where
--- no loop can be made.
---@param f (async fun(...): ...) | uring.TaskOptions
---@param ... any
---@return uring.Task? task
---@return string? message
---@return integer? errno
function uring.spawn(f, ...) end

--- The same for a task that does not keep its scope open: when all others of
--- the scope have ended it is cancelled, and then waited for.
---@param f (async fun(...): ...) | uring.TaskOptions
---@param ... any
---@return uring.Task
function uring.daemon(f, ...) end

--- uring.run's own scope, from any of its tasks. A task that serves many, such
--- as a client's reader, belongs there and not to the scope of the task that
--- was the first to need it: uring.root():daemon(f) runs until run ends. In
--- a step it is a scope of all steps; an error in it is reported as loop:spawn
--- says, and ends it: the next call gives another.
---@return uring.Scope
---@nodiscard
function uring.root() end

---@class uring.TaskOptions
---@field main async fun(...): ...
---@field name? string for messages about it

--- The task that is running; nil outside one.
---@return uring.Task?
function uring.current() end

--- Call `f(scope, ...)` and give its results, when all tasks that were spawned
--- in it have ended. The first error of these tasks and f cancels the others,
--- and is raised here: a value as it is, a string with its traceback and where
--- its task was spawned. nil, message, ECANCELED where the scope was cancelled
--- by scope:cancel().
---@async
---@param f async fun(scope: uring.Scope, ...): ...
---@param ... any
---@return any ...
function uring.scope(f, ...) end

--- Call `f(...)` and give its results, even if they are late. When the time is
--- over its waits raise uring.cancelled, and that becomes nil, "timed out",
--- ETIME. An error of f's own is raised. When it is over no wait of f's is
--- under way: its requests to the kernel have ended, and so have the tasks of
--- uring.event(g) that a select in it waited for; but not those that lost
--- against another event (uring.select). It is not a scope: tasks that f
--- spawns belong to the scope around it, and are not cancelled.
---@async
---@param seconds uring.seconds
---@param f async fun(...): ...
---@param ... any
---@return any ...
function uring.timeout(seconds, f, ...) end

--- Call `f(...)` and give its results. For so many seconds waits in it do not
--- raise, even if the task is cancelled: for cleanup that has to wait. It
--- makes no difference to a task that is not cancelled.
---@param seconds uring.seconds
---@param f async fun(...): ...
---@param ... any
---@return any ...
function uring.shield(seconds, f, ...) end

--- Call `f(item, index)` for each item, at most `n` at a time, each in a task.
--- The results are in the order of the items, and their number in the field
--- `n`. The first error cancels the others, and is raised.
---@async
---@param n integer
---@param items any[]
---@param f async fun(item: any, index: integer): any
---@return { [integer]: any, n: integer } results
function uring.map(n, items, f) end

--- pcall that lets uring.cancelled through: it is raised again. So a loop that
--- catches all errors ends when its task is cancelled.
---@param f async fun(...): ...
---@param ... any
---@return boolean ok
---@return any ...
function uring.pcall(f, ...) end

--- Like coroutine.wrap, for a function that waits: what it yields is given to
--- the caller, and its waits suspend the caller's task.
---@param f async fun(...): ...
---@return fun(...): ...
---@nodiscard
function uring.wrap(f) end

--- Wait for so many seconds. With 0: submit, take completions, and let every
--- task that is ready run once.
---@async
---@param seconds uring.seconds
function uring.sleep(seconds) end

--- Queue this request on the loop's ring and wait for its completion. When the
--- timeout is over the request is cancelled, and this returns when the kernel
--- has let go of it.
---@async
---@param sqe uring.Sqe
---@param timeout? uring.seconds
---@return integer? res
---@return integer|string flags or the message
---@return integer? errno
---@return integer? flags of a failed completion
function uring.await(sqe, timeout) end

--- This state's loop, made if this is the first call; nil, message, errno
--- where no ring can be made. Options can be given only then; in a forked
--- child not memory, realm and close_timeout, if its parent had a loop: those
--- are as they were there. The loop's ring is bound to the thread that first
--- uses it, by a run, a step or by hand; until then a message to it fails with
--- EBADFD.
---@param options? uring.LoopOptions
---@return uring.Loop? loop
---@return string? message
---@return integer? errno
function uring.loop(options) end

---@class uring.LoopOptions
---@field entries? integer of its ring: 64; 256 if uring.run makes the loop
---@field cq_entries? integer
---@field flags? integer exactly these, IORING_SETUP_...
---@field memory? integer bytes: the most that C may hold for this state. What
--- would exceed it fails with ENOMEM, or raises where it does without memory;
--- completions, cancels and closes need none of it. All that its workers hold
--- counts, too, also in Lua. See Loop:stats.
---@field close_timeout? uring.seconds how long lua_close may wait for requests
--- in flight, for all rings together: 0.1 if not given
---@field movable? boolean threads may use this state and its loop one after
--- another. The kernel completes a request by the thread that has made it,
--- which is interrupted for that (EINTR). If that thread has ended, the
--- request ends with ECANCELED: receives and iterators ask again, other waits
--- give it
---@field slow? uring.seconds of every run's tasks: see uring.RunOptions
---@field on_slow? uring.OnSlow
---@field on_error? uring.OnError
---@field spin? uring.seconds how long the loop may wait awake for another
--- thread before it sleeps, where that was shorter lately: 0.0001 if not
--- given; 0: never, as on a single CPU. Workers inherit it
---@field realm? string|false of the names of mailboxes: "" if not given, which
--- all states share; false: this state has no names

--- Called with each error of a task that was spawned outside a task, or of its
--- tasks; by the step or run in which it ended. It cannot wait. Without it the
--- error is raised by that step, or at the end of the run.
---@alias uring.OnError
---| fun(error: any, traceback: string?, task: uring.Task)

--- A mailbox: messages from any state of this process to the tasks of this
--- one. It is bounded in messages, bytes and descriptors. A message counts 32
--- bytes, 48 for each value, and the bytes of its strings. To collect it
--- closes it: a name does not keep it. nil, message, EEXIST if another mailbox
--- of the realm has the name, ENOSPC if 4,096 names are given, EPERM if the
--- state's realm has none.
---@param options? uring.MailboxOptions
---@return uring.Mailbox? mailbox
---@return string? message
---@return integer? errno
---@nodiscard
function uring.mailbox(options) end

---@class uring.MailboxOptions
---@field name? string 1 to 255 bytes without a zero; free again once closed or
---collected
---@field capacity? integer messages: 1024 if not given
---@field bytes? integer 1048576 if not given; 65536 where `memory` is bounded
---@field fds? integer descriptors in messages: 16 if not given

--- A worker: a thread with a Lua state, a loop and an inbox of its own, which
--- runs `main`. That is called with the other arguments, which are sent as
--- messages are (see uring.Address). Its upvalues are the global table and
--- loaded modules; the worker requires the latter by name. The state has the
--- standard libraries, and this state's package.path, package.cpath and realm.
---
--- A worker belongs to the scope that starts it. When the scope's tasks have
--- ended the worker's inbox loses this address, and the scope waits for the
--- worker's end; there it raises an error that was told to no task. If the
--- scope is cancelled the worker is. nil, message, EAGAIN where no thread can
--- be had, ENOSYS in a program that was linked without the standard libraries,
--- ENOMEM where uring.loop{ memory } leaves no room for its inbox or what it
--- is called with.
---@async
---@param main uring.WorkerOptions | fun(...: any): ...: any
---@param ... any
---@return uring.Worker? worker
---@return string? message
---@return integer? errno
---@nodiscard
function uring.worker(main, ...) end

--- One of `main`, `module` and `file`.
---@class uring.WorkerOptions
---@field main? fun(...: any): ...: any
---@field module? string the name of a module that is a function, or has one
--- `main`
---@field file? string the path of a Lua file
---@field name? string of the worker, its thread and its main task
---@field inbox? uring.InboxOptions
---@field ring? uring.WorkerRing
---@field memory? integer bytes that its Lua state may hold, and as many that C
--- holds for it; all of it within the `memory` of the state that starts it
---@field cancel? "hook" a cancel also interrupts code that does not wait, by
--- a count hook. The watchdog of a run (`slow`) then does not measure what
--- does not wait

---@class uring.InboxOptions
---@field capacity? integer messages: 1024 if not given
---@field bytes? integer 1048576 if not given; 65536 where `memory` is bounded
---@field fds? integer descriptors in messages: 16 if not given

--- Of the loop's ring: see uring.RingOptions.
---@class uring.WorkerRing
---@field entries? integer
---@field cq_entries? integer
---@field flags? integer

--- A pool: workers that call one function for many items (pool:map). It
--- belongs to the scope that has made it, as its workers do. If `workers` is 0
--- the function is called in this state, with the same results and errors: for
--- programs that also run without threads.
---@async
---@param options uring.PoolOptions
---@return uring.Pool? pool
---@return string? message
---@return integer? errno
---@nodiscard
function uring.pool(options) end

--- One of `main`, `module` and `file`, as for uring.worker.
---@class uring.PoolOptions
---@field workers integer 0 to 4096
---@field main? fun(...: any): ...: any
---@field module? string
---@field file? string
---@field name? string of the workers, before their numbers
---@field ring? uring.WorkerRing
---@field memory? integer
---@field cancel? "hook"

---@class uring.Pool
local Pool = {}

--- Loop over the results of the function for each item. The item's number,
--- from 1, comes first. Items are the values that `items` returns, a function
--- that may wait, until its first is nil; or the values of an array. A worker
--- has at most two items at a time: they are not taken faster than they are
--- done. With `ordered` results come in the order of their items. An error of
--- the function is raised from the loop, with its traceback; so are an item or
--- results that cannot be sent, and the end of a worker, by later loops, too.
--- One loop at a time; what one that was left has begun is dropped.
---@async
---@param items any[] | async fun(): any, ...
---@param options? uring.MapOptions
---@return async fun(map: any): integer?, any, ...
---@return any map
---@return nil
---@return any closer
function Pool:map(items, options) end

---@class uring.MapOptions
---@field ordered? boolean

--- Its workers end when they have done what they have begun. Closing it again
--- does nothing; a to-be-closed variable does it at the end of its block.
---@return true
function Pool:close() end

--- The workers that this state has started, and that run; and how many threads
--- of workers in this process have outlived the states that had started them.
---@return uring.Worker[] workers
---@return integer outlived
---@nodiscard
function uring.workers() end

--- The inbox of this worker: a mailbox. Raises elsewhere.
---@return uring.Mailbox
---@nodiscard
function uring.inbox() end

--- An address of the mailbox that has this name in the state's realm. Without
--- a timeout, or with 0, it does not wait: nil, message, ENOENT if there is
--- none. With one it waits, in a task, for a mailbox to get the name.
---@async
---@param name string
---@param timeout? uring.seconds
---@return uring.Address? address
---@return string? message
---@return integer? errno
---@nodiscard
function uring.address(name, timeout) end

--- A fresh table for a script that is not trusted. It has the functions spawn,
--- scope, timeout, shield, sleep, now, select, channel and semaphore, and in
--- `mailboxes` an address of each mailbox that is named here. Nothing else of
--- the library can be reached from it, unless the script has `debug` or
--- `require`.
---@param options? uring.SandboxOptions
---@return uring.Sandbox sandbox
---@nodiscard
function uring.sandbox(options) end

---@class uring.SandboxOptions
---@field mailboxes? table<any, uring.Mailbox | uring.Address>

---@class uring.Sandbox
---@field mailboxes table<any, uring.Address>
---@field spawn function
---@field scope function
---@field timeout function
---@field shield function
---@field sleep function
---@field now function
---@field select function
---@field channel function
---@field semaphore function

--- Wait until one of these events is ready; give its key and its values. Of
--- several that are ready any may be chosen; the others have taken nothing.
--- (Where the time is a host's they are tried in an order that is the same in
--- each run, if the keys are numbers and strings.) An event that failed is
--- chosen like any: its values are nil, message, errno. nil, "timed out",
--- ETIME where none was ready in time; with 0 seconds it does not wait. What
--- losers have begun, requests of ring:awaiting and tasks of uring.event(f),
--- is cancelled. If an event was chosen they may end later than the select. If
--- none was, or the select raises, they have ended before it: that can take as
--- long as a uring.shield in such a task says.
---@async
---@generic K
---@param events table<K, uring.Event>
---@param timeout? uring.seconds
---@return K? key
---@return any ... its values; or the message, and the errno
function uring.select(events, timeout) end

--- An event from any wait: the select starts a task of `f(...)`, and cancels
--- it if another event is chosen (it may end after the select) or none is (it
--- has ended before). Its values are f's results, and its error is raised. Or
--- an event from a table with try, block and cancel.
---@param f (async fun(...): ...) | uring.TaskOptions | uring.EventMethods
---@param ... any
---@return uring.Event
---@nodiscard
function uring.event(f, ...) end

--- The functions of an event of your own. They are called with the event and
--- the waiter of the select. None of them may wait.
---@class uring.EventMethods
---@field try fun(self, waiter?: uring.Waiter): true?, any ...
---@field block fun(self, waiter: uring.Waiter): uring.seconds?, boolean?
---@field cancel fun(self, waiter: uring.Waiter): uring.Event?

--- Ready so many seconds after the select began; with 0 at once. It has no
--- values.
---@param seconds uring.seconds
---@return uring.Event
---@nodiscard
function uring.after(seconds) end

--- Ready when uring.now() has reached this time. It has no values.
---@param time uring.seconds
---@return uring.Event
---@nodiscard
function uring.at(time) end

--- Ready when uring.time() has reached this time, also if the clock is set
--- meanwhile. It has no values. It is the system's time also where a host
--- gives the loop another. (io_uring_prep_timeout(3), REALTIME, 5.15)
---@param time uring.seconds
---@return uring.Event
---@nodiscard
function uring.at_time(time) end

--- Ticks: the n-th comes n times `seconds` from now on by uring.now(), and so
--- does not drift. `for n in uring.every(seconds) do` waits for one after
--- another.
---@param seconds uring.seconds above 0
---@return uring.Ticks
---@nodiscard
function uring.every(seconds) end

---@class uring.Ticks
---@overload fun(): integer?
local Ticks = {}

--- The number of the tick that has come. All tasks that wait get it; the last
--- one that came while none waited is kept, and those before it are passed
--- over: the number tells. EBADF if they are closed meanwhile.
---@async
---@param timeout? uring.seconds
---@return integer? n from 1
---@return string? message
---@return integer? errno
function Ticks:receive(timeout) end

--- ticks:receive as an event.
---@return uring.Event
---@nodiscard
function Ticks:receiving() end

--- for n in ticks:messages() do: ends when they are closed. Leaving the loop
--- closes them.
---@async
---@return function
---@return any
---@return nil
---@return any
function Ticks:messages() end

--- There are no more. Closing again does nothing.
---@return true closed
function Ticks:close() end

--- The wall clock: seconds since 1970, CLOCK_REALTIME. It may be set, so it is
--- for dates; deadlines are uring.now()'s. (clock_gettime(2))
---@return uring.seconds
---@nodiscard
function uring.time() end

--- The time of CLOCK_MONOTONIC.
---@return uring.seconds
---@nodiscard
function uring.now() end

--- A queue of values between tasks of this state. With a capacity of 0, the
--- default, a sender waits until a receiver has the values.
---@param capacity? integer 0 or more
---@return uring.Channel
---@nodiscard
function uring.channel(capacity) end

--- A counting semaphore: `n` tasks may hold it at once.
---@param n integer 0 or more
---@return uring.Semaphore
---@nodiscard
function uring.semaphore(n) end

--- All tasks that have not ended.
---@return uring.TaskInfo[]
---@nodiscard
function uring.tasks() end

--- `seconds` is rounded up by some ms. Where the wait has no deadline it also
--- counts the time that other tasks ran before it, in the same turn of the
--- loop or in up to 16 turns that did not enter the kernel.
---@class uring.TaskInfo
---@field task uring.Task
---@field id string "task 3 'reader'"; "task 2.3" in a scope of main's
---@field name? string
---@field state "new"|"ready"|"running"|"waiting"
---@field waits? string for what: "in uring.sleep, for 1.5 s more"
---@field seconds? uring.seconds for how long it has waited
---@field file? string where it is
---@field line? integer
---@field spawned_at string "file:line"
---@field parent? uring.Task the owner of its scope; nil: uring.run's own
---@field daemon boolean
---@field cancelled boolean

--- The same as text, one line a task, each below the owner of its scope.
---@return string
---@nodiscard
function uring.tree() end


-- ---- rings ----------------------------------------------------------------

---@class uring.Ring
local Ring = {}

--- Queue a request, or several as a linked chain: each starts when the one
--- before it has succeeded. They are copied and go with the next submit; a
--- full SQ is submitted first. Gives an operation for each.
--- (io_uring_get_sqe(3), io_uring_enter(2))
---@param sqe uring.Sqe
---@param ... uring.Sqe
---@return uring.Operation? operation
---@return uring.Operation|string? more or the message
---@return uring.Operation|integer? ... or the errno
function Ring:queue(sqe, ...) end

--- The same for a ring by hand, without making operations: less work where
--- there are many. What was pushed is told apart by its data (Sqe:set_data64),
--- and cannot be cancelled by itself.
--- (io_uring_get_sqe(3))
---@param sqe uring.Sqe
---@param ... uring.Sqe at most 16 in all
---@return true? queued
---@return string? message
---@return integer? errno
function Ring:push(sqe, ...) end

--- Hand the kernel what was queued. (io_uring_submit(3))
---@return integer? submitted
---@return string? message
---@return integer? errno
function Ring:submit() end

--- Submit, and wait until `n` completions or messages are there to be taken.
--- Blocks the thread. (io_uring_submit_and_wait_timeout(3))
---@param n? integer 1 if not given
---@param timeout? uring.seconds
---@return integer? submitted
---@return string? message
---@return integer? errno
function Ring:submit_and_wait(n, timeout) end

--- The same, but after `min_wait` seconds one completion is enough.
--- (io_uring_submit_and_wait_min_timeout(3), 6.12)
---@param n integer
---@param timeout number?
---@param min_wait number
---@return integer? submitted
---@return string? message
---@return integer? errno
function Ring:submit_and_wait_min_timeout(n, timeout, min_wait) end

--- Take the next completion or message; where none is there submit, and wait
--- for one. `data` is the set_data64 of a completion's SQE, or a message's
--- data. `res` is signed, as the kernel gives it: of a completion a result, or
--- if negative an errno; but of a completion with IORING_CQE_F_NOTIF the bits
--- IORING_NOTIF_USAGE_..., unsigned. Blocks the thread.
--- (io_uring_wait_cqe_timeout(3))
---@param timeout? uring.seconds
---@return integer? data
---@return integer|string res or the message
---@return integer flags or the errno
---@return "completion"|"message"|nil kind
function Ring:wait_cqe(timeout) end

--- The same without waiting: nil, message, EAGAIN where nothing is there.
--- (io_uring_peek_cqe(3))
---@return integer? data
---@return integer|string res or the message
---@return integer flags or the errno
---@return "completion"|"message"|nil kind
function Ring:peek_cqe() end

--- for data, res, flags, kind in ring:cqes() do: takes what peek_cqe would
--- give, one by one, until nothing is there. What the loop leaves stays to be
--- taken.
--- After submit_and_wait(n) this is the cheapest way to take many.
--- (io_uring_for_each_cqe(3))
---@return fun(): integer?, integer?, integer?, "completion"|"message"|nil
---@nodiscard
function Ring:cqes() end

--- Queue this request here and wait for its completion, as uring.await does.
--- A request that completes more than once raises: queue it.
---@async
---@param sqe uring.Sqe
---@param timeout? uring.seconds
---@return integer? res
---@return integer|string flags or the message
---@return integer? errno
---@return integer? flags of a failed completion
function Ring:await(sqe, timeout) end

--- Queue these as a chain and wait until all have completed. A result is
--- { res, flags }, negative as the kernel gave it, or { silent = true } of a
--- silent one that succeeded: not all may be silent. Over time the results are
--- the fourth value. IOSQE_IO_DRAIN raises.
---@async
---@param sqes uring.Sqe[]
---@param timeout? uring.seconds
---@return uring.Result[]? results
---@return string? message
---@return integer? errno
---@return uring.Result[]? results
function Ring:await_chain(sqes, timeout) end

---@class uring.Result
---@field [1]? integer res
---@field [2]? integer flags
---@field silent? boolean

--- Wait for the next message to this ring. `len` is unsigned, as it was set.
--- Of several tasks that wait each message reaches exactly one, in order.
---@async
---@param timeout? uring.seconds
---@return integer? len
---@return integer|string data or the message
---@return integer flags or the errno
function Ring:receive(timeout) end

--- for len, data, flags in ring:messages() do: ends when the ring is closed
--- here.
---@async
---@return async fun(ring: uring.Ring): integer?, integer?, integer?
---@return uring.Ring
function Ring:messages() end

--- ring:receive as an event. Not chosen, it leaves each message where it is.
---@return uring.Event
---@nodiscard
function Ring:receiving() end

--- ring:await as an event, which queues the request when the select begins.
--- Not chosen, it is cancelled, and if it completes all the same its result is
--- disposed of: what it has read is lost. Where another event was chosen it
--- may be under way for a moment more, and take what comes then; where none
--- was, it has ended when the select has.
---@param sqe uring.Sqe
---@return uring.Event
---@nodiscard
function Ring:awaiting(sqe) end

--- The number of its descriptor. It does not do in a poll or an epoll: what
--- DEFER_TASKRUN puts off does not make it readable. Poll an eventfd that
--- register_eventfd was given.
---@return integer
function Ring:fd() end

--- What others may know it by: it names this ring and never another one, and
--- keeps nothing of it when it is closed.
---@return uring.Ref
function Ring:ref() end

--- The setup flags in force, and their names.
---@return integer flags
---@return string names
function Ring:flags() end

--- What the kernel says of itself: IORING_FEAT_..., and the names.
---@return integer features
---@return string names
function Ring:features() end

--- Also of a closed ring.
---@return uring.Stats
function Ring:stats() end

--- submitted == completed + silent + in_flight, at every moment
---@class uring.Stats
---@field submitted integer operations that were queued
---@field completed integer operations whose last completion has come
---@field silent integer operations that succeeded and were not to be reported
---@field in_flight integer operations that have not ended
---@field internal integer of these, the library's own
---@field stale integer CQEs with a token that had ended: dropped
---@field forged_doorbells integer messages with the token of the loop's
---  doorbell, by which other threads wake it, that none of them had sent: they
---  woke it, and no more
---@field messages integer messages that arrived
---@field waiting integer messages that arrived and were not taken
---@field high_water integer the most that ever waited
---@field disposed integer results that were not taken: what they opened is
---  closed
---@field leaked integer operations whose memory was kept at close
---@field overflowed integer how often the CQ was found overflowed
---@field lost integer CQEs that the kernel dropped for want of memory
---@field enters integer system calls
---@field cqes integer CQEs taken
---@field cqes_per_enter number
---@field sq_entries integer
---@field cq_entries integer

--- Refuse new work, cancel, drain for at most a second, and close: its files,
--- buffers and number go at once, whatever references to it there are. What
--- the kernel will not let go of keeps its memory for ever: nil, message,
--- EBUSY.
--- Rings that are collected share a tenth of a second, which is all that
--- lua_close waits for them.
---@return true? closed
---@return string? message
---@return integer? errno
function Ring:close() end

--- A table of files: slots that IOSQE_FIXED_FILE and direct descriptors use.
--- false or -1 is an empty slot. (io_uring_register_files(3), 5.1)
---@param files (uring.descriptor|false)[]
---@return true? done
---@return string? message
---@return integer? errno
function Ring:register_files(files) end

--- The same with tags: a message with the tag as its data arrives at the ring
--- when a slot is empty again and no request uses its file any more. (Before
--- 6.13 unregistering the table sends none.)
--- (io_uring_register_files_tags(3), 5.13)
---@param files (uring.descriptor|false)[]
---@param tags integer[] one for each; 0: no message
---@return true? done
---@return string? message
---@return integer? errno
function Ring:register_files_tags(files, tags) end

--- A table of so many empty slots. (io_uring_register_files_sparse(3), 5.19)
---@param n integer
---@return true? done
---@return string? message
---@return integer? errno
function Ring:register_files_sparse(n) end

--- Fill slots from `offset` on. (io_uring_register_files_update(3), 5.5)
---@param offset integer counted from 0
---@param files (uring.descriptor|false)[]
---@return integer? updated
---@return string? message
---@return integer? errno
function Ring:register_files_update(offset, files) end

--- The same with tags. (io_uring_register_files_update_tag(3), 5.13)
---@param offset integer
---@param files (uring.descriptor|false)[]
---@param tags integer[]
---@return integer? updated
---@return string? message
---@return integer? errno
function Ring:register_files_update_tag(offset, files, tags) end

--- Which slots the kernel may pick for IORING_FILE_INDEX_ALLOC.
--- (io_uring_register_file_alloc_range(3), 6.0)
---@param offset integer
---@param len integer
---@return true? done
---@return string? message
---@return integer? errno
function Ring:register_file_alloc_range(offset, len) end

--- (io_uring_unregister_files(3), 5.1)
---@return true? done
---@return string? message
---@return integer? errno
function Ring:unregister_files() end

--- Write to this eventfd whenever a CQE arrives. Refused while the loop
--- watches the ring by one of its own. (io_uring_register_eventfd(3), 5.2)
---@param fd uring.descriptor
---@return true? done
---@return string? message
---@return integer? errno
function Ring:register_eventfd(fd) end

--- Write to this eventfd only for what completes later, and not in the submit.
--- (io_uring_register_eventfd_async(3), 5.6)
---@param fd uring.descriptor
---@return true? done
---@return string? message
---@return integer? errno
function Ring:register_eventfd_async(fd) end

--- Is the eventfd written to? What arrives while it is not makes it readable
--- neither then nor later. (io_uring_cq_eventfd_toggle(3), 5.8)
---@param enabled boolean
---@return true? done
---@return string? message
---@return integer? errno
function Ring:cq_eventfd_toggle(enabled) end

--- (io_uring_unregister_eventfd(3), 5.2)
---@return true? done
---@return string? message
---@return integer? errno
function Ring:unregister_eventfd() end

--- Register buffers, which prep_read_fixed and the like name by their number,
--- from 0; false is an empty place. The kernel locks their pages once, and not
--- for each request. They keep their memory until they are unregistered or
--- replaced, also if they are closed. (io_uring_register_buffers(3), 5.1)
---@param buffers (uring.Buffer|false)[] at most 16384
---@return true? done
---@return string? message
---@return integer? errno
function Ring:register_buffers(buffers) end

--- The same with tags, as register_files_tags.
--- (io_uring_register_buffers_tags(3), 5.13)
---@param buffers (uring.Buffer|false)[]
---@param tags integer[]
---@return true? done
---@return string? message
---@return integer? errno
function Ring:register_buffers_tags(buffers, tags) end

--- So many empty places. (io_uring_register_buffers_sparse(3), 5.19)
---@param n integer
---@return true? done
---@return string? message
---@return integer? errno
function Ring:register_buffers_sparse(n) end

--- Replace buffers from `offset` on.
--- (io_uring_register_buffers_update_tag(3), 5.13)
---@param offset integer
---@param buffers (uring.Buffer|false)[]
---@param tags integer[]
---@return integer? updated
---@return string? message
---@return integer? errno
function Ring:register_buffers_update_tag(offset, buffers, tags) end

--- (io_uring_unregister_buffers(3), 5.1)
---@return true? done
---@return string? message
---@return integer? errno
function Ring:unregister_buffers() end

--- Register the buffers of another ring here, too. (io_uring_clone_buffers(3),
--- 6.12)
---@param source uring.Ring
---@return true? done
---@return string? message
---@return integer? errno
function Ring:clone_buffers(source) end

--- Some of them. (io_uring_clone_buffers_offset(3), 6.13)
---@param source uring.Ring
---@param dst_off integer
---@param src_off integer
---@param nr integer 0: all
---@param flags? integer IORING_REGISTER_DST_REPLACE
---@return true? done
---@return string? message
---@return integer? errno
function Ring:clone_buffers_offset(source, dst_off, src_off, nr, flags) end

--- The number of the calling thread's credentials as they are now, for
--- Sqe:set_personality. (io_uring_register_personality(3), 5.6)
---@return integer? id
---@return string? message
---@return integer? errno
function Ring:register_personality() end

--- (io_uring_unregister_personality(3), 5.6)
---@param id integer
---@return true? done
---@return string? message
---@return integer? errno
function Ring:unregister_personality(id) end

--- What the ring may do, of one that is not enabled yet
--- (IORING_SETUP_R_DISABLED): all else gives EACCES. Allow
--- IORING_OP_ASYNC_CANCEL as well, or nothing can be cancelled.
--- (io_uring_register_restrictions(3), 5.10)
---@param restrictions integer[][] { IORING_RESTRICTION_..., number }
---@return true? done
---@return string? message
---@return integer? errno
function Ring:register_restrictions(restrictions) end

--- The CPUs that io-wq's workers of this ring run on.
--- (io_uring_register_iowq_aff(3), 5.14)
---@param cpus integer[] counted from 0
---@return true? done
---@return string? message
---@return integer? errno
function Ring:register_iowq_aff(cpus) end

--- (io_uring_unregister_iowq_aff(3), 5.14)
---@return true? done
---@return string? message
---@return integer? errno
function Ring:unregister_iowq_aff() end

--- The most workers of io-wq, for what ends in a bounded time (files) and for
--- the rest; 0, or none: unchanged. Gives what was set before. They are those
--- of the thread, for all of its rings: with one, a request that waits there
--- (the open of a FIFO) holds up every other that needs a worker.
--- (io_uring_register_iowq_max_workers(3), 5.15)
---@param bounded? integer
---@param unbounded? integer
---@return integer? bounded
---@return integer|string? unbounded or a message
---@return integer? errno
function Ring:register_iowq_max_workers(bounded, unbounded) end

--- Poll network devices busily in waits. Gives what was set before.
--- (io_uring_register_napi(3), 6.9)
---@param busy_poll_to integer microseconds
---@param prefer_busy_poll? boolean
---@return integer? busy_poll_to
---@return boolean|string? prefer_busy_poll or a message
---@return integer? errno
function Ring:register_napi(busy_poll_to, prefer_busy_poll) end

--- (io_uring_unregister_napi(3), 6.9)
---@return integer? busy_poll_to
---@return boolean|string? prefer_busy_poll or a message
---@return integer? errno
function Ring:unregister_napi() end

--- The clock of the ring's waits. (io_uring_register_clock(3), 6.12)
---@param clockid integer CLOCK_MONOTONIC, CLOCK_BOOTTIME
---@return true? done
---@return string? message
---@return integer? errno
function Ring:register_clock(clockid) end

--- Do the ring's waits count as waits for a disk? (io_uring_set_iowait(3),
--- 6.15)
---@param enabled boolean
---@return true? done
---@return string? message
---@return integer? errno
function Ring:set_iowait(enabled) end

--- Cancel what matches and return when that is done. The result is the
--- kernel's: how many there were where it counts them (ANY, ALL), else 0;
--- nil, message, ENOENT for none. (io_uring_register_sync_cancel(3), 6.0)
---@param what uring.SyncCancel
---@return integer? cancelled
---@return string? message
---@return integer? errno
function Ring:register_sync_cancel(what) end

---@class uring.SyncCancel
---@field op? uring.Operation this one, of this ring
---@field fd? uring.descriptor or what uses this descriptor
---@field opcode? integer or what has this opcode (6.6)
---@field flags? integer IORING_ASYNC_CANCEL_ALL, ..._ANY
---@field timeout? uring.seconds

--- Start a ring that was made with R_DISABLED: this thread is its owner now.
--- (io_uring_enable_rings(3), 5.10)
---@return true? done
---@return string? message
---@return integer? errno
function Ring:enable_rings() end

--- A group of buffers that the kernel picks from: for prep_recv and the
--- multishot receives. nil, message, EEXIST where the ring has that number
--- already. With IOU_PBUF_RING_INC each buffer is filled by parts: by streams
--- only, for it would cut datagrams off. That is refused without `min_left`,
--- but of a direct descriptor it is not known what it is. With it a datagram
--- that is larger than that may still be cut off.
--- (io_uring_setup_buf_ring(3), 5.19)
---@param options uring.BufRingOptions
---@return uring.BufRing? group
---@return string? message
---@return integer? errno
---@nodiscard
function Ring:buf_ring(options) end

---@class uring.BufRingOptions
---@field entries? integer a power of two, at most 32768; 64 if not given
---@field size? integer of each buffer in bytes; 4096 if not given
---@field bgid? integer 0 to 65535; the first free one if not given
---@field flags? integer IOU_PBUF_RING_INC (6.12)
---@field min_left? integer with INC, up to size: less room is not used


-- ---- requests -------------------------------------------------------------

--- A value: queued by copy, any number of times, on any ring. Each prep clears
--- it; setters come after the prep. Both give the SQE itself.
---@class uring.Sqe
---@field opcode integer
---@field flags integer IOSQE_...
---@field ioprio integer
---@field fd integer
---@field off integer
---@field addr? integer where it is no address of the library's memory
---@field len integer
---@field rw_flags integer the flags of the opcode
---@field user_data integer what set_data64 has set
---@field buf_index integer
---@field buf_group integer
---@field personality integer
---@field file_index integer
---@field addr3 integer
local Sqe = {}

--- A message: a CQE at the target with res = len, user_data = data. Result:
--- 0, the target has it; that it was read is not said.
--- (io_uring_prep_msg_ring(3), 5.18)
---@param target uring.target
---@param len integer -2^31 to 2^32-1
---@param data integer any 64 bits
---@param flags? integer none that makes sense here
---@return uring.Sqe
function Sqe:prep_msg_ring(target, len, data, flags) end

--- The same, with the CQE's flags; not 0x8000 and 0x20, which the reader's
--- liburing would act on. (io_uring_prep_msg_ring_cqe_flags(3), 6.3)
---@param target uring.target
---@param len integer -2^31 to 2^32-1
---@param data integer any 64 bits
---@param flags integer
---@param cqe_flags integer
---@return uring.Sqe
function Sqe:prep_msg_ring_cqe_flags(target, len, data, flags, cqe_flags) end

--- Put the file in a slot of this ring into a slot of the target, and tell it
--- (not with CQE_SKIP) by a message with `data`. The sender keeps its own.
--- (io_uring_prep_msg_ring_fd(3), 6.0)
---@param target uring.target
---@param source_fd integer a slot of the ring that this is queued on
---@param target_fd integer a slot of the target
---@param data integer
---@param flags? integer IORING_MSG_RING_CQE_SKIP
---@return uring.Sqe
function Sqe:prep_msg_ring_fd(target, source_fd, target_fd, data, flags) end

--- The same, into a slot that the kernel picks: the message's len.
--- (io_uring_prep_msg_ring_fd_alloc(3), 6.0)
---@param target uring.target
---@param source_fd integer
---@param data integer
---@param flags? integer IORING_MSG_RING_CQE_SKIP
---@return uring.Sqe
function Sqe:prep_msg_ring_fd_alloc(target, source_fd, data, flags) end

--- Open a file, always close-on-exec. Result: the new descriptor, yours to
--- close. (io_uring_prep_openat(3), 5.6)
---@param dfd uring.descriptor uring.AT_FDCWD: the working directory
---@param path string
---@param flags? integer O_...
---@param mode? integer
---@return uring.Sqe
function Sqe:prep_openat(dfd, path, flags, mode) end

--- Open a file into a slot of the ring. Result: 0, or with
--- IORING_FILE_INDEX_ALLOC the slot. (io_uring_prep_openat_direct(3), 5.15)
---@param dfd uring.descriptor
---@param path string
---@param flags integer?
---@param mode integer?
---@param file_index integer
---@return uring.Sqe
function Sqe:prep_openat_direct(dfd, path, flags, mode, file_index) end

--- Read into a buffer. Result: how many bytes, 0 at the end.
--- (io_uring_prep_read(3), 5.6)
---@param fd uring.descriptor or with IOSQE_FIXED_FILE a slot
---@param buffer uring.Buffer
---@param nbytes? integer all that is left of the buffer if not given
---@param offset? integer in the file; -1, or none: its own position
---@param at? integer where in the buffer, counted from 0
---@return uring.Sqe
function Sqe:prep_read(fd, buffer, nbytes, offset, at) end

--- Write a string, which is copied, or a buffer or lease, which is not.
--- Result: how many bytes. A write to a pipe or socket without a reader may
--- raise SIGPIPE, which kills the process that does not ignore it, but with
--- set_rw_flags(RWF_NOSIGNAL) or set_flags(IOSQE_ASYNC).
--- (io_uring_prep_write(3), 5.6)
---@param fd uring.descriptor or with IOSQE_FIXED_FILE a slot
---@param what uring.bytes
---@param nbytes? integer
---@param offset? integer
---@param at? integer
---@return uring.Sqe
function Sqe:prep_write(fd, what, nbytes, offset, at) end

--- Read into several buffers, one after the other. Result: how many bytes.
--- (io_uring_prep_readv(3), 5.1)
---@param fd uring.descriptor
---@param buffers uring.Buffer[] at most 1024
---@param offset? integer in the file; -1, or none: its own position
---@return uring.Sqe
function Sqe:prep_readv(fd, buffers, offset) end

--- The same with flags. (io_uring_prep_readv2(3), 5.1)
---@param fd uring.descriptor
---@param buffers uring.Buffer[]
---@param offset? integer
---@param flags? integer RWF_...
---@return uring.Sqe
function Sqe:prep_readv2(fd, buffers, offset, flags) end

--- Write several strings, which are copied, buffers or leases, one after the
--- other. Result: how many bytes. (io_uring_prep_writev(3), 5.1)
---@param fd uring.descriptor
---@param parts uring.bytes[] at most 1024
---@param offset? integer
---@return uring.Sqe
function Sqe:prep_writev(fd, parts, offset) end

--- The same with flags. (io_uring_prep_writev2(3), 5.1)
---@param fd uring.descriptor
---@param parts uring.bytes[]
---@param offset? integer
---@param flags? integer RWF_...
---@return uring.Sqe
function Sqe:prep_writev2(fd, parts, offset, flags) end

--- Read into a buffer that is registered (Ring:register_buffers). Result: how
--- many bytes. (io_uring_prep_read_fixed(3), 5.1)
---@param fd uring.descriptor
---@param buffer uring.Buffer
---@param nbytes integer?
---@param offset integer?
---@param buf_index integer its number among those registered
---@param at? integer where in the buffer, counted from 0
---@return uring.Sqe
function Sqe:prep_read_fixed(fd, buffer, nbytes, offset, buf_index, at) end

--- Write a buffer that is registered. Result: how many bytes.
--- (io_uring_prep_write_fixed(3), 5.1)
---@param fd uring.descriptor
---@param what uring.Buffer | uring.Lease
---@param nbytes integer?
---@param offset integer?
---@param buf_index integer
---@param at? integer
---@return uring.Sqe
function Sqe:prep_write_fixed(fd, what, nbytes, offset, buf_index, at) end

--- Read into several parts of one registered buffer.
--- (io_uring_prep_readv_fixed(3), 6.15)
---@param fd uring.descriptor
---@param buffers uring.Buffer[]
---@param offset integer?
---@param flags integer?
---@param buf_index integer
---@return uring.Sqe
function Sqe:prep_readv_fixed(fd, buffers, offset, flags, buf_index) end

--- Write several parts of one registered buffer.
--- (io_uring_prep_writev_fixed(3), 6.15)
---@param fd uring.descriptor
---@param buffers uring.Buffer[]
---@param offset integer?
---@param flags integer?
---@param buf_index integer
---@return uring.Sqe
function Sqe:prep_writev_fixed(fd, buffers, offset, flags, buf_index) end

--- Read whenever there is something to read, into buffers of a group. For what
--- can be polled: pipes, sockets, ttys. Results: as prep_recv_multishot.
--- (io_uring_prep_read_multishot(3), 6.7)
---@param fd uring.descriptor
---@param nbytes integer? at most so many at a time; 0: a buffer full
---@param offset integer? -1, or none
---@param bgid integer
---@return uring.Sqe
function Sqe:prep_read_multishot(fd, nbytes, offset, bgid) end

--- Write what the system holds of a file to its device.
--- (io_uring_prep_fsync(3), 5.1)
---@param fd uring.descriptor
---@param flags? integer IORING_FSYNC_DATASYNC
---@return uring.Sqe
function Sqe:prep_fsync(fd, flags) end

--- The same of a range. (io_uring_prep_sync_file_range(3), 5.2)
---@param fd uring.descriptor
---@param len integer 0: to the end
---@param offset integer
---@param flags? integer SYNC_FILE_RANGE_...
---@return uring.Sqe
function Sqe:prep_sync_file_range(fd, len, offset, flags) end

--- Allocate space of a file, or free it. (io_uring_prep_fallocate(3), 5.6)
---@param fd uring.descriptor
---@param mode integer FALLOC_FL_...
---@param offset integer
---@param len integer
---@return uring.Sqe
function Sqe:prep_fallocate(fd, mode, offset, len) end

--- Set the size of a file. (io_uring_prep_ftruncate(3), 6.9)
---@param fd uring.descriptor
---@param len integer
---@return uring.Sqe
function Sqe:prep_ftruncate(fd, len) end

--- Tell how a file is going to be used. (io_uring_prep_fadvise(3), 5.6)
---@param fd uring.descriptor
---@param offset integer
---@param len integer 0: to the end; below 4 GiB
---@param advice? integer POSIX_FADV_...
---@return uring.Sqe
function Sqe:prep_fadvise(fd, offset, len, advice) end

--- The same with a long range. (io_uring_prep_fadvise64(3); before 6.11 the
--- kernel takes the length as 0, to the end)
---@param fd uring.descriptor
---@param offset integer
---@param len integer
---@param advice? integer POSIX_FADV_...
---@return uring.Sqe
function Sqe:prep_fadvise64(fd, offset, len, advice) end

--- Move bytes between a pipe and another descriptor. Result: how many. It runs
--- in a thread of the kernel's, also while it waits. While it waits for data
--- of a socket it has the pipe's lock: a write to the pipe and a close of its
--- other end, as by lua_close, wait too, and only SIGKILL ends that. So let it
--- be linked behind a poll of the socket.
--- (io_uring_prep_splice(3), 5.7)
---@param fd_in uring.descriptor no Lua file; with SPLICE_F_FD_IN_FIXED a slot
---@param off_in integer? -1, or none: the position, as of a pipe
---@param fd_out uring.descriptor
---@param off_out integer?
---@param nbytes integer
---@param flags? integer SPLICE_F_...
---@return uring.Sqe
function Sqe:prep_splice(fd_in, off_in, fd_out, off_out, nbytes, flags) end

--- Copy bytes from pipe to pipe, which stay in the first.
--- (io_uring_prep_tee(3), 5.8)
---@param fd_in uring.descriptor no Lua file
---@param fd_out uring.descriptor
---@param nbytes integer
---@param flags? integer SPLICE_F_...
---@return uring.Sqe
function Sqe:prep_tee(fd_in, fd_out, nbytes, flags) end

--- Change what an epoll descriptor waits for. (io_uring_prep_epoll_ctl(3),
--- 5.6)
---@param epfd uring.descriptor
---@param fd uring.descriptor no Lua file
---@param op integer EPOLL_CTL_...
---@param events? integer EPOLLIN and the like
---@param data? integer is given with the events
---@return uring.Sqe
function Sqe:prep_epoll_ctl(epfd, fd, op, events, data) end

--- Wait for events of an epoll descriptor. Result: how many there are in the
--- buffer, each of 12 bytes on x86-64, `string.unpack("=I4i8", …)`, and of 16
--- on arm64, `"=!I4i8"`. All have to fit into the buffer.
--- (io_uring_prep_epoll_wait(3), 6.15)
---@param epfd uring.descriptor
---@param buffer uring.Buffer
---@param maxevents integer
---@param flags? integer
---@return uring.Sqe
function Sqe:prep_epoll_wait(epfd, buffer, maxevents, flags) end

--- Open a file, always close-on-exec. Result: the new descriptor, yours to
--- close. (io_uring_prep_open(3), 5.6)
---@param path string
---@param flags? integer O_...
---@param mode? integer
---@return uring.Sqe
function Sqe:prep_open(path, flags, mode) end

--- Open a file into a slot of the ring, as prep_openat_direct.
--- (io_uring_prep_open_direct(3), 5.15)
---@param path string
---@param flags integer?
---@param mode integer?
---@param file_index integer
---@return uring.Sqe
function Sqe:prep_open_direct(path, flags, mode, file_index) end

---@class uring.open_how
---@field flags? integer O_...
---@field mode? integer of a new file
---@field resolve? integer RESOLVE_...

--- Open a file with rules for the lookup of its path; always close-on-exec.
--- Result: the new descriptor, yours to close. (io_uring_prep_openat2(3),
--- openat2(2), 5.6)
---@param dfd uring.descriptor
---@param path string
---@param how uring.open_how
---@return uring.Sqe
function Sqe:prep_openat2(dfd, path, how) end

--- The same into a slot of the ring. (io_uring_prep_openat2_direct(3), 5.15)
---@param dfd uring.descriptor
---@param path string
---@param how uring.open_how
---@param file_index integer
---@return uring.Sqe
function Sqe:prep_openat2_direct(dfd, path, how, file_index) end

--- What is known of a file, as a struct statx of 256 bytes in the buffer; see
--- uring.fs.stat for a table. (io_uring_prep_statx(3), 5.6)
---@param dfd uring.descriptor
---@param path string
---@param flags integer? AT_...
---@param mask integer STATX_...
---@param buffer uring.Buffer
---@return uring.Sqe
function Sqe:prep_statx(dfd, path, flags, mask, buffer) end

--- (io_uring_prep_rename(3), 5.11)
---@param oldpath string
---@param newpath string
---@return uring.Sqe
function Sqe:prep_rename(oldpath, newpath) end

--- (io_uring_prep_renameat(3), 5.11)
---@param olddfd uring.descriptor
---@param oldpath string
---@param newdfd uring.descriptor no Lua file
---@param newpath string
---@param flags? integer RENAME_...
---@return uring.Sqe
function Sqe:prep_renameat(olddfd, oldpath, newdfd, newpath, flags) end

--- (io_uring_prep_unlink(3), 5.11)
---@param path string
---@param flags? integer AT_REMOVEDIR
---@return uring.Sqe
function Sqe:prep_unlink(path, flags) end

--- (io_uring_prep_unlinkat(3), 5.11)
---@param dfd uring.descriptor
---@param path string
---@param flags? integer AT_REMOVEDIR
---@return uring.Sqe
function Sqe:prep_unlinkat(dfd, path, flags) end

--- (io_uring_prep_mkdir(3), 5.15)
---@param path string
---@param mode? integer
---@return uring.Sqe
function Sqe:prep_mkdir(path, mode) end

--- (io_uring_prep_mkdirat(3), 5.15)
---@param dfd uring.descriptor
---@param path string
---@param mode? integer
---@return uring.Sqe
function Sqe:prep_mkdirat(dfd, path, mode) end

--- (io_uring_prep_symlink(3), 5.15)
---@param target string
---@param linkpath string
---@return uring.Sqe
function Sqe:prep_symlink(target, linkpath) end

--- (io_uring_prep_symlinkat(3), 5.15)
---@param target string
---@param newdirfd uring.descriptor
---@param linkpath string
---@return uring.Sqe
function Sqe:prep_symlinkat(target, newdirfd, linkpath) end

--- (io_uring_prep_link(3), 5.15)
---@param oldpath string
---@param newpath string
---@param flags? integer AT_SYMLINK_FOLLOW
---@return uring.Sqe
function Sqe:prep_link(oldpath, newpath, flags) end

--- (io_uring_prep_linkat(3), 5.15)
---@param olddfd uring.descriptor
---@param oldpath string
---@param newdfd uring.descriptor no Lua file
---@param newpath string
---@param flags? integer AT_EMPTY_PATH, AT_SYMLINK_FOLLOW
---@return uring.Sqe
function Sqe:prep_linkat(olddfd, oldpath, newdfd, newpath, flags) end

--- Read an attribute of a file into the buffer. Result: its size.
--- (io_uring_prep_getxattr(3), 5.19)
---@param name string
---@param buffer uring.Buffer
---@param path string
---@param len? integer
---@return uring.Sqe
function Sqe:prep_getxattr(name, buffer, path, len) end

--- Set an attribute of a file. (io_uring_prep_setxattr(3), 5.19)
---@param name string
---@param value uring.bytes
---@param path string
---@param flags? integer XATTR_...
---@param len? integer
---@return uring.Sqe
function Sqe:prep_setxattr(name, value, path, flags, len) end

--- (io_uring_prep_fgetxattr(3), 5.19)
---@param fd uring.descriptor
---@param name string
---@param buffer uring.Buffer
---@param len? integer
---@return uring.Sqe
function Sqe:prep_fgetxattr(fd, name, buffer, len) end

--- (io_uring_prep_fsetxattr(3), 5.19)
---@param fd uring.descriptor
---@param name string
---@param value uring.bytes
---@param flags? integer XATTR_...
---@param len? integer
---@return uring.Sqe
function Sqe:prep_fsetxattr(fd, name, value, flags, len) end

--- Close a number. An object that owns it is closed with it; use its close(),
--- which ends the requests on it as well. (io_uring_prep_close(3), 5.6)
---@param fd integer
---@return uring.Sqe
function Sqe:prep_close(fd) end

--- Empty a slot. (io_uring_prep_close_direct(3), 5.15)
---@param file_index integer
---@return uring.Sqe
function Sqe:prep_close_direct(file_index) end

--- Make an ordinary descriptor of a slot. Result: its number, yours to close.
--- (io_uring_prep_fixed_fd_install(3), 6.8)
---@param file_index integer
---@param flags? integer
---@return uring.Sqe
function Sqe:prep_fixed_fd_install(file_index, flags) end

--- Nothing: completes with 0. (io_uring_prep_nop(3), 5.1)
---@return uring.Sqe
function Sqe:prep_nop() end

--- Time. Result: ETIME as an error when it is over, 0 when `count` other
--- completions came first. With IORING_TIMEOUT_MULTISHOT it repeats, `count`
--- times or for ever: each time is a completion whose result is
--- -uring.errno.ETIME, which is no error. (io_uring_prep_timeout(3), 5.4)
---@param seconds uring.seconds
---@param count? integer
---@param flags? integer IORING_TIMEOUT_...; ..._MULTISHOT since 6.4
---@return uring.Sqe
function Sqe:prep_timeout(seconds, count, flags) end

--- Give a timeout in flight another time. (io_uring_prep_timeout_update(3),
--- 5.11)
---@param seconds uring.seconds
---@param operation uring.Operation
---@param flags? integer
---@return uring.Sqe
function Sqe:prep_timeout_update(seconds, operation, flags) end

--- End a timeout. (io_uring_prep_timeout_remove(3), 5.5)
---@param operation uring.Operation
---@param flags? integer
---@return uring.Sqe
function Sqe:prep_timeout_remove(operation, flags) end

--- The last of a chain: limits the time of the member before it, which then
--- ends with ECANCELED or EINTR. Result: -ETIME, or -ECANCELED if the member
--- was done in time. (io_uring_prep_link_timeout(3), 5.5)
---@param seconds number
---@param flags? integer IORING_TIMEOUT_...
---@return uring.Sqe
function Sqe:prep_link_timeout(seconds, flags) end

--- Wait until the 4 bytes of the buffer are woken. Result: 0, or -EAGAIN if
--- they are not `val`. (io_uring_prep_futex_wait(3), 6.7)
---@param buffer uring.Buffer
---@param val integer
---@param mask integer which wakes it takes; 0xffffffff: all
---@param futex_flags integer FUTEX2_SIZE_U32 | FUTEX2_PRIVATE
---@param flags? integer none is known
---@param at? integer where in the buffer, a multiple of 4
---@return uring.Sqe
function Sqe:prep_futex_wait(buffer, val, mask, futex_flags, flags, at) end

--- Wake at most `val` waits. Result: how many. (io_uring_prep_futex_wake(3),
--- 6.7)
---@param buffer uring.Buffer
---@param val integer
---@param mask integer
---@param futex_flags integer
---@param flags? integer
---@param at? integer
---@return uring.Sqe
function Sqe:prep_futex_wake(buffer, val, mask, futex_flags, flags, at) end

--- Wait for a child to change state. The buffer, of 128 bytes, becomes a
--- siginfo_t. (io_uring_prep_waitid(3), waitid(2), 6.7)
---@param idtype integer P_PID, P_PIDFD, P_PGID, P_ALL
---@param id integer
---@param buffer uring.Buffer?
---@param options integer WEXITED, WSTOPPED, WCONTINUED, WNOHANG, WNOWAIT
---@param flags? integer
---@return uring.Sqe
function Sqe:prep_waitid(idtype, id, buffer, options, flags) end

--- Wait until a descriptor is ready. Result: what it is ready for, a mask.
--- (io_uring_prep_poll_add(3), 5.1)
---@param fd uring.descriptor
---@param poll_mask integer POLLIN, POLLOUT, ...
---@return uring.Sqe
function Sqe:prep_poll_add(fd, poll_mask) end

--- The same again and again: one completion each time.
--- (io_uring_prep_poll_multishot(3), 5.13)
---@param fd uring.descriptor
---@param poll_mask integer
---@return uring.Sqe
function Sqe:prep_poll_multishot(fd, poll_mask) end

--- End a poll. (io_uring_prep_poll_remove(3), 5.1)
---@param operation uring.Operation
---@return uring.Sqe
function Sqe:prep_poll_remove(operation) end

--- Change the events that a poll waits for. (io_uring_prep_poll_update(3),
--- 5.13)
---@param operation uring.Operation of a prep_poll_add or prep_poll_multishot
---@param poll_mask integer POLLIN and the like
---@param flags? integer IORING_POLL_ADD_MULTI for a multishot, and
--- IORING_POLL_ADD_LEVEL
---@return uring.Sqe
function Sqe:prep_poll_update(operation, poll_mask, flags) end

--- End an operation of the same ring; or, given nil, all that match: flags
--- IORING_ASYNC_CANCEL_ANY, or ..._OP with the opcode (6.6).
--- (io_uring_prep_cancel(3), 5.5)
---@param operation uring.Operation?
---@param flags? integer
---@param opcode? integer
---@return uring.Sqe
function Sqe:prep_cancel(operation, flags, opcode) end

--- End what uses a descriptor. (io_uring_prep_cancel_fd(3), 5.19)
---@param fd uring.descriptor
---@param flags? integer IORING_ASYNC_CANCEL_ALL, ...
---@return uring.Sqe
function Sqe:prep_cancel_fd(fd, flags) end

--- Make a socket, always close-on-exec. Result: the new descriptor, yours to
--- close. (io_uring_prep_socket(3), 5.19)
---@param domain integer AF_...
---@param type integer SOCK_...
---@param protocol? integer
---@param flags? integer none yet
---@return uring.Sqe
function Sqe:prep_socket(domain, type, protocol, flags) end

--- Make a socket in a slot of the ring. Result: 0, or with
--- IORING_FILE_INDEX_ALLOC the slot. (io_uring_prep_socket_direct(3), 5.19)
---@param domain integer
---@param type integer
---@param protocol integer?
---@param file_index integer
---@param flags? integer
---@return uring.Sqe
function Sqe:prep_socket_direct(domain, type, protocol, file_index, flags) end

--- The same, in a slot that the kernel picks: the result.
--- (io_uring_prep_socket_direct_alloc(3), 5.19)
---@param domain integer
---@param type integer
---@param protocol? integer
---@param flags? integer
---@return uring.Sqe
function Sqe:prep_socket_direct_alloc(domain, type, protocol, flags) end

--- Give a socket its own address. (io_uring_prep_bind(3), 6.11)
---@param fd uring.descriptor or with IOSQE_FIXED_FILE a slot
---@param address uring.address
---@return uring.Sqe
function Sqe:prep_bind(fd, address) end

--- (io_uring_prep_listen(3), 6.11)
---@param fd uring.descriptor or with IOSQE_FIXED_FILE a slot
---@param backlog? integer SOMAXCONN if not given
---@return uring.Sqe
function Sqe:prep_listen(fd, backlog) end

--- Take a connection, always close-on-exec. Result: the new descriptor, yours
--- to close; the peer's address is the socket's to tell.
--- (io_uring_prep_accept(3), 5.5)
---@param fd uring.descriptor or with IOSQE_FIXED_FILE a slot
---@param flags? integer SOCK_NONBLOCK
---@return uring.Sqe
function Sqe:prep_accept(fd, flags) end

--- Take a connection into a slot of the ring. Result: 0, or with
--- IORING_FILE_INDEX_ALLOC the slot. (io_uring_prep_accept_direct(3), 5.15)
---@param fd uring.descriptor
---@param flags integer?
---@param file_index integer
---@return uring.Sqe
function Sqe:prep_accept_direct(fd, flags, file_index) end

--- Take one connection after another, a completion for each.
--- (io_uring_prep_multishot_accept(3), 5.19)
---@param fd uring.descriptor
---@param flags? integer
---@return uring.Sqe
function Sqe:prep_multishot_accept(fd, flags) end

--- The same, into slots that the kernel picks; ENFILE where none is left.
--- (io_uring_prep_multishot_accept_direct(3), 5.19)
---@param fd uring.descriptor
---@param flags? integer
---@return uring.Sqe
function Sqe:prep_multishot_accept_direct(fd, flags) end

--- (io_uring_prep_connect(3), 5.5)
---@param fd uring.descriptor or with IOSQE_FIXED_FILE a slot
---@param address uring.address
---@return uring.Sqe
function Sqe:prep_connect(fd, address) end

--- (io_uring_prep_shutdown(3), 5.11)
---@param fd uring.descriptor or with IOSQE_FIXED_FILE a slot
---@param how integer SHUT_RD, SHUT_WR or SHUT_RDWR
---@return uring.Sqe
function Sqe:prep_shutdown(fd, how) end

--- Send a string, which is copied, or a buffer or lease, which is not.
--- Result: how many bytes. A unix datagram that has to wait for space is sent
--- empty, by the kernel's mistake, and the result is 0: this and the other
--- sends take MSG_DONTWAIT there, or socket:send does it right.
--- (io_uring_prep_send(3), 5.6)
---@param fd uring.descriptor or with IOSQE_FIXED_FILE a slot
---@param bytes uring.bytes
---@param len? integer all that is left if not given
---@param flags? integer MSG_...
---@param at? integer where they begin, counted from 0
---@return uring.Sqe
function Sqe:prep_send(fd, bytes, len, flags, at) end

--- Send the buffers of the group of set_buf_group, in the group's order: of
--- a group that ring:buf_ring made, all of each buffer, as it was when it was
--- recycled. Each completion is a bundle of buffers.
--- (io_uring_prep_send_bundle(3), 6.10)
---@param fd uring.descriptor
---@param len? integer at most so many bytes; 0: all
---@param flags? integer MSG_...
---@return uring.Sqe
function Sqe:prep_send_bundle(fd, len, flags) end

--- Send to an address. (io_uring_prep_sendto(3), 6.1)
---@param fd uring.descriptor or with IOSQE_FIXED_FILE a slot
---@param bytes uring.bytes
---@param len integer?
---@param flags integer?
---@param address uring.address
---@param at? integer
---@return uring.Sqe
function Sqe:prep_sendto(fd, bytes, len, flags, address, at) end

--- Send without a copy. Completes twice: with the result, and with
--- IORING_CQE_F_NOTIF when the memory is free again; an error may complete
--- once. The second result is 0, or where IORING_SEND_ZC_REPORT_USAGE asks for
--- it IORING_NOTIF_USAGE_ZC_COPIED, if it was copied after all. It raises to
--- queue one on a ring that has had a request with IOSQE_IO_DRAIN.
--- (io_uring_prep_send_zc(3), 6.0)
---@param fd uring.descriptor or with IOSQE_FIXED_FILE a slot
---@param bytes uring.Buffer | uring.Lease
---@param len? integer
---@param flags? integer MSG_...
---@param zc_flags? integer IORING_SEND_ZC_REPORT_USAGE (6.2)
---@param at? integer
---@return uring.Sqe
function Sqe:prep_send_zc(fd, bytes, len, flags, zc_flags, at) end

--- After prep_send or prep_send_zc: the address to send to.
--- (io_uring_prep_send_set_addr(3), 6.0)
---@param address uring.address
---@return uring.Sqe
function Sqe:prep_send_set_addr(address) end

--- The same as prep_send_zc of a buffer that is registered
--- (Ring:register_buffers). (io_uring_prep_send_zc_fixed(3), 6.0)
---@param fd uring.descriptor
---@param bytes uring.Buffer | uring.Lease
---@param len integer?
---@param flags integer? MSG_...
---@param zc_flags integer? IORING_SEND_ZC_REPORT_USAGE
---@param buf_index integer
---@param at? integer
---@return uring.Sqe
function Sqe:prep_send_zc_fixed(fd, bytes, len, flags, zc_flags, buf_index,
                                at) end

--- The same as prep_sendmsg_zc with an iov inside a buffer that is registered.
--- (io_uring_prep_sendmsg_zc_fixed(3), 6.15)
---@param fd uring.descriptor
---@param msghdr uring.Msghdr
---@param flags integer?
---@param buf_index integer
---@return uring.Sqe
function Sqe:prep_sendmsg_zc_fixed(fd, msghdr, flags, buf_index) end

--- A command to a socket. Result: for SIOCINQ and SIOCOUTQ the bytes to be
--- read, and those not yet sent; for GETSOCKOPT the size of the value; else 0.
--- (io_uring_prep_cmd_sock(3), 6.7)
---@param cmd_op integer SOCKET_URING_OP_...
---@param fd uring.descriptor
---@param level? integer GETSOCKOPT knows SOL_SOCKET only
---@param optname? integer
---@param optval? uring.bytes to be set, or the buffer for the value
---@param optlen? integer
---@return uring.Sqe
function Sqe:prep_cmd_sock(cmd_op, fd, level, optname, optval, optlen) end

--- Send a message: bytes in several parts, an address, control messages.
--- Result: how many bytes. (io_uring_prep_sendmsg(3), 5.3)
---@param fd uring.descriptor or with IOSQE_FIXED_FILE a slot
---@param msghdr uring.Msghdr
---@param flags? integer MSG_...
---@return uring.Sqe
function Sqe:prep_sendmsg(fd, msghdr, flags) end

--- The same without a copy; it completes as prep_send_zc does.
--- (io_uring_prep_sendmsg_zc(3), 6.1)
---@param fd uring.descriptor or with IOSQE_FIXED_FILE a slot
---@param msghdr uring.Msghdr
---@param flags? integer MSG_...
---@return uring.Sqe
function Sqe:prep_sendmsg_zc(fd, msghdr, flags) end

--- Receive into a buffer; or, without one, into a buffer of the group of
--- set_buf_group, with IORING_CQE_F_BUFFER in the flags. Result: how many
--- bytes, 0 at a stream's end. (io_uring_prep_recv(3), 5.6)
---@param fd uring.descriptor or with IOSQE_FIXED_FILE a slot
---@param buffer uring.Buffer?
---@param len? integer all that is left of the buffer if not given
---@param flags? integer MSG_...
---@param at? integer where in the buffer, counted from 0
---@return uring.Sqe
function Sqe:prep_recv(fd, buffer, len, flags, at) end

--- Receive again and again into buffers of a group, a completion for each
--- chunk; ENOBUFS where the group has none left.
--- (io_uring_prep_recv_multishot(3), 6.0)
---@param fd uring.descriptor
---@param buffer? nil
---@param len? integer
---@param flags? integer MSG_...
---@return uring.Sqe
function Sqe:prep_recv_multishot(fd, buffer, len, flags) end

--- Receive a message. Result: how many bytes; the msghdr tells the rest.
--- Descriptors are close-on-exec. On a unix stream with SO_PASSCRED each try
--- that finds nothing uses up 32 bytes of 'controllen': let it begin with
--- a poll, by set_ioprio(IORING_RECVSEND_POLL_FIRST), but not with
--- MSG_DONTWAIT. (io_uring_prep_recvmsg(3), 5.3)
---@param fd uring.descriptor or with IOSQE_FIXED_FILE a slot
---@param msghdr uring.Msghdr
---@param flags? integer MSG_...
---@return uring.Sqe
function Sqe:prep_recvmsg(fd, msghdr, flags) end

--- Receive message after message into buffers of a group, as
--- uring.recvmsg_out takes them apart. The msghdr gives the room for name and
--- control. An empty datagram ends it, as does an empty group: queue it again.
--- (io_uring_prep_recvmsg_multishot(3), 6.0)
---@param fd uring.descriptor
---@param msghdr uring.Msghdr
---@param flags? integer MSG_...
---@return uring.Sqe
function Sqe:prep_recvmsg_multishot(fd, msghdr, flags) end

--- Buffers of a legacy group: parts of one buffer, which is the kernel's until
--- the ring is closed. (io_uring_prep_provide_buffers(3), 5.7)
---@param buffer uring.Buffer
---@param len integer of each
---@param nr integer how many
---@param bgid integer 0 to 65535
---@param bid? integer the first one's number: 0 if not given
---@return uring.Sqe
function Sqe:prep_provide_buffers(buffer, len, nr, bgid, bid) end

--- Take buffers out of a legacy group. Result: how many.
--- (io_uring_prep_remove_buffers(3), 5.7)
---@param nr integer
---@param bgid integer
---@return uring.Sqe
function Sqe:prep_remove_buffers(nr, bgid) end

--- IOSQE_...: all of them, whatever was set before.
--- (io_uring_sqe_set_flags(3), 5.1)
---@param flags integer
---@return uring.Sqe
function Sqe:set_flags(flags) end

--- What wait_cqe gives as a completion's data.
--- (io_uring_sqe_set_data64(3), 5.1)
---@param data integer any 64 bits
---@return uring.Sqe
function Sqe:set_data64(data) end

--- The bits of sockets are here, too: IORING_RECVSEND_..., IORING_RECV_...,
--- IORING_ACCEPT_..., with those that the prep has set. What is a multishot by
--- these completes more than once: queue it. (io_uring_enter(2), 5.1)
---@param ioprio integer 0 to 65535
---@return uring.Sqe
function Sqe:set_ioprio(ioprio) end

--- RWF_... of a read or a write: RWF_NOAPPEND needs Linux 6.9, RWF_ATOMIC
--- 6.11, RWF_DONTCACHE 6.14, RWF_NOSIGNAL 6.18. (preadv2(2), 5.1)
---@param flags integer
---@return uring.Sqe
function Sqe:set_rw_flags(flags) end

--- The credentials with which it is done, that were registered elsewhere.
--- (io_uring_register_personality(3), 5.6)
---@param personality integer 0 to 65535
---@return uring.Sqe
function Sqe:set_personality(personality) end

--- With IOSQE_BUFFER_SELECT: the group of which the kernel picks a buffer.
--- (io_uring_sqe_set_buf_group(3), 5.7)
---@param bgid integer 0 to 65535
---@return uring.Sqe
function Sqe:set_buf_group(bgid) end

--- The registered buffer that is used. (io_uring_register_buffers(3), 5.1)
---@param buf_index integer
---@return uring.Sqe
function Sqe:set_buf_index(buf_index) end

--- How many bytes a multishot receive takes in all.
--- (io_uring_prep_recv_multishot(3), 6.17)
---@param optlen integer 0: no end
---@return uring.Sqe
function Sqe:set_optlen(optlen) end


-- ---- operations -----------------------------------------------------------

--- A request that was queued.
---@class uring.Operation
local Operation = {}

--- Wait for its next completion. A timeout does not end the operation. Where
--- it has ended and no completion is left to take: nil, message, ESRCH; where
--- its ring is closed meanwhile: ECANCELED.
---@async
---@param timeout? uring.seconds
---@return integer? res
---@return integer|string flags or the message
---@return integer? errno
---@return integer? flags of a failed completion
function Operation:await(timeout) end

--- for res, flags in operation:completions() do: all of a request that
--- completes more than once. Ends after the last, after its own cancel, with
--- the close of its ring, and with that of the descriptor that it was on;
--- raises any other error.
---@async
---@return async fun(operation: uring.Operation): integer?, integer?
---@return uring.Operation
function Operation:completions() end

--- Ask the kernel to cancel it. Its last completion tells how it ended.
---@return true? asked
---@return string? message
---@return integer? errno
function Operation:cancel() end

--- "completed": its last completion has come and was not taken yet
---@return "in flight"|"completed"|"done"
function Operation:status() end


-- ---- memory, descriptors, references --------------------------------------

--- C memory that goes to the kernel as it is.
---@class uring.Buffer
---@operator len: integer
local Buffer = {}

--- Bytes i to j as a string, counted as by string.sub.
---@param i? integer
---@param j? integer
---@return string
function Buffer:string(i, j) end

--- Write all of a string at an offset, counted from 0; raises if it does not
--- fit.
---@param offset integer
---@param s string
---@return uring.Buffer
function Buffer:write(offset, s) end

--- Other memory of that size, with as much of the old as fits. Raises while
--- an operation holds the buffer.
---@param size integer
---@return uring.Buffer
function Buffer:resize(size) end

--- Raises while an operation holds the buffer.
---@return true
function Buffer:close() end

--- A descriptor that is closed with its owner.
---@class uring.Fd
local Fd = {}

--- Its number; it stays the owner's.
---@return integer
function Fd:fileno() end

--- Give the number away: the caller has to close it.
---@return integer
function Fd:release() end

--- Ends what uses it: what is queued on this state's rings and names it is
--- submitted, requests that are under way on it are cancelled (a chain as
--- a whole), and their completions taken: ECANCELED, or the result that came
--- first. The file is closed at once, whatever SQEs name it. (close(2))
---@return true? closed
---@return string? message
---@return integer? errno
function Fd:close() end

--- A ring as others know it: the target of messages. Two of the same ring are
--- equal.
---@class uring.Ref
local Ref = {}

--- Is the ring known to be closed?
---@return boolean
function Ref:closed() end

--- Provided buffers: each is free, the kernel's, or leased. A completion with
--- IORING_CQE_F_BUFFER names one, which is taken once: by lease, string or
--- bundle. One that is not taken is recycled by itself.
---@class uring.BufRing
local BufRing = {}

--- What a completion has put into a buffer, where it lies. nil, message,
--- EINVAL where it was taken before, names no buffer of this group, or is a
--- bundle of several. With IOU_PBUF_RING_INC completions may be taken in any
--- order, but of two of one buffer whose res and flags are the same the first
--- to come is given first.
--- (io_uring_setup_buf_ring(3), 5.19)
---@param res integer
---@param flags integer
---@return uring.Lease? lease
---@return string? message
---@return integer? errno
function BufRing:lease(res, flags) end

--- The same as a copy; the buffer is recycled.
--- (io_uring_buf_ring_add(3), 5.19)
---@param res integer
---@param flags integer
---@return string? bytes
---@return string? message
---@return integer? errno
function BufRing:string(res, flags) end

--- What a completion with IORING_RECVSEND_BUNDLE has put into several buffers,
--- in order. (io_uring_prep_recv(3), 6.10)
---@param res integer
---@param flags integer
---@return uring.Lease[]? leases
---@return string? message
---@return integer? errno
function BufRing:bundle(res, flags) end

--- How many buffers the kernel has picked so far, modulo 65536:
--- io_uring_buf_ring_head. (io_uring_register(2), 6.8)
---@return integer? head
---@return string? message
---@return integer? errno
function BufRing:head() end

--- How many are free. (io_uring_buf_ring_available(3), 6.8)
---@return integer? available
---@return string? message
---@return integer? errno
function BufRing:available() end

--- Where its buffers are. (io_uring_setup_buf_ring(3), 5.19)
---@return uring.BufRingStats
function BufRing:stats() end

--- entries = available + kernel + leased. Before Linux 6.8 `kernel` counts the
--- free ones as well.
---@class uring.BufRingStats
---@field bgid integer
---@field entries integer
---@field size integer
---@field leased integer
---@field kernel integer picked, and their completion not taken
---@field available? integer free (6.8)

--- Its number, for set_buf_group. (io_uring_setup_buf_ring(3), 5.19)
---@return integer
function BufRing:bgid() end

--- Take the group from the kernel; what was leased stays as it is. One that is
--- collected is not closed: it ends with its ring.
--- (io_uring_free_buf_ring(3), 5.19)
---@return true? closed
---@return string? message
---@return integer? errno
function BufRing:close() end

--- Bytes in a provided buffer. The buffer is recycled when the lease was
--- released, closed or collected and no request uses it any more.
---@class uring.Lease
---@operator len: integer
local Lease = {}

--- Bytes i to j as a string, counted as by string.sub.
--- (io_uring_setup_buf_ring(3), 5.19)
---@param i? integer
---@param j? integer
---@return string
function Lease:string(i, j) end

--- The bytes are not needed any more: recycle the buffer.
--- (io_uring_buf_ring_add(3), 5.19)
function Lease:release() end

--- The same as release. (io_uring_buf_ring_add(3), 5.19)
function Lease:close() end

--- What sendmsg and recvmsg are told. Its methods raise while a request that
--- uses it is in flight.
---@class uring.Msghdr
local Msghdr = {}

--- The sender of what was received; nil where it is not known. (recvmsg(2))
---@return uring.Sockaddr?
function Msghdr:name() end

--- The control messages that were received, once: later ones are empty.
--- Descriptors that are not taken are closed. (cmsg(3), unix(7))
---@return uring.Control
function Msghdr:control() end

--- MSG_TRUNC, MSG_CTRUNC, ... of what was received. (recvmsg(2))
---@return integer
function Msghdr:flags() end

--- Closes the descriptors in it, too, those that it was to send and those that
--- came and were not taken, whatever SQEs were prepared with it. It raises
--- while an operation is in flight with it; as a to-be-closed variable it is
--- closed when that has ended. (cmsg(3), close(2))
---@return true
function Msghdr:close() end

--- An address of a socket: a value. Two of the same content are equal, and
--- tostring gives what uring.sockaddr takes.
---@class uring.Sockaddr
---@field family integer AF_...
---@field host? string of IPv4 and IPv6
---@field port? integer
---@field scope_id? integer of IPv6; 0: none
---@field path? string of unix: "@name" is an abstract one, "" unnamed
local Sockaddr = {}  -- luacheck: ignore 211


-- ---- tasks ----------------------------------------------------------------

--- As a to-be-closed variable it is cancelled at the end of the block.
---@class uring.Task
---@field name? string
local Task = {}

--- Wait for its end. Of a task that failed: nil, the error value; of one that
--- was cancelled: nil, message, ECANCELED. A timeout does not end the task.
---@async
---@param timeout? uring.seconds
---@return true? ended
---@return any ... its results
function Task:join(timeout) end

--- task:join as an event.
---@return uring.Event
---@nodiscard
function Task:joining() end

--- Cancel it: the wait that it is in, and every later one, raises
--- uring.cancelled, but for those under uring.shield. Its scope goes on. False
--- where it has ended or was cancelled before.
---@param reason? any for task:reason()
---@return boolean
function Task:cancel(reason) end

--- Its state; "done", "failed" and "cancelled" are for good.
---@return "new"|"ready"|"running"|"waiting"|"done"|"failed"|"cancelled"
function Task:status() end

--- Why it is cancelled, or was: what was given to task:cancel or scope:cancel,
--- the error that cancelled its scope, or "timed out". nil where no reason was
--- given, or it is not cancelled.
---@return any
function Task:reason() end

--- What uring.scope gives to its function. It ends with that call.
---@class uring.Scope
local Scope = {}

--- Start a task in this scope, from any task. Raises where the scope has
--- ended.
---@param f (async fun(...): ...) | uring.TaskOptions
---@param ... any
---@return uring.Task
function Scope:spawn(f, ...) end

--- The same for a task that does not keep the scope open: uring.daemon.
---@param f (async fun(...): ...) | uring.TaskOptions
---@param ... any
---@return uring.Task
function Scope:daemon(f, ...) end

--- Cancel all that is in it, its own function too: uring.scope gives nil,
--- message, ECANCELED. False where it has ended or was cancelled before.
---@param reason? any
---@return boolean
function Scope:cancel(reason) end

--- Every error in it, in the order in which they came; also when it has ended.
---@return uring.Failure[]
---@nodiscard
function Scope:failures() end

---@class uring.Failure
---@field error any
---@field traceback? string
---@field task uring.Task that has failed, or in which the scope's function has
---@field spawned_at string "file:line"; "?" where its coroutine was closed

---@class uring.Loop
local Loop = {}

--- The ring that the loop sleeps on: uring.await uses it.
---@return uring.Ring
function Loop:ring() end

--- Start a task outside a task. It is a scope of its own: its error ends it
--- and its tasks alone. It begins with the next step or run, and goes on with
--- each.
---@param f (async fun(...): ...) | uring.TaskOptions
---@param ... any
---@return uring.Task
function Loop:spawn(f, ...) end

--- Let the tasks go on, inside a program with a loop of its own: submit, take
--- what has completed, let deadlines pass, resume tasks that are ready. Never
--- blocks. What the budget leaves is the next step's. An idle step makes no
--- system call and allocates nothing; but once there is a loop:fd() one in
--- 1,024 of them, and the first few after work, read the eventfds behind it.
--- Raises inside a task, a step or a run, by another thread than the first,
--- and the error of a task of loop:spawn, one a step, if the loop has no
--- on_error.
---@param options? uring.StepOptions
---@return boolean more anything is left to do
---@return integer resumed the number of tasks that were resumed
function Loop:step(options) end

--- `max` counts a wait that need not wait as a resume, and is the bound of the
--- completions that are taken, of the mailboxes with messages whose tasks are
--- woken, and of the deadlines that pass as well. With `now` the loop's time
--- is its host's, from the first such step on: uring.now and all waits and
--- timeouts count in it. Then each step needs one, not less than the last, and
--- uring.run raises. `gc` gives what is left of `seconds` to the collector;
--- without `seconds` it is one step of the collector's.
---@class uring.StepOptions
---@field max? integer resume so many tasks at most: 64 if not given
---@field seconds? uring.seconds resume none after so long
---@field now? uring.seconds the host's time
---@field gc? boolean collect garbage

--- A descriptor that is readable while a step would do something, for epoll,
--- poll or select, level- or edge-triggered; at most once for nothing. It is
--- the loop's: do not read or close it. nil, message, errno where it cannot be
--- made.
---@return integer? fd
---@return string? message
---@return integer? errno
function Loop:fd() end

--- How long the host may sleep: 0 if a step would do something, math.huge if
--- no deadline is set. What other threads send is not foreseen: poll
--- loop:fd().
---@return uring.seconds
function Loop:timeout() end

--- Counts since it was made; a new table every time.
---@return uring.LoopStats
function Loop:stats() end

---@class uring.LoopStats
---@field steps integer
---@field resumed integer tasks, by all steps
---@field taken integer completions, by all steps
---@field tasks integer that have not ended
---@field memory integer bytes that C holds for this state, in all its objects
--- and operations in flight; and, where it is bounded, what its workers hold
---@field memory_limit? integer of uring.loop{ memory = }; in a worker the
--- least of its own and that of the state that has started it
---@field unflushed integer bytes that were written to sockets and streams and
--- had not gone when those were collected
---@field spins integer times that it waited awake for other threads
---@field spins_in_vain integer of these, those that ended in a sleep
---@field worst? uring.WorstResume

--- The resume that took longest in any step.
---@class uring.WorstResume
---@field seconds uring.seconds
---@field task string its name, or "task 3.1"
---@field file? string where it waits; or where it was spawned, if it ended
---@field line? integer

--- End all tasks: they are cancelled, and go on until they have ended, what is
--- to be closed included. What has not ended in time is closed where it waits:
--- nil, message, ETIME. (One that runs on, whatever its waits raise, is not
--- interrupted.) The loop cannot be used again. Raises in a task, a step or
--- a run, and the error of a task.
---@param seconds? uring.seconds 1
---@return true? ok
---@return string? message
---@return integer? errno
function Loop:close(seconds) end


-- ---- events, channels, semaphores ------------------------------------------

--- A wait that does nothing until uring.select chooses it; it can be used any
--- number of times. select calls three methods: any object that has them is an
--- event, so other libraries can make their own.
---@class uring.Event
local Event = {}

--- Take the values if they are there: true and the values. Else nothing, and
--- without an effect. It must not wait.
---@param waiter? uring.Waiter nil before it was blocked on
---@return true? ready
---@return any ...
function Event:try(waiter) end

--- Arrange for waiter:wake() to be called when it may be worth trying again.
---@param waiter uring.Waiter
---@return uring.seconds? at the uring.now() at which to try in any case
---@return (boolean | "mailbox")? inside true if only tasks of this state make
--- it ready, "mailbox" if messages to mailboxes do, too: then to wait for it
--- alone may be a deadlock
function Event:block(waiter) end

--- Take that arrangement back. Called once for each block, however it ended.
---@param waiter uring.Waiter
---@return uring.Event? ending ready when what the block had begun has ended: a
--- choice that has chosen nothing waits for it
function Event:cancel(waiter) end

--- The same event, whose values are what `f` makes of its own after it was
--- chosen. f runs in the task that selects, and may wait.
---@param f async fun(...): ...
---@return uring.Event
---@nodiscard
function Event:wrap(f) end

--- One select of one task, as events see it. It is a table: an event may keep
--- its own data there, under itself as the key.
---@class uring.Waiter
local Waiter = {}

--- Have the events tried again, soon. May be called at any time, by any task,
--- and for nothing.
function Waiter:wake() end

--- As a to-be-closed variable it is closed. `#channel` is how many wait in it.
---@class uring.Channel
---@operator len: integer
local Channel = {}

--- Send these values to one receiver; the first is not nil. Waits while the
--- channel is full. nil, message, EPIPE where the channel is closed. For
--- a timeout: uring.timeout(seconds, channel.send, channel, ...).
--- Where that gives "timed out", or this raises, nothing was sent. If the
--- values were received before the task was cancelled this gives true, and the
--- task's next wait raises.
---@async
---@param ... any
---@return true? sent
---@return string? message
---@return integer? errno
function Channel:send(...) end

--- The same without waiting: nil, message, EAGAIN where there is no room.
---@param ... any
---@return true? sent
---@return string? message
---@return integer? errno
function Channel:try_send(...) end

--- channel:send as an event: true; or nil, message, EPIPE. As with send, what
--- was received before the task was cancelled is the result of its choice.
---@param ... any
---@return uring.Event
---@nodiscard
function Channel:sending(...) end

--- The values that were sent first and not received yet. When it is closed and
--- empty: nil, message, EPIPE.
---@async
---@param timeout? uring.seconds
---@return any ... the values; or nil, the message and the errno
function Channel:receive(timeout) end

--- The same without waiting: nil, message, EAGAIN where it is empty.
---@return any ... the values; or nil, the message and the errno
function Channel:try_receive() end

--- channel:receive as an event.
---@return uring.Event
---@nodiscard
function Channel:receiving() end

--- for value, ... in channel:messages() do: ends when it is closed and empty.
---@async
---@return async fun(channel: uring.Channel): any, ...
---@return uring.Channel
function Channel:messages() end

--- No more is sent; what was sent can still be received. Tasks that wait to
--- send get nil, message, EPIPE. Closing it again does nothing.
---@return true
function Channel:close() end

--- Of uring.mailbox. A message stays in it until a task has received it.
---@class uring.Mailbox
local Mailbox = {}

--- Receive the first message: its values. Of several waiting tasks the first
--- gets it. nil, message, EPIPE while there is no message and no sender is
--- left, which ends when a new address is made (a mailbox that never had one,
--- or has a name, waits); EBADF if the mailbox is closed meanwhile.
---@async
---@param timeout? uring.seconds
---@return any value
---@return any ... or message, errno
function Mailbox:receive(timeout) end

--- The same without waiting: nil, message, EAGAIN where there is none. Works
--- anywhere.
---@return any value
---@return any ... or message, errno
function Mailbox:try_receive() end

--- mailbox:receive as an event.
---@return uring.Event
---@nodiscard
function Mailbox:receiving() end

--- Loop over the messages, until no sender is left or the mailbox is closed.
---@async
---@return async fun(box: uring.Mailbox): any, ...
---@return uring.Mailbox
function Mailbox:messages() end

--- A new address. It counts as a sender until it is closed or collected.
---@return uring.Address
---@nodiscard
function Mailbox:address() end

--- Counts of its messages; a new table every time.
---@return uring.MailboxStats
---@nodiscard
function Mailbox:stats() end

---@class uring.MailboxStats
---@field accepted integer messages: received, undelivered and still there
---@field received integer
---@field undelivered integer that were there at the close
---@field messages integer that are there
---@field bytes integer that these count
---@field fds integer descriptors in them
---@field high_water integer the most messages that ever were there
---@field high_water_bytes integer the most that they ever counted
---@field senders integer addresses
---@field waiting integer sends that wait for space

--- Close it: true, and how many messages were not delivered. Senders get EPIPE
--- from then on. Its tasks get EBADF. With `keep` these messages stay, for
--- mailbox:undelivered(), until it is closed again or collected; so long they
--- count for uring.loop{ memory }.
---@param keep? boolean
---@return true
---@return integer undelivered
function Mailbox:close(keep) end

--- Loop over what close(true) has kept; each message is given once. Calls are
--- not: their callers got EPIPE. It does not wait, and works anywhere.
---@return fun(box: uring.Mailbox): any, ...
---@return uring.Mailbox
function Mailbox:undelivered() end

--- Answer the calls that come, until no sender is left or the mailbox is
--- closed. A call's first value is the key of its handler in the table, and
--- the rest are the handler's arguments. Plain messages are given to the
--- handlers as well. A handler whose caller has given up is cancelled. Calls
--- that are in the mailbox when it ends stay there: for another serve, for
--- a receive, which answers them with an error, or for the close. Raises what
--- keeps it from waiting: too little memory.
---@async
---@param handlers table<any, fun(...): ...>
---@param options? uring.ServeCallsOptions
---@return true
function Mailbox:serve(handlers, options) end

---@class uring.ServeCallsOptions
---@field tasks? integer calls that are served at a time: 1 if not given
---@field on_error? fun(err: any, traceback: string) told of errors of handlers
--- that a plain message was given to, and that there is none for one, which
--- otherwise end serve

--- Sends to a mailbox. Copied are nil (not the first), booleans, numbers,
--- strings, and tables of what can be sent, without a metatable: a table that
--- is in the message twice is one table for the reader, and tables may lie in
--- each other 300,000 deep. A mailbox or an
--- address arrives as an address, a ring's reference as a reference. uring.Fd,
--- buffers and sockets move: here they were sent away from then on. A socket
--- takes along what it has received that was not taken, and what was written
--- and has not gone; one that a task or another request uses does not move.
--- Nor does a buffer that a request in flight uses, or that is registered with
--- a ring. Others raise, with their path. A message counts 32 bytes, 48 for
--- each value, keys and values in tables too, and the bytes of strings, of
--- buffers and of what a socket takes along.
---@class uring.Address
local Address = {}

--- Send a message; wait while the mailbox is full. A send that waits is served
--- before a later one. nil, message, EPIPE if the mailbox is closed; EMSGSIZE
--- if it counts as more than the mailbox ever takes. After
--- `uring.timeout(1, address.send, address, v)` gave "timed out" it was not
--- sent.
---@async
---@param ... any
---@return true? sent
---@return string? message
---@return integer? errno
function Address:send(...) end

--- The same without waiting: nil, message, EAGAIN where it is full, or others
--- wait. Works anywhere.
---@param ... any
---@return true? sent
---@return string? message
---@return integer? errno
function Address:try_send(...) end

--- address:send as an event: the message is sent if it is chosen, as often as
--- it is. It is made at once, of the values as they are then, and may have no
--- buffers and no sockets, which raise: use send or try_send. When it is
--- chosen it gives true; or nil, message, errno as send does, EMSGSIZE too, or
--- EBADF if a descriptor in it was closed or sent away since. A select that
--- waits with it has its place among the sends that wait.
---@param ... any
---@return uring.Event
---@nodiscard
function Address:sending(...) end

--- Call a handler of mailbox:serve: its results. Its error is raised here,
--- with the traceback in the server. nil, message, EPIPE if the mailbox is
--- closed, its state ends, or the handler is cancelled, alone or with the task
--- that serves, before it has answered; ENOMEM if uring.loop{ memory } leaves
--- no room for the answer, which counts up to 1 MiB, there 64 KiB. While
--- nothing serves or receives it waits. After a timeout or a cancel the
--- handler is cancelled, or not called at all.
---@async
---@param name any
---@param ... any
---@return any ...
function Address:call(name, ...) end

--- An event that is ready, once, when the mailbox was closed, its state or its
--- thread has ended; at once if that is so. It gives true.
---@return uring.Event
---@nodiscard
function Address:monitor() end

--- It is no sender any more. A send that waits for space, and a select with
--- address:sending, gives nil, message, EBADF then; a call that was begun goes
--- on, and so does a monitor. Closing it again does nothing.
---@return true
function Address:close() end

--- Of uring.worker. It has the methods of an address, to its inbox.
---@class uring.Worker: uring.Address
---@field name? string
local Worker = {}

--- Send to its inbox, as address:send.
---@async
---@param ... any
---@return true? sent
---@return string? message
---@return integer? errno
function Worker:send(...) end

--- As address:try_send.
---@param ... any
---@return true? sent
---@return string? message
---@return integer? errno
function Worker:try_send(...) end

--- As address:sending.
---@param ... any
---@return uring.Event
---@nodiscard
function Worker:sending(...) end

--- As address:call, of a handler that the worker serves by
--- `uring.inbox():serve`.
---@async
---@param name any
---@param ... any
---@return any ...
function Worker:call(name, ...) end

--- As address:monitor: the end of the worker's inbox.
---@return uring.Event
---@nodiscard
function Worker:monitor() end

--- Its inbox loses this address: the worker's loop over its messages ends, if
--- there is no other. Closing it again does nothing; a to-be-closed variable
--- does it at the end of its block.
---@return true
function Worker:close() end

--- A new address of its inbox.
---@return uring.Address
---@nodiscard
function Worker:address() end

--- Wait for its end: true and the results of its function; nil and a message,
--- which has the tracebacks of the worker and of where it was started; nil,
--- message, ECANCELED if it was cancelled. All tasks that join get the same.
--- One that has ended can be joined outside a task.
---@async
---@param timeout? uring.seconds
---@return true? ok
---@return any ... or message, errno
function Worker:join(timeout) end

--- worker:join as an event.
---@return uring.Event
---@nodiscard
function Worker:joining() end

--- Cancel it: all its tasks' waits raise, from the next one on. True, unless
--- it has ended or was cancelled before.
---@param reason? string for task:reason() in the worker
---@return boolean
function Worker:cancel(reason) end

--- "new" until its function is called; the last three are for good.
---@return "new" | "running" | "done" | "failed" | "cancelled"
---@nodiscard
function Worker:status() end

--- Of its inbox.
---@return uring.MailboxStats
---@nodiscard
function Worker:stats() end

--- `#semaphore` is how many could acquire now.
---@class uring.Semaphore
---@operator len: integer
local Semaphore = {}

--- Wait for a turn, first come, first served. The result can be a to-be-closed
--- variable, which releases it at the end of its block, however that ends:
--- `local _ <close> = semaphore:acquire()`.
---@async
---@param timeout? uring.seconds
---@return uring.Semaphore? acquired
---@return string? message
---@return integer? errno
function Semaphore:acquire(timeout) end

--- The same without waiting: nil, message, EAGAIN where all turns are taken.
---@return uring.Semaphore? acquired
---@return string? message
---@return integer? errno
function Semaphore:try_acquire() end

--- semaphore:acquire as an event.
---@return uring.Event
---@nodiscard
function Semaphore:acquiring() end

--- Let the next task go on. Any task may call it, also more often than it has
--- acquired.
function Semaphore:release() end


-- ---- constants ------------------------------------------------------------

-- They have their C names. Some are missing where the C library that the
-- module was built with is older than they are. A name that is not there
-- raises, and the error suggests the nearest one; rawget(uring, name) tells
-- whether a constant is there.

-- constants: written by `make constants`

-- requests
---@class uring
---@field IORING_OP_NOP integer
---@field IORING_OP_POLL_ADD integer
---@field IORING_OP_POLL_REMOVE integer
---@field IORING_OP_SENDMSG integer
---@field IORING_OP_RECVMSG integer
---@field IORING_OP_TIMEOUT integer
---@field IORING_OP_TIMEOUT_REMOVE integer
---@field IORING_OP_ACCEPT integer
---@field IORING_OP_ASYNC_CANCEL integer
---@field IORING_OP_CONNECT integer
---@field IORING_OP_OPENAT integer
---@field IORING_OP_CLOSE integer
---@field IORING_OP_READ integer
---@field IORING_OP_WRITE integer
---@field IORING_OP_SEND integer
---@field IORING_OP_RECV integer
---@field IORING_OP_PROVIDE_BUFFERS integer
---@field IORING_OP_REMOVE_BUFFERS integer
---@field IORING_OP_SHUTDOWN integer
---@field IORING_OP_MSG_RING integer
---@field IORING_OP_SOCKET integer
---@field IORING_OP_SEND_ZC integer
---@field IORING_OP_SENDMSG_ZC integer
---@field IORING_OP_FIXED_FD_INSTALL integer
---@field IORING_OP_BIND integer
---@field IORING_OP_LISTEN integer
---@field IORING_OP_READV integer
---@field IORING_OP_WRITEV integer
---@field IORING_OP_FSYNC integer
---@field IORING_OP_READ_FIXED integer
---@field IORING_OP_WRITE_FIXED integer
---@field IORING_OP_SYNC_FILE_RANGE integer
---@field IORING_OP_LINK_TIMEOUT integer
---@field IORING_OP_FALLOCATE integer
---@field IORING_OP_STATX integer
---@field IORING_OP_FADVISE integer
---@field IORING_OP_OPENAT2 integer
---@field IORING_OP_EPOLL_CTL integer
---@field IORING_OP_SPLICE integer
---@field IORING_OP_TEE integer
---@field IORING_OP_RENAMEAT integer
---@field IORING_OP_UNLINKAT integer
---@field IORING_OP_MKDIRAT integer
---@field IORING_OP_SYMLINKAT integer
---@field IORING_OP_LINKAT integer
---@field IORING_OP_FSETXATTR integer
---@field IORING_OP_SETXATTR integer
---@field IORING_OP_FGETXATTR integer
---@field IORING_OP_GETXATTR integer
---@field IORING_OP_URING_CMD integer
---@field IORING_OP_READ_MULTISHOT integer
---@field IORING_OP_WAITID integer
---@field IORING_OP_FUTEX_WAIT integer
---@field IORING_OP_FUTEX_WAKE integer
---@field IORING_OP_FTRUNCATE integer
---@field IORING_OP_EPOLL_WAIT integer
---@field IORING_OP_READV_FIXED integer
---@field IORING_OP_WRITEV_FIXED integer

-- setup, features, SQEs and CQEs
---@class uring
---@field IORING_SETUP_IOPOLL integer
---@field IORING_SETUP_SQPOLL integer
---@field IORING_SETUP_SQ_AFF integer
---@field IORING_SETUP_CQSIZE integer
---@field IORING_SETUP_CLAMP integer
---@field IORING_SETUP_ATTACH_WQ integer
---@field IORING_SETUP_R_DISABLED integer
---@field IORING_SETUP_SUBMIT_ALL integer
---@field IORING_SETUP_COOP_TASKRUN integer
---@field IORING_SETUP_TASKRUN_FLAG integer
---@field IORING_SETUP_SQE128 integer
---@field IORING_SETUP_CQE32 integer
---@field IORING_SETUP_SINGLE_ISSUER integer
---@field IORING_SETUP_DEFER_TASKRUN integer
---@field IORING_SETUP_NO_SQARRAY integer
---@field IORING_SETUP_HYBRID_IOPOLL integer
---@field IORING_SETUP_CQE_MIXED integer
---@field IORING_SETUP_SQE_MIXED integer
---@field IORING_SETUP_SQ_REWIND integer
---@field IORING_FEAT_SINGLE_MMAP integer
---@field IORING_FEAT_NODROP integer
---@field IORING_FEAT_SUBMIT_STABLE integer
---@field IORING_FEAT_RW_CUR_POS integer
---@field IORING_FEAT_CUR_PERSONALITY integer
---@field IORING_FEAT_FAST_POLL integer
---@field IORING_FEAT_POLL_32BITS integer
---@field IORING_FEAT_SQPOLL_NONFIXED integer
---@field IORING_FEAT_EXT_ARG integer
---@field IORING_FEAT_NATIVE_WORKERS integer
---@field IORING_FEAT_RSRC_TAGS integer
---@field IORING_FEAT_CQE_SKIP integer
---@field IORING_FEAT_LINKED_FILE integer
---@field IORING_FEAT_REG_REG_RING integer
---@field IORING_FEAT_RECVSEND_BUNDLE integer
---@field IORING_FEAT_MIN_TIMEOUT integer
---@field IORING_FEAT_RW_ATTR integer
---@field IORING_FEAT_NO_IOWAIT integer
---@field IOSQE_FIXED_FILE integer
---@field IOSQE_IO_DRAIN integer
---@field IOSQE_IO_LINK integer
---@field IOSQE_IO_HARDLINK integer
---@field IOSQE_ASYNC integer
---@field IOSQE_BUFFER_SELECT integer
---@field IOSQE_CQE_SKIP_SUCCESS integer
---@field IORING_CQE_F_BUFFER integer
---@field IORING_CQE_F_MORE integer
---@field IORING_CQE_F_SOCK_NONEMPTY integer
---@field IORING_CQE_F_NOTIF integer
---@field IORING_CQE_F_BUF_MORE integer
---@field IORING_CQE_F_SKIP integer
---@field IORING_CQE_F_32 integer
---@field IORING_CQE_BUFFER_SHIFT integer
---@field IORING_FILE_INDEX_ALLOC integer

-- flags of single operations
---@class uring
---@field IORING_MSG_RING_CQE_SKIP integer
---@field IORING_MSG_RING_FLAGS_PASS integer
---@field IORING_ASYNC_CANCEL_ALL integer
---@field IORING_ASYNC_CANCEL_FD integer
---@field IORING_ASYNC_CANCEL_ANY integer
---@field IORING_ASYNC_CANCEL_FD_FIXED integer
---@field IORING_ASYNC_CANCEL_USERDATA integer
---@field IORING_ASYNC_CANCEL_OP integer
---@field IORING_TIMEOUT_ABS integer
---@field IORING_TIMEOUT_BOOTTIME integer
---@field IORING_TIMEOUT_REALTIME integer
---@field IORING_TIMEOUT_ETIME_SUCCESS integer
---@field IORING_TIMEOUT_MULTISHOT integer
---@field IORING_RECVSEND_POLL_FIRST integer
---@field IORING_RECVSEND_BUNDLE integer
---@field IORING_RECV_MULTISHOT integer
---@field IORING_SEND_ZC_REPORT_USAGE integer
---@field IORING_NOTIF_USAGE_ZC_COPIED integer
---@field IORING_ACCEPT_MULTISHOT integer
---@field IORING_ACCEPT_DONTWAIT integer
---@field IORING_ACCEPT_POLL_FIRST integer
---@field IORING_FIXED_FD_NO_CLOEXEC integer

-- io_uring_register
---@class uring
---@field IOU_PBUF_RING_INC integer
---@field IORING_REGISTER_FILES_SKIP integer

-- sockets
---@class uring
---@field AF_UNSPEC integer
---@field AF_UNIX integer
---@field AF_LOCAL integer
---@field AF_INET integer
---@field AF_INET6 integer
---@field AF_NETLINK integer
---@field AF_PACKET integer
---@field SOCK_STREAM integer
---@field SOCK_DGRAM integer
---@field SOCK_RAW integer
---@field SOCK_SEQPACKET integer
---@field SOCK_CLOEXEC integer
---@field SOCK_NONBLOCK integer
---@field SHUT_RD integer
---@field SHUT_WR integer
---@field SHUT_RDWR integer
---@field SOMAXCONN integer
---@field SCM_RIGHTS integer
---@field SCM_CREDENTIALS integer
---@field MSG_OOB integer
---@field MSG_PEEK integer
---@field MSG_DONTROUTE integer
---@field MSG_CTRUNC integer
---@field MSG_TRUNC integer
---@field MSG_DONTWAIT integer
---@field MSG_EOR integer
---@field MSG_WAITALL integer
---@field MSG_CONFIRM integer
---@field MSG_ERRQUEUE integer
---@field MSG_NOSIGNAL integer
---@field MSG_MORE integer
---@field MSG_ZEROCOPY integer
---@field MSG_FASTOPEN integer
---@field MSG_CMSG_CLOEXEC integer
---@field SOL_SOCKET integer
---@field SOL_IP integer
---@field SOL_IPV6 integer
---@field SOL_TCP integer
---@field SOL_UDP integer
---@field SOL_RAW integer
---@field SOL_PACKET integer
---@field SO_DEBUG integer
---@field SO_REUSEADDR integer
---@field SO_TYPE integer
---@field SO_ERROR integer
---@field SO_DONTROUTE integer
---@field SO_BROADCAST integer
---@field SO_SNDBUF integer
---@field SO_RCVBUF integer
---@field SO_SNDBUFFORCE integer
---@field SO_RCVBUFFORCE integer
---@field SO_KEEPALIVE integer
---@field SO_OOBINLINE integer
---@field SO_NO_CHECK integer
---@field SO_PRIORITY integer
---@field SO_LINGER integer
---@field SO_REUSEPORT integer
---@field SO_PASSCRED integer
---@field SO_PEERCRED integer
---@field SO_RCVLOWAT integer
---@field SO_SNDLOWAT integer
---@field SO_RCVTIMEO integer
---@field SO_SNDTIMEO integer
---@field SO_BINDTODEVICE integer
---@field SO_ATTACH_FILTER integer
---@field SO_DETACH_FILTER integer
---@field SO_PEERNAME integer
---@field SO_TIMESTAMP integer
---@field SO_TIMESTAMPNS integer
---@field SO_TIMESTAMPING integer
---@field SCM_TIMESTAMP integer
---@field SCM_TIMESTAMPNS integer
---@field SCM_TIMESTAMPING integer
---@field SO_ACCEPTCONN integer
---@field SO_PEERSEC integer
---@field SO_PASSSEC integer
---@field SO_MARK integer
---@field SO_PROTOCOL integer
---@field SO_DOMAIN integer
---@field SO_RXQ_OVFL integer
---@field SO_PEEK_OFF integer
---@field SO_BUSY_POLL integer
---@field SO_ATTACH_BPF integer
---@field SO_ATTACH_REUSEPORT_CBPF integer
---@field SO_ATTACH_REUSEPORT_EBPF integer
---@field SO_BINDTOIFINDEX integer
---@field SO_BPF_EXTENSIONS integer
---@field SO_BUF_LOCK integer
---@field SO_CNX_ADVICE integer
---@field SO_DETACH_BPF integer
---@field SO_DETACH_REUSEPORT_BPF integer
---@field SO_GET_FILTER integer
---@field SO_LOCK_FILTER integer
---@field SO_MAX_PACING_RATE integer
---@field SO_MEMINFO integer
---@field SO_NOFCS integer
---@field SO_PASSPIDFD integer
---@field SO_PEERGROUPS integer
---@field SO_PEERPIDFD integer
---@field SO_RCVMARK integer
---@field SO_RESERVE_MEM integer
---@field SO_SELECT_ERR_QUEUE integer
---@field SO_TXREHASH integer
---@field SO_WIFI_STATUS integer
---@field SCM_PIDFD integer
---@field SCM_TXTIME integer
---@field AF_VSOCK integer
---@field AF_CAN integer
---@field AF_BLUETOOTH integer
---@field AF_ALG integer
---@field AF_XDP integer
---@field SOCK_RDM integer
---@field SOL_NETLINK integer
---@field SO_PREFER_BUSY_POLL integer
---@field SO_BUSY_POLL_BUDGET integer
---@field SO_INCOMING_CPU integer
---@field SO_INCOMING_NAPI_ID integer
---@field SO_COOKIE integer
---@field SO_ZEROCOPY integer
---@field SO_TXTIME integer
---@field SO_NETNS_COOKIE integer

-- internet protocols
---@class uring
---@field IPPROTO_IP integer
---@field IPPROTO_ICMP integer
---@field IPPROTO_IGMP integer
---@field IPPROTO_TCP integer
---@field IPPROTO_UDP integer
---@field IPPROTO_IPV6 integer
---@field IPPROTO_ICMPV6 integer
---@field IPPROTO_SCTP integer
---@field IPPROTO_UDPLITE integer
---@field IPPROTO_RAW integer
---@field IP_TOS integer
---@field IP_TTL integer
---@field IP_HDRINCL integer
---@field IP_OPTIONS integer
---@field IP_RECVOPTS integer
---@field IP_PKTINFO integer
---@field IP_RECVERR integer
---@field IP_RECVTTL integer
---@field IP_RECVTOS integer
---@field IP_MTU integer
---@field IP_MTU_DISCOVER integer
---@field IP_PMTUDISC_DONT integer
---@field IP_PMTUDISC_WANT integer
---@field IP_PMTUDISC_DO integer
---@field IP_PMTUDISC_PROBE integer
---@field IP_FREEBIND integer
---@field IP_TRANSPARENT integer
---@field IP_ORIGDSTADDR integer
---@field IP_RECVORIGDSTADDR integer
---@field IP_MULTICAST_IF integer
---@field IP_MULTICAST_TTL integer
---@field IP_MULTICAST_LOOP integer
---@field IP_ADD_MEMBERSHIP integer
---@field IP_DROP_MEMBERSHIP integer
---@field IP_ADD_SOURCE_MEMBERSHIP integer
---@field IP_DROP_SOURCE_MEMBERSHIP integer
---@field IPV6_V6ONLY integer
---@field IPV6_PKTINFO integer
---@field IPV6_RECVPKTINFO integer
---@field IPV6_HOPLIMIT integer
---@field IPV6_RECVHOPLIMIT integer
---@field IPV6_TCLASS integer
---@field IPV6_RECVTCLASS integer
---@field IPV6_RECVERR integer
---@field IPV6_UNICAST_HOPS integer
---@field IPV6_MULTICAST_IF integer
---@field IPV6_MULTICAST_HOPS integer
---@field IPV6_MULTICAST_LOOP integer
---@field IPV6_JOIN_GROUP integer
---@field IPV6_LEAVE_GROUP integer
---@field IPV6_ADD_MEMBERSHIP integer
---@field IPV6_DROP_MEMBERSHIP integer
---@field IPV6_MTU integer
---@field IPV6_MTU_DISCOVER integer
---@field TCP_NODELAY integer
---@field TCP_MAXSEG integer
---@field TCP_CORK integer
---@field TCP_KEEPIDLE integer
---@field TCP_KEEPINTVL integer
---@field TCP_KEEPCNT integer
---@field TCP_SYNCNT integer
---@field TCP_LINGER2 integer
---@field TCP_DEFER_ACCEPT integer
---@field TCP_WINDOW_CLAMP integer
---@field TCP_INFO integer
---@field TCP_QUICKACK integer
---@field TCP_CONGESTION integer
---@field TCP_USER_TIMEOUT integer
---@field TCP_FASTOPEN integer
---@field TCP_TIMESTAMP integer
---@field TCP_NOTSENT_LOWAT integer
---@field IP_BLOCK_SOURCE integer
---@field IP_CHECKSUM integer
---@field IP_MINTTL integer
---@field IP_MSFILTER integer
---@field IP_NODEFRAG integer
---@field IP_PASSSEC integer
---@field IP_PKTOPTIONS integer
---@field IP_PMTUDISC_INTERFACE integer
---@field IP_PMTUDISC_OMIT integer
---@field IP_RECVERR_RFC4884 integer
---@field IP_RETOPTS integer
---@field IP_ROUTER_ALERT integer
---@field IP_UNBLOCK_SOURCE integer
---@field IP_UNICAST_IF integer
---@field IPV6_ADDRFORM integer
---@field IPV6_ADDR_PREFERENCES integer
---@field IPV6_AUTOFLOWLABEL integer
---@field IPV6_CHECKSUM integer
---@field IPV6_DSTOPTS integer
---@field IPV6_HDRINCL integer
---@field IPV6_HOPOPTS integer
---@field IPV6_JOIN_ANYCAST integer
---@field IPV6_LEAVE_ANYCAST integer
---@field IPV6_MINHOPCOUNT integer
---@field IPV6_MULTICAST_ALL integer
---@field IPV6_NEXTHOP integer
---@field IPV6_ORIGDSTADDR integer
---@field IPV6_PATHMTU integer
---@field IPV6_RECVDSTOPTS integer
---@field IPV6_RECVERR_RFC4884 integer
---@field IPV6_RECVFRAGSIZE integer
---@field IPV6_RECVHOPOPTS integer
---@field IPV6_RECVORIGDSTADDR integer
---@field IPV6_RECVPATHMTU integer
---@field IPV6_RECVRTHDR integer
---@field IPV6_ROUTER_ALERT integer
---@field IPV6_RTHDR integer
---@field IPV6_RTHDRDSTOPTS integer
---@field IPV6_UNICAST_IF integer
---@field TCP_CC_INFO integer
---@field TCP_FASTOPEN_KEY integer
---@field TCP_FASTOPEN_NO_COOKIE integer
---@field TCP_MD5SIG integer
---@field TCP_MD5SIG_EXT integer
---@field TCP_QUEUE_SEQ integer
---@field TCP_REPAIR integer
---@field TCP_REPAIR_OPTIONS integer
---@field TCP_REPAIR_QUEUE integer
---@field TCP_REPAIR_WINDOW integer
---@field TCP_SAVED_SYN integer
---@field TCP_SAVE_SYN integer
---@field TCP_THIN_DUPACK integer
---@field TCP_THIN_LINEAR_TIMEOUTS integer
---@field TCP_TX_DELAY integer
---@field UDP_ENCAP integer
---@field UDP_NO_CHECK6_RX integer
---@field UDP_NO_CHECK6_TX integer
---@field IPPROTO_MPTCP integer
---@field IP_BIND_ADDRESS_NO_PORT integer
---@field IP_RECVFRAGSIZE integer
---@field IP_MULTICAST_ALL integer
---@field IPV6_FREEBIND integer
---@field IPV6_DONTFRAG integer
---@field IPV6_TRANSPARENT integer
---@field TCP_FASTOPEN_CONNECT integer
---@field TCP_ULP integer
---@field TCP_INQ integer
---@field TCP_CM_INQ integer
---@field TCP_ZEROCOPY_RECEIVE integer
---@field UDP_CORK integer
---@field UDP_SEGMENT integer
---@field UDP_GRO integer

-- what is registered with a ring
---@class uring
---@field IORING_RESTRICTION_REGISTER_OP integer
---@field IORING_RESTRICTION_SQE_OP integer
---@field IORING_RESTRICTION_SQE_FLAGS_ALLOWED integer
---@field IORING_RESTRICTION_SQE_FLAGS_REQUIRED integer
---@field IORING_REGISTER_SRC_REGISTERED integer
---@field IORING_REGISTER_DST_REPLACE integer
---@field CLOCK_MONOTONIC integer
---@field CLOCK_BOOTTIME integer

-- files
---@class uring
---@field AT_FDCWD integer
---@field O_RDONLY integer
---@field O_WRONLY integer
---@field O_RDWR integer
---@field O_CREAT integer
---@field O_EXCL integer
---@field O_NOCTTY integer
---@field O_TRUNC integer
---@field O_APPEND integer
---@field O_NONBLOCK integer
---@field O_DSYNC integer
---@field O_SYNC integer
---@field O_RSYNC integer
---@field O_ASYNC integer
---@field O_DIRECT integer
---@field O_DIRECTORY integer
---@field O_NOFOLLOW integer
---@field O_NOATIME integer
---@field O_CLOEXEC integer
---@field O_PATH integer
---@field O_TMPFILE integer
---@field S_ISUID integer
---@field S_ISGID integer
---@field S_ISVTX integer
---@field S_IRWXU integer
---@field S_IRUSR integer
---@field S_IWUSR integer
---@field S_IXUSR integer
---@field S_IRWXG integer
---@field S_IRGRP integer
---@field S_IWGRP integer
---@field S_IXGRP integer
---@field S_IRWXO integer
---@field S_IROTH integer
---@field S_IWOTH integer
---@field S_IXOTH integer
---@field RWF_HIPRI integer
---@field RWF_DSYNC integer
---@field RWF_SYNC integer
---@field RWF_NOWAIT integer
---@field RWF_APPEND integer
---@field RWF_NOAPPEND integer
---@field RWF_ATOMIC integer
---@field RWF_DONTCACHE integer
---@field RWF_NOSIGNAL integer
---@field O_LARGEFILE integer
---@field IORING_FSYNC_DATASYNC integer
---@field SYNC_FILE_RANGE_WAIT_BEFORE integer
---@field SYNC_FILE_RANGE_WRITE integer
---@field SYNC_FILE_RANGE_WAIT_AFTER integer
---@field FALLOC_FL_KEEP_SIZE integer
---@field FALLOC_FL_PUNCH_HOLE integer
---@field FALLOC_FL_COLLAPSE_RANGE integer
---@field FALLOC_FL_ZERO_RANGE integer
---@field FALLOC_FL_INSERT_RANGE integer
---@field FALLOC_FL_UNSHARE_RANGE integer
---@field POSIX_FADV_NORMAL integer
---@field POSIX_FADV_SEQUENTIAL integer
---@field POSIX_FADV_RANDOM integer
---@field POSIX_FADV_NOREUSE integer
---@field POSIX_FADV_WILLNEED integer
---@field POSIX_FADV_DONTNEED integer
---@field SPLICE_F_MOVE integer
---@field SPLICE_F_NONBLOCK integer
---@field SPLICE_F_MORE integer
---@field SPLICE_F_FD_IN_FIXED integer
---@field AT_EMPTY_PATH integer
---@field AT_NO_AUTOMOUNT integer
---@field AT_REMOVEDIR integer
---@field AT_SYMLINK_FOLLOW integer
---@field AT_SYMLINK_NOFOLLOW integer
---@field AT_STATX_FORCE_SYNC integer
---@field AT_STATX_DONT_SYNC integer
---@field STATX_TYPE integer
---@field STATX_MODE integer
---@field STATX_NLINK integer
---@field STATX_UID integer
---@field STATX_GID integer
---@field STATX_ATIME integer
---@field STATX_MTIME integer
---@field STATX_CTIME integer
---@field STATX_INO integer
---@field STATX_SIZE integer
---@field STATX_BLOCKS integer
---@field STATX_BASIC_STATS integer
---@field STATX_BTIME integer
---@field RENAME_NOREPLACE integer
---@field RENAME_EXCHANGE integer
---@field RENAME_WHITEOUT integer
---@field RESOLVE_NO_XDEV integer
---@field RESOLVE_NO_MAGICLINKS integer
---@field RESOLVE_NO_SYMLINKS integer
---@field RESOLVE_BENEATH integer
---@field RESOLVE_IN_ROOT integer
---@field RESOLVE_CACHED integer
---@field XATTR_CREATE integer
---@field XATTR_REPLACE integer

-- polling, clocks, processes
---@class uring
---@field POLLIN integer
---@field POLLPRI integer
---@field POLLOUT integer
---@field POLLERR integer
---@field POLLHUP integer
---@field POLLNVAL integer
---@field POLLRDNORM integer
---@field POLLRDBAND integer
---@field POLLWRNORM integer
---@field POLLWRBAND integer
---@field POLLMSG integer
---@field POLLRDHUP integer
---@field EPOLLEXCLUSIVE integer
---@field IORING_POLL_ADD_MULTI integer
---@field IORING_POLL_ADD_LEVEL integer
---@field EPOLL_CTL_ADD integer
---@field EPOLL_CTL_DEL integer
---@field EPOLL_CTL_MOD integer
---@field EPOLLIN integer
---@field EPOLLPRI integer
---@field EPOLLOUT integer
---@field EPOLLERR integer
---@field EPOLLHUP integer
---@field EPOLLRDHUP integer
---@field EPOLLET integer
---@field EPOLLONESHOT integer
---@field EPOLLWAKEUP integer
---@field FUTEX2_SIZE_U32 integer
---@field FUTEX2_PRIVATE integer
---@field P_ALL integer
---@field P_PID integer
---@field P_PGID integer
---@field P_PIDFD integer
---@field WEXITED integer
---@field WSTOPPED integer
---@field WCONTINUED integer
---@field WNOHANG integer
---@field WNOWAIT integer
---@field SOCKET_URING_OP_SIOCINQ integer
---@field SOCKET_URING_OP_SIOCOUTQ integer
---@field SOCKET_URING_OP_GETSOCKOPT integer
---@field SOCKET_URING_OP_SETSOCKOPT integer

-- constants: end


-- ---- sockets ---------------------------------------------------------------

-- A socket that was closed raises "attempt to use a closed socket"; one that
-- is closed while a task waits with it ends the wait: nil, message, EBADF.

---@class uring
---@field fs uring.Fs
---@field tcp uring.Tcp
---@field udp uring.Udp
---@field unix uring.Unix

--- A socket, close-on-exec, that is closed when it is collected. (socket(2))
--- Given a uring.fd, the socket that it owned, which is the new object's now:
--- what came in a message's control.fds.
---@overload fun(fd: uring.Fd): uring.Socket?, string?, integer?
---@param family integer uring.AF_INET, AF_INET6, AF_UNIX, ...
---@param type integer uring.SOCK_STREAM, SOCK_DGRAM, ...
---@param protocol? integer 0 if not given
---@return uring.Socket? socket
---@return string? message
---@return integer? errno
---@nodiscard
function uring.socket(family, type, protocol) end

--- Two unix sockets, connected with each other. (socketpair(2))
---@param type? integer uring.SOCK_STREAM if not given
---@return uring.Socket? socket
---@return uring.Socket|string other or the message
---@return integer? errno
---@nodiscard
function uring.socketpair(type) end

--- The addresses of a host, in the order in which they should be tried, by
--- getaddrinfo(3) on a helper thread: what hosts(5) and resolv.conf(5) say. Of
--- an address in digits, with a port in digits or none, there is no thread
--- and no wait. A task that is cancelled or whose time is over leaves at once;
--- the
--- thread's late answer is dropped. At most eight lookups are under way in
--- a process, and 1,024 wait; more give EAGAIN. The code of a failure is an
--- errno, or negative: one of uring.eai, as NONAME for a name that is unknown.
---@async
---@param host string "example.org", "localhost", "127.0.0.1", "::1"
---@param service? integer|string a port, or a name as in services(5); 0 if not
---given
---@param timeout? uring.seconds
---@return uring.Sockaddr[]? addresses
---@return string? message
---@return integer? code
---@nodiscard
function uring.resolve(host, service, timeout) end

--- TCP over IPv4 and IPv6: uring.tcp.
---@class uring.Tcp
uring.tcp = {}

--- A socket that listens, with SO_REUSEADDR. (socket(2), bind(2), listen(2))
--- Of a name, at the first of its addresses where that works.
---@param address uring.name
---@param backlog? integer SOMAXCONN if not given
---@return uring.Socket? listener
---@return string? message
---@return integer? errno
---@nodiscard
function uring.tcp.listen(address, backlog) end

--- A connection. (io_uring_prep_connect(3), 5.5)
--- The addresses of a name are tried by RFC 8305: families in turns, the next
--- as soon as one has failed, or has not answered for 250 ms; the first that
--- answers is taken. The message then lists what was tried, the errno is the
--- last one's, or the negative code of uring.resolve. The timeout is for all
--- of it.
---@async
---@param address uring.name
---@param timeout? uring.seconds
---@return uring.Socket? connection
---@return string? message
---@return integer? errno
---@nodiscard
function uring.tcp.connect(address, timeout) end

--- Datagrams over IPv4 and IPv6: uring.udp.
---@class uring.Udp
uring.udp = {}

--- A socket that receives what is sent to this address. (socket(2), bind(2))
--- Of a name, to the first of its addresses where that works.
---@param address uring.name
---@return uring.Socket? socket
---@return string? message
---@return integer? errno
---@nodiscard
function uring.udp.bind(address) end

--- A socket that sends to this address, and receives from it alone.
--- (io_uring_prep_connect(3), 5.5)
---@async
---@param address uring.name
---@param timeout? uring.seconds also for the lookup of a name
---@return uring.Socket? socket
---@return string? message
---@return integer? errno
---@nodiscard
function uring.udp.connect(address, timeout) end

--- Sockets between processes of one machine (unix(7)): uring.unix. A path may
--- be given with "unix:" or without.
---@class uring.Unix
uring.unix = {}

--- A stream socket that listens. "unix:" is an abstract name that is free. The
--- file of a path must not be there yet, and stays when the socket is closed.
--- (socket(2), bind(2), listen(2))
---@param path uring.address
---@param backlog? integer
---@return uring.Socket? listener
---@return string? message
---@return integer? errno
---@nodiscard
function uring.unix.listen(path, backlog) end

--- A connection. (io_uring_prep_connect(3), 5.5)
---@async
---@param path uring.address
---@param timeout? uring.seconds
---@return uring.Socket? connection
---@return string? message
---@return integer? errno
---@nodiscard
function uring.unix.connect(path, timeout) end

--- A datagram socket of that name. (socket(2), bind(2))
---@param path uring.address
---@return uring.Socket? socket
---@return string? message
---@return integer? errno
---@nodiscard
function uring.unix.bind(path) end

--- Takes the place of a descriptor wherever one is expected.
---@class uring.Socket
local Socket = {}

--- Give it an address. (bind(2))
---@param address uring.address
---@return uring.Socket? socket
---@return string? message
---@return integer? errno
function Socket:bind(address) end

--- Let others connect to it. (listen(2))
---@param backlog? integer SOMAXCONN if not given
---@return uring.Socket? socket
---@return string? message
---@return integer? errno
function Socket:listen(backlog) end

--- Wait for the next connection. Its peer's address is nil where the peer is
--- gone already. (io_uring_prep_accept(3), 5.5)
---@async
---@param timeout? uring.seconds
---@return uring.Socket? connection
---@return uring.Sockaddr|string? peer or the message
---@return integer? errno
function Socket:accept(timeout) end

--- socket:accept as an event. (io_uring_prep_accept(3), 5.5)
---@return uring.Event
---@nodiscard
function Socket:accepting() end

--- for connection, peer in socket:connections() do: one request accepts them
--- all. Goes on after errors of one connection; where there are no descriptors
--- or is no memory it tries again after 0.1 s. Ends when the socket is closed
--- here, raises any other error. (io_uring_prep_multishot_accept(3), 5.19)
---@async
---@param options? { timeout: uring.seconds? } of each step
---@return async fun(r: uring.Reader): uring.Socket?, uring.Sockaddr?
---@return uring.Reader
---@return nil
---@return uring.Reader
function Socket:connections(options) end

--- Accept connections, and call f(connection, peer) in a task for each, which
--- closes it at the end. Waits until the listener is closed and the last of
--- these tasks, and of those that they spawned, has ended: true, and how many
--- ended with an error. An error, also of a task that f has spawned, ends its
--- own connection alone. Where there is no descriptor or no memory
--- for another connection it waits, and goes on. When the task that serves is
--- cancelled it accepts no more, lets the tasks end for `grace` seconds,
--- cancels those that are left, and ends. (accept(2))
---@async
---@param f async fun(connection: uring.Socket, peer: uring.Sockaddr)
---@param options? uring.ServeOptions
---@return true? ok
---@return integer|string failed or the message
---@return integer? errno
function Socket:serve(f, options) end

---@class uring.ServeOptions
---@field max? integer connections at a time: more wait to be accepted
---@field on_error? fun(err: any, traceback: string, peer: uring.Sockaddr)
---@field grace? uring.seconds 5 if not given

--- Connect it. (io_uring_prep_connect(3), 5.5)
---@async
---@param address uring.address
---@param timeout? uring.seconds
---@return true? connected
---@return string? message
---@return integer? errno
function Socket:connect(address, timeout) end

--- Send. Of a stream all goes, or the fourth result says how much did, but
--- not to a task that is cancelled; nothing of another task's comes in
--- between. A long string goes in pieces of 1 MiB, each copied when its turn
--- comes, so that the other tasks run meanwhile. (io_uring_prep_send(3), 5.6)
---
--- After setsockopt("SO_ZEROCOPY", true) a buffer or lease of 48 KiB and more
--- goes without a copy, and send returns when the kernel has let go of it.
--- Where it ends before that it fails, whatever has gone, for the kernel still
--- reads the buffer. (io_uring_prep_send_zc(3), 6.2)
---@async
---@param data uring.bytes
---@param timeout? uring.seconds
---@return integer? bytes
---@return string? message
---@return integer? errno
---@return integer? sent
function Socket:send(data, timeout) end

--- An event that is ready when there is room to send, and sends when it is
--- chosen; how many bytes went, of a stream perhaps not all.
--- (io_uring_prep_poll_add(3), 5.1; send(2))
---@param data uring.bytes
---@return uring.Event
---@nodiscard
function Socket:sending(data) end

--- Send what there is room for now: how many bytes, of a stream perhaps not
--- all. EAGAIN where there is no room, or something is still to go before it.
--- It never waits, and works outside of tasks. (sendto(2))
---@param data uring.bytes
---@return integer? bytes
---@return string? message
---@return integer? errno
function Socket:try_send(data) end

--- Send a datagram to an address. (io_uring_prep_send_set_addr(3), 6.1)
---@async
---@param data uring.bytes
---@param address uring.address
---@param timeout? uring.seconds
---@return integer? bytes
---@return string? message
---@return integer? errno
---@return integer? sent
function Socket:sendto(data, address, timeout) end

--- Send a message, and give how many bytes went; or an array of messages, and
--- give how many of them did. Long strings go in pieces, as of Socket:send;
--- the control messages go with the first. (io_uring_prep_sendmsg(3), 5.3;
--- sendmmsg(2))
---@async
---@param message uring.Message | uring.Message[]
---@param timeout? uring.seconds
---@return integer? sent
---@return string? message
---@return integer? errno
---@return integer? sent
---@return integer? cut where an array was timed out on a stream: how many
---  bytes of the next message have gone
function Socket:sendmsg(message, timeout) end

---@class uring.Message
---@field data? uring.bytes or, of several parts:
---@field iov? (uring.bytes | uring.Part)[]
---@field name? uring.address the receiver
---@field control? uring.ControlOut
---@field flags? integer MSG_...

--- What has arrived, at most `max` bytes, with the sender's address (nil for
--- a stream) and what else is known of it. Of a stream the rest stays to be
--- received, and a single nil is the end; of a datagram the rest is cut off.
--- With a max of 0 it gives "" at once, and takes nothing.
--- (io_uring_prep_recvmsg(3), 5.3)
---@async
---@param max? integer 65536 if not given
---@param timeout? uring.seconds
---@return string? payload
---@return uring.Sockaddr|string? from or the message
---@return uring.Info|integer? info or the errno
function Socket:receive(max, timeout) end

--- Where there is nothing to tell all calls give the same table: do not write
--- into it.
---@class uring.Info
---@field flags integer MSG_...
---@field truncated boolean was a datagram cut off?
---@field control_truncated boolean were control messages, or descriptors that
--- were not asked for?
---@field control uring.Control

--- socket:receive as an event. (io_uring_prep_recvmsg(3), 5.3)
---@param max? integer 65536 if not given
---@return uring.Event
---@nodiscard
function Socket:receiving(max) end

--- What receive gives, if it has arrived; EAGAIN where it has not, or a task
--- waits for it. It never waits, and works outside of tasks. (recvmsg(2))
---@param max? integer 65536 if not given
---@return string? payload
---@return uring.Sockaddr|string? from or the message
---@return uring.Info|integer? info or the errno
function Socket:try_receive(max) end

--- The same as receive. (io_uring_prep_recvmsg(3), 5.3)
---@async
---@param max? integer
---@param timeout? uring.seconds
---@return string? payload
---@return uring.Sockaddr|string? from or the message
---@return uring.Info|integer? info or the errno
function Socket:recvmsg(max, timeout) end

--- The same, payload and sender alone. (io_uring_prep_recvmsg(3), 5.3)
---@async
---@param max? integer
---@param timeout? uring.seconds
---@return string? payload
---@return uring.Sockaddr|string? from or the message
---@return integer? errno
function Socket:recvfrom(max, timeout) end

--- The same, the payload alone. (io_uring_prep_recv(3), 5.6)
---@async
---@param max? integer
---@param timeout? uring.seconds
---@return string? payload
---@return string? message
---@return integer? errno
function Socket:recv(max, timeout) end

--- for payload, from, info in socket:messages() do: one request receives them
--- all. Descriptors that a peer sends along are closed, but with `fds = true`;
--- then each message is a request of its own. Ends at the end of a stream and
--- when the socket is closed here; goes on after what ICMP tells of other
--- datagrams; raises any other error.
--- (io_uring_prep_recvmsg_multishot(3), 6.0)
---@async
---@param options? uring.MessageOptions
---@return uring.NextMessage
---@return uring.Reader
---@return nil
---@return uring.Reader
function Socket:messages(options) end

---@alias uring.NextMessage
---| async fun(r: uring.Reader): uring.payload?, uring.Sockaddr?, uring.Info?

--- With the option `lease` a lease.
---@alias uring.payload string | uring.Lease

--- for data in socket:chunks() do: the data of a stream, in pieces as they
--- come. Otherwise as messages(). (io_uring_prep_recv_multishot(3), 6.0)
---@async
---@param options? uring.ReadOptions
---@return async fun(reader: uring.Reader): uring.payload?
---@return uring.Reader
---@return nil
---@return uring.Reader
function Socket:chunks(options) end

---@class uring.MessageOptions: uring.ReadOptions
---@field fds? boolean info.control.fds are wanted

---@class uring.ReadOptions
---@field size? integer bytes at a time: 65536 or, of chunks, 16384
---@field count? integer how many may have come and not been taken: 128
---@field lease? boolean give leases, not strings: release each
---@field timeout? uring.seconds of each step

--- The state of a loop over a socket; ends with the loop.
---@class uring.Reader
local Reader = {}  -- luacheck: ignore 211

--- `waiting`: what arrived and was not read. `failed_accepts`: accepts for
--- which there was no descriptor or no memory. `zero_copy`: whether large
--- buffers go without a copy; false again once the kernel has copied or
--- refused.
---@return { waiting: integer, failed_accepts: integer, zero_copy: boolean }
function Socket:stats() end

--- Send a file, or a part of it, without its bytes becoming a string: how many
--- bytes were sent, which is less than `count` where the file ends earlier.
--- What was written goes first, together with the beginning of the file. It is
--- one unit, as a write is, and does not move the file's position. What is no
--- file is refused: ESPIPE, EISDIR. When it fails or is out of time the
--- fourth result is how many bytes were sent: `sendfile(file, offset + sent)`
--- goes on. While it waits it holds no memory; but 32 KiB where the file
--- has to be read from a disk, or its file system cannot read without waiting,
--- as overlayfs. (sendfile(2))
---@async
---@param file uring.descriptor
---@param offset? integer where in the file, counted from 0: by default 0
---@param count? integer by default all that is left
---@param timeout? uring.seconds
---@return integer? sent
---@return string? message
---@return integer? errno
---@return integer? sent_before
function Socket:sendfile(file, offset, count, timeout) end

--- End one direction, or both; the peer, or this socket's own receivers, get
--- the end of the stream. What was written goes first: in a task it waits up
--- to 5 s for that. (shutdown(2))
---@async
---@param how "read"|"write"|"both"
---@return true? done
---@return string? message
---@return integer? errno
function Socket:shutdown(how) end

--- Its own address. (getsockname(2))
---@return uring.Sockaddr? address
---@return string? message
---@return integer? errno
function Socket:getsockname() end

--- The peer's address. (getpeername(2))
---@return uring.Sockaddr? address
---@return string? message
---@return integer? errno
function Socket:getpeername() end

--- Set an option, by its C name; or by its level, its number and the value.
--- A string is the bytes of a struct. (setsockopt(2), ip(7), tcp(7))
---@param name string | integer "SO_REUSEADDR", "IP_PKTINFO"; or the level
---@param value boolean | integer | string or the number
---@param ... boolean | integer | string the value, then
---@return true? done
---@return string? message
---@return integer? errno
function Socket:setsockopt(name, value, ...) end

--- An option's value: an integer, or the bytes of what is no int. By its
--- C name, or by level and number. (getsockopt(2))
---@param name string | integer or the level
---@param number? integer the number, then
---@return integer|string|nil value
---@return string? message
---@return integer? errno
function Socket:getsockopt(name, number) end

--- The number of its descriptor.
---@return integer
function Socket:fileno() end

--- Give the number away, to another library for example: the caller has to
--- close it, and the socket is closed. EBUSY while something would be lost:
--- bytes that it has received and were not read, or that were written and are
--- not sent yet; or while a request is under way on it.
---@return integer? number
---@return string? message
---@return integer? errno
---@nodiscard
function Socket:release() end

--- Read by one of io's formats: "l" a line (and where none is given), "L" with
--- its end, "a" all up to the end, "n" a number, or a count of bytes, of which
--- fewer come only at the end. nil alone is the end. What comes is kept when
--- the time is over, the task is cancelled or the limit exceeded (EMSGSIZE).
--- (io_uring_prep_recv(3), 5.6)
---@async
---@param format? uring.format
---@param timeout? uring.seconds
---@return string|number|nil bytes
---@return string? message
---@return integer? errno
function Socket:read(format, timeout) end

--- socket:read as an event. (io_uring_prep_recv(3), 5.6)
---@param format? uring.format
---@return uring.Event
---@nodiscard
function Socket:reading(format) end

--- for line in socket:lines() do: what read(format) gives, again and again.
--- Ends at the end and when the socket is closed here; raises any other error.
--- (io_uring_prep_recv(3), 5.6)
---@async
---@param format? uring.format not "a"
---@param options? uring.LinesOptions
---@return async fun(): (string|number)?
function Socket:lines(format, options) end

--- What comes up to a delimiter, and that. EMSGSIZE where it is not within
--- the limit, ENODATA where the end comes first: then all stays to be read.
--- nil alone is the end. (io_uring_prep_read(3), 5.6)
---@async
---@param delimiter string
---@param limit? integer bytes; that of limit() if not given
---@param timeout? uring.seconds
---@return string? bytes
---@return string? message
---@return integer? errno
function Socket:read_until(delimiter, limit, timeout) end

--- As read(count), but the bytes stay to be read. (io_uring_prep_read(3), 5.6)
---@async
---@param count integer from 1
---@param timeout? uring.seconds
---@return string? bytes
---@return string? message
---@return integer? errno
function Socket:peek(count, timeout) end

--- Put bytes back: the next read begins with them.
---@param bytes string
---@return uring.Socket
function Socket:unread(bytes) end

--- Bound a read of a line, up to a delimiter, of all, or of a count; math.huge
--- is no bound. At first a line and what is up to a delimiter may have 1 MiB,
--- but of files any size, and all and a count have no bound. Without an
--- argument: how much a line may have.
---@param bytes? number
---@return uring.Socket|number
function Socket:limit(bytes) end

--- Write strings and numbers, these as tostring has them (io of Lua 5.4 leaves
--- the ".0" of a float out). They are buffered (64 KiB), and go when the loop
--- next enters the kernel: a flush is needed only to know that they went.
--- Waits when the buffer is full. An error is told once, by the next write,
--- flush or close. No SIGPIPE is raised. (io_uring_prep_send(3), 5.6)
---@async
---@param ... string|number
---@return uring.Socket? socket
---@return string? message
---@return integer? errno
function Socket:write(...) end

--- Wait until all that was written has gone to the kernel.
--- (io_uring_prep_write(3), 5.6)
---@async
---@param timeout? uring.seconds
---@return uring.Socket? socket
---@return string? message
---@return integer? errno
function Socket:flush(timeout) end

--- Ends what uses it, as uring.Fd's does, and wakes the tasks that wait. What
--- was written goes first: in a task it waits up to 5 s for that, 1 s in one
--- that was cancelled. What did not go is nil, message, errno, bytes. Closing
--- it again does nothing. (close(2))
---@async
---@return true? closed
---@return string? message
---@return integer? errno
---@return integer? unsent
function Socket:close() end

--- What is read and written as a file of io's is: a file, a pipe, a terminal,
--- a device. Takes the place of a descriptor wherever one is expected.
---@class uring.Stream
local Stream = {}

---@alias uring.format
---| "l"
---| "L"
---| "a"
---| "n"
---| integer

---@class uring.LinesOptions
---@field timeout? uring.seconds of each step
---@field max? integer bytes of a line; that of limit() if not given

--- The file system: uring.fs. Paths are bytes without zeros, looked up where
--- the
--- process is. Every function waits, as only a task can, and gives nil,
--- a message with the path, and an errno where it fails. What has no request
--- of
--- io_uring's is done by a helper thread: directories, copies, modes. There is
--- no chown and no change of times.
---@class uring.Fs
uring.fs = {}

---@alias uring.FileKind
---| "file"
---| "directory"
---| "link"
---| "fifo"
---| "socket"
---| "char"
---| "block"

--- What a path leads to. (statx(2), io_uring_prep_statx(3), 5.6)
---@async
---@param path string
---@return uring.Stat? info
---@return string? message
---@return integer? errno
---@nodiscard
function uring.fs.stat(path) end

--- The same of a link itself.
---@async
---@param path string
---@return uring.Stat? info
---@return string? message
---@return integer? errno
---@nodiscard
function uring.fs.lstat(path) end

--- Make a directory; with `parents` also those that it is in, and it may be
--- there already. (io_uring_prep_mkdirat(3), 5.15)
---@async
---@param path string
---@param options? uring.MkdirOptions
---@return true? ok
---@return string? message
---@return integer? errno
function uring.fs.mkdir(path, options) end

---@class uring.MkdirOptions
---@field parents? boolean
---@field mode? integer 0x1ff (octal 777) if not given, less the umask

--- Make a directory that only this user can use, with a name in the place of
--- XXXXXX, and give its path. (mkdtemp(3))
---@async
---@param template string ends with XXXXXX
---@return string? path
---@return string? message
---@return integer? errno
---@nodiscard
function uring.fs.mkdtemp(template) end

--- Remove a file or an empty directory; with `recursive` all that is in it.
--- No link is followed: not even one that takes the place of a directory
--- meanwhile. Each directory on the way down is an open descriptor (EMFILE).
--- (io_uring_prep_unlinkat(3), 5.11)
---@async
---@param path string
---@param options? uring.RemoveOptions
---@return true? ok
---@return string? message
---@return integer? errno
function uring.fs.remove(path, options) end

---@class uring.RemoveOptions
---@field recursive? boolean

--- (io_uring_prep_renameat(3), 5.11)
---@async
---@param from string
---@param to string
---@return true? ok
---@return string? message
---@return integer? errno
function uring.fs.rename(from, to) end

--- A second name of a file. (io_uring_prep_linkat(3), 5.15)
---@async
---@param from string
---@param to string
---@return true? ok
---@return string? message
---@return integer? errno
function uring.fs.link(from, to) end

--- A link to `target`, a text. (io_uring_prep_symlinkat(3), 5.15)
---@async
---@param target string
---@param path string
---@return true? ok
---@return string? message
---@return integer? errno
function uring.fs.symlink(target, path) end

--- The text of a link. (readlinkat(2))
---@async
---@param path string
---@return string? target
---@return string? message
---@return integer? errno
---@nodiscard
function uring.fs.readlink(path) end

--- Set the mode of what a path leads to. (chmod(2), on a helper thread; needs
--- /proc)
---@async
---@param path string
---@param mode integer 0 to 0xfff
---@return true? ok
---@return string? message
---@return integer? errno
function uring.fs.chmod(path, mode) end

--- The names in a directory and their kinds, without "." and "..", in no
--- order:
--- `for name, kind in uring.fs.dir(path)`. Raises where it cannot be read.
--- (getdents64(2), on a helper thread)
---@async
---@param path string
---@return fun(reading: any): string?, uring.FileKind?
---@return any reading
---@return nil
---@return any closer
function uring.fs.dir(path) end

--- All that is below a directory: `for path, kind, message, errno in
--- uring.fs.walk(path)`. A directory comes before what is in it. Of what may
--- not be read there is path, nil, message, errno, and it goes on. No link is
--- followed. A directory that is walked, and each above it, is an open
--- descriptor.
---@async
---@param path string
---@return fun(walk: any): string?, uring.FileKind?, string?, integer?
---@return any walk
---@return nil
---@return any closer
function uring.fs.walk(path) end

--- What happens in a directory or to a file, as messages. A link is followed,
--- and what is in directories below is not watched. Each watch is an inotify
--- instance. (inotify(7); needs /proc)
---@async
---@param path string
---@return uring.Watch? watch
---@return string? message
---@return integer? errno
---@nodiscard
function uring.fs.watch(path) end

--- What has happened. With "overflow" the kernel's queue was full, and events
--- were lost: then look at the directory anew.
---@class uring.WatchEvent
---@field kind "create"|"modify"|"delete"|"move"|"overflow"
---@field name? string in the watched directory; nil: it is the watched itself
---@field directory? true it is one
---@field moved? "from"|"to" which of its names that of a move was; outside of
--- the directory it has no event
---@field cookie? integer the same in both events of a move

---@class uring.Watch
local Watch = {}

--- The next event; what comes between two calls is kept. ENOENT when what is
--- watched is not there any more, EBADF if the watch is closed meanwhile.
---@async
---@param timeout? uring.seconds
---@return uring.WatchEvent? event
---@return string? message
---@return integer? errno
function Watch:receive(timeout) end

--- watch:receive as an event.
---@return uring.Event
---@nodiscard
function Watch:receiving() end

--- for event in watch:messages() do: ends when what is watched is gone, or the
--- watch is closed. Leaving the loop closes it.
---@async
---@return function
---@return any
---@return nil
---@return any
function Watch:messages() end

--- Watch no more. Closing again does nothing.
---@return true closed
function Watch:close() end

--- Copy the content and the mode of a file, and give the number of bytes. `to`
--- is replaced when all is there; a link is replaced, too, and what is neither
--- is refused (EISDIR, EINVAL). File systems that can share the blocks do, and
--- holes stay holes.
--- (copy_file_range(2), on a helper thread; what has no size, a FIFO for
--- example, is read and written by requests)
---@async
---@param from string
---@param to string
---@return integer? bytes
---@return string? message
---@return integer? errno
function uring.fs.copy(from, to) end

--- All of a file; EMSGSIZE if that is more than `max`.
---@async
---@param path string
---@param max? integer bytes
---@return string? data
---@return string? message
---@return integer? errno
---@nodiscard
function uring.fs.read(path, max) end

--- Replace the content of a file, or make it. With `atomic` the data goes into
--- a file beside it, to the disk, and that is renamed: others see the old
--- content or the new, and a link is replaced.
---@async
---@param path string
---@param data string
---@param options? uring.FileWriteOptions
---@return true? ok
---@return string? message
---@return integer? errno
function uring.fs.write(path, data, options) end

---@class uring.FileWriteOptions
---@field atomic? boolean

--- A directory that no path leads out of: its methods are the functions of
--- uring.fs and `open(path, mode, timeout)`, with paths that begin there.
--- "..",
--- absolute paths, and links that lead out give EXDEV, however they are
--- swapped
--- meanwhile. Whatever serves files to others serves them through one.
--- (openat2(2) with RESOLVE_BENEATH, 5.6)
---@async
---@param path string
---@return uring.Root? root
---@return string? message
---@return integer? errno
---@nodiscard
function uring.fs.root(path) end

--- What uring.fs.root gives: root:stat(path), root:open(path, mode)...
---@class uring.Root
local Root = {}

--- uring.open(...) beneath this directory.
---@async
---@param path string
---@param mode? string
---@param timeout? uring.seconds
---@return uring.Stream?
---@return string?
---@return integer?
function Root:open(path, mode, timeout) end

--- uring.fs.stat(...) beneath this directory.
---@async
---@param path string
---@return uring.Stat?
---@return string?
---@return integer?
function Root:stat(path) end

--- uring.fs.lstat(...) beneath this directory.
---@async
---@param path string
---@return uring.Stat?
---@return string?
---@return integer?
function Root:lstat(path) end

--- uring.fs.mkdir(...) beneath this directory.
---@async
---@param path string
---@param options? uring.MkdirOptions
---@return true?
---@return string?
---@return integer?
function Root:mkdir(path, options) end

--- uring.fs.mkdtemp(...) beneath this directory.
---@async
---@param template string
---@return string?
---@return string?
---@return integer?
function Root:mkdtemp(template) end

--- uring.fs.remove(...) beneath this directory.
---@async
---@param path string
---@param options? uring.RemoveOptions
---@return true?
---@return string?
---@return integer?
function Root:remove(path, options) end

--- uring.fs.rename(...) beneath this directory.
---@async
---@param from string
---@param to string
---@return true?
---@return string?
---@return integer?
function Root:rename(from, to) end

--- uring.fs.link(...) beneath this directory.
---@async
---@param from string
---@param to string
---@return true?
---@return string?
---@return integer?
function Root:link(from, to) end

--- uring.fs.symlink(...) beneath this directory.
---@async
---@param target string
---@param path string
---@return true?
---@return string?
---@return integer?
function Root:symlink(target, path) end

--- uring.fs.readlink(...) beneath this directory.
---@async
---@param path string
---@return string?
---@return string?
---@return integer?
function Root:readlink(path) end

--- uring.fs.chmod(...) beneath this directory.
---@async
---@param path string
---@param mode integer
---@return true?
---@return string?
---@return integer?
function Root:chmod(path, mode) end

--- uring.fs.dir(...) beneath this directory.
---@async
---@param path string
---@return function
---@return any
---@return nil
---@return any
function Root:dir(path) end

--- uring.fs.walk(...) beneath this directory.
---@async
---@param path string
---@return function
---@return any
---@return nil
---@return any
function Root:walk(path) end

--- uring.fs.watch(...) beneath this directory: of the place that it opened.
---@async
---@param path string
---@return uring.Watch?
---@return string?
---@return integer?
function Root:watch(path) end

--- uring.fs.copy(...) beneath this directory.
---@async
---@param from string
---@param to string
---@return integer?
---@return string?
---@return integer?
function Root:copy(from, to) end

--- uring.fs.read(...) beneath this directory.
---@async
---@param path string
---@param max? integer
---@return string?
---@return string?
---@return integer?
function Root:read(path, max) end

--- uring.fs.write(...) beneath this directory.
---@async
---@param path string
---@param data string
---@param options? uring.FileWriteOptions
---@return true?
---@return string?
---@return integer?
function Root:write(path, data, options) end

--- Let go of the directory; again it does nothing.
---@return true
function Root:close() end

--- Open a file, in a mode of io.open; "a" begins at the end. Waits for the
--- other end of a FIFO, as open(2) does; with a timeout of 0 it opens none,
--- and other files as ever. A FIFO's writer may take a reader that gives up
--- for one that stays, for a moment. Its path is in the messages of all
--- errors. (io_uring_prep_openat(3), 5.6)
---@async
---@param path string
---@param mode? "r"|"w"|"a"|"r+"|"w+"|"a+"|string "r" if not given
---@param timeout? uring.seconds
---@return uring.Stream? file
---@return string? message
---@return integer? errno
---@nodiscard
function uring.open(path, mode, timeout) end

--- A stream over a descriptor: of an integer, which it owns from now on; of
--- a uring.Fd, which hands its number over; of a Lua file, of which it has
--- a dup. A socket or a stream is one already. EEXIST where the number has an
--- owner. Or a stream over functions. What was read ahead of a file is given
--- back when the stream is closed or collected: others that have the same file
--- go on behind what was read.
---@param what uring.descriptor|uring.StreamFunctions
---@return uring.Stream|uring.Socket|nil stream
---@return string? message
---@return integer? errno
---@nodiscard
function uring.stream(what) end

--- What a stream over functions is made of: `read`, `write`, or both. They may
--- wait. Each is called in a task of its own, one call at a time, and a call
--- goes on when the read or flush that began it has ended. What they raise is
--- raised by the read, write, flush or close that comes next.
---@class uring.StreamFunctions
---@field read? uring.StreamRead
---@field write? uring.StreamWrite
---@field close? async fun(): any, string?, integer? called once, by close,
---  when all has been written; its nil, message, errno are close's

--- Some bytes, about as many as `max`; nil at the end; or nil, message, errno.
--- The timeout is what is left of that of the read that began the call; it may
--- be ignored. "" is nothing yet: it is called again.
---@alias uring.StreamRead
---| async fun(max: integer, timeout?: number): string?, string?, integer?

--- How many of the bytes went, at least 1, or true for all; or nil, message,
--- errno and, where some went before, how many. No timeout is given now: it
--- may take its time, but a close that has lingered long enough cancels it.
---@alias uring.StreamWrite
---| async fun(bytes: string, timeout?: number): any, string?, integer?, any

--- A pipe: what is written to the second can be read from the first. (pipe(2))
---@return uring.Stream? reader
---@return uring.Stream|string writer or the message
---@return integer? errno
---@nodiscard
function uring.pipe() end

--- Read by one of io's formats: "l" a line (and where none is given), "L" with
--- its end, "a" all up to the end, "n" a number, or a count of bytes, of which
--- fewer come only at the end. nil alone is the end. What comes is kept when
--- the time is over, the task is cancelled or the limit exceeded (EMSGSIZE).
--- (io_uring_prep_read(3), 5.6)
---@async
---@param format? uring.format
---@param timeout? uring.seconds
---@return string|number|nil bytes
---@return string? message
---@return integer? errno
function Stream:read(format, timeout) end

--- stream:read as an event. Where it is not chosen nothing is lost: what
--- comes stays to be read. (io_uring_prep_read(3), 5.6)
---@param format? uring.format
---@return uring.Event
---@nodiscard
function Stream:reading(format) end

--- for line in stream:lines() do: what read(format) gives, again and again.
--- Ends at the end and when the stream is closed here; raises any other error.
---@async
---@param format? uring.format not "a"
---@param options? uring.LinesOptions
---@return async fun(): (string|number)?
function Stream:lines(format, options) end

--- What comes up to a delimiter, and that. EMSGSIZE where it is not within
--- the limit, ENODATA where the end comes first: then all stays to be read.
--- nil alone is the end. (io_uring_prep_read(3), 5.6)
---@async
---@param delimiter string
---@param limit? integer bytes; that of limit() if not given
---@param timeout? uring.seconds
---@return string? bytes
---@return string? message
---@return integer? errno
function Stream:read_until(delimiter, limit, timeout) end

--- As read(count), but the bytes stay to be read. (io_uring_prep_read(3), 5.6)
---@async
---@param count integer from 1
---@param timeout? uring.seconds
---@return string? bytes
---@return string? message
---@return integer? errno
function Stream:peek(count, timeout) end

--- Put bytes back: the next read begins with them.
---@param bytes string
---@return uring.Stream
function Stream:unread(bytes) end

--- Bound a read of a line, of all, or of a count; math.huge is no bound. 1 MiB
--- at first, and none for files. Without an argument: how much it is.
---@param bytes? number
---@return uring.Stream|number
function Stream:limit(bytes) end

--- Write strings and numbers, these as tostring has them (io of Lua 5.4 leaves
--- the ".0" of a float out). They are buffered (64 KiB), and go when the loop
--- next enters the kernel: a flush is needed only to know that they went.
--- Waits when the buffer is full. An error is told once, by the next write,
--- flush or close. No SIGPIPE is raised. (io_uring_prep_write(3), 5.6)
---@async
---@param ... string|number
---@return uring.Stream? stream
---@return string? message
---@return integer? errno
function Stream:write(...) end

--- Wait until all that was written has gone to the kernel.
--- (io_uring_prep_write(3), 5.6)
---@async
---@param timeout? uring.seconds
---@return uring.Stream? stream
---@return string? message
---@return integer? errno
function Stream:flush(timeout) end

--- Where the next read or write is, after a move: from the beginning ("set"),
--- the current place ("cur") or the end ("end"). Between a write and a read
--- there has to be a seek or a flush, as with io. What has no positions, as
--- a pipe, gives ESPIPE at once. (lseek(2))
---@async
---@param whence? "set"|"cur"|"end" "cur" if not given
---@param offset? integer 0 if not given
---@return integer? position
---@return string? message
---@return integer? errno
function Stream:seek(whence, offset) end

--- Read at a position, which moves no other. Fewer bytes come at the end of
--- the file, and nil alone after it. ESPIPE where there are no positions.
--- (io_uring_prep_read(3), 5.6)
---@async
---@param count integer from 1
---@param offset integer
---@param timeout? uring.seconds
---@return string? bytes
---@return string? message
---@return integer? errno
function Stream:pread(count, offset, timeout) end

--- Write all of it at a position. ESPIPE where there are none.
--- (io_uring_prep_write(3), 5.6)
---@async
---@param bytes string
---@param offset integer
---@param timeout? uring.seconds
---@return uring.Stream? stream
---@return string? message
---@return integer? errno
function Stream:pwrite(bytes, offset, timeout) end

--- Flush, and wait until it is on the disk. (fsync(2), 5.1)
---@async
---@return uring.Stream? stream
---@return string? message
---@return integer? errno
function Stream:sync() end

--- Make it this long. (ftruncate(2); by a request from 6.9 on)
---@async
---@param size integer
---@return uring.Stream? stream
---@return string? message
---@return integer? errno
function Stream:truncate(size) end

--- What it is, how large, and since when. (statx(2), 5.6)
---@async
---@return uring.Stat? stat
---@return string? message
---@return integer? errno
function Stream:stat() end

--- Times are seconds since 1970.
---@class uring.Stat
---@field kind "file"|"directory"|"link"|"fifo"|"socket"|"char"|"block"
---@field size integer
---@field mode integer permissions
---@field nlink integer
---@field uid integer
---@field gid integer
---@field ino integer
---@field blocks integer of 512 bytes
---@field atime number
---@field mtime number
---@field ctime number
---@field btime? number where the file system knows it

--- The number of its descriptor. A stream over functions has none: it raises,
--- and so does all that needs a descriptor.
---@return integer
function Stream:fileno() end

--- Ends what uses it, and wakes the tasks that wait. What was written goes
--- first, as a socket's does. A standard stream's number stays open. Closing
--- it again does nothing. (close(2))
---@async
---@return true? closed
---@return string? message
---@return integer? errno
---@return integer? unsent
function Stream:close() end

--- A child process. It belongs to the scope of the task that started it: when
--- that ends its pipes are closed, it gets TERM, after `grace` seconds KILL,
--- and is reaped. It gets descriptors 0, 1 and 2 alone. (clone(2), pidfd: 5.4)
---@class uring.Process
---@field pid integer
---@field program string
---@field stdin? uring.Stream to write to, with stdin = "pipe"
---@field stdout? uring.Stream to read from, with stdout = "pipe"
---@field stderr? uring.Stream to read from, with stderr = "pipe"
local Process = {}

--- A stream of a child's. "inherit": the parent's, and the default; "null":
--- /dev/null; "pipe": the parent has the other end; or a descriptor. What was
--- written to a stream or a Lua file goes before, and of a file that was read
--- the child reads the rest.
---@alias uring.ChildStream "inherit"|"null"|"pipe"|uring.descriptor

---@class uring.ProcessOptions
---@field [integer] string|number the program, and its arguments
---@field cwd? string where it runs; a path of the program is looked up there
---@field env? table<string, string|number> all that it has; the parent's if
---not given
---@field stdin? uring.ChildStream
---@field stdout? uring.ChildStream
---@field stderr? uring.ChildStream|"stdout" "stdout": the same as stdout
---@field group? boolean it leads a process group: `kill` and the end of its
---scope reach all of that
---@field grace? uring.seconds from TERM to KILL when it is ended; 2

--- Start a program in a child process, without a shell. A program without a
--- slash is searched in the parent's PATH. A helper thread starts it, from
--- copies of all that it gets; a start that is cancelled or timed out is
--- undone. Fails where the program or `cwd` is not there (ENOENT), may not be
--- run (EACCES), or there are too many processes or no helper thread (EAGAIN),
--- or too many descriptors (EMFILE), or a stream that it is given is closed
--- meanwhile (EBADF) or cannot be flushed. (clone(2), execve(2), 5.9)
---@async
---@param options uring.ProcessOptions
---@return uring.Process? process
---@return string? message
---@return integer? errno
function uring.process(options) end

--- Wait until it has ended: "exit" and its exit code, or "signal" and the
--- number of the signal that has killed it. ECHILD where the host ignores
--- SIGCHLD or reaps all children. (waitid(2))
---@async
---@param timeout? uring.seconds
---@return "exit"|"signal"|nil kind
---@return integer|string code the code or the number; or the message
---@return integer? errno
function Process:wait(timeout) end

--- process:wait as an event.
---@return uring.Event
---@nodiscard
function Process:waiting() end

--- Send it a signal. It can never be another process that gets it.
--- (pidfd_send_signal(2), 5.1)
---@param name? string such as "KILL"; "TERM" if not given
---@return true? sent
---@return string? message
---@return integer? errno ESRCH: it has ended
function Process:kill(name) end

---@class uring.CommunicateOptions
---@field max? integer bytes of each output; more are EMSGSIZE
---@field timeout? uring.seconds

--- Write `input` to its stdin and close that, read all of its stdout and
--- stderr, all at once, and wait for its end. "" stands for what is no pipe;
--- a pipe that was closed raises, but stdin where there is no input.
--- What was read before a failure is read again by the next call. A grandchild
--- that keeps a pipe open keeps this waiting.
---@async
---@param input? string
---@param options? uring.CommunicateOptions
---@return string? out
---@return string err what it wrote to stderr; or the message
---@return "exit"|"signal"|integer kind or the errno
---@return integer? code
function Process:communicate(input, options) end

--- End it as the end of its scope does, close its pipes, and tell how it
--- ended, as wait does.
---@async
---@return "exit"|"signal"|nil kind
---@return integer|string code
---@return integer? errno
function Process:close() end

--- Signals of the process as messages. While they are listened to they do
--- nothing else. They belong to the scope of the task that asked for them.
---@class uring.Signals
local Signals = {}

--- Listen to signals, named as by kill -l. KILL and STOP, and those of
--- a program's faults, raise. Several listeners, also of other states, may
--- listen to the same signal, and each gets it. What was there before is put
--- back with the last of them. A handler that is set meanwhile is replaced by
--- the next run, or step that has work, and is what is put back then.
--- (sigaction(2), eventfd(2))
---@async
---@param name string such as "INT"
---@param ... string
---@return uring.Signals? signals
---@return string? message
---@return integer? errno
function uring.signals(name, ...) end

--- The name of the next signal; what came since the last call is kept. Where
--- they are closed while it waits: nil, message, EBADF.
---@async
---@param timeout? uring.seconds
---@return string? name
---@return string? message
---@return integer? errno
function Signals:receive(timeout) end

--- signals:receive as an event.
---@return uring.Event
---@nodiscard
function Signals:receiving() end

--- for name in signals:messages() do: ends when they are closed. Leaving the
--- loop closes them.
---@async
---@return async fun(): string?
function Signals:messages() end

--- Put back what was there before. Closing again does nothing.
---@return true closed
function Signals:close() end


-- ---- LuaSocket's interface ------------------------------------------------

---@class uring
---@field compat uring.Compat

--- Interfaces of other libraries, each loaded when it is first used.
---@class uring.Compat
---@field socket uring.compat.Socket as require "uring.compat.socket"

---@alias uring.port integer | string

--- LuaSocket's module: its functions, results and error texts are LuaSocket's
--- (doc/luasocket.md). What blocks there waits here, in a task. `install` lets
-- ---- LuaSocket's interface -----------------------------------------------
--- table; it raises where LuaSocket is loaded already.
---@class uring.compat.Socket
---@field install fun(modules?: table): uring.compat.Socket
---@field tcp fun(): uring.compat.Tcp
---@field tcp4 fun(): uring.compat.Tcp?, string?
---@field tcp6 fun(): uring.compat.Tcp?, string?
---@field connect uring.compat.connect
---@field connect4 uring.compat.connect
---@field connect6 uring.compat.connect
---@field bind uring.compat.bind
---@field udp fun(): uring.compat.Udp
---@field udp4 fun(): uring.compat.Udp?, string?
---@field udp6 fun(): uring.compat.Udp?, string?
---@field select uring.compat.select
---@field dns uring.compat.Dns
---@field gettime fun(): number as uring.time()
---@field sleep async fun(seconds: number)
---@field newtry fun(finalizer?: function): function
---@field protect fun(f: function): function lets uring.cancelled through
---@field try function
---@field skip fun(n: integer, ...): ...
---@field choose fun(functions: table): function
---@field source fun(kind: string, socket: uring.compat.Tcp, n?: integer): any
---@field sink fun(kind: string, socket: uring.compat.Tcp): any
---@field sourcet table<string, function>
---@field sinkt table<string, function>
---@field BLOCKSIZE integer of a source
---@field _VERSION string of the LuaSocket whose interface it is
---@field _DATAGRAMSIZE integer
---@field _SETSIZE integer
---@field _SOCKETINVALID integer

--- More arguments: a host and a port here, and "unspec", "inet" or "inet6".
---@alias uring.compat.connect
---| async fun(host: string, p: uring.port, ...): uring.compat.Tcp?, string?

---@alias uring.compat.bind
---| async fun(h: string, p: uring.port, n?: any): uring.compat.Tcp?, string?

--- Which are ready to be read, and to be written; each is also the key of its
--- place. It takes what has `getfd`, and perhaps `dirty`.
---@alias uring.compat.select
---| async fun(r?: table, w?: table, seconds?: number): table, table, string?

---@class uring.compat.Dns
---@field toip async fun(host: string): string?, table|string
---@field tohostname async fun(host: string): string?, table|string
---@field getaddrinfo async fun(host: string): table[]?, string?
---@field getnameinfo async fun(h?: string, s?: string): string[]?, string?
---@field gethostname async fun(): string?, string?

--- What objects of TCP and UDP have in common. `setfd`: the descriptor that it
--- had is the caller's from then on, and the new one its own.
---@class uring.compat.Object
---@field class string "tcp{master}", "udp{connected}", ...
---@field close fun(self): integer
---@field settimeout fun(self, seconds?: number, mode?: "b"|"t"|"r"): integer
---@field gettimeout fun(self): number, number
---@field getfamily fun(self): "inet4"|"inet6"
---@field getsockname fun(self): string?, integer|string, string?
---@field getpeername fun(self): string?, integer|string, string?
---@field setoption fun(self, name: string, value: any): integer?, string?
---@field getoption fun(self, name: string): any, string?
---@field getfd fun(self): integer
---@field setfd fun(self, fd: integer)
---@field dirty fun(self): boolean

---@alias uring.compat.name_it
---| async fun(self, host: string, p: uring.port): integer?, string?

--- `send` gives the index of the last byte that went, which after a failure is
--- its third result. The third result of `receive` is what came before
--- a failure.
---@class uring.compat.Tcp: uring.compat.Object
---@field connect uring.compat.name_it
---@field setpeername uring.compat.name_it
---@field bind uring.compat.name_it
---@field setsockname uring.compat.name_it
---@field listen fun(self, backlog?: integer): integer?, string?
---@field accept async fun(self): uring.compat.Tcp?, string?
---@field send uring.compat.send
---@field receive uring.compat.receive
---@field shutdown async fun(self, how?: "receive"|"send"|"both"): integer
---@field getstats fun(self): integer, integer, number bytes and seconds
---@field setstats fun(self, got?: integer, sent?: integer, age?: number)

---@alias uring.compat.send
---| async fun(self, s: any, i?: integer, j?: integer): integer?, string?, ...

---@alias uring.compat.receive
---| async fun(self, what?: any, prefix?: string): string?, string?, ...

---@class uring.compat.Udp: uring.compat.Object
---@field setsockname uring.compat.name_it
---@field setpeername uring.compat.name_it "*": it has no peer any more
---@field send async fun(self, data: string): integer?, string?
---@field sendto uring.compat.sendto
---@field receive async fun(self, size?: integer): string?, string?
---@field receivefrom uring.compat.receivefrom

---@alias uring.compat.sendto
---| async fun(self, s: string, ip: string, p: uring.port): integer?, string?

---@alias uring.compat.receivefrom
---| async fun(self, size?: integer): string?, string?, integer?

return uring
