/*
** ref_object: methods of references. A reference may outlive its ring, so they
** use only the handle.
*/

#include "compat.h"
#include "api/ref_object.h"


struct handle *reference_test (lua_State *L, int arg) {
  struct reference *r = class_test(L, arg, CLASS_REF);
  return r ? r->ring : NULL;
}

struct reference *reference_new (lua_State *L) {
  return class_new(L, CLASS_REF, sizeof(struct reference), 0);
}


static struct handle *ref_object_handle (lua_State *L, int arg) {
  struct reference *r = class_check(L, arg, CLASS_REF);
  if (r->ring == NULL)
    luaL_argerror(L, arg, "attempt to use a collected reference");
  return r->ring;
}

/* Is the ring known to be closed? */
static int ref_object_closed (lua_State *L) {
  lua_pushboolean(L, handle_closed(ref_object_handle(L, 1)));
  return 1;
}

static int ref_object_eq (lua_State *L) {
  const struct handle *a = reference_test(L, 1);
  lua_pushboolean(L, a != NULL && a == reference_test(L, 2));
  return 1;
}

static int ref_object_tostring (lua_State *L) {
  int n = handle_number(ref_object_handle(L, 1));
  if (n < 0) lua_pushliteral(L, "uring.Ref (closed)");
  else lua_pushfstring(L, "uring.Ref (fd %d)", n);
  return 1;
}

static int ref_object_gc (lua_State *L) {
  struct reference *r = class_check(L, 1, CLASS_REF);
  if (r->ring) {
    struct handle *h = r->ring;
    r->ring = NULL;
    refblock_release(&h->block);
  }
  return 0;
}


static const luaL_Reg methods[] = {
  {"closed", ref_object_closed},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__eq", ref_object_eq},
  {"__gc", ref_object_gc},
  {"__tostring", ref_object_tostring},
  {NULL, NULL}
};

void ref_object_open (lua_State *L) {
  class_define(L, CLASS_REF, methods, meta, NULL);
}
