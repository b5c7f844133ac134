/*
** prep_build: what a request is made of, for `sqe:prep_*` and for sockets.
**
** A kind is a request before it has its arguments, with what all requests of
** that kind have: opcode, flags, buffer selection, more than one completion,
** what becomes of a result that is a descriptor and is not taken, and the
** kernel that first had it, where that is later than the opcode's. A request
** begins as a copy of its kind, in a prep and in a socket alike.
**
** A prep is a row: its name, its kind, and its arguments in their order, each
** with what it may be and the field of the SQE where it goes. What goes there
** is or-ed to what the kind has there, as flags are; `fd` alone is replaced,
** and is -1 where there is none.
**
** A new prep is a row of its family's table and a test; its values must be
** those of liburing's own prep. What no kind of argument can say is said by
** `finish`.
*/

#ifndef uring_prep_build_h
#define uring_prep_build_h

#include "compat.h"
#include "ring/op_table.h"
#include "lua/state.h"
#include "api/msghdr.h"
#include "api/sockaddr.h"

#define ANY_SLOT  IORING_FILE_INDEX_ALLOC


/* ---- requests ---------------------------------------------------------- */

#define KIND_INIT(op, ...) \
  { .sqe.opcode = IORING_OP_##op, .sqe.fd = -1, __VA_ARGS__ }
#define KIND(op, ...)  (const struct request)KIND_INIT(op, __VA_ARGS__)

/* Those that sockets use too: prep_socket. */
extern const struct request kind_accept, kind_multishot_accept, kind_connect,
  kind_send, kind_sendmsg, kind_recv, kind_recv_multishot, kind_recvmsg,
  kind_recvmsg_multishot;

/* A new request of this kind. */
static inline struct request request_of (const struct request *kind, int fd) {
  struct request q = *kind;
  q.sqe.fd = fd;
  return q;
}

/* Bytes that a request needs a copy of, and the field for their address. */
struct copied {
  const void *from;
  size_t size;
  uint8_t place;
};

#define PLACE(field)  offsetof(struct io_uring_sqe, field)

/* Copy what it needs a copy of into one block, which becomes its memory, or
** stands beside it if it has a buffer's. A zero byte lies behind each.
** False: there is no memory, and the request is as it was. */
bool request_copy (struct request *q, const struct copied *p, unsigned n);

/* It connects, binds or sends to this address: the field for the address of
** a copy of its bytes. */
uint8_t request_address (struct request *q, const struct address *a);

/* Memory that goes as it is, and the field for its address. No count of `b` is
** taken: the operation takes one, or the caller. */
void request_lend (struct request *q, unsigned place, const void *at,
                   struct refblock *b);

/* The header of a sendmsg or recvmsg, in the same way. */
void request_msg (struct request *q, struct msg *m);


/* ---- preps ------------------------------------------------------------- */

enum prep_arg_kind {
  ARG_NONE,
  /* integers: see their ranges; those that may be left out are OPT_ */
  ARG_INT, ARG_OPT_INT,       /* from 0 */
  ARG_SIZE,                   /* from 1 */
  ARG_U32, ARG_OPT_U32, ARG_U16, ARG_OPT_U16,
  ARG_COUNT,                  /* 16 bits, from 1 */
  ARG_LEN32,                  /* 32 bits, signed or not */
  ARG_OPT_BITS64,
  ARG_OPT_OFFSET,             /* -1 if there is none */
  ARG_OPT_MODE,               /* of a new file */
  ARG_OPT_BACKLOG,
  ARG_POLL,                   /* POLLIN and its kin */
  ARG_INTEGERS,
  ARG_FD,
  ARG_NUMBER,                 /* a descriptor's, which nothing owns */
  ARG_SLOT,                   /* of a file table, or IORING_FILE_INDEX_ALLOC */
  ARG_INDEX,                  /* of one, in the place of a descriptor */
  ARG_TARGET,                 /* the ring that a message is for */
  ARG_OPERATION, ARG_OPT_OPERATION,
  ARG_DURATION, ARG_PATH, ARG_ADDRESS,
  ARG_BUFFER,                 /* to be written to by the kernel */
  ARG_BUFFER_OR_NIL,          /* nil: it selects one of a group */
  ARG_NIL,                    /* it always does */
  ARG_BYTES,                  /* to be read: a string's copy, for one */
  ARG_UNCOPIED,               /* the same but for strings */
  ARG_LEN,                    /* of such a buffer or bytes, right before it, */
  ARG_START,                  /* and where in it */
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
  /* At the end, while `q` is not yet the SQE's: raises for arguments that do
     not go together, or adds what depends on them. Or NULL. */
  void (*finish)(lua_State *L, struct request *q);
};

/* What rows are written with. FLAGS: those of the opcode, which are one field
** whatever its name. BARE: an argument without a field, or with several. */
#define PREP(prep, its_kind, ...) \
  { .name = "prep_" #prep, .kind = &its_kind, .args = { __VA_ARGS__ } }
#define PREP_FINISH(prep, last, its_kind, ...) \
  { .name = "prep_" #prep, .kind = &its_kind, .args = { __VA_ARGS__ }, \
    .finish = last }

#define FIELD_SIZE(field)  sizeof(((struct io_uring_sqe *)0)->field)
#define ARG(kind, field)  { ARG_##kind, PLACE(field), FIELD_SIZE(field) }
#define FLAGS  ARG(OPT_U32, rw_flags)
#define BARE(kind)  { ARG_##kind, 0, 0 }

/* Methods of the class: the rows up to one without a name. The state is on
** top of the stack. */
void prep_define (lua_State *L, const struct prep *rows);

#endif
