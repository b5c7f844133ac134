/* message, values: what is a message, whatever its bytes are. Messages of
 * random values are decoded as they were; with bytes changed at random each is
 * refused, or decoded within its bounds (ASAN knows). */

#include "check.h"
#include "worker/values.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define CELLS 512

static const struct values_limits all = { 1 << 20, MESSAGE_ALL_KINDS };


/* ---- values, at random ------------------------------------------------- */

static uring_value pool[4096];
static unsigned used;

static uring_value random_value (unsigned level);

static uring_value random_key (void) {
  uring_value v = random_value(8);
  while (v.type == URING_NIL) v = random_value(8);
  return v;
}

static uring_value *random_items (uint32_t n, bool keys, unsigned level) {
  uring_value *items = &pool[used];
  if (used + n > 4096) return NULL;
  used += n;
  for (uint32_t i = 0; i < n; i++)
    items[i] = keys && i % 2 == 0 ? random_key() : random_value(level);
  return items;
}

static uring_value random_value (unsigned level) {
  static const char text[] = "some text, which is long enough for each string";
  uring_value v = { .type = (int32_t)check_random(level < 5 ? 7 : 5) };
  switch (v.type) {
    case URING_BOOLEAN: v.u.i = check_random(2); break;
    case URING_INTEGER: v.u.i = (int64_t)check_random(1u << 31) - 9; break;
    case URING_NUMBER: v.u.d = check_random(1000) / 7.0; break;
    case URING_STRING:
      v.u.s.p = text;
      v.u.s.len = check_random(sizeof(text));
      break;
    case 5: case 6:
      v.type = v.type == 5 ? URING_ARRAY : URING_TABLE;
      v.n = check_random(4) * (v.type == URING_TABLE ? 2 : 1);
      v.u.items = random_items(v.n, v.type == URING_TABLE, level + 1);
      if (v.u.items == NULL) v.n = 0;
      break;
    default: break;
  }
  return v;
}

static bool same (const uring_value *a, const uring_value *b) {
  if (a->type != b->type || a->n != b->n) return false;
  switch (a->type) {
    case URING_NIL: return true;
    case URING_NUMBER: return memcmp(&a->u.d, &b->u.d, sizeof(double)) == 0;
    case URING_STRING:
      return a->u.s.len == b->u.s.len
             && memcmp(a->u.s.p, b->u.s.p, a->u.s.len) == 0
             && ((const char *)b->u.s.p)[b->u.s.len] == 0;
    case URING_ARRAY: case URING_TABLE:
      for (uint32_t i = 0; i < a->n; i++)
        if (!same(&a->u.items[i], &b->u.items[i])) return false;
      return true;
    default: return a->u.i == b->u.i;
  }
}

/* A message of up to 4 random values, in memory of exactly its size. */
static struct message *random_message (uring_value *values, uint32_t *n) {
  static uint64_t small[CELLS];
  struct message *m, *exact;
  *n = 1 + check_random(4);
  used = 0;
  values[0] = random_key();
  for (uint32_t i = 1; i < *n; i++) values[i] = random_value(0);
  if (values_encode(values, *n, &all, small, sizeof(small), &m) != 0)
    exit(1);
  exact = malloc(m->size);
  if (exact == NULL) exit(1);
  memcpy(exact, m, m->size);
  if ((void *)m != (void *)small) free(m);
  return exact;
}

static void values_are_decoded_as_they_were (void) {
  for (int round = 0; round < 3000; round++) {
    uring_value values[4], *got;
    uint32_t n, ngot;
    struct message *m = random_message(values, &n);
    struct uring_message *copy;
    CHECK(message_is_sound(m));
    copy = values_decode(m);
    got = values_of(copy, &ngot);
    if (CHECK(ngot == n))
      for (uint32_t i = 0; i < n; i++) CHECK(same(&values[i], &got[i]));
    values_free(copy);
    free(m);
  }
}


/* ---- bytes, at random -------------------------------------------------- */

static void change (struct message *m) {
  size_t cells = (m->size - sizeof(*m)) / 8;
  uint64_t *cell = &m->cells[check_random((uint32_t)cells)];
  switch (check_random(5)) {
    case 0: ((unsigned char *)cell)[check_random(8)] ^= 1 << check_random(8);
      break;
    case 1: *cell = message_cell(check_random(MESSAGE_KINDS + 2),
                                 check_random(20)); break;
    case 2: *cell = message_cell(MESSAGE_SHARED, check_random(4)); break;
    case 3: *cell = message_cell(check_random(MESSAGE_KINDS),
                                 UINT64_MAX >> 8); break;
    default: *cell ^= (uint64_t)check_random(UINT32_MAX) << check_random(40);
  }
}

/* Read all strings, and all items once. */
static unsigned touch (const uring_value *v, unsigned level) {
  unsigned sum = 0;
  if (v->type == URING_STRING)
    for (size_t i = 0; i <= v->u.s.len; i++)
      sum += ((const unsigned char *)v->u.s.p)[i];
  if (v->type == URING_ARRAY || v->type == URING_TABLE)
    for (uint32_t i = 0; i < v->n && level < 4; i++)
      sum += touch(&v->u.items[i], level + 1);
  return sum;
}

static void corrupt_bytes_stay_within_bounds (void) {
  unsigned sound = 0, corrupt = 0, sum = 0;
  for (int round = 0; round < 40000; round++) {
    uring_value values[4], *got;
    uint32_t n;
    struct message *m = random_message(values, &n);
    m->flags |= MESSAGE_GRAPH;
    for (uint32_t i = 1 + check_random(3); i > 0; i--) change(m);
    if (check_random(50) == 0) m->n = (uint8_t)check_random(256);
    if (check_random(50) == 0)
      m->size -= 8 * check_random((uint32_t)(m->size / 8) + 1);
    if (message_is_sound(m)) {
      struct uring_message *copy = values_decode(m);
      sound++;
      got = values_of(copy, &n);
      for (uint32_t i = 0; i < n; i++) sum += touch(&got[i], 0);
      values_free(copy);
    }
    else corrupt++;
    free(m);
  }
  CHECK(sound > 1000 && corrupt > 1000 && sum > 0);
}


/* ---- tables ------------------------------------------------------------ */

static struct message *message_of (const uint64_t *cells, size_t n,
                                   unsigned flags) {
  struct message *m = calloc(1, sizeof(*m) + n * 8);
  if (m == NULL) exit(1);
  m->size = (uint32_t)(sizeof(*m) + n * 8);
  m->n = 1;
  m->flags = (uint8_t)flags;
  memcpy(m->cells, cells, n * 8);
  return m;
}

static void a_table_may_be_shared_and_contain_itself (void) {
  /* { a, a, [true] = itself }, where a = {} */
  const uint64_t cells[] = {
    message_cell(MESSAGE_TABLE, message_table(2, 1)),
    message_cell(MESSAGE_ARRAY, 1), message_cell(MESSAGE_TRUE, 0),
    message_cell(MESSAGE_SHARED, 1),
    message_cell(MESSAGE_TRUE, 0), message_cell(MESSAGE_SHARED, 0)
  };
  struct message *m = message_of(cells, 6, MESSAGE_GRAPH);
  struct uring_message *copy;
  const uring_value *v;
  uint32_t n;
  CHECK(message_is_sound(m));
  copy = values_decode(m);
  v = values_of(copy, &n);
  CHECK(n == 1 && v->type == URING_TABLE && v->n == 6);
  CHECK(v->u.items[0].u.i == 1 && v->u.items[2].u.i == 2);
  CHECK(v->u.items[1].type == URING_ARRAY && v->u.items[1].n == 1);
  CHECK(v->u.items[1].u.items == v->u.items[3].u.items);
  CHECK(v->u.items[5].type == URING_TABLE && v->u.items[5].n == 6);
  CHECK(v->u.items[5].u.items == v->u.items);
  values_free(copy);
  m->flags = 0;  /* nothing is shared, it says */
  CHECK(!message_is_sound(m));
  free(m);
}

static void what_is_no_message_is_told (void) {
  const uint64_t itself[] = { message_cell(MESSAGE_SHARED, 0) };
  const uint64_t cut[] = { message_cell(MESSAGE_ARRAY, 2),
                           message_cell(MESSAGE_NIL, 0) };
  const uint64_t more[] = { message_cell(MESSAGE_NIL, 0),
                            message_cell(MESSAGE_NIL, 0) };
  const uint64_t text[] = { message_cell(MESSAGE_STRING, 8), 0 };
  const uint64_t huge[] = { message_cell(MESSAGE_ARRAY, UINT64_MAX >> 8) };
  const uint64_t pairs[] = { message_cell(MESSAGE_TABLE, UINT64_MAX >> 8) };
  const uint64_t fd[] = { message_cell(MESSAGE_FD, 0) };
  const uint64_t block[] = { message_cell(MESSAGE_BLOCK, 8), 0, 0, 0 };
  const struct { const uint64_t *cells; size_t n; } no[] = {
    {itself, 1}, {cut, 2}, {more, 2}, {text, 2}, {huge, 1}, {pairs, 1},
    {fd, 1}, {block, 4}
  };
  for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++) {
    struct message *m = message_of(no[i].cells, no[i].n, MESSAGE_GRAPH);
    CHECK(!message_is_sound(m));
    free(m);
  }
}

/* Deep ones: neither walk is recursive. */
static void depth_is_bounded_by_memory (void) {
  size_t n = 300000;
  uint64_t *cells = malloc((n + 1) * 8);
  struct uring_message *copy;
  const uring_value *v;
  struct message *m;
  uint32_t count;
  size_t depth = 0;
  if (cells == NULL) exit(1);
  for (size_t i = 0; i < n; i++) cells[i] = message_cell(MESSAGE_ARRAY, 1);
  cells[n] = message_cell(MESSAGE_TRUE, 0);
  m = message_of(cells, n + 1, MESSAGE_GRAPH);
  CHECK(message_is_sound(m));
  copy = values_decode(m);
  for (v = values_of(copy, &count); v->type == URING_ARRAY; v = v->u.items)
    depth++;
  CHECK(depth == n && v->type == URING_BOOLEAN);
  values_free(copy);
  free(m);
  free(cells);
}

static void a_table_has_keys_and_values (void) {
  uring_value v[3] = { { .type = URING_TABLE, .n = 2, .u.items = &v[1] },
                       { .type = URING_NUMBER, .u.d = 0.5 },
                       { .type = URING_INTEGER, .u.i = 1 } };
  uint64_t small[16];
  struct message *m;
  CHECK(values_encode(v, 1, &all, small, sizeof(small), &m) == 0);
  v[1].u.d = __builtin_nan("");
  CHECK(values_encode(v, 1, &all, small, sizeof(small), &m) == -EINVAL);
  v[1].type = URING_NIL;
  CHECK(values_encode(v, 1, &all, small, sizeof(small), &m) == -EINVAL);
  v[1].type = URING_INTEGER;
  v[0].n = 1;
  CHECK(values_encode(v, 1, &all, small, sizeof(small), &m) == -EINVAL);
}

/* The second time the numbers may be another file's, and what was released is
 * gone. */
static unsigned released;

static void count_release (void *ud, const void *p, size_t len) {
  (void)ud; (void)p; (void)len;
  released++;
}

static void what_is_disposed_of_twice_is_closed_once (void) {
  int fd = dup(STDOUT_FILENO);
  struct message_block b = { &released, 1, count_release, NULL };
  uint64_t cells[5] = { message_cell(MESSAGE_FD, (uint64_t)fd) };
  struct message *m;
  message_put_block(&cells[1], MESSAGE_BLOCK, &b);
  m = message_of(cells, 5, MESSAGE_OWNS);
  m->n = 2;
  m->fds = 1;
  message_dispose(m);
  CHECK(released == 1 && fcntl(fd, F_GETFD) == -1);
  CHECK(dup2(STDOUT_FILENO, fd) == fd);
  message_dispose(m);
  CHECK(released == 1 && fcntl(fd, F_GETFD) != -1);
  close(fd);
  free(m);
}


static const struct check_test tests[] = {
  TEST(values_are_decoded_as_they_were),
  TEST(corrupt_bytes_stay_within_bounds),
  TEST(a_table_may_be_shared_and_contain_itself),
  TEST(what_is_no_message_is_told),
  TEST(depth_is_bounded_by_memory),
  TEST(a_table_has_keys_and_values),
  TEST(what_is_disposed_of_twice_is_closed_once)
};

int main (void) {
  return RUN(tests);
}
