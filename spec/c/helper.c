/*
** uring_spec: what the specs need and Lua has not: processes, threads,
** signals, raw descriptors, and messages with any content at all.
**
** It enters the kernel for itself and shares nothing with the module under
** test but the layout of a ring's reference, which it hands from one state
** to another as a worker would.
**
** Threads and states are in helper_threads.c, messages in helper_messages.c.
*/

#include "helper.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

static int l_sleep (lua_State *L) {
  sleep_for(luaL_checknumber(L, 1));
  return 0;
}

static int push_clock (lua_State *L, clockid_t clock) {
  struct timespec ts;
  clock_gettime(clock, &ts);
  lua_pushnumber(L, (lua_Number)ts.tv_sec + (lua_Number)ts.tv_nsec / 1e9);
  return 1;
}

/* thread_time(): the calling thread's processor time, in seconds */
static int l_thread_time (lua_State *L) {
  return push_clock(L, CLOCK_THREAD_CPUTIME_ID);
}

/* monotonic(): seconds, whatever a loop's host says */
static int l_monotonic (lua_State *L) {
  return push_clock(L, CLOCK_MONOTONIC);
}

/* keep_memory(whether): what is freed stays the process's, for to have pages
** anew may cost more than what is measured. (Else as it is at first.) */
static int l_keep_memory (lua_State *L) {
  bool keep = lua_toboolean(L, 1);
  mallopt(M_TRIM_THRESHOLD, keep ? INT_MAX : 128 * 1024);
  mallopt(M_MMAP_THRESHOLD, keep ? 32 * 1024 * 1024 : 128 * 1024);
  if (!keep) malloc_trim(0);
  return 0;
}


/* ---- processes --------------------------------------------------------- */

/* fork(): 0 in the child, its number in the parent */
static int l_fork (lua_State *L) {
  pid_t parent = getpid();
  pid_t pid;
  fflush(NULL);  /* or the child writes it once more */
  pid = fork();
  if (pid < 0)
    return luaL_error(L, "fork: %s", strerror(errno));
  if (pid == 0) {  /* not to outlive a run that was killed */
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

/* children(): has this process any, ended or not? */
static int l_children (lua_State *L) {
  siginfo_t info;
  lua_pushboolean(L, waitid(P_ALL, 0, &info,
                            WEXITED | WNOHANG | WNOWAIT | __WALL) == 0);
  return 1;
}

static int l_kill (lua_State *L) {
  return result(L, kill((pid_t)luaL_checkinteger(L, 1),
                        (int)luaL_checkinteger(L, 2)) ? -errno : 0);
}

/* signal(number, "ignore" or "default"): what it was, or "handler" */
static int l_signal (lua_State *L) {
  static const char *const names[] = { "default", "ignore", NULL };
  int which = luaL_checkoption(L, 2, NULL, names);
  void (*before) (int) = signal((int)luaL_checkinteger(L, 1),
                                which ? SIG_IGN : SIG_DFL);
  lua_pushstring(L, before == SIG_DFL ? "default"
                    : before == SIG_IGN ? "ignore" : "handler");
  return 1;
}

static int l_exit (lua_State *L) {
  fflush(NULL);
  _exit((int)luaL_checkinteger(L, 1));
}

/* may_lock(bytes): no more memory than that, from now on, root or not */
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

/* execute(seconds, program, arg...): status as of wait, and output; one that
** does not end in time is killed */
static int l_execute (lua_State *L) {
  double limit = luaL_checknumber(L, 1);
  char *argv[64] = {0};
  int n = lua_gettop(L) - 1;
  int end[2], status;
  pid_t pid;
  struct timespec t0, t;
  luaL_Buffer b;
  luaL_argcheck(L, n >= 1 && n < 63, 2, "1 to 62 words expected");
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
    char *room = luaL_prepbuffer(&b);
    ssize_t got = 0;
    poll(&p, 1, 100);
    clock_gettime(CLOCK_MONOTONIC, &t);
    if ((double)(t.tv_sec - t0.tv_sec) > limit) {
      kill(pid, SIGKILL);
      luaL_addstring(&b, "\n(killed: it took too long)\n");
      break;
    }
    if (p.revents == 0) continue;
    got = read(end[0], room, LUAL_BUFFERSIZE);
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

/* forbid(call, errno): from now on this system call fails in this process and
** its children; false where filters cannot be installed */
static int l_forbid (lua_State *L) {
  struct sock_filter code[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
  };
  struct sock_fprog program = { 4, code };
  static const char *const names[] = { "io_uring_enter", "io_uring_register",
                                       "io_uring_setup", "sendto", "sendmsg",
                                       NULL };
  static const unsigned numbers[] = { SYS_io_uring_enter,
                                      SYS_io_uring_register,
                                      SYS_io_uring_setup, SYS_sendto,
                                      SYS_sendmsg };
  code[1].k = numbers[luaL_checkoption(L, 1, NULL, names)];
  code[2].k |= (unsigned)luaL_checkinteger(L, 2);
  lua_pushboolean(L, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                  && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)
                     == 0);
  return 1;
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

/* what lua.c does when Ctrl-C is pressed */
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

/* itimer(seconds): a signal that does nothing, again and again; by 0 it ends,
** and the number of signals is returned */
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

/* interrupt(seconds [, interval]): after that, what Ctrl-C does in lua; ended
** by itimer(0) */
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
  char *room = luaL_buffinitsize(L, &b, n);
  ssize_t got = read(fd, room, n);
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

/* pty(): a terminal: its master's and its slave's descriptor */
static int l_pty (lua_State *L) {
  int end[2];
  if (openpty(&end[0], &end[1], NULL, NULL, NULL) < 0)
    return result(L, -errno);
  for (int i = 0; i < 2; i++) {
    fcntl(end[i], F_SETFD, FD_CLOEXEC);
    lua_pushinteger(L, end[i]);
  }
  return 2;
}

/* fcntl(fd, "nonblock"): makes it so */
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

/* fds(): how many descriptors are open, and number -> what it is */
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

/* socket(host, type): bound to a free port of "127.0.0.1" or "::1", and
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


/* ---- the module -------------------------------------------------------- */

static const luaL_Reg functions[] = {
  {"sleep", l_sleep}, {"thread_time", l_thread_time},
  {"monotonic", l_monotonic},
  {"keep_memory", l_keep_memory},
  {"fork", l_fork}, {"wait", l_wait}, {"kill", l_kill},
  {"children", l_children}, {"pty", l_pty}, {"_exit", l_exit},
  {"signal", l_signal},
  {"getpid", l_getpid}, {"execute", l_execute}, {"may_lock", l_may_lock},
  {"forbid", l_forbid},
  {"itimer", l_itimer}, {"interrupt", l_interrupt}, {"alarms", l_alarms},
  {"pipe", l_pipe}, {"eventfd", l_eventfd}, {"read", l_read},
  {"write", l_write}, {"close", l_close}, {"dup", l_dup},
  {"nonblock", l_nonblock}, {"ready", l_ready}, {"fds", l_fds},
  {"socketpair", l_socketpair}, {"socket", l_socket},
  {"setsockopt", l_setsockopt},
  {NULL, NULL}
};

void helper_class (lua_State *L, const char *name, lua_CFunction gc) {
  luaL_newmetatable(L, name);
  lua_pushcfunction(L, gc);
  lua_setfield(L, -2, "__gc");
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
}

__attribute__((visibility("default")))
int luaopen_uring_spec (lua_State *L);

int luaopen_uring_spec (lua_State *L) {
  luaL_newlib(L, functions);
  helper_threads_open(L);
  helper_messages_open(L);
  helper_states_open(L);
  helper_poll_open(L);
  return 1;
}
