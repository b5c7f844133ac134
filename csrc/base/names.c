/*
** names: the tables behind names.h. The order of name_errnos matters: where a
** number has several names the first one is given, so aliases come last.
*/

#include "base/names.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>


/*
** {=====================================================================
** Errors
** ======================================================================
*/

#define E(name)		{#name, name}

const struct name_number name_errnos[] = {
  E(EPERM), E(ENOENT), E(ESRCH), E(EINTR), E(EIO), E(ENXIO), E(E2BIG),
  E(ENOEXEC), E(EBADF), E(ECHILD), E(EAGAIN), E(ENOMEM), E(EACCES), E(EFAULT),
  E(ENOTBLK), E(EBUSY), E(EEXIST), E(EXDEV), E(ENODEV), E(ENOTDIR), E(EISDIR),
  E(EINVAL), E(ENFILE), E(EMFILE), E(ENOTTY), E(ETXTBSY), E(EFBIG), E(ENOSPC),
  E(ESPIPE), E(EROFS), E(EMLINK), E(EPIPE), E(EDOM), E(ERANGE), E(EDEADLK),
  E(ENAMETOOLONG), E(ENOLCK), E(ENOSYS), E(ENOTEMPTY), E(ELOOP), E(ENOMSG),
  E(EIDRM), E(ECHRNG), E(EL2NSYNC), E(EL3HLT), E(EL3RST), E(ELNRNG),
  E(EUNATCH), E(ENOCSI), E(EL2HLT), E(EBADE), E(EBADR), E(EXFULL), E(ENOANO),
  E(EBADRQC), E(EBADSLT), E(EBFONT), E(ENOSTR), E(ENODATA), E(ETIME),
  E(ENOSR), E(ENONET), E(ENOPKG), E(EREMOTE), E(ENOLINK), E(EADV), E(ESRMNT),
  E(ECOMM), E(EPROTO), E(EMULTIHOP), E(EDOTDOT), E(EBADMSG), E(EOVERFLOW),
  E(ENOTUNIQ), E(EBADFD), E(EREMCHG), E(ELIBACC), E(ELIBBAD), E(ELIBSCN),
  E(ELIBMAX), E(ELIBEXEC), E(EILSEQ), E(ERESTART), E(ESTRPIPE), E(EUSERS),
  E(ENOTSOCK), E(EDESTADDRREQ), E(EMSGSIZE), E(EPROTOTYPE), E(ENOPROTOOPT),
  E(EPROTONOSUPPORT), E(ESOCKTNOSUPPORT), E(EOPNOTSUPP), E(EPFNOSUPPORT),
  E(EAFNOSUPPORT), E(EADDRINUSE), E(EADDRNOTAVAIL), E(ENETDOWN),
  E(ENETUNREACH), E(ENETRESET), E(ECONNABORTED), E(ECONNRESET), E(ENOBUFS),
  E(EISCONN), E(ENOTCONN), E(ESHUTDOWN), E(ETOOMANYREFS), E(ETIMEDOUT),
  E(ECONNREFUSED), E(EHOSTDOWN), E(EHOSTUNREACH), E(EALREADY), E(EINPROGRESS),
  E(ESTALE), E(EUCLEAN), E(ENOTNAM), E(ENAVAIL), E(EISNAM), E(EREMOTEIO),
  E(EDQUOT), E(ENOMEDIUM), E(EMEDIUMTYPE), E(ECANCELED), E(ENOKEY),
  E(EKEYEXPIRED), E(EKEYREVOKED), E(EKEYREJECTED), E(EOWNERDEAD),
  E(ENOTRECOVERABLE), E(ERFKILL), E(EHWPOISON),
  /* other names of the same numbers come last: name_errno takes the first */
  E(EDEADLOCK), E(ENOTSUP), E(EWOULDBLOCK),
  {NULL, 0}
};


/* A linear search will do: the caller is about to report an error. */
const char *name_errno (int err) {
  const struct name_number *e;
  unsigned n = (err < 0) ? 0u - (unsigned)err : (unsigned)err;
  for (e = name_errnos; e->name != NULL; e++) {
    if ((unsigned)e->number == n)
      return e->name;
  }
  return NULL;
}

/* (glibc's strerror asks for a translation each time, under a lock.) */
const char *name_error_text (int err) {
#ifdef __GLIBC__
  const char *text = strerrordesc_np(err);
  return text ? text : "Unknown error";
#else
  return strerror(err);
#endif
}

/* }===================================================================== */


/*
** {=====================================================================
** Opcodes
** ======================================================================
*/

#define OP(NAME,short,major,minor) \
	[IORING_OP_##NAME] = {#short, NAMES_VERSION(major, minor)}

static const struct op_name {
  const char *brief;
  unsigned min_kernel;
} ops[] = {
  OP(NOP, nop, 5, 1),
  OP(READV, readv, 5, 1),
  OP(WRITEV, writev, 5, 1),
  OP(FSYNC, fsync, 5, 1),
  OP(READ_FIXED, read_fixed, 5, 1),
  OP(WRITE_FIXED, write_fixed, 5, 1),
  OP(POLL_ADD, poll_add, 5, 1),
  OP(POLL_REMOVE, poll_remove, 5, 1),
  OP(SYNC_FILE_RANGE, sync_file_range, 5, 2),
  OP(SENDMSG, sendmsg, 5, 3),
  OP(RECVMSG, recvmsg, 5, 3),
  OP(TIMEOUT, timeout, 5, 4),
  OP(TIMEOUT_REMOVE, timeout_remove, 5, 5),
  OP(ACCEPT, accept, 5, 5),
  OP(ASYNC_CANCEL, async_cancel, 5, 5),
  OP(LINK_TIMEOUT, link_timeout, 5, 5),
  OP(CONNECT, connect, 5, 5),
  OP(FALLOCATE, fallocate, 5, 6),
  OP(OPENAT, openat, 5, 6),
  OP(CLOSE, close, 5, 6),
  OP(FILES_UPDATE, files_update, 5, 6),
  OP(STATX, statx, 5, 6),
  OP(READ, read, 5, 6),
  OP(WRITE, write, 5, 6),
  OP(FADVISE, fadvise, 5, 6),
  OP(MADVISE, madvise, 5, 6),
  OP(SEND, send, 5, 6),
  OP(RECV, recv, 5, 6),
  OP(OPENAT2, openat2, 5, 6),
  OP(EPOLL_CTL, epoll_ctl, 5, 6),
  OP(SPLICE, splice, 5, 7),
  OP(PROVIDE_BUFFERS, provide_buffers, 5, 7),
  OP(REMOVE_BUFFERS, remove_buffers, 5, 7),
  OP(TEE, tee, 5, 8),
  OP(SHUTDOWN, shutdown, 5, 11),
  OP(RENAMEAT, renameat, 5, 11),
  OP(UNLINKAT, unlinkat, 5, 11),
  OP(MKDIRAT, mkdirat, 5, 15),
  OP(SYMLINKAT, symlinkat, 5, 15),
  OP(LINKAT, linkat, 5, 15),
  OP(MSG_RING, msg_ring, 5, 18),
  OP(FSETXATTR, fsetxattr, 5, 19),
  OP(SETXATTR, setxattr, 5, 19),
  OP(FGETXATTR, fgetxattr, 5, 19),
  OP(GETXATTR, getxattr, 5, 19),
  OP(SOCKET, socket, 5, 19),
  OP(URING_CMD, uring_cmd, 5, 19),
  OP(SEND_ZC, send_zc, 6, 0),
  OP(SENDMSG_ZC, sendmsg_zc, 6, 1),
  OP(READ_MULTISHOT, read_multishot, 6, 7),
  OP(WAITID, waitid, 6, 7),
  OP(FUTEX_WAIT, futex_wait, 6, 7),
  OP(FUTEX_WAKE, futex_wake, 6, 7),
  OP(FUTEX_WAITV, futex_waitv, 6, 7),
  OP(FIXED_FD_INSTALL, fixed_fd_install, 6, 8),
  OP(FTRUNCATE, ftruncate, 6, 9),
  OP(BIND, bind, 6, 11),
  OP(LISTEN, listen, 6, 11),
  OP(RECV_ZC, recv_zc, 6, 15),
  OP(EPOLL_WAIT, epoll_wait, 6, 15),
  OP(READV_FIXED, readv_fixed, 6, 15),
  OP(WRITEV_FIXED, writev_fixed, 6, 15),
  OP(PIPE, pipe, 6, 16),
  OP(NOP128, nop128, 6, 19),
  OP(URING_CMD128, uring_cmd128, 6, 19),
};


unsigned name_ops (void) {
  return (unsigned)(sizeof(ops) / sizeof(ops[0]));
}


const char *name_op_short (unsigned opcode) {
  return (opcode < name_ops()) ? ops[opcode].brief : NULL;
}


unsigned name_op_min_kernel (unsigned opcode) {
  return (opcode < name_ops()) ? ops[opcode].min_kernel : 0;
}

int name_op_fd (unsigned opcode, int fd) {
  switch (opcode) {
    case IORING_OP_SOCKET: case IORING_OP_GETXATTR: case IORING_OP_SETXATTR:
    case IORING_OP_WAITID: case IORING_OP_FUTEX_WAIT:
    case IORING_OP_FUTEX_WAKE: case IORING_OP_PROVIDE_BUFFERS:
    case IORING_OP_REMOVE_BUFFERS:
      return -1;
    default:
      return fd;
  }
}

/* }===================================================================== */


/* A release that is not "major.minor..." counts as unknown. */
static unsigned parse_release (const char *release) {
  unsigned major, minor;
  if (sscanf(release, "%3u.%3u", &major, &minor) != 2 || minor > 255)
    return 0;
  return NAMES_VERSION(major, minor);
}


/* Without a lock: two threads that race store the same value. */
unsigned name_kernel (void) {
  static _Atomic unsigned known;
  unsigned version = atomic_load_explicit(&known, memory_order_relaxed);
  if (version == 0) {
    struct utsname u;
    if (uname(&u) == 0)
      version = parse_release(u.release);
    atomic_store_explicit(&known, version, memory_order_relaxed);
  }
  return version;
}

unsigned name_flags_min_kernel (const struct name_since *latest, size_t n,
                                uint32_t flags) {
  for (size_t i = 0; i < n; i++)
    if (flags & latest[i].flag)
      return latest[i].min_kernel;
  return 0;
}


/*
** {=====================================================================
** Bits
** ======================================================================
*/

#define SETUP(name)	{IORING_SETUP_##name, #name}
#define FEAT(name)	{IORING_FEAT_##name, #name}
#define SQE(name)	{IOSQE_##name, #name}

const struct name_bit name_setup_flags[] = {
  SETUP(IOPOLL), SETUP(SQPOLL), SETUP(SQ_AFF), SETUP(CQSIZE), SETUP(CLAMP),
  SETUP(ATTACH_WQ), SETUP(R_DISABLED), SETUP(SUBMIT_ALL), SETUP(COOP_TASKRUN),
  SETUP(TASKRUN_FLAG), SETUP(SQE128), SETUP(CQE32), SETUP(SINGLE_ISSUER),
  SETUP(DEFER_TASKRUN), SETUP(NO_MMAP), SETUP(REGISTERED_FD_ONLY),
  SETUP(NO_SQARRAY), SETUP(HYBRID_IOPOLL), SETUP(CQE_MIXED), SETUP(SQE_MIXED),
  SETUP(SQ_REWIND),
  {0, NULL}
};

const struct name_bit name_features[] = {
  FEAT(SINGLE_MMAP), FEAT(NODROP), FEAT(SUBMIT_STABLE), FEAT(RW_CUR_POS),
  FEAT(CUR_PERSONALITY), FEAT(FAST_POLL), FEAT(POLL_32BITS),
  FEAT(SQPOLL_NONFIXED), FEAT(EXT_ARG), FEAT(NATIVE_WORKERS), FEAT(RSRC_TAGS),
  FEAT(CQE_SKIP), FEAT(LINKED_FILE), FEAT(REG_REG_RING),
  FEAT(RECVSEND_BUNDLE), FEAT(MIN_TIMEOUT), FEAT(RW_ATTR), FEAT(NO_IOWAIT),
  {0, NULL}
};

const struct name_bit name_sqe_flags[] = {
  SQE(FIXED_FILE), SQE(IO_DRAIN), SQE(IO_LINK), SQE(IO_HARDLINK), SQE(ASYNC),
  SQE(BUFFER_SELECT), SQE(CQE_SKIP_SUCCESS),
  {0, NULL}
};


/* Append as much of `text` as fits, and return the length so far. */
static size_t append_text (char *buf, size_t len, size_t used,
                           const char *text) {
  while (*text != '\0' && used + 1 < len)
    buf[used++] = *text++;
  buf[used] = '\0';
  return used;
}


size_t name_bits (const struct name_bit *table, uint64_t bits, char *buf,
                  size_t len) {
  size_t used = 0;
  if (len == 0)
    return 0;
  buf[0] = '\0';
  for (; table->name != NULL; table++) {
    if (bits & table->bit) {
      bits &= ~table->bit;
      if (used > 0)
        used = append_text(buf, len, used, "|");
      used = append_text(buf, len, used, table->name);
    }
  }
  if (bits != 0) {
    char rest[32];
    snprintf(rest, sizeof(rest), "%s0x%llx", (used > 0) ? "|" : "",
             (unsigned long long)bits);
    used = append_text(buf, len, used, rest);
  }
  else if (used == 0)
    used = append_text(buf, len, used, "0");
  return used;
}

/* }===================================================================== */
