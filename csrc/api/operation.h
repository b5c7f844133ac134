/*
** operation: the class uring.Operation, what `ring:queue` returns.
**
** The userdata knows its ring (user value 1) and a token, and the subject of
** a request that may have one (user value 2: subject.h), and nothing else:
** an operation that has ended and been taken is recognised by its token no
** longer being in the table. Collecting the object is no harm: by hand the
** ring goes on holding the operation until its completions were taken; under
** the loop a multishot is cancelled, and a single one runs on and its result
** is disposed of.
*/

#ifndef uring_operation_h
#define uring_operation_h

#include "api/ring_object.h"

struct operation {         /* the userdata */
  struct ring *ring;       /* kept by user value 1 */
  uint64_t token;          /* 0: none yet */
  uint8_t opcode;
  bool multi, silent, cancelled;
};

struct operation *operation_check (lua_State *L, int arg);

/* Its op, or NULL: ended and taken, or the ring closed. */
struct op *operation_op (struct operation *o);

/* A new object with no operation yet, for the ring at stack index `ring` and
** this request. */
struct operation *operation_new (lua_State *L, int ring,
                                 const struct request *q);

void operation_set (struct operation *o, struct op *op);

void operation_open (lua_State *L);

#endif
