/*
** names: the names of errnos, opcodes and flags, and the kernel version that
** introduced each opcode.
**
** It owns constant tables and one cached number, the running kernel's version.
** It has no Lua and no ring in it; any thread may call it. Every name that it
** returns is a string literal and is never freed.
*/

#ifndef uring_names_h
#define uring_names_h

#include "compat.h"

/* A Linux version as a number that can be compared: 6.13 < 6.18 < 7.0. */
#define NAMES_VERSION(major,minor)	((unsigned)(major) << 8 | (unsigned)(minor))
#define NAMES_MAJOR(version)	((version) >> 8)
#define NAMES_MINOR(version)	((version) & 0xff)

/* "EAGAIN", or NULL. `err` may have either sign. */
const char *name_errno (int err);

/* What strerror(3) says, in English whatever the locale is. */
const char *name_error_text (int err);

/* Every errno name, aliases such as EWOULDBLOCK last; a NULL name ends it. */
struct name_number {
  const char *name;
  int number;
};

extern const struct name_number name_errnos[];

/*
** Opcodes: all of liburing 2.15, whichever version this was built with.
** name_op_short gives "msg_ring", or NULL for an unknown opcode.
** name_op_min_kernel gives the first kernel that has the opcode, or 0 for an
** unknown one. name_op_fd gives the descriptor in an SQE's `fd`, or -1 where
** that opcode has something else there.
*/
unsigned name_ops (void);
const char *name_op_short (unsigned opcode);
unsigned name_op_min_kernel (unsigned opcode);
int name_op_fd (unsigned opcode, int fd);

/* The running kernel's version, or 0 if its release string is not one. */
unsigned name_kernel (void);

/* Flags, the latest first, each with the first kernel that has it. */
struct name_since {
  uint32_t flag;
  unsigned min_kernel;
};

/* The first kernel that has all of these flags; 0: every one has. */
unsigned name_flags_min_kernel (const struct name_since *latest, size_t n,
                                uint32_t flags);

/* Names of bits, without their common prefix; a NULL name ends the table. */
struct name_bit {
  uint64_t bit;
  const char *name;
};

extern const struct name_bit name_setup_flags[];  /* IORING_SETUP_ */
extern const struct name_bit name_features[];  /* IORING_FEAT_ */
extern const struct name_bit name_sqe_flags[];  /* IOSQE_ */

/*
** Write "SINGLE_ISSUER|DEFER_TASKRUN|0x40000000": bits without a name are one
** number at the end, and no bits at all are "0". Text that does not fit is
** cut off, and `buf` always ends with '\0'. Returns the length written.
*/
size_t name_bits (const struct name_bit *table, uint64_t bits, char *buf,
                  size_t len);

#endif
