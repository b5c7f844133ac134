/*
** reply: an answer is a message of C's values, like any post. It is made
** before the call is taken from its message, so what fails leaves the call
** unanswered and the next try possible.
*/

#include "compat.h"
#include "worker/reply.h"

#include "worker/call.h"
#include "worker/values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FEW 8              /* values that need no memory */


static int post_values (struct call *c, const uring_value *values,
                        uint32_t n) {
  const struct values_limits limits = { c->bytes, MESSAGE_ALL_KINDS };
  struct message *m;
  int rc = values_encode(values, n, &limits, NULL, 0, &m);
  if (rc < 0)
    return rc;
  if (call_answer(c, m))
    return 0;
  free(m);  /* (not disposed of) */
  return -EPIPE;
}

int reply_post (struct call *c, bool ok, const uring_value *values,
                uint32_t n) {
  uring_value few[FEW] = {0}, *all = few;
  int rc;
  if (n >= MESSAGE_VALUES || (n > 0 && values == NULL))
    return -EINVAL;
  if (n >= FEW) all = malloc((n + 1) * sizeof(*all));
  if (all == NULL)
    return -ENOMEM;
  all[0] = (uring_value){ .type = URING_BOOLEAN, .u.i = ok };
  if (n > 0) memcpy(all + 1, values, n * sizeof(*all));
  rc = post_values(c, all, n + 1);
  if (all != few) free(all);
  return rc;
}

int reply_post_error (struct call *c, const char *why) {
  uring_value v = { .type = URING_STRING };
  v.u.s.p = why;
  v.u.s.len = strlen(why);
  return reply_post(c, false, &v, 1);
}

/* What became of the answer `rc`: refused as such it may be made again. */
static int note_answer (uring_message *m, int rc) {
  if (rc == 0 || rc == -EPIPE) values_answered(m);
  return rc;
}

int reply_values (uring_message *m, const uring_value *values, uint32_t n) {
  struct call *c = values_call(m);
  return c ? note_answer(m, reply_post(c, true, values, n)) : -ENOENT;
}

int reply_error (uring_message *m, const char *why) {
  struct call *c = values_call(m);
  return c ? note_answer(m, reply_post_error(c, why)) : -ENOENT;
}

void reply_free (uring_message *m) {
  reply_error(m, "the call was received, and not answered");
  values_free(m);  /* (without memory for that it is lost) */
}
