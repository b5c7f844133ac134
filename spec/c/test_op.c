/* op: the operation table, by hand and against a model. */

#include "check.h"
#include "op.h"

#define MASK ((uint64_t)OP_MAX)

/* ---- what the table tells ---------------------------------------------- */

#define TOLD 8192

static struct told {
  struct op *op;
  uint64_t token;
  int32_t res;
  uint32_t flags;
  bool last, lawful;
} told[TOLD];

static unsigned ntold;
static bool keep;  /* ended operations are not freed at once */

static void deliver (struct op_table *t, struct op *op, int32_t res,
                     uint32_t flags, bool last) {
  struct told *to = &told[ntold < TOLD ? ntold++ : TOLD - 1];
  to->op = op;
  to->token = op->token;
  to->res = res;
  to->flags = flags;
  to->last = last;
  to->lawful = op_lawful(t);
  CHECK(op->state == (last ? OP_ENDED : OP_FLYING));
  if (last && !keep) op_free(t, op);
}

static struct op_table t;

static void begin (void) {
  CHECK(op_table_init(&t) == 0);
  t.deliver = deliver;
  ntold = 0;
  keep = false;
}

static void done (void) {
  CHECK(op_lawful(&t));
  op_table_free(&t);
}

static struct op *fly (unsigned traits, unsigned sqe_flags) {
  struct request r = {0};
  r.traits = (uint8_t)traits;
  r.sqe.flags = (uint8_t)sqe_flags;
  CHECK(op_reserve(&t, 1) == 0);
  return op_new(&t, &r, 0);
}

/* A chain of n: silent where the bit of `silent` is set. */
static void chain (struct op **ops, unsigned n, unsigned silent,
                   unsigned hard) {
  for (unsigned i = 0; i < n; i++) {
    ops[i] = fly((silent >> i & 1) ? TRAIT_SILENT : 0,
                 (hard >> i & 1) ? IOSQE_IO_HARDLINK : 0);
    if (i > 0) op_chain(&t, ops[i - 1], ops[i]);
  }
}

static bool told_of (unsigned i, uint64_t token, int32_t res) {
  return i < ntold && told[i].token == token && told[i].res == res
         && told[i].last && told[i].lawful;
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

/* once in 2^40 the generator gives what a token must not be */
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

/* an operation whose results were not taken has ended all the same */
static void ended_and_kept_is_stale (void) {
  struct op *op;
  begin();
  keep = true;
  op = fly(0, 0);
  op_complete(&t, op, 7, 0);
  CHECK(op->state == OP_ENDED && op_find(&t, op->token) == op);
  CHECK(match(op->token) == MATCH_STALE);
  CHECK(ntold == 1 && told_of(0, op->token, 7));
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

static void each_meets_all (void) {
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

static void what_was_asked_is_kept (void) {
  struct request r = {0};
  struct op *op;
  begin();
  r.traits = TRAIT_MULTI | TRAIT_READS;
  r.disposal = DISPOSE_FD;
  r.data = UINT64_MAX;
  r.since = 0x0612;
  r.sqe.opcode = IORING_OP_ACCEPT;
  r.sqe.fd = 12;
  CHECK(op_reserve(&t, 1) == 0);
  op = op_new(&t, &r, OP_LOOPED);
  CHECK(op->marks == (OP_LOOPED | OP_MULTI | OP_READS));
  CHECK(op->disposal == DISPOSE_FD && op->data == UINT64_MAX);
  CHECK(op->since == 0x0612 && op->opcode == IORING_OP_ACCEPT);
  CHECK(op->fd == 12 && op->state == OP_FLYING);
  op_complete(&t, op, 0, 0);
  op = fly(0, 0);  /* nothing of it is left in the slot */
  CHECK(op->marks == 0 && op->disposal == DISPOSE_NOTHING);
  CHECK(op->data == 0 && op->waiter == NULL && op->before == NULL);
  op_complete(&t, op, 0, 0);
  done();
}


/* ---- completions and pins ---------------------------------------------- */

static void more_is_not_the_end (void) {
  struct op *op;
  begin();
  op = fly(TRAIT_MULTI, 0);
  for (int i = 0; i < 5; i++) {
    op_complete(&t, op, i, IORING_CQE_F_MORE | 1);
    CHECK(ntold == (unsigned)i + 1 && told[i].res == i && !told[i].last);
    CHECK(told[i].flags == (IORING_CQE_F_MORE | 1));
    CHECK(t.flying == 1 && t.completed == 0);
  }
  op_complete(&t, op, -1, 0);
  CHECK(ntold == 6 && told[5].last && t.flying == 0 && t.completed == 1);
  done();
}

struct thing {
  struct block block;
  int ended;
};

static void thing_end (struct block *b) { ((struct thing *)b)->ended++; }

static struct op *fly_with (struct thing *things, unsigned traits) {
  struct request r = {0};
  r.traits = (uint8_t)traits;
  for (int i = 0; i < OP_PINS; i++) {
    things[i].ended = 0;
    block_init(&things[i].block, thing_end);
    r.pin[i] = &things[i].block;
  }
  CHECK(op_reserve(&t, 1) == 0);
  return op_new(&t, &r, 0);
}

static unsigned held (struct thing *things) {
  unsigned n = 0;
  for (int i = 0; i < OP_PINS; i++)
    if (block_flying(&things[i].block) == 1 && things[i].block.refs == 2)
      n++;
  return n;
}

static void pins_last_to_the_last_completion (void) {
  struct thing things[OP_PINS];
  struct op *op;
  begin();
  op = fly_with(things, TRAIT_MULTI | TRAIT_READS);
  CHECK(held(things) == OP_PINS);
  op_complete(&t, op, 1, IORING_CQE_F_MORE);
  CHECK(held(things) == OP_PINS);
  op_complete(&t, op, 1, 0);
  for (int i = 0; i < OP_PINS; i++) {
    CHECK(block_flying(&things[i].block) == 0 && things[i].block.refs == 1);
    CHECK(things[i].ended == 0);
  }
  done();
}

static void abandoned_pins_go_or_are_buried (void) {
  struct thing things[OP_PINS];
  static struct thing kept[OP_PINS];  /* the graveyard has them for ever */
  unsigned long before = blocks_buried();
  uint64_t token;
  struct op *op;
  begin();
  op = fly_with(things, TRAIT_READS);
  token = op->token;
  op_abandon(&t, op, false);
  CHECK(told_of(0, token, -ECANCELED));
  CHECK(held(things) == 0 && things[0].block.refs == 1);
  op = fly_with(kept, TRAIT_READS);
  op_abandon(&t, op, true);
  CHECK(held(kept) == OP_PINS && blocks_buried() == before + OP_PINS);
  block_release(&kept[0].block);
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

static void silent_ones_go_after_4096_later (void) {
  uint64_t first, second;
  begin();
  first = fly(TRAIT_SILENT, 0)->token;
  second = fly(TRAIT_SILENT, 0)->token;
  for (int i = 0; i < OP_SILENT_KEPT - 2; i++) fly(TRAIT_SILENT, 0);
  CHECK(t.nsilent == OP_SILENT_KEPT && t.silent == 0);
  CHECK(match(first) == MATCH_LIVE);
  fly(TRAIT_SILENT, 0);
  CHECK(t.nsilent == OP_SILENT_KEPT && t.silent == 1);
  CHECK(match(first) == MATCH_STALE && match(second) == MATCH_LIVE);
  for (int i = 0; i < OP_SILENT_KEPT - 1; i++) fly(TRAIT_SILENT, 0);
  CHECK(match(second) == MATCH_STALE && t.silent == OP_SILENT_KEPT);
  CHECK(t.flying == OP_SILENT_KEPT && ntold == 0);
  for (struct op *op = NULL; (op = op_each(&t, op)) != NULL; )
    op_abandon(&t, op, false);
  CHECK(t.flying == 0 && t.silent == 2 * OP_SILENT_KEPT && ntold == 0);
  done();
}

/* one that failed counts as completed, and as no silent one any more */
static void silent_errors_are_told (void) {
  struct op *op, *other;
  uint64_t token;
  begin();
  other = fly(TRAIT_SILENT, 0);
  op = fly(TRAIT_SILENT, 0);
  token = op->token;
  op_complete(&t, op, -EBADF, 0);
  CHECK(ntold == 1 && told_of(0, token, -EBADF));
  CHECK(t.completed == 1 && t.silent == 0 && t.nsilent == 1);
  op_complete(&t, other, -EBADF, 0);
  CHECK(t.nsilent == 0 && t.silent_first == NULL && t.silent_last == NULL);
  done();
}

/* with memory the number of later ones says nothing: a visible one does */
static void silent_readers_wait_for_a_visible_one (void) {
  struct thing things[OP_PINS];
  struct op *reader, *visible;
  uint64_t token;
  begin();
  reader = fly_with(things, TRAIT_SILENT | TRAIT_READS);
  token = reader->token;
  visible = fly(0, 0);
  op_chain(&t, reader, visible);
  for (int i = 0; i < OP_SILENT_KEPT + 10; i++) fly(TRAIT_SILENT, 0);
  CHECK(match(token) == MATCH_LIVE && held(things) == OP_PINS);
  op_complete(&t, visible, 3, 0);
  CHECK(match(token) == MATCH_STALE && held(things) == 0);
  CHECK(ntold == 1 && told[0].res == 3);
  for (struct op *op = NULL; (op = op_each(&t, op)) != NULL; )
    op_abandon(&t, op, false);
  done();
}


/* ---- chains ------------------------------------------------------------ */

static void a_visible_member_settles_those_before (void) {
  struct op *ops[6];
  uint64_t token[6];
  begin();
  chain(ops, 6, 027, 0);  /* 0, 1, 2 and 4 are silent */
  for (int i = 0; i < 6; i++) token[i] = ops[i]->token;
  op_complete(&t, ops[3], 33, 0);
  CHECK(ntold == 1 && told_of(0, token[3], 33));
  CHECK(t.silent == 3 && t.completed == 1 && t.flying == 2);
  for (int i = 0; i < 4; i++) CHECK(match(token[i]) == MATCH_STALE);
  CHECK(match(token[4]) == MATCH_LIVE);
  op_complete(&t, ops[5], 55, 0);
  CHECK(ntold == 2 && told_of(1, token[5], 55));
  CHECK(t.silent == 4 && t.completed == 2 && t.flying == 0);
  CHECK(t.followers == 0);
  done();
}

static void a_first_of_many_settles_too (void) {
  struct op *ops[2];
  begin();
  chain(ops, 2, 1, 0);
  op_complete(&t, ops[1], 1, IORING_CQE_F_MORE);
  CHECK(t.silent == 1 && t.flying == 1 && ntold == 1);
  op_complete(&t, ops[1], 0, 0);
  CHECK(t.flying == 0);
  done();
}

/* the kernel says nothing of those behind a silent one that failed */
static void a_silent_failure_ends_the_rest (void) {
  for (unsigned silent = 0; silent < 32; silent++) {
    for (unsigned at = 0; at < 5; at++) {
      struct op *ops[5];
      uint64_t token[5];
      unsigned n = 0;
      if (!(silent >> at & 1)) continue;
      begin();
      chain(ops, 5, silent, 0);
      for (int i = 0; i < 5; i++) token[i] = ops[i]->token;
      for (unsigned i = 0; i < at; i++)  /* what could complete has */
        if (!(silent >> i & 1)) { op_complete(&t, ops[i], 0, 0); n++; }
      op_complete(&t, ops[at], -EIO, 0);
      CHECK(told_of(n++, token[at], -EIO));
      for (unsigned i = at + 1; i < 5; i++)
        CHECK(told_of(n++, token[i], -ECANCELED));
      CHECK(ntold == n && t.flying == 0);
      for (int i = 0; i < 5; i++) CHECK(match(token[i]) == MATCH_STALE);
      done();
    }
  }
}

/* a visible one that failed: the kernel itself cancels the rest */
static void a_visible_failure_is_the_kernels (void) {
  struct op *ops[3];
  begin();
  chain(ops, 3, 0, 0);
  op_complete(&t, ops[0], -EIO, 0);
  CHECK(ntold == 1 && t.flying == 2);
  op_complete(&t, ops[1], -ECANCELED, 0);
  op_complete(&t, ops[2], -ECANCELED, 0);
  CHECK(ntold == 3 && t.flying == 0);
  done();
}

static void hard_links_hold (void) {
  struct op *ops[3];
  begin();
  chain(ops, 3, 1, 3);  /* the first is silent and linked hard */
  op_complete(&t, ops[0], -EIO, 0);
  CHECK(ntold == 1 && t.flying == 2);
  op_complete(&t, ops[1], 1, 0);
  op_complete(&t, ops[2], 2, 0);
  CHECK(ntold == 3 && told[2].res == 2 && t.flying == 0);
  done();
}

/* the rest is told of although each frees its neighbours' links */
static void the_rest_is_told_of_when_kept (void) {
  struct op *ops[4];
  begin();
  keep = true;
  chain(ops, 4, 1, 0);
  op_complete(&t, ops[0], -EIO, 0);
  CHECK(ntold == 4 && t.flying == 0);
  for (int i = 3; i >= 0; i--) op_free(&t, ops[i]);
  CHECK(t.nfree == t.nslots);
  done();
}

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
  op_free(&t, ops[1]);  /* its neighbours forget it */
  CHECK(ops[0]->behind == NULL && ops[2]->before == NULL);
  CHECK(op_first_unfinished(ops[3]) == ops[2]);
  op_complete(&t, ops[2], 0, 0);
  op_complete(&t, ops[3], 0, 0);
  CHECK(t.followers == 0);
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
static uint64_t mine[3];  /* submitted, ended by completion, settled */

/* Told of an end: exactly what lives may end, and its pins are gone. */
static void deliver_model (struct op_table *table, struct op *op,
                           int32_t res, uint32_t flags, bool last) {
  (void)res; (void)flags;
  if (!op_lawful(table)) wrong++;
  if (!last) return;
  for (unsigned i = 0; i < nlive; i++) {
    if (live[i]->token == op->token) {
      if (live[i]->thing.block.refs != 1) wrong++;
      free(live[i]);
      live[i] = live[--nlive];
      mine[1]++;
      op_free(table, op);
      return;
    }
  }
  wrong++;  /* of what does not live */
}

/* Those that the table has settled in silence: were they silent? */
static void forget_settled (void) {
  for (unsigned i = 0; i < nlive; ) {
    struct op *op;
    if (op_match(&t, live[i]->token, &op) == MATCH_LIVE) { i++; continue; }
    if (!live[i]->silent || live[i]->thing.block.refs != 1) wrong++;
    free(live[i]);
    live[i] = live[--nlive];
    mine[2]++;
  }
}

static struct model *model_new (unsigned n, unsigned i) {
  struct model *m = calloc(1, sizeof(*m));
  struct request r = {0};
  if (m == NULL) abort();
  m->multi = check_random(8) == 0;
  m->silent = !m->multi && check_random(3) == 0;
  m->reads = check_random(2) == 0 && (!m->silent || i + 1 < n);
  if (i + 1 == n && n > 1) m->silent = false;
  block_init(&m->thing.block, thing_end);
  if (m->reads || check_random(2)) r.pin[0] = &m->thing.block;
  if (m->silent) r.traits |= TRAIT_SILENT;
  if (m->multi) r.traits |= TRAIT_MULTI;
  if (m->reads) r.traits |= TRAIT_READS;
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
      struct model *m = model_new(n, i);
      if (last) op_chain(&t, last, m->op);
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
    if (m->silent) op_complete(&t, op, -EIO, 0);
    else op_complete(&t, op, 1, m->multi && check_random(3)
                                ? IORING_CQE_F_MORE : 0);
  }
  else {  /* a forgery near a live token, or anywhere */
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
      forget_settled();
      if (!CHECK(wrong == 0) || !CHECK(op_lawful(&t))) break;
      if (!CHECK(t.submitted == mine[0] && t.completed == mine[1]
                 && t.silent == mine[2] && t.flying == nlive)) break;
    }
    for (struct op *op = NULL; (op = op_each(&t, op)) != NULL; ) {
      op_abandon(&t, op, false);
      forget_settled();
    }
    CHECK(wrong == 0 && nlive == 0 && t.flying == 0 && t.followers == 0);
    CHECK(t.nsilent == 0 && t.nfree == t.nslots);
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
    TEST(slots_end_at_24_bits), TEST(each_meets_all),
    TEST(what_was_asked_is_kept), TEST(more_is_not_the_end),
    TEST(pins_last_to_the_last_completion),
    TEST(abandoned_pins_go_or_are_buried), TEST(internal_ones_are_counted),
    TEST(silent_ones_go_after_4096_later), TEST(silent_errors_are_told),
    TEST(silent_readers_wait_for_a_visible_one),
    TEST(a_visible_member_settles_those_before),
    TEST(a_first_of_many_settles_too), TEST(a_silent_failure_ends_the_rest),
    TEST(a_visible_failure_is_the_kernels), TEST(hard_links_hold),
    TEST(the_rest_is_told_of_when_kept),
    TEST(cancels_name_the_first_unfinished),
    TEST(random_sequences_are_lawful),
  };
  return RUN(tests);
}
