/*
** uring_spec: threads, states, and the values that pass between them. See
** helper.c.
*/

#include "helper.h"
#include "base/handle.h"

#include <signal.h>
#include <stdlib.h>

#define REF "uring.Ref"


/* ---- values between states --------------------------------------------- */

/* false: it cannot travel */
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
      lua_call(L, 1, 0);  /* so that the class is there */
      held = lua_newuserdatauv(L, sizeof(*held), 0);
      refblock_retain(&v->as.ref->block);
      *held = v->as.ref;
      luaL_setmetatable(L, REF);
      break;
    default: lua_pushnil(L);
  }
}


/* What states hand each other by name. */

static struct shelf {
  struct shelf *next;
  struct value name, value;
} *shelf;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t put_there = PTHREAD_COND_INITIALIZER;

/* put(name, value): for any state of this process to take */
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

/* take(name, seconds): waits for it; raises if it is not put there */
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
    return luaL_error(L, "'%s' was not put there", name);
  value_push(L, &s->value);
  value_drop(&s->name);
  value_drop(&s->value);
  free(s);
  return 1;
}


/* ---- threads ----------------------------------------------------------- */

static void with_all (lua_State *L, const struct thread *t) {
  luaL_openlibs(L);
  lua_getglobal(L, "package");
  lua_pushstring(L, t->path);
  lua_setfield(L, -2, "path");
  lua_pushstring(L, t->cpath);
  lua_setfield(L, -2, "cpath");
}

static int guarded (lua_State *L) {
  struct thread *t = lua_touserdata(L, 1);
  if (t->open) helper_bare(L, t->open);
  else with_all(L, t);
  lua_settop(L, 0);
  if (luaL_loadbuffer(L, t->code, t->len, t->code) != LUA_OK)
    return lua_error(L);
  for (int i = 0; i < t->n; i++)
    value_push(L, &t->value[i]);
  lua_call(L, t->n, LUA_MULTRET);
  return lua_gettop(L);
}

/* In this new state, which it closes, or leaves. */
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

void helper_start (lua_State *L, struct thread *t, void *(*f)(void *)) {
  /* signals are the main thread's, as in any program that is careful */
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

/* A thread that is to run the code and the arguments on the stack. A C
** function before the code is luaopen_uring, and asks for a bare state. */
static struct thread *new_thread (lua_State *L) {
  size_t len;
  lua_CFunction open = lua_tocfunction(L, 1);
  const char *code;
  int n;
  struct thread *t;
  if (open) lua_remove(L, 1);
  code = luaL_checklstring(L, 1, &len);
  n = lua_gettop(L) - 1;
  luaL_argcheck(L, n <= VALUES, VALUES, "too many arguments");
  t = lua_newuserdatauv(L, sizeof(*t), 0);
  memset(t, 0, sizeof(*t));
  luaL_setmetatable(L, THREAD);
  t->open = open;
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

/* thread(code, ...): runs it in a state of its own; t:join() then gives what
** pcall would */
static int l_thread (lua_State *L) {
  struct thread *t = new_thread(L);
  helper_start(L, t, thread_main);
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

/* outlived(code, ...): runs it in a state of its own by another thread, and
** closes that state when the thread has ended: the seconds that lua_close
** took, and what pcall would give */
static int l_outlived (lua_State *L) {
  struct thread *t = new_thread(L);
  double began;
  t->leave = true;
  helper_start(L, t, thread_main);
  thread_end(t);
  began = seconds();
  lua_close(t->left);
  lua_pushnumber(L, seconds() - began);
  return 1 + push_values(L, t);
}

static int thread_gc (lua_State *L) {
  struct thread *t = luaL_checkudata(L, 1, THREAD);
  thread_end(t);
  for (int i = 0; i < t->n; i++)
    value_drop(&t->value[i]);
  t->n = 0;
  return 0;
}

/* A state's memory, which the n-th time that more of it is asked for is
** refused, and so `failing` - 1 times after that. */
struct purse {
  unsigned long asked, at, failing;
  size_t lent;
};

static void *lend (void *ud, void *p, size_t had, size_t size) {
  struct purse *m = ud;
  void *got = NULL;
  if (p == NULL) had = 0;
  if (size > had) {  /* (growth alone: Lua relies on shrinking) */
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

/* refuse(n, failing): the n-th time from now on; how often it was asked since
** the last call; refuse() ends that. It allocates nothing. */
static int l_refuse (lua_State *L) {
  struct purse *m = lua_touserdata(L, lua_upvalueindex(1));
  unsigned long asked = m->asked;
  m->asked = 0;
  m->at = (unsigned long)luaL_optinteger(L, 1, 0);
  m->failing = (unsigned long)luaL_optinteger(L, 2, 1);
  lua_pushinteger(L, (lua_Integer)asked);
  return 1;
}

/* state(code, ...): as thread, but in this one, and at once: what pcall gives.
** It has `refuse` as a global. Raises if the closed state leaves memory. */
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

/* in_thread(f, ...): pcall(f, ...), by another thread while this one waits */
static int l_in_thread (lua_State *L) {
  struct thread t = {0};
  luaL_checktype(L, 1, LUA_TFUNCTION);
  t.borrowed = L;
  helper_start(L, &t, borrow);
  pthread_join(t.id, NULL);
  lua_pushboolean(L, t.ok);
  lua_insert(L, 1);
  return lua_gettop(L);
}


static const luaL_Reg functions[] = {
  {"put", l_put}, {"take", l_take},
  {"thread", l_thread}, {"in_thread", l_in_thread},
  {"state", l_state}, {"outlived", l_outlived},
  {NULL, NULL}
};

void helper_threads_open (lua_State *L) {
  helper_class(L, THREAD, thread_gc);
  lua_pushcfunction(L, thread_join);
  lua_setfield(L, -2, "join");
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
}
