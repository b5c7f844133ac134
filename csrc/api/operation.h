/*
** operation: the class uring.Operation, which `ring:queue` returns.
**
** The userdata has its ring (user value 1), a token, and the subject of a
** request that has one (user value 2: op_subject.h). It has no pointer to the
** operation: one that has ended and was taken is recognised by its token,
** which is not in the table any more. The object may be collected at any time.
** On a ring driven by hand the operation stays until its completions are
** taken; under the loop a multishot is cancelled, and any other runs on and
** its result is disposed of.
*/

#ifndef uring_operation_h
#define uring_operation_h

#include "ring/ring.h"
#include "lua/state.h"

struct operation {         /* the userdata */
  struct ring *ring;       /* kept by user value 1 */
  uint64_t token;          /* 0: none yet */
  uint8_t opcode;
  bool multi, silent, cancelled;
};

struct operation *operation_check (lua_State *L, int arg);

/* Its operation; NULL if that has ended and was taken, or its ring closed. */
struct op *operation_op (struct operation *o);

/* Push an object without an operation, for the ring at stack index `ring` and
** this request; and give it its operation. */
struct operation *operation_new (lua_State *L, int ring,
                                 const struct request *q);
void operation_set (struct operation *o, struct op *op);

void operation_open (lua_State *L);

#endif
