/*
** signals: see the header. One table a process, made by its first listener and
** never freed. What must not break: the handler reads atomics alone; the count
** of a signal is written before its eventfd.
*/

#include "compat.h"
#include "os/signals.h"

#include "base/clock.h"
#include "base/fork_id.h"
#include "lua/errors.h"
#include "os/signal_name.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define NAP_NS    100000
#define MANY_NAPS 10000     /* a handler takes less than these: a second */

struct listen {            /* what a listener has in the list */
  struct listen *_Atomic next;
  _Atomic uint32_t count[NSIG];
  uint64_t mask;           /* bit n - 1: signal n */
  int eventfd;
};

struct signal_table {
  pthread_mutex_t mutex;   /* of all but what the handler reads */
  uint32_t fork_id;
  struct signal_table *of_parent;  /* unused: for leak checkers */
  struct listen *_Atomic first;
  _Atomic unsigned inside; /* handlers that run */
  struct {
    unsigned users;        /* listeners */
    struct sigaction before;
  } of[NSIG];
};

struct listener {          /* the userdata */
  struct listen *l;        /* NULL: closed */
  uint32_t fork_id;
};

static struct signal_table *_Atomic process_signals;

static uint64_t bit (int sig) {
  return (uint64_t)1 << (sig - 1);
}


/* ---- the handler ------------------------------------------------------- */

/* (Not fork_id(), which may have to make a new number.) */
static bool of_this_process (const struct signal_table *t) {
  _Atomic uint32_t *p = atomic_load(&fork_id_page);
  return p == NULL || atomic_load(p) == t->fork_id;
}

static void handler (int sig) {
  const uint64_t one = 1;
  int err = errno;
  struct signal_table *t = atomic_load(&process_signals);
  if (!of_this_process(t))  /* guard: fork */
    return;
  atomic_fetch_add(&t->inside, 1);  /* (so none of the list is freed) */
  for (struct listen *l = atomic_load(&t->first); l;
       l = atomic_load(&l->next)) {
    if ((l->mask & bit(sig)) == 0)
      continue;
    atomic_fetch_add(&l->count[sig], 1);
    if (write(l->eventfd, &one, sizeof(one)) < 0) continue;  /* (it is full) */
  }
  atomic_fetch_sub(&t->inside, 1);
  errno = err;  /* (it is the interrupted code's) */
}


/* ---- the table --------------------------------------------------------- */

static bool is_ours (const struct sigaction *sa) {
  return !(sa->sa_flags & SA_SIGINFO) && sa->sa_handler == handler;
}

/* This process's; NULL: no memory. A forked child begins with what its
** parent's dispositions were. */
static struct signal_table *signals_here (void) {
  struct signal_table *t = atomic_load(&process_signals), *made;
  if (t && t->fork_id == fork_id())
    return t;
  made = calloc(1, sizeof(*made));
  if (made == NULL)
    return NULL;
  pthread_mutex_init(&made->mutex, NULL);
  made->fork_id = fork_id();
  made->of_parent = t;
  for (int n = 1; t && n < NSIG; n++) made->of[n].before = t->of[n].before;
  if (!atomic_compare_exchange_strong(&process_signals, &t, made)) {
    free(made);
    return t;
  }
  return made;
}

/* (locked) Handle it from now on: 0 or -errno. */
static int set_handler (struct signal_table *t, int sig) {
  struct sigaction sa = { .sa_handler = handler,
                          .sa_flags = SA_RESTART | SA_ONSTACK };
  struct sigaction before;
  sigfillset(&sa.sa_mask);
  if (sigaction(sig, &sa, &before) < 0)
    return -errno;
  if (!is_ours(&before)) t->of[sig].before = before;
  return 0;
}

/* A run begins in a state with listeners, or a step that has work: what others
** have set since the last one is replaced, for lua.c sets SIGINT anew for each
** chunk. */
static void set_handlers (struct state *s) {
  struct signal_table *t = signals_here();
  struct sigaction now;
  (void)s;
  if (t == NULL)
    return;
  pthread_mutex_lock(&t->mutex);
  for (int n = 1; n < NSIG; n++) {
    if (t->of[n].users > 0 && sigaction(n, NULL, &now) == 0
        && !is_ours(&now))
      set_handler(t, n);
  }
  pthread_mutex_unlock(&t->mutex);
}

/* (locked) One more listens to it: 0 or -errno. */
static int listen_to (struct signal_table *t, int sig) {
  int rc = set_handler(t, sig);
  if (rc == 0) t->of[sig].users++;
  return rc;
}

/* (locked) One less does. */
static void listen_no_more (struct signal_table *t, int sig) {
  struct sigaction now;
  if (--t->of[sig].users > 0 || sigaction(sig, NULL, &now) < 0)
    return;
  if (is_ours(&now))  /* guard: another's handler stays */
    sigaction(sig, &t->of[sig].before, NULL);
}

/* (locked) Listen to all or none of its signals: 0 or -errno. */
static int listen_begin (struct signal_table *t, struct listen *l) {
  atomic_store(&l->next, atomic_load(&t->first));
  atomic_store(&t->first, l);  /* (before there is a handler) */
  for (int n = 1; n < NSIG; n++) {
    int rc = l->mask & bit(n) ? listen_to(t, n) : 0;
    if (rc < 0) {
      while (--n > 0) if (l->mask & bit(n)) listen_no_more(t, n);
      return rc;
    }
  }
  return 0;
}

/* (locked) */
static void unlink_listen (struct signal_table *t, struct listen *l) {
  struct listen *_Atomic *at = &t->first;
  while (atomic_load(at) != l) at = &atomic_load(at)->next;
  atomic_store(at, atomic_load(&l->next));
}

static void listen_free (struct signal_table *t, struct listen *l) {
  for (int n = 0; atomic_load(&t->inside) > 0; n++) {
    if (n == MANY_NAPS)
      return;  /* (it is leaked, on purpose) */
    clock_sleep(NAP_NS);
  }
  close(l->eventfd);
  free(l);
}

static void listen_end (struct listen *l) {
  struct signal_table *t = signals_here();
  pthread_mutex_lock(&t->mutex);
  for (int n = 1; n < NSIG; n++) if (l->mask & bit(n)) listen_no_more(t, n);
  unlink_listen(t, l);
  pthread_mutex_unlock(&t->mutex);
  listen_free(t, l);
}


/* ---- the class --------------------------------------------------------- */

static struct listener *listener_check (lua_State *L) {
  struct listener *s = class_check(L, 1, CLASS_LISTENER);
  if (s->l == NULL)
    luaL_argerror(L, 1, "attempt to use closed signals");
  if (s->fork_id != fork_id())  /* guard: fork */
    luaL_argerror(L, 1, "these signals belong to another process: they were "
                  "listened to before a fork");
  return s;
}

static int listener_close (lua_State *L) {
  struct listener *s = class_check(L, 1, CLASS_LISTENER);
  struct listen *l = s->l;
  s->l = NULL;
  if (l && --state_of(L)->listeners == 0) state_of(L)->set_handlers = NULL;
  if (l && s->fork_id == fork_id()) listen_end(l);
  else if (l) {  /* (the child's copy) */
    close(l->eventfd);
    free(l);
  }
  return 0;
}

/* A signal that can be listened to; raises for any other. */
static int check_listenable (lua_State *L, int arg) {
  int sig = signal_name_check(L, arg);
  switch (sig) {
    case SIGKILL: case SIGSTOP:
      luaL_argerror(L, arg, lua_pushfstring(L,
        "'%s' cannot be caught", signal_name(sig)));
      break;
    case SIGSEGV: case SIGBUS: case SIGFPE: case SIGILL:
      luaL_argerror(L, arg, lua_pushfstring(L,
        "'%s' is for a fault of the program: no task can go on after it",
        signal_name(sig)));
      break;
    default: break;
  }
  return sig;
}

/* check_listenable(name): raise unless it names such a signal */
static int listener_check_name (lua_State *L) {
  check_listenable(L, 1);
  return 0;
}

/* listen(name, …): a listener to these; or nil, message, errno */
static int listener_new (lua_State *L) {
  int n = lua_gettop(L), rc;
  struct signal_table *t = signals_here();
  struct listener *s;
  struct listen *l;
  uint64_t mask = 0;
  for (int i = 1; i <= n; i++) mask |= bit(check_listenable(L, i));
  s = class_new(L, CLASS_LISTENER, sizeof(*s), 0);
  l = t ? calloc(1, sizeof(*l)) : NULL;
  if (l == NULL)
    return luaL_error(L, "not enough memory for signals");
  l->mask = mask;
  l->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (l->eventfd < 0) {
    rc = errno;
    free(l);
    return fail(L, rc, "listen to signals");
  }
  pthread_mutex_lock(&t->mutex);
  rc = listen_begin(t, l);
  if (rc < 0) unlink_listen(t, l);
  pthread_mutex_unlock(&t->mutex);
  if (rc < 0) {
    listen_free(t, l);
    return fail(L, -rc, "listen to signals");
  }
  s->l = l;
  s->fork_id = fork_id();
  state_of(L)->listeners++;
  state_of(L)->set_handlers = set_handlers;
  return 1;
}

/* listener_fileno(listener): readable when a signal has come */
static int listener_fileno (lua_State *L) {
  lua_pushinteger(L, listener_check(L)->l->eventfd);
  return 1;
}

/* listener_take(listener): the name of a signal that has come; or nothing */
static int listener_take (lua_State *L) {
  struct listener *s = listener_check(L);
  struct listen *l = s->l;
  uint64_t ignored;
  /* before the counts are read, which the handler writes first */
  if (read(l->eventfd, &ignored, sizeof(ignored)) < 0 && errno != EAGAIN)
    return fail(L, errno, "receive signals");
  for (int n = 1; n < NSIG; n++) {
    if (atomic_load(&l->count[n]) == 0)
      continue;
    lua_pushstring(L, signal_name(n));
    if (s->l == NULL)  /* finalizers may have closed it */
      return 0;
    atomic_fetch_sub(&l->count[n], 1);
    return 1;
  }
  return 0;
}


static const luaL_Reg methods[] = {
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", listener_close},
  {"__close", listener_close},
  {NULL, NULL}
};

static const luaL_Reg functions[] = {
  {"listen", listener_new},
  {"listener_fileno", listener_fileno},
  {"listener_take", listener_take},
  {"listener_close", listener_close},
  {"check_listenable", listener_check_name},
  {NULL, NULL}
};

void signals_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, functions, 1);
}

void signals_open (lua_State *L) {
  class_define(L, CLASS_LISTENER, methods, meta, NULL);
}
