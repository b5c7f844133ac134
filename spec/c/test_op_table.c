/* op_table: single cases, and random sequences compared with a model. */

#include "check.h"
#include "ring/op_table.h"

#define MASK ((uint64_t)OP_MAX)

/* ---- a table that records its deliveries ------------------------------- */

#define DELIVERED 8192

static struct delivery {
  struct op *op;
  uint64_t token;
  int32_t res;
  uint32_t flags;
  bool last, lawful;
} delivered[DELIVERED];

static unsigned ndelivered;
static bool keep;  /* ended operations are not freed at once */

static void deliver (struct op_table *t, struct op *op, int32_t res,
                     uint32_t flags, bool last) {
  struct delivery *to =
    &delivered[ndelivered < DELIVERED ? ndelivered++ : DELIVERED - 1];
  to->op = op;
  to->token = op->token;
  to->res = res;
  to->flags = flags;
  to->last = last;
  to->lawful = op_counts_agree(t);
  CHECK(op->state == (last ? OP_ENDED : OP_FLYING));
  if (last && !keep) op_free(t, op);
}

static struct op_table t;

static void begin (void) {
  CHECK(op_table_init(&t) == 0);
  t.deliver = deliver;
  ndelivered = 0;
  keep = false;
}

static void done (void) {
  CHECK(op_counts_agree(&t));
  op_table_free(&t);
}

static struct op *fly (unsigned req_flags, unsigned sqe_flags) {
  struct request r = {0};
  r.req_flags = (uint8_t)req_flags;
  r.sqe.flags = (uint8_t)sqe_flags;
  CHECK(op_reserve(&t, 1) == 0);
  return op_new(&t, &r, 0);
}

/* A chain of n; bits of `silent` and `hard` set the flags of its members. */
static void chain (struct op **ops, unsigned n, unsigned silent,
                   unsigned hard) {
  for (unsigned i = 0; i < n; i++) {
    ops[i] = fly((silent >> i & 1) ? REQ_SILENT : 0,
                 (hard >> i & 1) ? IOSQE_IO_HARDLINK : 0);
    if (i > 0) op_chain(ops[i - 1], ops[i]);
  }
}

static bool was_last (unsigned i, uint64_t token, int32_t res) {
  return i < ndelivered && delivered[i].token == token
         && delivered[i].res == res && delivered[i].last
         && delivered[i].lawful;
}

static enum op_match match (uint64_t user_data) {
  struct op *op;
  return op_match(&t, user_data, &op);
}


/* ---- tokens ------------------------------------------------------------ */

static void tokens_are_new_each_time (void) {
  uint64_t last = 0;
  begin();
  for (int i = 0; i < 100000; i++) {
    struct op *op = fly(0, 0);
    if (!CHECK(op->slot == 0 && (op->token & MASK) == 0)) break;
    if (!CHECK(op->token > MASK && op->token != last)) break;
    last = op->token;
    op_complete(&t, op, 0, 0);
  }
  done();
}

static void tables_do_not_repeat_each_other (void) {
  uint64_t first;
  begin();
  first = fly(0, 0)->token;
  op_complete(&t, op_find(&t, first), 0, 0);
  done();
  begin();
  CHECK(fly(0, 0)->token != first);
  op_complete(&t, op_each(&t, NULL), 0, 0);
  done();
}

/* once in 2^40 draws the generator gives a number that cannot be a token */
static void bad_draws_are_drawn_again (void) {
  struct op *op;
  uint64_t seed[2], token;
  begin();
  op_complete(&t, fly(0, 0), 0, 0);  /* (the slot has a last token) */
  t.seed[0] = 1;  /* the next draw has 24 bits */
  t.seed[1] = 0;
  op = fly(0, 0);
  CHECK(op->token > MASK);
  op_complete(&t, op, 0, 0);
  memcpy(seed, t.seed, sizeof(seed));
  op = fly(0, 0);
  token = op->token;
  op_complete(&t, op, 0, 0);
  memcpy(t.seed, seed, sizeof(seed));  /* the next draw is the last one */
  op = fly(0, 0);
  CHECK(op->token != token && match(token) == MATCH_STALE);
  op_complete(&t, op, 0, 0);
  done();
}

static void only_the_whole_token_matches (void) {
  struct op *op, *found;
  begin();
  op = fly(0, 0);
  CHECK(op_match(&t, op->token, &found) == MATCH_LIVE && found == op);
  for (int bit = 0; bit < 64; bit++) {
    CHECK(op_match(&t, op->token ^ (uint64_t)1 << bit, &found)
          == MATCH_MESSAGE && found == NULL);
  }
  CHECK(match(0) == MATCH_MESSAGE);
  CHECK(match(op->slot) == MATCH_MESSAGE);
  CHECK(match(UINT64_MAX) == MATCH_MESSAGE);
  CHECK(match(OP_MAX) == MATCH_MESSAGE);
  CHECK(op_find(&t, op->token) == op && op_find(&t, op->token ^ 1) == NULL);
  CHECK(op_find(&t, UINT64_MAX) == NULL && op_find(&t, 0) == NULL);
  op_complete(&t, op, 0, 0);
  done();
}

static void retired_tokens_are_stale (void) {
  struct op *op, *found;
  uint64_t old, older;
  begin();
  CHECK(match(0) == MATCH_MESSAGE && t.stale == 0);
  op = fly(0, 0);
  older = op->token;
  op_complete(&t, op, 0, 0);
  CHECK(match(older) == MATCH_STALE && t.stale == 1);
  op = fly(0, 0);  /* the same slot */
  old = op->token;
  CHECK(match(older) == MATCH_STALE && t.stale == 2);
  CHECK(op_match(&t, old, &found) == MATCH_LIVE && found == op);
  op_complete(&t, op, 0, 0);
  CHECK(match(old) == MATCH_STALE && t.stale == 3);
  CHECK(match(older) == MATCH_MESSAGE && t.stale == 3);
  CHECK(match(0) == MATCH_MESSAGE);  /* a slot without history, too */
  CHECK(match(1) == MATCH_MESSAGE);
  done();
}

/* also if its results were not taken yet */
static void ended_and_kept_is_stale (void) {
  struct op *op;
  begin();
  keep = true;
  op = fly(0, 0);
  op_complete(&t, op, 7, 0);
  CHECK(op->state == OP_ENDED && op_find(&t, op->token) == op);
  CHECK(match(op->token) == MATCH_STALE);
  CHECK(ndelivered == 1 && was_last(0, op->token, 7));
  op_free(&t, op);
  CHECK(op_find(&t, op->token) == NULL);
  done();
}


/* ---- slots ------------------------------------------------------------- */

static void slots_are_reserved_ahead (void) {
  begin();
  for (unsigned n = 1; n < 1500; n += 97) {
    CHECK(op_reserve(&t, n) == 0 && t.nfree >= n);
    CHECK(t.nslots == t.nfree);
  }
  done();
}

static void slots_end_at_24_bits (void) {
  begin();
  t.nslots = OP_MAX - 100;
  CHECK(op_reserve(&t, 1) == -ENOSPC);
  t.nslots = 0;
  done();
}

static void op_each_visits_all (void) {
  struct op *ops[300], *op = NULL;
  unsigned n = 0;
  begin();
  keep = true;
  for (int i = 0; i < 300; i++) ops[i] = fly(0, 0);
  for (int i = 0; i < 300; i += 3) op_complete(&t, ops[i], 0, 0);
  for (int i = 0; i < 300; i += 6) op_free(&t, ops[i]);
  while ((op = op_each(&t, op)) != NULL) {
    CHECK(op->state != OP_FREE);
    n++;
  }
  CHECK(n == 250 && t.flying == 200);
  done();
}

static void a_request_is_copied (void) {
  struct request r = {0};
  struct op *op;
  begin();
  r.req_flags = REQ_MULTI | REQ_READS;
  r.disposal = DISPOSE_FD;
  r.data = UINT64_MAX;
  r.min_kernel = 0x0612;
  r.sqe.opcode = IORING_OP_ACCEPT;
  r.sqe.fd = 12;
  CHECK(op_reserve(&t, 1) == 0);
  op = op_new(&t, &r, OP_LOOPED);
  CHECK(op->op_flags == (OP_LOOPED | OP_MULTI | OP_READS));
  CHECK(op->disposal == DISPOSE_FD && op->data == UINT64_MAX);
  CHECK(op->min_kernel == 0x0612 && op->opcode == IORING_OP_ACCEPT);
  CHECK(op->fd == 12 && op->state == OP_FLYING);
  op_complete(&t, op, 0, 0);
  op = fly(0, 0);  /* nothing of the last one is left in the slot */
  CHECK(op->op_flags == 0 && op->disposal == DISPOSE_NOTHING);
  CHECK(op->data == 0 && op->waiter == NULL && op->before == NULL);
  op_complete(&t, op, 0, 0);
  done();
}


/* ---- completions and pins ---------------------------------------------- */

static void more_is_not_the_end (void) {
  struct op *op;
  begin();
  op = fly(REQ_MULTI, 0);
  for (int i = 0; i < 5; i++) {
    op_complete(&t, op, i, IORING_CQE_F_MORE | 1);
    CHECK(ndelivered == (unsigned)i + 1);
    CHECK(delivered[i].res == i && !delivered[i].last);
    CHECK(delivered[i].flags == (IORING_CQE_F_MORE | 1));
    CHECK(t.flying == 1 && t.completed == 0);
  }
  op_complete(&t, op, -1, 0);
  CHECK(ndelivered == 6 && delivered[5].last);
  CHECK(t.flying == 0 && t.completed == 1);
  done();
}

struct thing {
  union {
    struct refblock block;
    struct handle handle;  /* of the pin for a descriptor */
  };
  int ended;
};

static void thing_end (struct refblock *b) { ((struct thing *)b)->ended++; }

static struct op *fly_with (struct thing *things, unsigned req_flags) {
  struct request r = {0};
  r.req_flags = (uint8_t)req_flags;
  for (int i = 0; i < OP_PINS; i++) {
    memset(&things[i], 0, sizeof(things[i]));
    refblock_init(&things[i].block, thing_end);
    r.pin[i] = &things[i].block;
  }
  CHECK(op_reserve(&t, 1) == 0);
  return op_new(&t, &r, 0);
}

static unsigned held (struct thing *things) {
  unsigned n = 0;
  for (int i = 0; i < OP_PINS; i++)
    if (refblock_flying(&things[i].block) == 1
        && refblock_owners(&things[i].block) == 2)
      n++;
  return n;
}

static void pins_last_to_the_last_completion (void) {
  struct thing things[OP_PINS];
  struct op *op;
  begin();
  op = fly_with(things, REQ_MULTI | REQ_READS);
  CHECK(held(things) == OP_PINS);
  op_complete(&t, op, 1, IORING_CQE_F_MORE);
  CHECK(held(things) == OP_PINS);
  op_complete(&t, op, 1, 0);
  for (int i = 0; i < OP_PINS; i++) {
    CHECK(refblock_flying(&things[i].block) == 0);
    CHECK(refblock_owners(&things[i].block) == 1);
    CHECK(things[i].ended == 0);
  }
  done();
}

static void abandoned_pins_are_released_or_buried (void) {
  struct thing things[OP_PINS];
  static struct thing kept[OP_PINS];  /* (buried, so never freed) */
  unsigned long before = refblocks_buried();
  uint64_t token;
  struct op *op;
  begin();
  op = fly_with(things, REQ_READS);
  token = op->token;
  op_abandon(&t, op, false);
  CHECK(was_last(0, token, -ECANCELED));
  CHECK(held(things) == 0 && refblock_owners(&things[0].block) == 1);
  op = fly_with(kept, REQ_READS);
  op_abandon(&t, op, true);
  CHECK(held(kept) == OP_PINS && refblocks_buried() == before + OP_PINS);
  refblock_release(&kept[0].block);
  CHECK(kept[0].ended == 0);
  CHECK(t.completed == 2 && t.flying == 0);
  done();
}

static void internal_ones_are_counted (void) {
  struct request r = {0};
  struct op *op;
  begin();
  CHECK(op_reserve(&t, 1) == 0);
  op = op_new(&t, &r, OP_INTERNAL);
  CHECK(t.internal == 1 && t.flying == 1);
  op_complete(&t, op, 0, 0);
  CHECK(t.internal == 0 && t.completed == 1);
  done();
}


/* ---- silent ones ------------------------------------------------------- */

static void silent_successes_are_counted_apart (void) {
  struct thing things[OP_PINS];
  struct op *op;
  uint64_t token;
  begin();
  op = fly_with(things, REQ_SILENT | REQ_READS);
  token = op->token;
  for (int i = 0; i < 5000; i++) fly(REQ_SILENT, 0);
  CHECK(t.flying == 5001 && t.silent_flying == 5001 && t.silent == 0);
  CHECK(match(token) == MATCH_LIVE && held(things) == OP_PINS);
  op_complete(&t, op, 3, 0);
  CHECK(match(token) == MATCH_STALE && held(things) == 0);
  CHECK(t.silent == 1 && t.completed == 0 && t.silent_flying == 5000);
  for (op = NULL; (op = op_each(&t, op)) != NULL; )
    op_abandon(&t, op, false);
  CHECK(t.flying == 0 && t.silent_flying == 0 && t.completed == 5000);
  done();
}

static void silent_errors_are_reported (void) {
  struct op *op;
  uint64_t token;
  begin();
  op = fly(REQ_SILENT, 0);
  token = op->token;
  op_complete(&t, op, -EBADF, 0);
  CHECK(ndelivered == 1 && was_last(0, token, -EBADF));
  CHECK(t.completed == 1 && t.silent == 0 && t.silent_flying == 0);
  done();
}


/* ---- cancels ----------------------------------------------------------- */

static void cancels_are_listed_in_order (void) {
  struct op *ops[5];
  begin();
  for (int i = 0; i < 5; i++) ops[i] = fly(0, 0);
  for (int i = 4; i >= 0; i--) op_cancel_list(&t, ops[i]);
  op_cancel_list(&t, ops[4]);    /* listed already: it keeps its place */
  op_cancel_unlist(&t, ops[2]);  /* from the middle, and the end */
  op_complete(&t, ops[0], 0, 0);
  CHECK(t.cancels.first == ops[4] && t.cancels.last == ops[1]);
  op_cancel_unlist(&t, ops[4]);
  CHECK(t.cancels.first == ops[3] && ops[3]->cancel_next == ops[1]);
  op_cancel_unlist(&t, ops[3]);
  op_cancel_unlist(&t, ops[1]);
  CHECK(t.cancels.first == NULL && t.cancels.last == NULL);
  op_cancel_list(&t, ops[1]);
  CHECK(t.cancels.first == ops[1] && t.cancels.last == ops[1]);
  done();
}

static void cancels_that_pause_are_on_a_list_of_their_own (void) {
  struct op *ops[4];
  begin();
  for (int i = 0; i < 4; i++) ops[i] = fly(0, 0);
  op_cancel_list(&t, ops[0]);
  op_cancel_pause(&t, ops[0]);   /* listed already: it is sent first */
  CHECK(t.futile.first == NULL);
  for (int i = 1; i < 4; i++) op_cancel_pause(&t, ops[i]);
  CHECK(t.futile.first == ops[1] && t.futile.last == ops[3]);
  op_cancel_list(&t, ops[2]);    /* from the middle, and the end */
  CHECK(t.cancels.last == ops[2] && ops[1]->cancel_next == ops[3]);
  op_complete(&t, ops[3], 0, 0);
  CHECK(t.futile.first == ops[1] && t.futile.last == ops[1]);
  op_cancel_list(&t, ops[1]);
  CHECK(t.futile.first == NULL && t.futile.last == NULL);
  CHECK(ops[2]->cancel_next == ops[1] && t.cancels.last == ops[1]);
  for (int i = 0; i < 3; i++) op_complete(&t, ops[i], 0, 0);
  CHECK(t.cancels.first == NULL && t.cancels.last == NULL);
  done();
}


/* ---- chains ------------------------------------------------------------ */

static void cancels_name_the_first_unfinished (void) {
  struct op *ops[4];
  begin();
  keep = true;
  chain(ops, 4, 0, 0);
  CHECK(op_first_unfinished(ops[3]) == ops[0]);
  op_complete(&t, ops[0], 0, 0);
  CHECK(op_first_unfinished(ops[3]) == ops[1]);
  op_complete(&t, ops[1], 0, 0);
  CHECK(op_first_unfinished(ops[3]) == ops[2]);
  CHECK(op_first_unfinished(ops[2]) == ops[2]);
  op_complete(&t, ops[3], 0, 0);  /* (a linked timeout, for one) */
  CHECK(ops[2]->behind == NULL && ops[3]->before == NULL);
  op_complete(&t, ops[2], 0, 0);
  done();
}

static void a_cancel_follows_its_chain (void) {
  struct op *ops[4];
  begin();
  chain(ops, 4, 0, 0);
  for (int i = 0; i < 3; i++) ops[i]->op_flags |= OP_CANCEL;
  op_cancel_list(&t, ops[0]);
  op_complete(&t, ops[1], 0, 0);  /* its neighbours are linked now */
  CHECK(ops[0]->behind == ops[2] && ops[2]->before == ops[0]);
  CHECK(t.cancels.first == ops[0] && t.cancels.last == ops[0]);
  op_complete(&t, ops[0], 0, 0);
  CHECK(t.cancels.first == ops[2] && t.cancels.last == ops[2]);
  op_complete(&t, ops[2], 0, 0);
  CHECK(t.cancels.first == NULL);
  op_complete(&t, ops[3], 0, 0);
  done();
}


/* ---- at random --------------------------------------------------------- */

#define LIVE 400

struct model {
  struct op *op;
  uint64_t token;
  struct thing thing;
  bool silent, reads, multi;
};

static struct model *live[LIVE];
static unsigned nlive;
static unsigned wrong;
static uint64_t mine[3];  /* submitted, completed, silent */

/* Only a live operation may end, and its pins must be released. */
static void deliver_model (struct op_table *table, struct op *op,
                           int32_t res, uint32_t flags, bool last) {
  (void)flags;
  if (!op_counts_agree(table)) wrong++;
  if (!last) return;
  for (unsigned i = 0; i < nlive; i++) {
    if (live[i]->token == op->token) {
      if (refblock_owners(&live[i]->thing.block) != 1) wrong++;
      mine[live[i]->silent && res >= 0 ? 2 : 1]++;
      free(live[i]);
      live[i] = live[--nlive];
      op_free(table, op);
      return;
    }
  }
  wrong++;  /* it was not live */
}

static struct model *model_new (void) {
  struct model *m = calloc(1, sizeof(*m));
  struct request r = {0};
  if (m == NULL) abort();
  m->multi = check_random(8) == 0;
  m->silent = !m->multi && check_random(3) == 0;
  m->reads = check_random(2) == 0;
  refblock_init(&m->thing.block, thing_end);
  if (m->reads || check_random(2)) r.pin[OP_PIN_AUX] = &m->thing.block;
  if (m->silent) r.req_flags |= REQ_SILENT;
  if (m->multi) r.req_flags |= REQ_MULTI;
  if (m->reads) r.req_flags |= REQ_READS;
  if (check_random(5) == 0) r.sqe.flags = IOSQE_IO_HARDLINK;
  m->op = op_new(&t, &r, 0);
  m->token = m->op->token;
  live[nlive++] = m;
  mine[0]++;
  return m;
}

static void random_step (void) {
  unsigned what = check_random(10);
  if (what < 4 && nlive + 6 < LIVE) {
    unsigned n = check_random(3) ? 1 : 1 + check_random(6);
    struct op *last = NULL;
    if (op_reserve(&t, n) != 0) { wrong++; return; }
    for (unsigned i = 0; i < n; i++) {
      struct model *m = model_new();
      if (last) op_chain(last, m->op);
      last = m->op;
    }
  }
  else if (what < 8 && nlive > 0) {
    struct model *m = live[check_random(nlive)];
    struct op *op;
    if (op_match(&t, m->token, &op) != MATCH_LIVE || op != m->op) {
      wrong++;
      return;
    }
    op_complete(&t, op, check_random(4) ? 1 : -EIO,
                m->multi && check_random(3) ? IORING_CQE_F_MORE : 0);
  }
  else {  /* a forged token, one bit from a live one, or any */
    uint64_t token = check_random(2) && nlive > 0
      ? live[check_random(nlive)]->token ^ (uint64_t)1 << check_random(64)
      : (uint64_t)check_random(UINT32_MAX) << 32 | check_random(UINT32_MAX);
    if (match(token) == MATCH_LIVE) wrong++;
  }
}

static void random_sequences_are_lawful (void) {
  for (int round = 0; round < 20; round++) {
    begin();
    t.deliver = deliver_model;
    nlive = wrong = 0;
    memset(mine, 0, sizeof(mine));
    for (int i = 0; i < 3000; i++) {
      random_step();
      if (!CHECK(wrong == 0) || !CHECK(op_counts_agree(&t))) break;
      if (!CHECK(t.submitted == mine[0] && t.completed == mine[1]
                 && t.silent == mine[2] && t.flying == nlive)) break;
    }
    for (struct op *op = NULL; (op = op_each(&t, op)) != NULL; )
      op_abandon(&t, op, false);
    CHECK(wrong == 0 && nlive == 0 && t.flying == 0 && t.silent_flying == 0);
    CHECK(t.nfree == t.nslots);
    CHECK(mine[0] == mine[1] + mine[2]);
    done();
  }
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(tokens_are_new_each_time), TEST(tables_do_not_repeat_each_other),
    TEST(bad_draws_are_drawn_again), TEST(only_the_whole_token_matches),
    TEST(retired_tokens_are_stale),
    TEST(ended_and_kept_is_stale), TEST(slots_are_reserved_ahead),
    TEST(slots_end_at_24_bits), TEST(op_each_visits_all),
    TEST(a_request_is_copied), TEST(more_is_not_the_end),
    TEST(pins_last_to_the_last_completion),
    TEST(abandoned_pins_are_released_or_buried),
    TEST(internal_ones_are_counted),
    TEST(silent_successes_are_counted_apart),
    TEST(silent_errors_are_reported),
    TEST(cancels_are_listed_in_order),
    TEST(cancels_that_pause_are_on_a_list_of_their_own),
    TEST(cancels_name_the_first_unfinished),
    TEST(a_cancel_follows_its_chain),
    TEST(random_sequences_are_lawful),
  };
  return RUN(tests);
}
