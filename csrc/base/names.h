/*
** names: what numbers are called, and since which kernel they are known.
**
** It owns constant tables and one cached number, the running kernel's. It
** knows nothing of Lua and of rings; any room and any thread may call it.
** Every name it returns is a literal and never freed.
*/

#ifndef uring_names_h
#define uring_names_h

#include "compat.h"

/* A Linux version as a number that can be compared: 6.13 < 6.18 < 7.0. */
#define NAMES_VERSION(major,minor)	((unsigned)(major) << 8 | (unsigned)(minor))
#define NAMES_MAJOR(version)	((version) >> 8)
#define NAMES_MINOR(version)	((version) & 0xff)

/* "EAGAIN", or NULL. Takes either sign. */
const char *name_errno (int err);

/* Every errno name, aliases such as EWOULDBLOCK last; ends with a NULL name */
struct name_number {
  const char *name;
  int number;
};

extern const struct name_number name_errnos[];

/*
** Opcodes: all that liburing 2.15 knows, whatever this one was built with.
** "IORING_OP_MSG_RING" and "msg_ring"; NULL for unknown ones. `since` is the
** first kernel that had it, and 0 for unknown ones.
*/
unsigned name_ops (void);
const char *name_op (unsigned opcode);
const char *name_op_short (unsigned opcode);
unsigned name_op_min_kernel (unsigned opcode);

/* The running kernel, 0 when it cannot be told. */
unsigned name_kernel (void);

/* Names of bits, without what they have in common; ends with a NULL name. */
struct name_bit {
  uint64_t bit;
  const char *name;
};

extern const struct name_bit name_setup_flags[];  /* IORING_SETUP_ */
extern const struct name_bit name_features[];  /* IORING_FEAT_ */
extern const struct name_bit name_sqe_flags[];  /* IOSQE_ */
extern const struct name_bit name_cqe_flags[];  /* IORING_CQE_F_ */

/*
** Write "SINGLE_ISSUER|DEFER_TASKRUN|0x40000000", with what has no name as
** one number at the end, and "0" for no bits at all. What does not fit is
** cut off; `buf` is ended with '\0' all the same. Returns the length written.
** (The upper half of a CQE's flags is a buffer's number: mask it first.)
*/
size_t name_bits (const struct name_bit *table, uint64_t bits, char *buf,
                  size_t len);

#endif
