/*
** prep_build: how a request is built, for `sqe:prep_*` and for sockets.
**
** A kind is a request without its arguments. It has what all requests of that
** kind have: opcode, flags, buffer selection, whether it completes more than
** once, how a resulting descriptor that is not taken is disposed of, and the
** first kernel that has it, if that is later than the opcode's. A request
** begins as a copy of its kind, in a prep and in a socket alike.
**
** A prep is a row: its name, its kind, and its arguments in order, each with
** its type and the field of the SQE that it is put into. It is or-ed to the
** kind's value there, as flags are; only `fd` is replaced, and is -1 if the
** request has none.
**
** A new prep is a row in the table of its family and a test; its values must
** be those of liburing's own prep. What no type of argument can express is
** done by `finish`.
**
** Called by the prep_ modules, and by whatever makes requests of its own:
** sockets, streams, files, the loop. What can never happen: a request names
** memory of Lua's, or memory without a pin.
*/

#ifndef uring_prep_build_h
#define uring_prep_build_h

#include "compat.h"
#include "ring/op_table.h"
#include "lua/state.h"
#include "api/fd.h"
#include "api/msghdr.h"
#include "api/sockaddr.h"

#define ANY_SLOT  IORING_FILE_INDEX_ALLOC

struct open_how;


/* ---- requests ---------------------------------------------------------- */

#define KIND_INIT(op, ...) \
  { .sqe.opcode = IORING_OP_##op, .sqe.fd = -1, __VA_ARGS__ }
#define KIND(op, ...)  (const struct request)KIND_INIT(op, __VA_ARGS__)

/* The kinds that are not of preps alone: of prep_socket.c, prep_file.c,
** prep_path.c and prep_wait.c. */
extern const struct request kind_accept, kind_multishot_accept, kind_connect,
  kind_send, kind_send_zc, kind_sendmsg, kind_sendmsg_zc, kind_recv,
  kind_recv_multishot, kind_recvmsg, kind_recvmsg_multishot;
extern const struct request kind_read, kind_write, kind_fsync, kind_ftruncate;
extern const struct request kind_openat2, kind_statx, kind_renameat,
  kind_unlinkat, kind_mkdirat, kind_symlinkat, kind_linkat;
extern const struct request kind_nop, kind_timeout, kind_poll_add,
  kind_poll_multishot;

/* A new request of this kind. */
static inline struct request request_of (const struct request *kind, int fd) {
  struct request q = *kind;
  q.sqe.fd = fd;
  return q;
}

/* The same of a kind that polls. */
static inline struct request request_poll (const struct request *kind, int fd,
                                           unsigned events) {
  struct request q = request_of(kind, fd);
  q.sqe.poll32_events = __io_uring_prep_poll_mask(events);
  return q;
}

/* Bytes to copy for a request, and the field for the address of the copy. */
struct copied {
  const void *from;
  size_t size;
  uint8_t place;
};

#define PLACE(field)  offsetof(struct io_uring_sqe, field)

/* Copy all of these into one block, which the request pins as its memory, or
** besides it if it pins a buffer. Each copy is followed by a zero byte. False:
** there is no memory, and the request is unchanged. */
bool request_copy (struct account *a, struct request *q,
                   const struct copied *p, unsigned n);

/* The request is on this descriptor. No count is taken: the operation takes
** one, or the caller. */
void request_first (struct request *q, struct fd_arg fd);

/* It names this one besides. The same applies. */
void request_second (struct request *q, struct fd_arg fd);

/* The request connects, binds or sends to this address: set its length. The
** result is the field for the address of a copy of its bytes. */
uint8_t request_address (struct request *q, const struct address *a);

/* Pin memory that is used without a copy, and set the field for its address.
** No count of `b` is taken: the operation takes one, or the caller. */
void request_lend (struct request *q, unsigned place, const void *at,
                   struct refblock *b);

/* The same for the header of a sendmsg or recvmsg. */
void request_msg (struct request *q, struct msg *m);

/* The request opens as `how` says, of which it is given a copy: a descriptor
** is close-on-exec. */
void request_how (struct request *q, struct open_how *how);


/* ---- preps ------------------------------------------------------------- */

enum prep_arg_kind {
  ARG_NONE,
  /* integers, with `ranges` in prep_build.c; OPT_: optional */
  ARG_INT, ARG_OPT_INT,       /* from 0 */
  ARG_SIZE,                   /* from 1 */
  ARG_U32, ARG_OPT_U32, ARG_U16, ARG_OPT_U16,
  ARG_COUNT,                  /* 16 bits, from 1 */
  ARG_LEN32,                  /* 32 bits, signed or not */
  ARG_OPT_BITS64,
  ARG_OFFSET,
  ARG_OPT_OFFSET,             /* -1 if it is not given */
  ARG_OPT_MODE,               /* of a new file */
  ARG_OPT_BACKLOG,
  ARG_POLL,                   /* a poll mask */
  ARG_INTEGERS,
  ARG_FD,
  ARG_SECOND,                 /* another descriptor: see request_set_second */
  ARG_NUMBER,                 /* of a descriptor without an owner */
  ARG_SLOT,                   /* of a file table, or IORING_FILE_INDEX_ALLOC */
  ARG_INDEX,                  /* of a slot, instead of a descriptor */
  ARG_TARGET,                 /* the ring that receives a message */
  ARG_OPERATION, ARG_OPT_OPERATION,
  ARG_DURATION, ARG_PATH, ARG_ADDRESS,
  ARG_NAME,                   /* of an attribute */
  ARG_HOW,                    /* the table of an openat2 */
  ARG_EVENTS, ARG_DATA,       /* of an epoll, one after the other */
  ARG_BUFFER,                 /* for the kernel to write to */
  ARG_OPT_BUFFER,
  ARG_BUFFER_OR_NIL,          /* nil: it selects one of a group */
  ARG_NIL,                    /* it always selects one */
  ARG_BYTES,                  /* to be read; a string is copied */
  ARG_OPT_BYTES,
  ARG_UNCOPIED,               /* the same, without strings */
  ARG_LEN,                    /* of the buffer or bytes before */
  ARG_START,                  /* and the offset into those */
  ARG_VECTOR_OUT, ARG_VECTOR_IN,  /* an array of them */
  ARG_MSG_OUT, ARG_MSG_IN     /* a msghdr */
};

struct prep_arg {
  uint8_t kind;
  uint8_t place, size;        /* the field */
};

#define PREP_ARGS 8

struct prep {
  const char *name;
  const struct request *kind;
  struct prep_arg args[PREP_ARGS + 1];
  /* Called last, while `q` is not yet the SQE's: raises for arguments that
     exclude each other, or sets what depends on them. Or NULL. */
  void (*finish)(lua_State *L, struct request *q);
};

/* To write rows with. FLAGS: those of the opcode, which are one field of many
** names. BARE: an argument without a field, or with several. LOW and HIGH: the
** first and the last 32 bits of a field of 64, which are fields of their own
** in newer headers. */
#define PREP(prep, its_kind, ...) \
  { .name = "prep_" #prep, .kind = &its_kind, .args = { __VA_ARGS__ } }
#define PREP_FINISH(prep, last, its_kind, ...) \
  { .name = "prep_" #prep, .kind = &its_kind, .args = { __VA_ARGS__ }, \
    .finish = last }

#define FIELD_SIZE(field)  sizeof(((struct io_uring_sqe *)0)->field)
#define ARG(kind, field)  { ARG_##kind, PLACE(field), FIELD_SIZE(field) }
#define FLAGS  ARG(OPT_U32, rw_flags)
#define BARE(kind)  { ARG_##kind, 0, 0 }
#define ARG_LOW(kind, field)  { ARG_##kind, PLACE(field), sizeof(__u32) }
#define ARG_HIGH(kind, field) \
  { ARG_##kind, PLACE(field) + sizeof(__u32), sizeof(__u32) }

/* Make methods of the class from the rows up to one without a name. The state
** is on top of the stack. */
void prep_define (lua_State *L, const struct prep *rows);

#endif
