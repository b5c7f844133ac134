/*
** large_string: a record that the string and the decoder count, on one thread.
** What must not break: the last of them frees the message's memory, once.
*/

#include "compat.h"
#include "worker/large_string.h"

#if LUA_VERSION_NUM >= 505

#include "worker/queue.h"

#include <stdlib.h>

struct large_string {
  struct message *given;   /* the string's; NULL: not yet */
  struct account *account;
  size_t size;
  unsigned refs;
};


static void drop (struct large_string *large) {
  if (--large->refs > 0)
    return;
  account_let_strings(large->account, large->size);
  free(large->given);
  free(large);
}

/* The string is collected (lua_Alloc). */
static void *string_freed (void *ud, void *p, size_t had, size_t size) {
  (void)p; (void)had; (void)size;
  drop(ud);
  return NULL;
}

/* Tell the collector of those that are alive now. */
static void tell_pressure (lua_State *L, size_t size) {
  struct state *s = state_of(L);
  size_t alive = account_strings(s->account);
  if (s->strings > alive) pressure_drop(&s->pressure, s->strings - alive, 0);
  s->strings = alive;
  pressure_tell(L, size, 0);
}

bool large_string_push (lua_State *L, const struct message *m, const char *s,
                        size_t len, struct large_string **to) {
  struct state *state = state_of(L);
  struct large_string *large;
  if (*to || state->account == NULL || m->size <= QUEUE_SMALL
      || len < LARGE_STRING || len <= m->size / 2)
    return false;
  tell_pressure(L, m->size);
  large = account_has_room(state->account, m->size) ? malloc(sizeof(*large))
                                                    : NULL;
  if (large == NULL)
    return false;
  *large = (struct large_string){ NULL, state->account, m->size, 1 };
  account_hold_strings(large->account, m->size);
  pressure_hold(&state->pressure, m->size, 0);
  state->strings += m->size;
  lua_pushexternalstring(L, s, len, string_freed, large);
  large->refs++;  /* (if it raised it was freed) */
  *to = large;
  return true;
}

void large_string_end (struct large_string *large, struct message *m,
                       bool decoded) {
  if (large == NULL)
    return;
  if (decoded && large->refs > 1) {
    large->given = m;
    m->flags |= MESSAGE_GIVEN;  /* guard: freed once, by the string */
  }
  drop(large);
}

#else

bool large_string_push (lua_State *L, const struct message *m, const char *s,
                        size_t len, struct large_string **large) {
  (void)L; (void)m; (void)s; (void)len; (void)large;
  return false;
}

void large_string_end (struct large_string *large, struct message *m,
                       bool decoded) {
  (void)large; (void)m; (void)decoded;
}

#endif
