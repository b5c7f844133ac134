/*
** sys_fault: csrc/ring/sys.c with injected faults of the kernel and of malloc.
** The fault variant of the module is linked with it instead of sys.c; a spec
** controls it by luaopen_uring_fault of the same file.
**
** Faults are global to the process and not thread-safe. Each function has a
** list of faults, and each call uses the first one:
**   { fn = "enter" | "register" | "setup",
**     err = errno,     fail with this error, or
**     take = n,        (enter) submit only n SQEs, and do not sleep
**     count = 1,       for so many calls
**     skip = 0,        after so many calls that succeed
**     after = false,   make the call, and fail all the same
**     opcode = nil }   (register) only for this opcode
*/

#include "compat.h"
#include "ring/doorbell.h"
#include "ring/sys.h"
#include "task/ring_watch.h"
#include "worker/decode.h"
#include "worker/encode.h"

#include <lua.h>
#include <lauxlib.h>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

/* The originals. (A function that is declared static stays so when it is
** defined without.) */
static int real_setup (unsigned entries, struct io_uring *ring,
                       struct io_uring_params *p);
static void real_exit (struct io_uring *ring);
static int real_enter (struct io_uring *ring, unsigned wait, int64_t ns);
static int real_register (int fd, unsigned opcode, const void *arg,
                          unsigned nr);
static unsigned real_cq_ready (const struct io_uring *ring);
static unsigned real_take (struct io_uring *ring, struct cqe *out,
                           unsigned max);
static bool real_calls_are_cheap (void);

#define sys_setup real_setup
#define sys_exit real_exit
#define sys_enter real_enter
#define sys_register real_register
#define sys_cq_ready real_cq_ready
#define sys_take real_take
#define sys_calls_are_cheap real_calls_are_cheap
#include "../../csrc/ring/sys.c"
#undef sys_setup
#undef sys_exit
#undef sys_enter
#undef sys_register
#undef sys_cq_ready
#undef sys_take
#undef sys_calls_are_cheap


/* ---- faults ------------------------------------------------------------ */

enum function { ENTER, REGISTER, SETUP, FUNCTIONS };

static const char *const names[] = { "enter", "register", "setup", NULL };

struct fault {
  int err, take;      /* take: -1 if `err` counts */
  int count, skip;
  int after, opcode;  /* opcode: -1 for all */
};

#define MOST 32

static struct {
  struct fault list[MOST];
  unsigned n;
  unsigned long calls;
} script[FUNCTIONS];

/* The fault of this call, in *f; false if it has none. */
static bool due (enum function which, int opcode, struct fault *f) {
  struct fault *first = script[which].list;
  script[which].calls++;
  if (script[which].n == 0
      || (first->opcode >= 0 && first->opcode != opcode))
    return false;
  if (first->skip > 0) {
    first->skip--;
    return false;
  }
  *f = *first;
  if (--first->count == 0) {
    script[which].n--;
    memmove(first, first + 1, script[which].n * sizeof(*first));
  }
  return true;
}


/* ---- a ring whose operations never end --------------------------------- */

#define NONE (-1)
#define ALL (-2)

static int withheld = NONE;  /* a ring's descriptor, or ALL */

static struct io_uring kept[MOST];  /* withheld rings, to be closed later */
static unsigned nkept;

static bool withhold (int fd) {
  return withheld == ALL || (withheld >= 0 && withheld == fd);
}


/* ---- the functions of sys.h -------------------------------------------- */

int sys_setup (unsigned entries, struct io_uring *ring,
               struct io_uring_params *p) {
  struct fault f;
  return due(SETUP, -1, &f) ? -f.err : real_setup(entries, ring, p);
}

void sys_exit (struct io_uring *ring) {
  if (withhold(ring->ring_fd) && nkept < MOST) kept[nkept++] = *ring;
  else real_exit(ring);
}

/* As the kernel does if an SQE is invalid or memory is short. */
static int enter_short (struct io_uring *ring, unsigned n) {
  io_uring_smp_store_release(ring->sq.ktail, ring->sq.sqe_tail);
  ring->sq.sqe_head = ring->sq.sqe_tail;
  if (n > sys_sq_ready(ring)) n = sys_sq_ready(ring);
  return io_uring_enter2((unsigned)ring->enter_ring_fd, n, 0,
                         IORING_ENTER_GETEVENTS, NULL, _NSIG / 8);
}

/* Requests that are to fail: the next one with each opcode is replaced by a
** NOP with that result. */
static struct { int opcode, err; } failing[MOST];
static unsigned nfailing;

/* For so long, from the first of them on, cancels are lost: they name no
** request. */
static int64_t deaf_for, deaf_until;
static unsigned nlost;

static void lose (struct io_uring *ring) {
  if (deaf_until > 0 && clock_now() >= deaf_until) deaf_for = 0;
  for (unsigned i = 0, n = sys_unread(ring); i < n && deaf_for > 0; i++) {
    struct io_uring_sqe *sqe = sys_queued(ring, i);
    if (sqe->opcode == IORING_OP_ASYNC_CANCEL && sqe->addr != 1) {
      if (deaf_until == 0) deaf_until = clock_after(deaf_for);
      sqe->addr = 1;
      nlost++;
    }
  }
}

static void refuse (struct io_uring *ring) {
  for (unsigned i = 0, n = sys_unread(ring); i < n && nfailing > 0; i++) {
    struct io_uring_sqe *sqe = sys_queued(ring, i);
    if (sqe->opcode == failing[0].opcode) {
      uint64_t token = sqe->user_data;
      memset(sqe, 0, sizeof(*sqe));
      io_uring_prep_nop(sqe);
      sqe->user_data = token;
      sqe->rw_flags = 1;  /* IORING_NOP_INJECT_RESULT, since 6.10 */
      sqe->len = (unsigned)-failing[0].err;
      nfailing--;
      for (unsigned k = 0; k < nfailing; k++) failing[k] = failing[k + 1];
    }
  }
}

static int64_t signalling;  /* raise SIGINT before the next sleep from then on;
                               0: never */

int sys_enter (struct io_uring *ring, unsigned wait, int64_t ns) {
  struct fault f;
  refuse(ring);
  if (deaf_for > 0) lose(ring);
  if (signalling > 0 && wait > 0 && clock_now() >= signalling) {
    signalling = 0;
    raise(SIGINT);
  }
  if (withhold(ring->ring_fd)) {
    /* it submits SQEs and sleeps, but no CQE arrives */
    int rc = real_enter(ring, 0, 0);
    if (rc < 0 || wait == 0) return rc;
    if (ns < 0) abort();  /* it would sleep forever */
    usleep((useconds_t)(ns / 1000));
    return -ETIME;
  }
  if (!due(ENTER, -1, &f))
    return real_enter(ring, wait, ns);
  if (f.take >= 0)
    return enter_short(ring, (unsigned)f.take);
  if (f.after) real_enter(ring, 0, SYS_FOREVER);
  return -f.err;
}

int sys_register (int fd, unsigned opcode, const void *arg, unsigned nr) {
  struct fault f;
  if (withhold(fd) && opcode == IORING_REGISTER_SYNC_CANCEL)
    return 0;
  if (!due(REGISTER, (int)opcode, &f))
    return real_register(fd, opcode, arg, nr);
  if (f.after) real_register(fd, opcode, arg, nr);
  return -f.err;
}

/* A ring to which a message is sent just after its CQ was found empty, the
** time after `skip` such times. */
static struct { int fd; unsigned skip; } arriving = { NONE, 0 };

static void arrive (int fd) {
  struct io_uring_sqe sqe;
  arriving.fd = NONE;
  memset(&sqe, 0, sizeof(sqe));
  io_uring_prep_msg_ring(&sqe, fd, 1, 2, 0);
  real_register(-1, IORING_REGISTER_SEND_MSG_RING, &sqe, 1);
}

unsigned sys_cq_ready (const struct io_uring *ring) {
  unsigned n = withhold(ring->ring_fd) ? 0 : real_cq_ready(ring);
  if (n == 0 && arriving.fd >= 0 && arriving.fd == ring->ring_fd
      && arriving.skip-- == 0)
    arrive(ring->ring_fd);
  return n;
}

/* A ring whose next completion, a new descriptor, is delivered twice. */
static int repeating = NONE;

unsigned sys_take (struct io_uring *ring, struct cqe *out, unsigned max) {
  unsigned head = *ring->cq.khead;
  if (withhold(ring->ring_fd))
    return 0;
  if (repeating != ring->ring_fd || real_take(ring, out, 1) == 0)
    return real_take(ring, out, max);
  io_uring_smp_store_release(ring->cq.khead, head);  /* (not consumed) */
  repeating = NONE;
  out->flags |= IORING_CQE_F_MORE;
  out->res = dup(out->res);
  return 1;
}

static enum { AS_IT_IS, CHEAP, DEAR } price;

bool sys_calls_are_cheap (void) {
  return price == AS_IT_IS ? real_calls_are_cheap() : price == CHEAP;
}


/* ---- memory ------------------------------------------------------------ */

/* The allocation number `at` fails, and `failing` - 1 after it. If `told` and
** `until` are set it does not, but waits until something else has happened. */
struct shortage {
  unsigned long calls, at, failing;
  int told, until;         /* pipes: one byte is written, and one is read */
};

/* (Of the thread that asks for it: what others allocate is not counted.) */
static _Thread_local struct shortage c_memory, lua_memory;

static bool refused (struct shortage *s) {
  char byte = 0;
  s->calls++;
  if (s->at == 0 || s->calls < s->at || s->calls - s->at >= s->failing)
    return false;
  if (s->told == 0)
    return true;
  while (write(s->told, &byte, 1) < 0 && errno == EINTR) {}
  while (read(s->until, &byte, 1) < 0 && errno == EINTR) {}
  return false;
}

/* By ld's --wrap, the module's own sources call these. */
void *__real_malloc (size_t size);
void *__real_calloc (size_t n, size_t size);
void *__real_realloc (void *p, size_t size);
void *__wrap_malloc (size_t size);
void *__wrap_calloc (size_t n, size_t size);
void *__wrap_realloc (void *p, size_t size);

void *__wrap_malloc (size_t size) {
  if (refused(&c_memory)) { errno = ENOMEM; return NULL; }
  return __real_malloc(size);
}

void *__wrap_calloc (size_t n, size_t size) {
  if (refused(&c_memory)) { errno = ENOMEM; return NULL; }
  return __real_calloc(n, size);
}

void *__wrap_realloc (void *p, size_t size) {
  if (refused(&c_memory)) { errno = ENOMEM; return NULL; }
  return __real_realloc(p, size);
}

/* What the kernel calls itself, if it is told another name. */
static struct utsname kernel;

int __real_uname (struct utsname *name);
int __wrap_uname (struct utsname *name);

int __wrap_uname (struct utsname *name) {
  int rc = __real_uname(name);
  if (rc == 0 && kernel.release[0] != '\0')
    memcpy(name->release, kernel.release, sizeof(kernel.release));
  return rc;
}

static lua_Alloc lua_alloc;
static void *lua_alloc_ud;

/* Only growth may fail: Lua relies on shrinking. */
static void *alloc (void *ud, void *p, size_t had, size_t size) {
  (void)ud;
  if (size > 0 && (p == NULL || size > had) && refused(&lua_memory))
    return NULL;
  return lua_alloc(lua_alloc_ud, p, had, size);
}


/* ---- for Lua ----------------------------------------------------------- */

static int field (lua_State *L, const char *name, int preset) {
  int value;
  if (lua_getfield(L, 1, name) == LUA_TBOOLEAN) value = lua_toboolean(L, -1);
  else value = (int)luaL_optinteger(L, -1, preset);
  lua_pop(L, 1);
  return value;
}

static int f_inject (lua_State *L) {
  struct fault f;
  int which;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_getfield(L, 1, "fn");
  which = luaL_checkoption(L, -1, NULL, names);
  f.err = field(L, "err", 0);
  f.take = field(L, "take", -1);
  f.count = field(L, "count", 1);
  f.skip = field(L, "skip", 0);
  f.after = field(L, "after", 0);
  f.opcode = field(L, "opcode", -1);
  luaL_argcheck(L, script[which].n < MOST, 1, "too many faults");
  script[which].list[script[which].n++] = f;
  return 0;
}

/* clear(): remove all faults; the number of unused ones of each function */
static int f_clear (lua_State *L) {
  lua_newtable(L);
  for (int i = 0; i < FUNCTIONS; i++) {
    lua_pushinteger(L, script[i].n);
    lua_setfield(L, -2, names[i]);
    script[i].n = 0;
  }
  return 1;
}

/* calls(name): the number of calls */
static int f_calls (lua_State *L) {
  int which = luaL_checkoption(L, 1, NULL, names);
  lua_pushinteger(L, (lua_Integer)script[which].calls);
  return 1;
}

/* withhold(fd | true | nil): that ring, all, or none get no CQEs any more */
static int f_withhold (lua_State *L) {
  if (lua_isboolean(L, 1)) withheld = lua_toboolean(L, 1) ? ALL : NONE;
  else withheld = (int)luaL_optinteger(L, 1, NONE);
  return 0;
}

/* refuse(opcode, errno): the next request with that opcode fails with this
** error, after those of earlier calls */
static int f_refuse (lua_State *L) {
  luaL_argcheck(L, nfailing < MOST, 1, "too many faults");
  failing[nfailing].opcode = (int)luaL_checkinteger(L, 1);
  failing[nfailing++].err = (int)luaL_checkinteger(L, 2);
  return 0;
}

/* kernel(release): it calls itself so. The module asks once, so this comes
** before its first use. */
static int f_kernel (lua_State *L) {
  size_t n;
  const char *release = luaL_checklstring(L, 1, &n);
  luaL_argcheck(L, n < sizeof(kernel.release), 1, "too long");
  memcpy(kernel.release, release, n + 1);
  return 0;
}

/* lose(seconds): cancels are lost for so long, from the first one on, as the
** signal to a worker may be. The number of those that were, since the last
** call. */
static int f_lose (lua_State *L) {
  lua_pushinteger(L, nlost);
  nlost = 0;
  deaf_until = 0;
  deaf_for = (int64_t)(luaL_checknumber(L, 1) * 1e9);
  return 1;
}

/* signal([seconds]): raise SIGINT just before the next sleep, or before the
** first one after so many seconds */
static int f_signal (lua_State *L) {
  signalling = clock_now() + (int64_t)(luaL_optnumber(L, 1, 0) * 1e9);
  return 0;
}

/* again(fd): the next completion of that ring, a new descriptor, is delivered
** twice: first a dup of it, with F_MORE */
static int f_again (lua_State *L) {
  repeating = (int)luaL_checkinteger(L, 1);
  return 0;
}

/* arrive(fd, skip): a message comes to that ring just after its CQ was found
** empty, but not the first `skip` times. arrive(): has it come? */
static int f_arrive (lua_State *L) {
  bool came = arriving.fd == NONE;
  arriving.fd = (int)luaL_optinteger(L, 1, NONE);
  arriving.skip = (unsigned)luaL_optinteger(L, 2, 0);
  lua_pushboolean(L, came);
  return 1;
}

/* exit(): close the rings that were withheld when they were to be closed */
static int f_exit (lua_State *L) {
  lua_pushinteger(L, nkept);
  while (nkept > 0) real_exit(&kept[--nkept]);
  return 1;
}

static int shortage (lua_State *L, struct shortage *s) {
  unsigned long calls = s->calls;
  s->calls = 0;
  s->at = (unsigned long)luaL_optinteger(L, 1, 0);
  s->failing = (unsigned long)luaL_optinteger(L, 2, 1);
  s->told = s->until = 0;
  lua_pushinteger(L, (lua_Integer)calls);
  return 1;
}

/* malloc(n, failing): `failing` allocations of the module fail, from the n-th
** on; malloc() ends that. Returns the number since the last call. */
static int f_malloc (lua_State *L) {
  return shortage(L, &c_memory);
}

/* pause(n, told, until): the n-th allocation of the module writes a byte to
** one pipe, and waits for one from the other: so another thread does something
** in the middle of a call. Returns what malloc does, which ends it. */
static int f_pause (lua_State *L) {
  int told = (int)luaL_checkinteger(L, 2);
  int until = (int)luaL_checkinteger(L, 3);
  lua_settop(L, 1);
  shortage(L, &c_memory);
  c_memory.told = told;
  c_memory.until = until;
  return 1;
}

/* alloc(n, failing): as malloc, for what Lua allocates. (It collects garbage
** and tries each a second time.) */
static int f_alloc (lua_State *L) {
  if (lua_alloc == NULL) {
    lua_alloc = lua_getallocf(L, &lua_alloc_ud);
    lua_setallocf(L, alloc, NULL);
  }
  return shortage(L, &lua_memory);
}

/* cheap(boolean): pretend that system calls are cheap, or not, to new loops */
static int f_cheap (lua_State *L) {
  luaL_checktype(L, 1, LUA_TBOOLEAN);
  price = lua_toboolean(L, 1) ? CHEAP : DEAR;
  return 0;
}

/* bell(): the token of the loop's doorbell */
static int f_bell (lua_State *L) {
  struct doorbell *b = loop_doorbell(state_get(L)->loop);
  if (b == NULL)
    return luaL_error(L, "no doorbell");
  lua_pushinteger(L, (lua_Integer)b->token);
  return 1;
}

static void *ring_thread (void *of) {
  struct doorbell *b = of;
  int rc = 0;
  /* as soon as the loop sleeps, or is about to */
  while (!doorbell_wanted(b)) usleep(100);
  rc = doorbell_ring(b);
  refblock_release(&b->block);
  return rc == 0 ? NULL : of;
}

/* ring(): another thread rings the loop's doorbell as soon as the loop sleeps.
** Returns a function that joins that thread and returns whether it succeeded.
*/
static pthread_t ringer;

static int f_rung (lua_State *L) {
  void *failed;
  pthread_join(ringer, &failed);
  lua_pushboolean(L, failed == NULL);
  return 1;
}

static int f_ring (lua_State *L) {
  struct doorbell *b = loop_doorbell(state_get(L)->loop);
  refblock_retain(&b->block);
  if (pthread_create(&ringer, NULL, ring_thread, b) != 0)
    return luaL_error(L, "no thread");
  lua_pushcfunction(L, f_rung);
  return 1;
}

static int f_buried (lua_State *L) {
  lua_pushinteger(L, (lua_Integer)refblocks_buried());
  return 1;
}

/* ---- messages, as bytes ------------------------------------------------ */

/* encode(...): the message of these values. */
static int f_encode (lua_State *L) {
  struct queue_limits most = { 1, 1 << 20, 0 };
  struct encoded e;
  if (encode_within(L, 1, lua_gettop(L), &most, MESSAGE_ALL_KINDS, &e) < 0)
    return luaL_error(L, "it cannot be encoded");
  lua_pushlstring(L, (const char *)e.message, e.message->size);
  encode_free(&e);
  return 1;
}

/* Has it anything that is an address or a descriptor? No bytes from elsewhere
** can prove that. */
static bool has_owned (struct message *m) {
  for (uint64_t *cell = m->cells; cell < message_end(m);
       cell += message_cells(*cell))
    if (message_kind(*cell) == MESSAGE_FD || message_is_block(*cell))
      return true;
  return false;
}

/* decode(bytes): how many values there are, and these; or "corrupt",
** "owned"; or "failed" and the error. */
static int f_decode (lua_State *L) {
  size_t size;
  const char *bytes = luaL_checklstring(L, 1, &size);
  struct message *m;
  bool scalars;
  int n, top;
  luaL_argcheck(L, size >= sizeof(*m), 1, "too short");
  m = malloc(size);
  if (m == NULL) return luaL_error(L, "not enough memory");
  memcpy(m, bytes, size);
  m->size = (uint32_t)size;
  m->flags &= MESSAGE_BUILDS | MESSAGE_GRAPH;
  lua_settop(L, 1);
  scalars = !(m->flags & MESSAGE_BUILDS);  /* (they are not walked twice) */
  if (!scalars && !message_is_sound(m)) lua_pushliteral(L, "corrupt");
  else if (!scalars && has_owned(m)) lua_pushliteral(L, "owned");
  else {
    lua_pushliteral(L, "failed");
    top = lua_gettop(L);
    n = decode_message(L, m);
    if (n >= 0) {
      lua_pushinteger(L, n);
      lua_replace(L, top);
    }
    else if (n != DECODE_FAILED)
      lua_pushinteger(L, n);
  }
  free(m);
  return lua_gettop(L) - 1;
}

static const luaL_Reg of_the_state[] = {
  {"encode", f_encode}, {"decode", f_decode},
  {NULL, NULL}
};


static const luaL_Reg functions[] = {
  {"inject", f_inject}, {"clear", f_clear}, {"calls", f_calls},
  {"withhold", f_withhold}, {"exit", f_exit}, {"malloc", f_malloc},
  {"pause", f_pause},
  {"again", f_again}, {"alloc", f_alloc}, {"buried", f_buried},
  {"cheap", f_cheap}, {"bell", f_bell}, {"ring", f_ring}, {"refuse", f_refuse},
  {"signal", f_signal}, {"arrive", f_arrive}, {"lose", f_lose},
  {"kernel", f_kernel},
  {NULL, NULL}
};

__attribute__((visibility("default")))
int luaopen_uring_fault (lua_State *L);

int luaopen_uring_fault (lua_State *L) {
  luaL_newlib(L, functions);
  if (state_push(L)) luaL_setfuncs(L, of_the_state, 1);
  return 1;
}
