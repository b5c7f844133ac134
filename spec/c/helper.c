/*
** uring_spec: functions that the specs need and Lua lacks: processes, threads,
** signals, raw descriptors, and messages with any content.
**
** It makes its own system calls, and shares nothing with the module under test
** except the layout of a ring's reference, which it passes from one state to
** another as a worker would.
*/

#include "compat.h"
#include "base/handle.h"

#include <lua.h>
#include <lauxlib.h>
#include <lualib.h>

#include "compat.h"  /* again: now with Lua's headers before it */

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define REF "uring.Ref"
#define VALUES 16

static int result (lua_State *L, int rc) {
  if (rc < 0) {
    luaL_pushfail(L);
    lua_pushstring(L, strerror(-rc));
    lua_pushinteger(L, -rc);
    return 3;
  }
  lua_pushboolean(L, 1);
  return 1;
}

static int check_fd (lua_State *L, int arg) {
  return (int)luaL_checkinteger(L, arg);
}

static void sleep_for (double seconds) {
  struct timespec ts;
  ts.tv_sec = (time_t)seconds;
  ts.tv_nsec = (long)((seconds - (double)ts.tv_sec) * 1e9);
  while (nanosleep(&ts, &ts) != 0 && errno == EINTR) {}
}

static int l_sleep (lua_State *L) {
  sleep_for(luaL_checknumber(L, 1));
  return 0;
}

/* keep_memory(boolean): the process keeps freed memory, because fresh pages
** may cost more than what is measured. (false: the default.) */
static int l_keep_memory (lua_State *L) {
  bool keep = lua_toboolean(L, 1);
  mallopt(M_TRIM_THRESHOLD, keep ? INT_MAX : 128 * 1024);
  mallopt(M_MMAP_THRESHOLD, keep ? 32 * 1024 * 1024 : 128 * 1024);
  if (!keep) malloc_trim(0);
  return 0;
}


/* ---- processes --------------------------------------------------------- */

/* fork(): 0 in the child, its pid in the parent */
static int l_fork (lua_State *L) {
  pid_t parent = getpid();
  pid_t pid;
  fflush(NULL);  /* or the child writes the buffers a second time */
  pid = fork();
  if (pid < 0)
    return luaL_error(L, "fork: %s", strerror(errno));
  if (pid == 0) {  /* (must not outlive a run that is killed) */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(125);
  }
  lua_pushinteger(L, pid);
  return 1;
}

static int push_status (lua_State *L, int status) {
  if (WIFSIGNALED(status)) {
    lua_pushinteger(L, 128 + WTERMSIG(status));
    lua_pushliteral(L, "signal");
  }
  else {
    lua_pushinteger(L, WEXITSTATUS(status));
    lua_pushliteral(L, "exit");
  }
  return 2;
}

/* wait(pid): its exit status, "exit"; or 128 + signal, "signal" */
static int l_wait (lua_State *L) {
  pid_t pid = (pid_t)luaL_checkinteger(L, 1);
  int status;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR)
      return result(L, -errno);
  }
  return push_status(L, status);
}

static int l_kill (lua_State *L) {
  return result(L, kill((pid_t)luaL_checkinteger(L, 1),
                        (int)luaL_checkinteger(L, 2)) ? -errno : 0);
}

static int l_exit (lua_State *L) {
  fflush(NULL);
  _exit((int)luaL_checkinteger(L, 1));
}

/* may_lock(bytes): limit locked memory from now on, also for root */
static int l_may_lock (lua_State *L) {
  struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
  struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];
  struct rlimit most;
  most.rlim_cur = most.rlim_max = (rlim_t)luaL_checkinteger(L, 1);
  if (setrlimit(RLIMIT_MEMLOCK, &most) < 0
      || syscall(SYS_capget, &header, caps) < 0)
    return luaL_error(L, "may_lock");
  caps[0].effective &= ~(1u << CAP_IPC_LOCK);
  caps[0].permitted &= ~(1u << CAP_IPC_LOCK);
  if (syscall(SYS_capset, &header, caps) < 0)
    return luaL_error(L, "may_lock");
  return 0;
}

static int l_getpid (lua_State *L) {
  lua_pushinteger(L, getpid());
  return 1;
}

/* execute(seconds, program, arg...): status, as wait gives it, and output; a
** program that does not end in time is killed */
static int l_execute (lua_State *L) {
  double limit = luaL_checknumber(L, 1);
  char *argv[16] = {0};
  int n = lua_gettop(L) - 1;
  int end[2], status;
  pid_t pid;
  struct timespec t0, t;
  luaL_Buffer b;
  luaL_argcheck(L, n >= 1 && n < 15, 2, "1 to 14 words expected");
  for (int i = 0; i < n; i++) {
    union { const char *from; char *to; } word;  /* (execv wants it so) */
    word.from = luaL_checkstring(L, i + 2);
    argv[i] = word.to;
  }
  if (pipe2(end, O_CLOEXEC) != 0)
    return luaL_error(L, "pipe: %s", strerror(errno));
  fflush(NULL);
  pid = fork();
  if (pid == 0) {
    int null = open("/dev/null", O_RDONLY);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(null, 0);
    dup2(end[1], 1);
    dup2(end[1], 2);
    execv(argv[0], argv);
    _exit(127);
  }
  close(end[1]);
  luaL_buffinit(L, &b);
  clock_gettime(CLOCK_MONOTONIC, &t0);
  while (pid > 0) {
    struct pollfd p = { end[0], POLLIN, 0 };
    char *chunk = luaL_prepbuffer(&b);
    ssize_t got = 0;
    poll(&p, 1, 100);
    clock_gettime(CLOCK_MONOTONIC, &t);
    if ((double)(t.tv_sec - t0.tv_sec) > limit) {
      kill(pid, SIGKILL);
      luaL_addstring(&b, "\n(killed: it took too long)\n");
      break;
    }
    if (p.revents == 0) continue;
    got = read(end[0], chunk, LUAL_BUFFERSIZE);
    if (got <= 0) break;
    luaL_addsize(&b, (size_t)got);
  }
  close(end[0]);
  luaL_pushresult(&b);
  while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
  if (pid < 0) return luaL_error(L, "fork failed");
  push_status(L, status);
  lua_pop(L, 1);
  lua_insert(L, -2);
  return 2;
}


/* ---- values passed between states -------------------------------------- */

struct value {
  int type;
  union {
    lua_Integer integer;
    lua_Number number;
    struct handle *ref;
    struct { char *at; size_t len; } string;
  } as;
};

enum { INTEGER = 100 };

/* false: the value cannot be passed */
static bool value_get (lua_State *L, int arg, struct value *v) {
  struct handle **held;
  const char *s;
  v->type = lua_type(L, arg);
  switch (v->type) {
    case LUA_TNIL: case LUA_TNONE:
      v->type = LUA_TNIL;
      return true;
    case LUA_TBOOLEAN:
      v->as.integer = lua_toboolean(L, arg);
      return true;
    case LUA_TNUMBER:
      if (lua_isinteger(L, arg)) {
        v->type = INTEGER;
        v->as.integer = lua_tointeger(L, arg);
      }
      else v->as.number = lua_tonumber(L, arg);
      return true;
    case LUA_TSTRING:
      s = lua_tolstring(L, arg, &v->as.string.len);
      v->as.string.at = malloc(v->as.string.len + 1);
      if (v->as.string.at == NULL) return false;
      memcpy(v->as.string.at, s, v->as.string.len + 1);
      return true;
    case LUA_TUSERDATA:
      held = luaL_testudata(L, arg, REF);
      if (held == NULL || *held == NULL) break;
      v->as.ref = *held;
      refblock_retain(&v->as.ref->block);
      return true;
    default: break;
  }
  v->type = LUA_TNIL;
  return false;
}

static void value_drop (struct value *v) {
  if (v->type == LUA_TSTRING) free(v->as.string.at);
  else if (v->type == LUA_TUSERDATA) refblock_release(&v->as.ref->block);
  v->type = LUA_TNIL;
}

static void value_push (lua_State *L, const struct value *v) {
  struct handle **held;
  switch (v->type) {
    case LUA_TBOOLEAN: lua_pushboolean(L, (int)v->as.integer); break;
    case INTEGER: lua_pushinteger(L, v->as.integer); break;
    case LUA_TNUMBER: lua_pushnumber(L, v->as.number); break;
    case LUA_TSTRING:
      lua_pushlstring(L, v->as.string.at, v->as.string.len);
      break;
    case LUA_TUSERDATA:
      lua_getglobal(L, "require");
      lua_pushliteral(L, "uring");
      lua_call(L, 1, 0);  /* (makes the class) */
      held = lua_newuserdatauv(L, sizeof(*held), 0);
      refblock_retain(&v->as.ref->block);
      *held = v->as.ref;
      luaL_setmetatable(L, REF);
      break;
    default: lua_pushnil(L);
  }
}


/* Values that states pass to each other by name. */

static struct shelf {
  struct shelf *next;
  struct value name, value;
} *shelf;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t put_there = PTHREAD_COND_INITIALIZER;

/* put(name, value): any state of this process may take it */
static int l_put (lua_State *L) {
  struct shelf *s = calloc(1, sizeof(*s));
  luaL_checkstring(L, 1);
  if (s == NULL || !value_get(L, 1, &s->name)
      || !value_get(L, 2, &s->value)) {
    free(s);
    return luaL_argerror(L, 2, "cannot travel");
  }
  pthread_mutex_lock(&lock);
  s->next = shelf;
  shelf = s;
  pthread_cond_broadcast(&put_there);
  pthread_mutex_unlock(&lock);
  return 0;
}

static struct shelf *find (const char *name) {
  for (struct shelf **at = &shelf; *at; at = &(*at)->next) {
    struct shelf *s = *at;
    if (strcmp(s->name.as.string.at, name) == 0) {
      *at = s->next;
      return s;
    }
  }
  return NULL;
}

/* take(name, seconds): waits for it; raises if it is not put in time */
static int l_take (lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  double seconds = luaL_optnumber(L, 2, 30);
  struct timespec until;
  struct shelf *s;
  int rc = 0;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += (time_t)seconds + 1;
  pthread_mutex_lock(&lock);
  while ((s = find(name)) == NULL && rc == 0)
    rc = pthread_cond_timedwait(&put_there, &lock, &until);
  pthread_mutex_unlock(&lock);
  if (s == NULL)
    return luaL_error(L, "nobody has put '%s' there", name);
  value_push(L, &s->value);
  value_drop(&s->name);
  value_drop(&s->value);
  free(s);
  return 1;
}


/* ---- threads ----------------------------------------------------------- */

#define THREAD "uring_spec.thread"

struct thread {
  pthread_t id;
  bool running;
  char *code, *path, *cpath;
  size_t len;
  struct value value[VALUES];  /* arguments, then results */
  int n;
  bool ok;
  lua_State *borrowed;         /* in_thread */
  lua_State *left;             /* outlived: its state */
  bool leave;
};

static int guarded (lua_State *L) {
  struct thread *t = lua_touserdata(L, 1);
  luaL_openlibs(L);
  lua_getglobal(L, "package");
  lua_pushstring(L, t->path);
  lua_setfield(L, -2, "path");
  lua_pushstring(L, t->cpath);
  lua_setfield(L, -2, "cpath");
  lua_settop(L, 0);
  if (luaL_loadbuffer(L, t->code, t->len, t->code) != LUA_OK)
    return lua_error(L);
  for (int i = 0; i < t->n; i++)
    value_push(L, &t->value[i]);
  lua_call(L, t->n, LUA_MULTRET);
  return lua_gettop(L);
}

/* Run in this new state, and close it or leave it. */
static void run_in (lua_State *L, struct thread *t) {
  int n;
  lua_pushcfunction(L, guarded);
  lua_pushlightuserdata(L, t);
  t->ok = lua_pcall(L, 1, LUA_MULTRET, 0) == LUA_OK;
  for (int i = 0; i < t->n; i++)
    value_drop(&t->value[i]);
  if (!t->ok) {
    luaL_tolstring(L, -1, NULL);
    lua_replace(L, 1);
    lua_settop(L, 1);
  }
  n = lua_gettop(L);
  t->n = n < VALUES ? n : VALUES;
  for (int i = 0; i < t->n; i++)
    value_get(L, i + 1, &t->value[i]);
  if (t->leave) t->left = L;
  else lua_close(L);
}

static void *thread_main (void *p) {
  run_in(luaL_newstate(), p);
  return NULL;
}

static char *copy_field (lua_State *L, const char *name) {
  char *copy;
  lua_getfield(L, -1, name);
  copy = strdup(lua_tostring(L, -1));
  lua_pop(L, 1);
  return copy;
}

static void start (lua_State *L, struct thread *t, void *(*f)(void *)) {
  /* only the main thread handles signals, as in any careful program */
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  t->running = pthread_create(&t->id, NULL, f, t) == 0;
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  if (!t->running)
    luaL_error(L, "cannot start a thread");
}

static double seconds (void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A thread that will run the code with the arguments on the stack. */
static struct thread *new_thread (lua_State *L) {
  size_t len;
  const char *code = luaL_checklstring(L, 1, &len);
  int n = lua_gettop(L) - 1;
  struct thread *t;
  luaL_argcheck(L, n <= VALUES, VALUES, "too many arguments");
  t = lua_newuserdatauv(L, sizeof(*t), 0);
  memset(t, 0, sizeof(*t));
  luaL_setmetatable(L, THREAD);
  for (; t->n < n; t->n++) {
    if (!value_get(L, t->n + 2, &t->value[t->n]))
      luaL_argerror(L, t->n + 2, "cannot travel");
  }
  t->len = len;
  t->code = malloc(len + 1);
  if (t->code == NULL) luaL_error(L, "no memory");
  memcpy(t->code, code, len + 1);
  lua_getglobal(L, "package");
  t->path = copy_field(L, "path");
  t->cpath = copy_field(L, "cpath");
  lua_pop(L, 1);
  return t;
}

/* thread(code, ...): run it in a state of its own; t:join() returns the
** results of pcall */
static int l_thread (lua_State *L) {
  struct thread *t = new_thread(L);
  start(L, t, thread_main);
  return 1;
}

static void thread_end (struct thread *t) {
  if (t->running) pthread_join(t->id, NULL);
  t->running = false;
  free(t->code);
  free(t->path);
  free(t->cpath);
  t->code = t->path = t->cpath = NULL;
}

static int push_values (lua_State *L, struct thread *t) {
  lua_pushboolean(L, t->ok);
  for (int i = 0; i < t->n; i++) {
    value_push(L, &t->value[i]);
    value_drop(&t->value[i]);
  }
  return t->n + 1;
}

static int thread_join (lua_State *L) {
  struct thread *t = luaL_checkudata(L, 1, THREAD);
  luaL_argcheck(L, t->running, 1, "joined already");
  thread_end(t);
  return push_values(L, t);
}

/* outlived(code, ...): run it in a state of its own in another thread, and
** close that state when the thread has ended: the seconds that lua_close took,
** and the results of pcall */
static int l_outlived (lua_State *L) {
  struct thread *t = new_thread(L);
  double began;
  t->leave = true;
  start(L, t, thread_main);
  thread_end(t);
  began = seconds();
  lua_close(t->left);
  lua_pushnumber(L, seconds() - began);
  return 1 + push_values(L, t);
}

/* forbid(call, errno): make this system call fail in this process and its
** children; false if filters cannot be installed */
static int l_forbid (lua_State *L) {
  struct sock_filter code[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
  };
  struct sock_fprog program = { 4, code };
  static const char *const names[] = { "io_uring_enter", "io_uring_register",
                                       "sendto", "sendmsg", NULL };
  static const unsigned numbers[] = { SYS_io_uring_enter,
                                      SYS_io_uring_register, SYS_sendto,
                                      SYS_sendmsg };
  code[1].k = numbers[luaL_checkoption(L, 1, NULL, names)];
  code[2].k |= (unsigned)luaL_checkinteger(L, 2);
  lua_pushboolean(L, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                  && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)
                     == 0);
  return 1;
}

static int thread_gc (lua_State *L) {
  struct thread *t = luaL_checkudata(L, 1, THREAD);
  thread_end(t);
  for (int i = 0; i < t->n; i++)
    value_drop(&t->value[i]);
  t->n = 0;
  return 0;
}

/* The allocator of a state, which fails for the n-th growth, and for
** `failing` - 1 after it. */
struct purse {
  unsigned long asked, at, failing;
  size_t lent;
};

static void *lend (void *ud, void *p, size_t had, size_t size) {
  struct purse *m = ud;
  void *got = NULL;
  if (p == NULL) had = 0;
  if (size > had) {  /* (only growth: Lua relies on shrinking) */
    m->asked++;
    if (m->at > 0 && m->asked >= m->at && m->asked - m->at < m->failing)
      return NULL;
  }
  if (size == 0) free(p);
  else if ((got = realloc(p, size)) == NULL)
    return NULL;
  m->lent += size - had;
  return got;
}

/* refuse(n, failing): fail from the n-th growth from now on; the number of
** growths since the last call; refuse() ends that. It allocates nothing. */
static int l_refuse (lua_State *L) {
  struct purse *m = lua_touserdata(L, lua_upvalueindex(1));
  unsigned long asked = m->asked;
  m->asked = 0;
  m->at = (unsigned long)luaL_optinteger(L, 1, 0);
  m->failing = (unsigned long)luaL_optinteger(L, 2, 1);
  lua_pushinteger(L, (lua_Integer)asked);
  return 1;
}

/* state(code, ...): as thread(), but in the calling thread: the results of
** pcall. The code has `refuse` as a global. Raises if memory of the closed
** state is left. */
static int l_state (lua_State *L) {
  struct thread *t = new_thread(L);
  struct purse m = {0};
  lua_State *own = compat_newstate(lend, &m, 0);
  if (own == NULL)
    return luaL_error(L, "no memory");
  lua_pushlightuserdata(own, &m);
  lua_pushcclosure(own, l_refuse, 1);
  lua_setglobal(own, "refuse");
  run_in(own, t);
  if (m.lent != 0)
    return luaL_error(L, "%I bytes are left", (LUAI_UACINT)m.lent);
  thread_end(t);
  return push_values(L, t);
}

static void *borrow (void *p) {
  struct thread *t = p;
  lua_State *L = t->borrowed;
  t->ok = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0) == LUA_OK;
  return NULL;
}

/* in_thread(f, ...): pcall(f, ...) in another thread, while this one waits */
static int l_in_thread (lua_State *L) {
  struct thread t = {0};
  luaL_checktype(L, 1, LUA_TFUNCTION);
  t.borrowed = L;
  start(L, &t, borrow);
  pthread_join(t.id, NULL);
  lua_pushboolean(L, t.ok);
  lua_insert(L, 1);
  return lua_gettop(L);
}


/* ---- signals ----------------------------------------------------------- */

static volatile sig_atomic_t alarms;
static lua_State *hooked;
static struct sigaction before;
static bool handling;

static void count_alarm (int sig) {
  (void)sig;
  alarms++;
}

static void stop (lua_State *L, lua_Debug *ar) {
  (void)ar;
  lua_sethook(L, NULL, 0, 0);
  luaL_error(L, "interrupted!");
}

/* as lua.c does on Ctrl-C */
static void set_hook (int sig) {
  (void)sig;
  alarms++;
  lua_sethook(hooked, stop, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE
              | LUA_MASKCOUNT, 1);
}

static void set_timer (double first, double interval) {
  struct itimerval it = {0};
  it.it_value.tv_sec = (time_t)first;
  it.it_value.tv_usec = (suseconds_t)((first - (double)(time_t)first) * 1e6);
  it.it_interval.tv_usec = (suseconds_t)(interval * 1e6);
  setitimer(ITIMER_REAL, &it, NULL);
}

static void handle (void (*f)(int)) {
  struct sigaction sa = {0};
  sa.sa_handler = f;  /* without SA_RESTART: it interrupts */
  sigaction(SIGALRM, &sa, handling ? NULL : &before);
  handling = true;
  alarms = 0;
}

/* itimer(seconds): a periodic signal whose handler does nothing; 0 ends it,
** and returns the number of signals */
static int l_itimer (lua_State *L) {
  double seconds = luaL_checknumber(L, 1);
  if (seconds > 0) {
    handle(count_alarm);
    set_timer(seconds, seconds);
    return 0;
  }
  set_timer(0, 0);
  if (handling) sigaction(SIGALRM, &before, NULL);
  handling = false;
  lua_pushinteger(L, (lua_Integer)alarms);
  return 1;
}

/* interrupt(seconds [, interval]): after that time do as lua does on Ctrl-C;
** itimer(0) ends it */
static int l_interrupt (lua_State *L) {
  double seconds = luaL_checknumber(L, 1);
  double interval = luaL_optnumber(L, 2, 0);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  hooked = lua_tothread(L, -1);
  handle(set_hook);
  set_timer(seconds, interval);
  return 0;
}

static int l_alarms (lua_State *L) {
  lua_pushinteger(L, (lua_Integer)alarms);
  return 1;
}


/* ---- descriptors ------------------------------------------------------- */

/* pipe(): reading end, writing end */
static int l_pipe (lua_State *L) {
  int end[2];
  if (pipe2(end, O_CLOEXEC) != 0)
    return luaL_error(L, "pipe: %s", strerror(errno));
  lua_pushinteger(L, end[0]);
  lua_pushinteger(L, end[1]);
  return 2;
}

static int l_eventfd (lua_State *L) {
  int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0)
    return luaL_error(L, "eventfd: %s", strerror(errno));
  lua_pushinteger(L, fd);
  return 1;
}

static int l_read (lua_State *L) {
  int fd = check_fd(L, 1);
  size_t n = (size_t)luaL_optinteger(L, 2, 4096);
  luaL_Buffer b;
  char *bytes = luaL_buffinitsize(L, &b, n);
  ssize_t got = read(fd, bytes, n);
  if (got < 0)
    return result(L, -errno);
  luaL_pushresultsize(&b, (size_t)got);
  return 1;
}

static int l_write (lua_State *L) {
  size_t len;
  const char *s = luaL_checklstring(L, 2, &len);
  ssize_t n = write(check_fd(L, 1), s, len);
  if (n < 0)
    return result(L, -errno);
  lua_pushinteger(L, n);
  return 1;
}

static int l_close (lua_State *L) {
  return result(L, close(check_fd(L, 1)) ? -errno : 0);
}

static int l_dup (lua_State *L) {
  lua_pushinteger(L, fcntl(check_fd(L, 1), F_DUPFD_CLOEXEC, 0));
  return 1;
}

/* fcntl(fd, "nonblock"): make it non-blocking */
static int l_nonblock (lua_State *L) {
  int fd = check_fd(L, 1);
  return result(L, fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK)
                   ? -errno : 0);
}

/* ready(fd, seconds): is there something to read within that time? */
static int l_ready (lua_State *L) {
  struct pollfd p = { check_fd(L, 1), POLLIN, 0 };
  int n = poll(&p, 1, (int)(luaL_optnumber(L, 2, 0) * 1000));
  lua_pushboolean(L, n > 0);
  return 1;
}

/* fds(): the number of open descriptors, and number -> description */
static int l_fds (lua_State *L) {
  DIR *d = opendir("/proc/self/fd");
  struct dirent *e;
  int n = 0;
  if (d == NULL)
    return luaL_error(L, "/proc/self/fd: %s", strerror(errno));
  lua_newtable(L);
  while ((e = readdir(d)) != NULL) {
    char path[300], what[300];
    ssize_t len;
    int fd = atoi(e->d_name);
    if (e->d_name[0] == '.' || fd == dirfd(d)) continue;
    snprintf(path, sizeof(path), "/proc/self/fd/%s", e->d_name);
    len = readlink(path, what, sizeof(what));
    lua_pushlstring(L, what, len > 0 ? (size_t)len : 0);
    lua_rawseti(L, -2, fd);
    n++;
  }
  closedir(d);
  lua_pushinteger(L, n);
  lua_insert(L, -2);
  return 2;
}


/* ---- sockets ----------------------------------------------------------- */

/* socketpair(type): two ends of a unix socket */
static int l_socketpair (lua_State *L) {
  int end[2];
  int type = (int)luaL_checkinteger(L, 1);
  if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, end) != 0)
    return luaL_error(L, "socketpair: %s", strerror(errno));
  lua_pushinteger(L, end[0]);
  lua_pushinteger(L, end[1]);
  return 2;
}

/* socket(host, type): a socket bound to a free port of "127.0.0.1" or "::1",
** listening if it is a stream: its number and port */
static int l_socket (lua_State *L) {
  union {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
  } a;
  const char *host = luaL_checkstring(L, 1);
  int type = (int)luaL_checkinteger(L, 2);
  bool v6 = strchr(host, ':') != NULL;
  socklen_t len = v6 ? sizeof(a.in6) : sizeof(a.in);
  int fd = socket(v6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0);
  memset(&a, 0, sizeof(a));
  a.any.sa_family = v6 ? AF_INET6 : AF_INET;
  if (fd < 0
      || inet_pton(a.any.sa_family, host,
                   v6 ? (void *)&a.in6.sin6_addr : &a.in.sin_addr) != 1
      || bind(fd, &a.any, len) != 0
      || (type == SOCK_STREAM && listen(fd, 64) != 0)
      || getsockname(fd, &a.any, &len) != 0) {
    int err = errno;
    if (fd >= 0) close(fd);
    return result(L, -err);
  }
  lua_pushinteger(L, fd);
  lua_pushinteger(L, ntohs(v6 ? a.in6.sin6_port : a.in.sin_port));
  return 2;
}

/* setsockopt(fd, level, name, integer) */
static int l_setsockopt (lua_State *L) {
  int value = (int)luaL_checkinteger(L, 4);
  return result(L, setsockopt(check_fd(L, 1), (int)luaL_checkinteger(L, 2),
                              (int)luaL_checkinteger(L, 3), &value,
                              sizeof(value)) ? -errno : 0);
}


/* ---- messages ---------------------------------------------------------- */

static void prepare (struct io_uring_sqe *sqe, int fd, uint64_t data,
                     int32_t res, uint32_t flags) {
  memset(sqe, 0, sizeof(*sqe));
  sqe->opcode = IORING_OP_MSG_RING;
  sqe->fd = fd;
  sqe->len = (uint32_t)res;
  sqe->off = data;
  if (flags != 0) {
    sqe->rw_flags = IORING_MSG_RING_FLAGS_PASS;  /* (a union: msg_flags) */
    sqe->file_index = flags;
  }
}

static int submit_one (struct io_uring *ring, const struct io_uring_sqe *m) {
  struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
  struct io_uring_cqe *cqe;
  int rc;
  *sqe = *m;
  do rc = io_uring_submit_and_wait(ring, 1); while (rc == -EINTR);
  if (rc < 0) return rc;
  while ((rc = io_uring_wait_cqe(ring, &cqe)) == -EINTR) {}
  if (rc < 0) return rc;
  rc = cqe->res;
  io_uring_cqe_seen(ring, cqe);
  return rc;
}

#define SENDER "uring_spec.sender"

struct sender {
  struct io_uring ring;
  bool open;
};

static int sender_close (lua_State *L) {
  struct sender *s = luaL_checkudata(L, 1, SENDER);
  if (s->open) io_uring_queue_exit(&s->ring);
  s->open = false;
  return 0;
}

/* sender(): a plain liburing ring, with send and close */
static int l_sender (lua_State *L) {
  struct sender *s = lua_newuserdatauv(L, sizeof(*s), 0);
  int rc;
  s->open = false;
  luaL_setmetatable(L, SENDER);
  rc = io_uring_queue_init(8, &s->ring, 0);
  if (rc < 0)
    return result(L, rc);
  s->open = true;
  return 1;
}

/* s:send(fd, user_data, res, flags): true, or nil, message, errno */
static int sender_send (lua_State *L) {
  struct sender *s = luaL_checkudata(L, 1, SENDER);
  struct io_uring_sqe sqe;
  luaL_argcheck(L, s->open, 1, "closed");
  prepare(&sqe, check_fd(L, 2), (uint64_t)luaL_checkinteger(L, 3),
          (int32_t)luaL_checkinteger(L, 4),
          (uint32_t)luaL_optinteger(L, 5, 0));
  return result(L, submit_one(&s->ring, &sqe));
}

/* send(fd, user_data, res, flags): the same, from a temporary ring */
static int l_send (lua_State *L) {
  lua_pushcfunction(L, l_sender);
  lua_call(L, 0, 1);
  lua_insert(L, 1);
  sender_send(L);
  lua_pushcfunction(L, sender_close);
  lua_pushvalue(L, 1);
  lua_call(L, 1, 0);
  return lua_isnil(L, -1) || lua_isinteger(L, -1) ? 3 : 1;
}

static int32_t send_without_sender (int fd, uint64_t data, int32_t res) {
  struct io_uring_sqe sqe;
  struct io_uring ring;
  int rc;
  prepare(&sqe, fd, data, res, 0);
  rc = io_uring_register((unsigned)-1, IORING_REGISTER_SEND_MSG_RING, &sqe,
                         1);
  if (rc != -EINVAL && rc != -EBADF) return rc;
  rc = io_uring_queue_init(2, &ring, 0);  /* (Linux before 6.13) */
  if (rc < 0) return rc;
  rc = submit_one(&ring, &sqe);
  io_uring_queue_exit(&ring);
  return rc;
}

struct later {
  struct thread thread;  /* first: it is joined as one */
  double seconds;
  int fd;
  uint64_t data;
  int32_t res;
};

static void *later_main (void *p) {
  struct later *l = p;
  sleep_for(l->seconds);
  l->res = send_without_sender(l->fd, l->data, l->res);
  l->thread.ok = l->res >= 0;
  l->thread.n = 1;
  l->thread.value[0].type = INTEGER;
  l->thread.value[0].as.integer = -l->res;
  return NULL;
}

/* send_later(seconds, fd, user_data, res): from a thread without Lua and,
** since Linux 6.13, without a ring; join() returns true, or false and errno */
static int l_send_later (lua_State *L) {
  struct later *l;
  double seconds = luaL_checknumber(L, 1);
  int fd = check_fd(L, 2);
  uint64_t data = (uint64_t)luaL_checkinteger(L, 3);
  int32_t res = (int32_t)luaL_checkinteger(L, 4);
  l = lua_newuserdatauv(L, sizeof(*l), 0);
  memset(l, 0, sizeof(*l));
  luaL_setmetatable(L, THREAD);
  l->seconds = seconds;
  l->fd = fd;
  l->data = data;
  l->res = res;
  start(L, &l->thread, later_main);
  return 1;
}

struct write_later {
  struct thread thread;
  double seconds;
  int fd;
};

static void *write_main (void *p) {
  struct write_later *w = p;
  sleep_for(w->seconds);
  w->thread.ok = write(w->fd, "\1\0\0\0\0\0\0\0", 8) == 8;
  return NULL;
}

/* write_later(seconds, fd): eight bytes, 1 to an eventfd */
static int l_write_later (lua_State *L) {
  struct write_later *w;
  double seconds = luaL_checknumber(L, 1);
  int fd = check_fd(L, 2);
  w = lua_newuserdatauv(L, sizeof(*w), 0);
  memset(w, 0, sizeof(*w));
  luaL_setmetatable(L, THREAD);
  w->seconds = seconds;
  w->fd = fd;
  start(L, &w->thread, write_main);
  return 1;
}


/* ---- the module -------------------------------------------------------- */

static const luaL_Reg functions[] = {
  {"sleep", l_sleep},
  {"keep_memory", l_keep_memory},
  {"fork", l_fork}, {"wait", l_wait}, {"kill", l_kill}, {"_exit", l_exit},
  {"getpid", l_getpid}, {"execute", l_execute}, {"may_lock", l_may_lock},
  {"put", l_put}, {"take", l_take},
  {"thread", l_thread}, {"in_thread", l_in_thread},
  {"state", l_state}, {"outlived", l_outlived}, {"forbid", l_forbid},
  {"itimer", l_itimer}, {"interrupt", l_interrupt}, {"alarms", l_alarms},
  {"pipe", l_pipe}, {"eventfd", l_eventfd}, {"read", l_read},
  {"write", l_write}, {"close", l_close}, {"dup", l_dup},
  {"nonblock", l_nonblock}, {"ready", l_ready}, {"fds", l_fds},
  {"socketpair", l_socketpair}, {"socket", l_socket},
  {"setsockopt", l_setsockopt},
  {"sender", l_sender}, {"send", l_send}, {"send_later", l_send_later},
  {"write_later", l_write_later},
  {NULL, NULL}
};

static void class (lua_State *L, const char *name, lua_CFunction gc) {
  luaL_newmetatable(L, name);
  lua_pushcfunction(L, gc);
  lua_setfield(L, -2, "__gc");
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
}

__attribute__((visibility("default")))
int luaopen_uring_spec (lua_State *L);

int luaopen_uring_spec (lua_State *L) {
  class(L, THREAD, thread_gc);
  lua_pushcfunction(L, thread_join);
  lua_setfield(L, -2, "join");
  class(L, SENDER, sender_close);
  lua_pushcfunction(L, sender_close);
  lua_setfield(L, -2, "close");
  lua_pushcfunction(L, sender_send);
  lua_setfield(L, -2, "send");
  luaL_newlib(L, functions);
  return 1;
}
