/*
** compat: the only file that depends on the versions of liburing, of the
** kernel headers and of Lua (liburing 2.3 to 2.15, Lua 5.4.3 to 5.5).
**
** Every other file may include it. It must come before every system header,
** because it defines _GNU_SOURCE; if Lua's headers come first, the build has
** to define that.
**
** It does not compare versions. Numbers and the layout of an SQE are kernel
** ABI, equal in every header that has them. So
** - a number that some header lacks is a macro here. In the headers that have
**   it, it is mostly a member of an enum, which #ifdef does not see; a macro
**   with the same value after the enum does no harm;
** - a field that some header has no name for is set by a function here, with
**   every liburing. So the same code is tested and runs with all versions.
**
** Invariant: every number here is the kernel's. The tests compare all of them
** with the newest headers.
*/

#ifndef uring_compat_h
#define uring_compat_h

#ifndef _GNU_SOURCE
#ifdef _FEATURES_H
#error "include compat.h before any system header, or define _GNU_SOURCE"
#endif
#define _GNU_SOURCE
#endif

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <errno.h>
#include <sys/types.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <liburing.h>

#ifndef LIBURING_HAVE_DATA64
#error "liburing 2.3 or later is needed"
#endif


/*
** {=====================================================================
** Which liburing
** ======================================================================
*/

#define compat_str_(x)	#x
#define compat_str(x)	compat_str_(x)

/* 2.3 has no macro for its version; all later ones have */
#ifdef IO_URING_VERSION_MAJOR
#define COMPAT_LIBURING_BUILT \
	compat_str(IO_URING_VERSION_MAJOR) "." compat_str(IO_URING_VERSION_MINOR)
#else
#define COMPAT_LIBURING_BUILT	"2.3"
#endif

/* exported since 2.4: the library may have them though the headers are 2.3 */
extern int io_uring_major_version (void) __attribute__((weak));
extern int io_uring_minor_version (void) __attribute__((weak));

/*
** The version of the liburing that this process runs with. Returns 0 if it
** does not tell: it is 2.3 or older.
*/
static inline int compat_liburing_running (int *major, int *minor) {
  if (io_uring_major_version == NULL || io_uring_minor_version == NULL)
    return 0;
  *major = io_uring_major_version();
  *minor = io_uring_minor_version();
  return 1;
}

/* }===================================================================== */


/*
** {=====================================================================
** Numbers
** ======================================================================
*/

/* opcodes: those that 2.15 has and 2.3 has not */
#ifndef IORING_OP_READ_MULTISHOT
#define IORING_OP_READ_MULTISHOT	49
#define IORING_OP_WAITID		50
#define IORING_OP_FUTEX_WAIT		51
#define IORING_OP_FUTEX_WAKE		52
#define IORING_OP_FUTEX_WAITV		53
#define IORING_OP_FIXED_FD_INSTALL	54
#define IORING_OP_FTRUNCATE		55
#define IORING_OP_BIND			56
#define IORING_OP_LISTEN		57
#define IORING_OP_RECV_ZC		58
#define IORING_OP_EPOLL_WAIT		59
#define IORING_OP_READV_FIXED		60
#define IORING_OP_WRITEV_FIXED		61
#define IORING_OP_PIPE			62
#define IORING_OP_NOP128		63
#define IORING_OP_URING_CMD128		64
#endif

/* opcodes of io_uring_register(2) */
#ifndef IORING_REGISTER_PBUF_STATUS
#define IORING_REGISTER_PBUF_STATUS	26
#define IORING_REGISTER_NAPI		27
#define IORING_UNREGISTER_NAPI		28
#define IORING_REGISTER_CLOCK		29
#define IORING_REGISTER_CLONE_BUFFERS	30
#define IORING_REGISTER_SEND_MSG_RING	31
#define IORING_REGISTER_RESIZE_RINGS	33
#endif

/* flags of clone_buffers, an enum where they exist */
#ifndef IORING_REGISTER_SRC_REGISTERED
#define IORING_REGISTER_SRC_REGISTERED	1
#define IORING_REGISTER_DST_REPLACE	2
#endif

/* flags of a buffer ring, an enum where they exist */
#ifndef IOU_PBUF_RING_MMAP
#define IOU_PBUF_RING_MMAP	1
#define IOU_PBUF_RING_INC	2
#endif

/* commands to a socket by IORING_OP_URING_CMD, an enum where they exist */
#ifndef SOCKET_URING_OP_GETSOCKOPT
#define SOCKET_URING_OP_SIOCINQ		0
#define SOCKET_URING_OP_SIOCOUTQ	1
#define SOCKET_URING_OP_GETSOCKOPT	2
#define SOCKET_URING_OP_SETSOCKOPT	3
#endif

/* the rest are macros; each group is of one release of liburing */

#ifndef IORING_FEAT_REG_REG_RING  /* 2.4 */
#define IORING_FEAT_REG_REG_RING	(1U << 13)
#define IORING_MSG_RING_FLAGS_PASS	(1U << 1)
#define IORING_TIMEOUT_MULTISHOT	(1U << 6)
#define IORING_SEND_ZC_REPORT_USAGE	(1U << 3)
#define IORING_NOTIF_USAGE_ZC_COPIED	(1U << 31)
#endif

#ifndef IORING_SETUP_NO_MMAP  /* 2.5 */
#define IORING_SETUP_NO_MMAP		(1U << 14)
#define IORING_SETUP_REGISTERED_FD_ONLY	(1U << 15)
#endif

#ifndef IORING_SETUP_NO_SQARRAY  /* 2.6 */
#define IORING_SETUP_NO_SQARRAY		(1U << 16)
#define IORING_FIXED_FD_NO_CLOEXEC	(1U << 0)
#endif

#ifndef IORING_FEAT_RECVSEND_BUNDLE  /* 2.7 */
#define IORING_FEAT_RECVSEND_BUNDLE	(1U << 14)
#define IORING_RECVSEND_BUNDLE		(1U << 4)
#define IORING_ACCEPT_DONTWAIT		(1U << 1)
#define IORING_ACCEPT_POLL_FIRST	(1U << 2)
#define IORING_NOP_INJECT_RESULT	(1U << 0)
#endif

#ifndef IORING_FEAT_MIN_TIMEOUT  /* 2.8 */
#define IORING_FEAT_MIN_TIMEOUT		(1U << 15)
#define IORING_CQE_F_BUF_MORE		(1U << 4)
#define IORING_CQE_BUFFER_SHIFT		16  /* (an enum before) */
#define IORING_ASYNC_CANCEL_USERDATA	(1U << 4)
#define IORING_ASYNC_CANCEL_OP		(1U << 5)
#endif

#ifndef IORING_SETUP_HYBRID_IOPOLL  /* 2.9 */
#define IORING_SETUP_HYBRID_IOPOLL	(1U << 17)
#endif

#ifndef IORING_FEAT_RW_ATTR  /* 2.10 */
#define IORING_FEAT_RW_ATTR		(1U << 16)
#define IORING_FEAT_NO_IOWAIT		(1U << 17)
#define IORING_ENTER_NO_IOWAIT		(1U << 7)
#endif

#ifndef IORING_SEND_VECTORIZED  /* 2.12 */
#define IORING_SEND_VECTORIZED		(1U << 5)
#endif

#ifndef IORING_SETUP_CQE_MIXED  /* 2.13 */
#define IORING_SETUP_CQE_MIXED		(1U << 18)
#define IORING_SETUP_SQE_MIXED		(1U << 19)
#define IORING_CQE_F_SKIP		(1U << 5)
#define IORING_CQE_F_32			(1U << 15)
#endif

#ifndef IORING_SETUP_SQ_REWIND  /* 2.14 */
#define IORING_SETUP_SQ_REWIND		(1U << 20)
#endif

/* of the C library and the kernel */

#ifndef SCM_PIDFD
#define SCM_PIDFD			4
#endif
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD			76
#define SO_PEERPIDFD			77
#endif

/* flags of a futex */
#ifndef FUTEX2_SIZE_U32
#define FUTEX2_SIZE_U32	0x02
#define FUTEX2_PRIVATE	0x80
#endif
#ifndef FUTEX2_NUMA
#define FUTEX2_NUMA	0x04
#endif

/* flags of a read or a write */
#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND	0x00000020
#endif
#ifndef RWF_ATOMIC
#define RWF_ATOMIC	0x00000040
#endif
#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE	0x00000080
#endif
#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL	0x00000100
#endif

/* }===================================================================== */


/*
** {=====================================================================
** Fields that have no name in the older structs
** ======================================================================
*/

/* flags (IOU_PBUF_RING_*) and, since Linux 7.0, the smallest rest of a buffer
** that is used further; older kernels require 0 */
static inline void compat_set_buf_reg (struct io_uring_buf_reg *reg,
                                       unsigned flags, uint32_t min_left) {
  uint16_t f = (uint16_t)flags;
  memcpy((char *)reg + 14, &f, sizeof(f));
  memcpy((char *)reg + 16, &min_left, sizeof(min_left));
}


/* the opcode to cancel with IORING_ASYNC_CANCEL_OP (since Linux 6.6) */
static inline void compat_set_cancel_opcode (
                     struct io_uring_sync_cancel_reg *reg, unsigned opcode) {
  ((unsigned char *)reg)[32] = (unsigned char)opcode;
}


/* argument of IORING_REGISTER_NAPI (since Linux 6.9); the kernel gives back
** what was set before */
struct compat_napi {
  uint32_t busy_poll_to;  /* microseconds */
  uint8_t prefer_busy_poll;
  uint8_t opcode, pad[2];
  uint32_t op_param, resv;
};


/* argument of IORING_REGISTER_CLOCK (since Linux 6.12) */
struct compat_clock {
  uint32_t clockid;
  uint32_t resv[3];
};


/* argument of IORING_REGISTER_CLONE_BUFFERS (since Linux 6.12; the offsets and
** flags since 6.13) */
struct compat_clone_buffers {
  uint32_t src_fd, flags, src_off, dst_off, nr;
  uint32_t pad[3];
};

/* the most buffers that a ring can have registered */
#define COMPAT_MAX_BUFFERS	(1u << 14)


/* the shortest time that a wait takes, in microseconds (since Linux 6.12) */
static inline void compat_set_min_wait (struct io_uring_getevents_arg *arg,
                                        uint32_t usec) {
  memcpy((char *)arg + 12, &usec, sizeof(usec));
}


/* argument of IORING_REGISTER_PBUF_STATUS (since Linux 6.8) */
struct compat_buf_status {
  uint32_t buf_group;  /* in */
  uint32_t head;  /* out */
  uint32_t resv[8];
};


/*
** The slot into which a request installs its file. Call it after the plain
** prep, in place of liburing's *_direct ones: those of 2.3 add 1 to
** IORING_FILE_INDEX_ALLOC too, which gives 0, an ordinary descriptor.
*/
static inline void compat_set_file_slot (struct io_uring_sqe *sqe,
                                         unsigned slot) {
  sqe->file_index =
    (slot == IORING_FILE_INDEX_ALLOC) ? IORING_FILE_INDEX_ALLOC : slot + 1;
}


_Static_assert(sizeof(struct io_uring_sqe) == 64 &&
               sizeof(struct io_uring_buf_reg) == 40 &&
               sizeof(struct io_uring_sync_cancel_reg) == 64 &&
               sizeof(struct compat_buf_status) == 40 &&
               sizeof(struct compat_napi) == 16 &&
               sizeof(struct compat_clone_buffers) == 32 &&
               sizeof(struct io_uring_getevents_arg) == 24,
               "the kernel interface differs");

/* }===================================================================== */

#endif


/*
** {=====================================================================
** Which Lua: for files that include lua.h before this one. (They may include
** this one a second time for it.)
** ======================================================================
*/

#if defined(LUA_VERSION_NUM) && !defined(uring_compat_lua_h)
#define uring_compat_lua_h

#if LUA_VERSION_NUM < 504 || LUA_VERSION_RELEASE_NUM < 50403
#error "Lua 5.4.3 or later is needed"
#endif

/* lua_closethread exists since 5.4.6, and takes the calling thread too */
#if LUA_VERSION_RELEASE_NUM < 50406
#define lua_closethread(L,from)	((void)(from), lua_resetthread(L))
#endif

/* since 5.5 a new state takes the seed of its hashes; 5.4 makes one itself */
#if LUA_VERSION_NUM >= 505
#define compat_newstate(f,ud,seed)	lua_newstate(f, ud, seed)
#else
#define compat_newstate(f,ud,seed)	((void)(seed), lua_newstate(f, ud))
#endif

/* A step of the collector, as if so many KiB had been allocated. */
#if LUA_VERSION_NUM >= 505
#define compat_gc_step(L, kib) \
  lua_gc(L, LUA_GCSTEP, (size_t)(kib) * 1024)
#else
#define compat_gc_step(L, kib) lua_gc(L, LUA_GCSTEP, (int)(kib))
#endif

/* How much a step of the collector does; what was set before. On 5.4 the least
** it can be told is a hundredth of the usual, which may take a millisecond. On
** 5.5 steps are so small as they are. */
#if LUA_VERSION_NUM >= 505
#define compat_gc_stepmul(L, n)	((void)(L), (n))
#else
#define compat_gc_stepmul(L, n)	lua_gc(L, LUA_GCSETSTEPMUL, (int)(n))
#endif

#ifdef lualib_h

/*
** A program that links Lua statically may lack the function that opens the
** standard libraries, if it does not call it itself, and a module that needs a
** missing function cannot be loaded. Hence a weak reference. (5.5 has a macro
** with the old name.) Returns 0 if it is missing; may raise, as the function
** may.
*/
#if LUA_VERSION_NUM >= 505
extern void luaL_openselectedlibs (lua_State *L, int load, int preload)
  __attribute__((weak));
#define compat_openlibs_	luaL_openselectedlibs
#define COMPAT_OPENLIBS_NAME	"luaL_openselectedlibs"
#else
extern void (luaL_openlibs) (lua_State *L) __attribute__((weak));
#define compat_openlibs_	luaL_openlibs
#define COMPAT_OPENLIBS_NAME	"luaL_openlibs"
#endif

static inline int compat_has_openlibs (void) {
  return compat_openlibs_ != NULL;
}

static inline int compat_openlibs (lua_State *L) {
  if (compat_openlibs_ == NULL)
    return 0;
  luaL_openlibs(L);
  return 1;
}

#endif

#endif

/* }===================================================================== */
