/*
** values: one walk checks and measures, the next one writes: memory is
** allocated once. Levels bound the depth of the walks, and what a message may
** count bounds their length, also where arrays are shared.
*/

#include "compat.h"
#include "worker/values.h"

#include "base/fork_id.h"
#include "base/nocancel.h"
#include "worker/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_CELLS (sizeof(struct message) / sizeof(uint64_t))

struct uring_message {
  uint32_t fork_id;
  uint32_t n, all;         /* values: on top, in all */
  struct message_block slot;  /* of a call that is not answered yet; or 0 */
  uring_value values[];    /* then the cells, where the strings are */
};


/* ---- to a message ------------------------------------------------------ */

struct measure {
  const struct values_limits *limits;
  uint64_t cost, cells;
  unsigned nfds, flags;
  int fds[MESSAGE_FDS];
};

static int measure_bytes (struct measure *m, const uring_value *v) {
  size_t len = v->u.s.len;
  if (v->u.s.p == NULL && len > 0)
    return -EINVAL;
  if (len > m->limits->bytes)  /* guard: or the sum overflows */
    return -EMSGSIZE;
  m->flags |= MESSAGE_BUILDS;
  if (v->type == URING_STRING) {
    m->cells += message_string_cells(len);
    m->cost += (len + 7) / 8 * 8;
    return 0;
  }
  m->flags |= MESSAGE_OWNS;
  m->cells += 3;
  m->cost += len;
  return 0;
}

static int measure_fd (struct measure *m, int fd) {
  if (fd < 0)
    return -EINVAL;
  for (unsigned i = 0; i < m->nfds; i++)
    if (m->fds[i] == fd)
      return -EINVAL;  /* guard: it would be closed twice */
  if (m->nfds == MESSAGE_FDS)
    return -EMSGSIZE;
  m->fds[m->nfds++] = fd;
  m->flags |= MESSAGE_BUILDS;
  return 0;
}

static int measure_value (struct measure *m, const uring_value *v, int level);

/* Can it be the key of a table's pair? */
static bool is_key (const uring_value *v) {
  return v->type != URING_NIL
         && !(v->type == URING_NUMBER && v->u.d != v->u.d);
}

static int measure_items (struct measure *m, const uring_value *v, int level) {
  bool table = v->type == URING_TABLE;
  if ((v->u.items == NULL && v->n > 0) || (table && v->n % 2 != 0))
    return -EINVAL;
  m->flags |= MESSAGE_BUILDS;
  for (uint32_t i = 0; i < v->n; i++) {
    int rc = measure_value(m, &v->u.items[i], level + 1);
    if (rc == 0 && table && i % 2 == 0 && !is_key(&v->u.items[i]))
      rc = -EINVAL;
    if (rc < 0)
      return rc;
  }
  return 0;
}

/* A box: what it counts is the caller's, and so it is open. */
static int measure_box (struct measure *m, const uring_value *v) {
  const struct queue *q = v->u.s.p;
  if (q == NULL)
    return -EINVAL;
  if (q->fork_id != fork_id())
    return -ESTALE;
  m->flags |= MESSAGE_BUILDS | MESSAGE_OWNS;
  m->cells += 3;
  return 0;
}

static int measure_content (struct measure *m, const uring_value *v,
                            int level) {
  switch (v->type) {
    case URING_INTEGER: case URING_NUMBER: m->cells++; return 0;
    case URING_STRING: case URING_BLOCK: return measure_bytes(m, v);
    case URING_FD: return measure_fd(m, v->u.fd);
    case URING_ARRAY: case URING_TABLE: return measure_items(m, v, level);
    case URING_BOX: return measure_box(m, v);
    default: return 0;
  }
}

static int measure_value (struct measure *m, const uring_value *v,
                          int level) {
  int rc;
  if (level > MESSAGE_LEVELS || v->type < URING_NIL || v->type > URING_BOX
      || values_kinds(1u << v->type) & ~m->limits->kinds)
    return -EINVAL;
  m->cells++;
  m->cost += MESSAGE_COST_OF_VALUE;
  rc = measure_content(m, v, level);
  if (rc == 0 && m->cost > m->limits->bytes)  /* guard: arrays may be shared */
    rc = -EMSGSIZE;
  return rc;
}

static uint64_t *write_value (uint64_t *cell, const uring_value *v);

static uint64_t *write_string (uint64_t *cell, const uring_value *v) {
  size_t len = v->u.s.len, cells = (size_t)message_string_cells(len);
  cell[0] = message_cell(MESSAGE_STRING, len);
  cell[cells] = 0;  /* (what the bytes do not fill) */
  if (len > 0) memcpy(cell + 1, v->u.s.p, len);
  return cell + 1 + cells;
}

static uint64_t *write_number (uint64_t *cell, enum message_kind kind,
                               const void *value) {
  cell[0] = message_cell(kind, 0);
  memcpy(cell + 1, value, 8);
  return cell + 2;
}

static uint64_t *write_foreign (uint64_t *cell, const uring_value *v) {
  struct message_block b = { v->u.s.p, v->u.s.len, v->release, v->ud };
  message_put_block(cell, MESSAGE_BLOCK, &b);
  return cell + 4;
}

static uint64_t *write_box (uint64_t *cell, const uring_value *v) {
  struct message_block b = { v->u.s.p, 0, queue_release_sender, NULL };
  message_put_block(cell, MESSAGE_ADDRESS, &b);
  return cell + 4;
}

static uint64_t *write_items (uint64_t *cell, const uring_value *v) {
  *cell++ = v->type == URING_ARRAY
    ? message_cell(MESSAGE_ARRAY, v->n)
    : message_cell(MESSAGE_TABLE, message_table(0, v->n / 2));
  for (uint32_t i = 0; i < v->n; i++)
    cell = write_value(cell, &v->u.items[i]);
  return cell;
}

static uint64_t *write_value (uint64_t *cell, const uring_value *v) {
  switch (v->type) {
    case URING_INTEGER: return write_number(cell, MESSAGE_INTEGER, &v->u.i);
    case URING_NUMBER: return write_number(cell, MESSAGE_NUMBER, &v->u.d);
    case URING_STRING: return write_string(cell, v);
    case URING_BLOCK: return write_foreign(cell, v);
    case URING_BOX: return write_box(cell, v);
    case URING_ARRAY: case URING_TABLE: return write_items(cell, v);
    case URING_FD:
      *cell = message_cell(MESSAGE_FD, (uint64_t)v->u.fd);
      return cell + 1;
    case URING_BOOLEAN:
      *cell = message_cell(v->u.i ? MESSAGE_TRUE : MESSAGE_FALSE, 0);
      return cell + 1;
    default:
      *cell = message_cell(MESSAGE_NIL, 0);
      return cell + 1;
  }
}

int values_encode (const uring_value *values, uint32_t n,
                   const struct values_limits *limits,
                   void *small, size_t size, struct message **out) {
  struct measure measure = { .limits = limits, .cost = MESSAGE_COST,
                             .cells = HEADER_CELLS };
  struct message *m = small;
  uint64_t *cell;
  if (n < 1 || n > MESSAGE_VALUES || values == NULL
      || values[0].type == URING_NIL)
    return -EINVAL;
  for (uint32_t i = 0; i < n; i++) {
    int rc = measure_value(&measure, &values[i], 0);
    if (rc < 0)
      return rc;
  }
  if (measure.cells * 8 > size) m = malloc((size_t)measure.cells * 8);
  if (m == NULL)
    return -ENOMEM;
  m->size = (uint32_t)(measure.cells * 8);
  m->fds = (uint16_t)measure.nfds;
  m->n = (uint8_t)n;
  m->flags = (uint8_t)measure.flags;
  m->cost = measure.cost;
  cell = m->cells;
  for (uint32_t i = 0; i < n; i++) cell = write_value(cell, &values[i]);
  *out = m;
  return 0;
}

uint32_t values_kinds (uint32_t types) {
  static const struct { uint32_t type, kinds; } of[] = {
    {URING_NIL, 1u << MESSAGE_NIL},
    {URING_BOOLEAN, 1u << MESSAGE_FALSE | 1u << MESSAGE_TRUE},
    {URING_INTEGER, 1u << MESSAGE_INTEGER},
    {URING_NUMBER, 1u << MESSAGE_NUMBER},
    {URING_STRING, 1u << MESSAGE_STRING},
    {URING_BLOCK, 1u << MESSAGE_BLOCK},
    {URING_FD, 1u << MESSAGE_FD},
    {URING_ARRAY, 1u << MESSAGE_ARRAY},
    {URING_TABLE, 1u << MESSAGE_ARRAY | 1u << MESSAGE_TABLE
                  | 1u << MESSAGE_SHARED},
    {URING_BOX, 1u << MESSAGE_ADDRESS},
    {URING_BUFFER, 1u << MESSAGE_BUFFER},
  };
  uint32_t kinds = 0;
  for (size_t i = 0; i < sizeof(of) / sizeof(*of); i++)
    if (types & 1u << of[i].type) kinds |= of[i].kinds;
  return kinds;
}


/* ---- from a message ---------------------------------------------------- */

#define NONE UINT32_MAX

/* An array or table that is being read, or was. */
struct read_table {
  uring_value *value, *next;  /* itself, and its next item */
  uint32_t left;           /* values to be read */
  uint32_t indexed;        /* ... the first of which have their keys */
  uint32_t outer;          /* the number of the one that it is in, or NONE */
};

struct reading {
  uint64_t *cell;
  uring_value *free;       /* for items */
  struct read_table *tables;  /* by number */
  uint32_t count, inside;  /* their count; the number of the innermost */
};

/* Give the value its items, of which `indexed` pairs have the keys 1, 2, 3...
** They are what is read next. */
static void enter_items (struct reading *r, uring_value *v, int32_t type,
                         uint32_t indexed, uint32_t left) {
  v->type = type;
  v->n = indexed + left;
  v->u.items = r->free;
  r->free += v->n;
  for (uint32_t i = 0; i < indexed; i++) {
    v->u.items[2 * i].type = URING_INTEGER;
    v->u.items[2 * i].u.i = (int64_t)i + 1;
  }
  r->tables[r->count] = (struct read_table){ v, v->u.items, left, indexed,
                                             r->inside };
  r->inside = r->count++;
}

/* The same table again: it has the same items. */
static void read_shared (struct reading *r, uring_value *v, uint64_t number) {
  const uring_value *of = r->tables[number].value;
  v->type = of->type;
  v->n = of->n;
  v->u.items = of->u.items;
}

static void read_foreign (uring_value *v, int32_t type, uint64_t *cell) {
  struct message_block b = message_take_block(cell);
  v->type = type;
  v->u.s.p = b.p;
  v->u.s.len = b.len;
  v->release = b.release;
  v->ud = b.ud;
}

static void read_string (uring_value *v, const uint64_t *cell) {
  v->type = URING_STRING;
  v->u.s.p = cell + 1;
  v->u.s.len = (size_t)message_count(*cell);
}

static void read_numeric (uring_value *v, int32_t type, const uint64_t *cell) {
  v->type = type;
  if (type == URING_INTEGER) memcpy(&v->u.i, cell + 1, 8);
  else memcpy(&v->u.d, cell + 1, 8);
}

static void read_value (struct reading *r, uring_value *v) {
  uint64_t *cell = r->cell;
  r->cell += message_cells(*cell);
  switch (message_kind(*cell)) {
    case MESSAGE_FALSE: v->type = URING_BOOLEAN; break;
    case MESSAGE_TRUE: v->type = URING_BOOLEAN; v->u.i = 1; break;
    case MESSAGE_INTEGER: read_numeric(v, URING_INTEGER, cell); break;
    case MESSAGE_NUMBER: read_numeric(v, URING_NUMBER, cell); break;
    case MESSAGE_STRING: read_string(v, cell); break;
    case MESSAGE_BLOCK: read_foreign(v, URING_BLOCK, cell); break;
    case MESSAGE_ADDRESS: read_foreign(v, URING_BOX, cell); break;
    case MESSAGE_BUFFER: read_foreign(v, URING_BUFFER, cell); break;
    case MESSAGE_FD:
      v->type = URING_FD;
      v->u.fd = (int)message_count(*cell);
      break;
    case MESSAGE_ARRAY:
      enter_items(r, v, URING_ARRAY, 0, (uint32_t)message_count(*cell));
      break;
    case MESSAGE_TABLE:
      enter_items(r, v, URING_TABLE, (uint32_t)message_items(*cell),
                  (uint32_t)(message_items(*cell) + 2 * message_pairs(*cell)));
      break;
    case MESSAGE_SHARED: read_shared(r, v, message_count(*cell)); break;
    default: break;  /* (zeroed, a value is nil) */
  }
}

/* Read the next item of the innermost table; or it is whole. */
static void read_item (struct reading *r) {
  struct read_table *t = &r->tables[r->inside];
  if (t->left == 0) {
    r->inside = t->outer;
    return;
  }
  t->left--;
  if (t->indexed > 0) {
    t->indexed--;
    t->next++;  /* (the key) */
  }
  read_value(r, t->next++);
}

static void read_values (struct reading *r, uring_value *v, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    read_value(r, &v[i]);
    while (r->inside != NONE) read_item(r);
  }
}

/* The number of values, and of those that are tables. */
static uint32_t count_values (const struct message *m, uint32_t *tables) {
  const uint64_t *cell = m->cells, *end = cell + (m->size - sizeof(*m)) / 8;
  uint32_t n = 0;
  *tables = 0;
  for (; cell < end; cell += message_cells(*cell)) {
    n++;
    if (message_kind(*cell) == MESSAGE_ARRAY) (*tables)++;
    if (message_kind(*cell) == MESSAGE_TABLE) {
      (*tables)++;
      n += (uint32_t)message_items(*cell);  /* (keys that have no cells) */
    }
  }
  return n;
}

/* Its first value is the slot for the answer, which is no value of C's. */
static bool is_call (const struct message *m) {
  return m->flags & MESSAGE_CALL
         && message_kind(m->cells[0]) == MESSAGE_SLOT;
}

struct uring_message *values_decode (const struct message *m) {
  uint32_t ntables, all = count_values(m, &ntables);
  bool call = is_call(m);
  size_t cells = m->size - sizeof(*m);
  struct uring_message *copy = malloc(sizeof(*copy) + cells
                                      + all * sizeof(uring_value));
  struct reading r = { .inside = NONE };
  if (ntables > 0) r.tables = malloc(ntables * sizeof(*r.tables));
  if (copy == NULL || (ntables > 0 && r.tables == NULL)) {
    free(copy);
    free(r.tables);
    return NULL;
  }
  all -= call;
  copy->fork_id = fork_id();
  copy->n = m->n - call;
  copy->all = all;
  memset(&copy->slot, 0, sizeof(copy->slot));
  memset(copy->values, 0, all * sizeof(uring_value));
  r.cell = memcpy(copy->values + all, m->cells, cells);
  r.free = copy->values + copy->n;
  if (call) {
    copy->slot = message_take_block(r.cell);
    r.cell += message_cells(*r.cell);
  }
  read_values(&r, copy->values, copy->n);
  free(r.tables);
  return copy;
}

struct uring_message *values_closed (int64_t token) {
  struct uring_message *m = calloc(1, sizeof(*m) + sizeof(uring_value));
  if (m == NULL)
    return NULL;
  m->fork_id = fork_id();
  m->n = m->all = 1;
  m->values[0].type = URING_CLOSED;
  m->values[0].u.i = token;
  return m;
}

struct call *values_call (const struct uring_message *m) {
  return m->fork_id == fork_id() ? m->slot.ud : NULL;
}

void values_answered (struct uring_message *m) {
  struct message_block slot = m->slot;
  memset(&m->slot, 0, sizeof(m->slot));
  if (slot.release) slot.release(slot.ud, slot.p, slot.len);
}

uring_value *values_of (struct uring_message *m, uint32_t *n) {
  *n = m->n;
  return m->values;
}

static void dispose (uring_value *v) {
  if (v->type == URING_FD && v->u.fd >= 0) {
    int fd = v->u.fd;
    v->u.fd = -1;
    nocancel_close(fd);
  }
  else if (v->release) {
    uring_release release = v->release;
    v->release = NULL;
    release(v->ud, v->u.s.p, v->u.s.len);
  }
}

void values_free (struct uring_message *m) {
  if (m->fork_id == fork_id()) {  /* guard: they are the parent's */
    for (uint32_t i = 0; i < m->all; i++) dispose(&m->values[i]);
    values_answered(m);
  }
  free(m);
}
