/*
** ring_wait: see the header. What must not break: a CQE that was taken reaches
** the program, so nothing may allocate after that; and a hook that runs while
** a call waits may close the ring.
*/

#include "compat.h"
#include "api/ring_wait.h"

#include "base/clock.h"
#include "ring/ring_reap.h"
#include "ring/ring_submit.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "api/ring_check.h"


/* ---- submit ------------------------------------------------------------ */

/* Submit until the SQ is empty or the kernel takes no more. */
static int submit_all (struct ring *r) {
  int total = 0;
  do {
    int rc = ring_enter(r, 0, SYS_FOREVER);
    if (rc == -EINTR) continue;
    if (rc <= 0) return total > 0 ? total : rc;
    total += rc;
    ring_reap_silent(r);  /* (if out of memory they stay in the CQ) */
  } while (sys_sq_ready(&r->io) > 0
           && !(r->io.flags & IORING_SETUP_SQPOLL));
  return total;
}

/* ring:submit(): the number of submitted SQEs */
static int ring_wait_submit (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  int n = submit_all(r);
  if (n < 0)
    return fail_enter(L, -n, r->io.ring_fd);
  lua_pushinteger(L, n);
  return 1;
}


/* ---- wait -------------------------------------------------------------- */

/* Sleep once, for at most `*nap`, which becomes the length of the next sleep.
** 0, or -errno that ends the wait. */
static int wait_once (lua_State *L, struct ring *r, unsigned n,
                      int64_t deadline, int64_t *nap) {
  int64_t left = clock_left(deadline);
  int rc;
  if (r->io.flags & IORING_SETUP_IOPOLL) {
    /* a wait on such a ring polls and does not sleep, and with a timeout it
       does not even poll */
    rc = ring_enter(r, 0, SYS_FOREVER);
    if (rc >= 0 && sys_cq_ready(&r->io) == 0) clock_sleep(50000);
  }
  else {
    rc = ring_enter(r, n, clock_nap(left, *nap));
    *nap = rc == -ETIME ? clock_next_nap(*nap) : CLOCK_NAP;
    if (rc == -ETIME && clock_left(deadline) != 0) rc = 0;
  }
  /* (a count of submitted SQEs is returned instead of -ETIME) */
  if (rc >= 0 && left == 0 && sys_cq_ready(&r->io) == 0) rc = -ETIME;
  if (lua_gethookmask(L)) {
    ring_interrupted(L);
    ring_check_by_hand(L, 1);  /* (the hook may have closed it) */
  }
  if (rc == -EINTR)
    return 0;
  if ((rc == -EBUSY || rc == -EAGAIN) && sys_cq_ready(&r->io) > 0)
    return 0;  /* reap, then try again */
  return rc < 0 ? rc : 0;
}

/* Reap what is ready, entering the kernel only if that has an effect. 0 or
** -errno. */
static int reap_ready (struct ring *r) {
  int rc = 0;
  if (ring_needs_enter(r) || ring_is_blind(r)
      || (r->io.flags & IORING_SETUP_IOPOLL))
    rc = ring_enter(r, 0, SYS_FOREVER);
  if (rc >= 0 || rc == -EINTR || rc == -EBUSY || rc == -EAGAIN)
    rc = ring_reap(r);
  return rc < 0 ? rc : 0;
}

/* Wait until `n` CQEs are pending. 0 or -errno. */
static int wait_pending (lua_State *L, struct ring *r, size_t n,
                         int64_t deadline) {
  int64_t nap = CLOCK_NAP;
  for (;;) {
    int rc = n == 0 || clock_left(deadline) == 0 ? reap_ready(r)
                                                 : ring_reap(r);
    if (rc < 0)
      return rc;
    if (r->pending.count >= n)
      return 0;
    if (clock_left(deadline) == 0)
      return -ETIME;
    rc = wait_once(L, r, (unsigned)(n - r->pending.count), deadline, &nap);
    if (rc < 0 && rc != -ETIME)
      return rc;
  }
}

/* Submit, and wait until `n` CQEs are pending, by one call where that is
** possible. 0 or -errno. */
static int submit_and_wait (lua_State *L, struct ring *r, size_t n,
                            int64_t deadline) {
  int rc = n == 0 || r->pending.count < n ? wait_pending(L, r, n, deadline)
                                          : 0;
  /* (the wait has submitted, unless enough was there, or a request failed) */
  if ((rc == 0 || rc == -ETIME)
      && (sys_sq_ready(&r->io) > 0 || r->ops.cancels.first)) {
    int submitted = submit_all(r);
    if (submitted < 0 && submitted != -EBUSY && submitted != -EAGAIN)
      rc = submitted;
  }
  return rc;
}

/* ring:submit_and_wait(n [, timeout]): the number of submitted SQEs */
static int ring_wait_submit_and_wait (lua_State *L) {
  struct ring *r = ring_check_by_hand(L, 1);
  size_t n = (size_t)arg_optional(L, 2, 1, 0, r->io.cq.ring_entries);
  int64_t deadline = clock_after(arg_seconds(L, 3));
  unsigned before = sys_sq_ready(&r->io);
  int rc = submit_and_wait(L, r, n, deadline);
  if (rc < 0)
    return fail_enter(L, -rc, r->io.ring_fd);
  lua_pushinteger(L, before);
  return 1;
}

/* How many microseconds it is until both times; at most what the kernel
** takes. */
static uint32_t least_left (int64_t enough, int64_t deadline) {
  int64_t least = clock_left(enough), left = clock_left(deadline);
  if (least < 0 || (left >= 0 && left < least)) least = left;
  if (least < 0 || least / 1000 > UINT32_MAX)
    return UINT32_MAX;
  return (uint32_t)(least / 1000);
}

/* ring:submit_and_wait_min_timeout(n, timeout, min_wait): the number of
** submitted SQEs. It waits for `n` completions for `min_wait` seconds, and
** then for one. (The kernel itself would let the longer of the two times pass,
** and end without a completion where there is no timeout.) */
static int ring_submit_and_wait_min_timeout (lua_State *L) {
  struct ring *r = ring_check_by_hand(L, 1);
  size_t n = (size_t)arg_integer(L, 2, 1, r->io.cq.ring_entries);
  int64_t deadline = clock_after(arg_seconds(L, 3));
  int64_t enough = clock_after(arg_duration(L, 4));
  unsigned before = sys_sq_ready(&r->io);
  int rc;
  if (!(r->io.features & IORING_FEAT_MIN_TIMEOUT))
    return fail(L, EINVAL, "submit_and_wait_min_timeout needs Linux 6.12");
  rc = reap_ready(r);
  while (rc >= 0 && r->pending.count < n) {
    int64_t left = clock_left(deadline);
    uint32_t least = least_left(enough, deadline);
    unsigned wanted = least > 0 ? (unsigned)(n - r->pending.count) : 1;
    if (r->pending.count == 0)
      rc = ring_enter_batched(r, wanted, left, least);
    else if (least > 0)  /* (the kernel counts those that it adds) */
      rc = ring_enter(r, wanted, least * (int64_t)1000);
    else break;
    if (rc >= 0 || rc == -ETIME || rc == -EINTR) {
      rc = ring_reap(r);
      if (rc >= 0 && left == 0 && r->pending.count == 0) rc = -ETIME;
    }
    if (lua_gethookmask(L)) {
      ring_interrupted(L);
      ring_check_by_hand(L, 1);  /* (the hook may have closed it) */
    }
  }
  if (rc < 0 && r->pending.count == 0)
    return fail_enter(L, -rc, r->io.ring_fd);
  lua_pushinteger(L, before);
  return 1;
}


/* ---- take -------------------------------------------------------------- */

static int push_pending (lua_State *L, const struct pending_cqe *c) {
  lua_pushinteger(L, (lua_Integer)c->data);
  /* (a message's res is its sender's, whatever the flags are) */
  lua_pushinteger(L, c->op ? pending_res(c) : c->res);
  lua_pushinteger(L, c->flags);
  /* guard: a taken CQE must not be lost: this may not allocate */
  state_shared(L, c->op ? SHARED_COMPLETION : SHARED_MESSAGE);
  return 4;
}

/* ring:wait_cqe([timeout]): data, res, flags, kind; submits first */
static int ring_wait_cqe (lua_State *L) {
  struct ring *r = ring_check_by_hand(L, 1);
  int64_t deadline = clock_after(arg_seconds(L, 2));
  struct pending_cqe a;
  if (!ring_take(r, &a)) {
    int rc = wait_pending(L, r, 1, deadline);
    if (rc < 0)
      return fail_enter(L, -rc, r->io.ring_fd);
    ring_take(r, &a);
  }
  return push_pending(L, &a);
}

/* ring:peek_cqe(): the same without waiting; nil, message, EAGAIN */
static int ring_peek_cqe (lua_State *L) {
  struct ring *r = ring_check_by_hand(L, 1);
  struct pending_cqe a;
  if (!ring_take(r, &a)) {
    int rc = reap_ready(r);
    if (rc < 0)
      return fail_enter(L, -rc, r->io.ring_fd);
    if (!ring_take(r, &a))
      return fail_text(L, EAGAIN, "no completion is there yet");
  }
  return push_pending(L, &a);
}

/* A step of ring:cqes. The ring is an upvalue, so its class is known. */
static int next_cqe (lua_State *L) {
  struct ring *r = class_raw(L, lua_upvalueindex(2), CLASS_RING);
  struct pending_cqe a;
  if (!r->open)  /* guard: the body has closed it */
    return 0;
  ring_check_again(L, r, 1);
  if (!ring_take(r, &a)) {
    int rc = reap_ready(r);
    if (rc < 0) {
      fail_enter(L, -rc, r->io.ring_fd);
      lua_pop(L, 1);
      return raise_here(L);
    }
    if (!ring_take(r, &a))
      return 0;
  }
  return push_pending(L, &a);
}

/* for data, res, flags, kind in ring:cqes() do: what is there, one by one */
static int ring_cqes (lua_State *L) {
  ring_check_by_hand(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushvalue(L, 1);
  lua_pushcclosure(L, next_cqe, 2);
  return 1;
}


static const luaL_Reg methods[] = {
  {"submit", ring_wait_submit},
  {"submit_and_wait", ring_wait_submit_and_wait},
  {"submit_and_wait_min_timeout", ring_submit_and_wait_min_timeout},
  {"wait_cqe", ring_wait_cqe},
  {"peek_cqe", ring_peek_cqe},
  {"cqes", ring_cqes},
  {NULL, NULL}
};

void ring_wait_open (lua_State *L) {
  class_extend(L, CLASS_RING, methods);
  lua_pushliteral(L, "completion");
  lua_setiuservalue(L, -2, SHARED_COMPLETION);
  lua_pushliteral(L, "message");
  lua_setiuservalue(L, -2, SHARED_MESSAGE);
}
