/*
** values: one walk checks and measures, the next one writes: memory is
** allocated once. Levels bound the depth of the walks, and what a message may
** count bounds their length, also where arrays are shared.
*/

#include "compat.h"
#include "worker/values.h"

#include "base/fork_id.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEADER_CELLS (sizeof(struct message) / sizeof(uint64_t))

struct uring_message {
  uint32_t fork_id;
  uint32_t n, all;         /* values: on top, in all */
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
  m->flags |= MESSAGE_BLOCKS;
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

static int measure_items (struct measure *m, const uring_value *v, int level) {
  if (v->u.items == NULL && v->n > 0)
    return -EINVAL;
  m->flags |= MESSAGE_BUILDS;
  for (uint32_t i = 0; i < v->n; i++) {
    int rc = measure_value(m, &v->u.items[i], level + 1);
    if (rc < 0)
      return rc;
  }
  return 0;
}

static int measure_content (struct measure *m, const uring_value *v,
                            int level) {
  switch (v->type) {
    case URING_INTEGER: case URING_NUMBER: m->cells++; return 0;
    case URING_STRING: case URING_BLOCK: return measure_bytes(m, v);
    case URING_FD: return measure_fd(m, v->u.fd);
    case URING_ARRAY: return measure_items(m, v, level);
    default: return 0;
  }
}

static int measure_value (struct measure *m, const uring_value *v,
                          int level) {
  int rc;
  if (level > MESSAGE_LEVELS || v->type < URING_NIL || v->type > URING_ARRAY
      || !(values_kinds(1u << v->type) & m->limits->kinds))
    return -EINVAL;
  m->cells++;
  m->cost += MESSAGE_COST_OF_VALUE;
  if (m->cost > m->limits->bytes)  /* guard: arrays may be shared */
    return -EMSGSIZE;
  rc = measure_content(m, v, level);
  return rc == 0 && m->cost > m->limits->bytes ? -EMSGSIZE : rc;
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
  message_put_block(cell, &b);
  return cell + 4;
}

static uint64_t *write_array (uint64_t *cell, const uring_value *v) {
  *cell++ = message_cell(MESSAGE_ARRAY, v->n);
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
    case URING_ARRAY: return write_array(cell, v);
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
  };
  uint32_t kinds = 0;
  for (size_t i = 0; i < sizeof(of) / sizeof(*of); i++)
    if (types & 1u << of[i].type) kinds |= of[i].kinds;
  return kinds;
}


/* ---- from a message ---------------------------------------------------- */

struct reading {
  uint64_t *cell;
  uring_value *free;       /* for the items of arrays */
};

static void read_values (struct reading *r, uring_value *v, uint32_t n);

static void read_items (struct reading *r, uring_value *v, uint32_t n) {
  v->type = URING_ARRAY;
  v->n = n;
  v->u.items = r->free;
  r->free += n;
  read_values(r, v->u.items, n);
}

static void read_foreign (uring_value *v, uint64_t *cell) {
  struct message_block b = message_take_block(cell);
  v->type = URING_BLOCK;
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
    case MESSAGE_BLOCK: read_foreign(v, cell); break;
    case MESSAGE_FD:
      v->type = URING_FD;
      v->u.fd = (int)message_count(*cell);
      break;
    case MESSAGE_ARRAY:
      read_items(r, v, (uint32_t)message_count(*cell));
      break;
    default: break;  /* (zeroed, a value is nil) */
  }
}

static void read_values (struct reading *r, uring_value *v, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) read_value(r, &v[i]);
}

static uint32_t count_values (const struct message *m) {
  size_t end = m->size / 8 - HEADER_CELLS;
  uint32_t n = 0;
  for (size_t i = 0; i < end; i += (size_t)message_cells(m->cells[i])) n++;
  return n;
}

struct uring_message *values_decode (const struct message *m) {
  uint32_t all = count_values(m);
  size_t cells = m->size - sizeof(*m);
  struct uring_message *copy = malloc(sizeof(*copy) + cells
                                      + all * sizeof(uring_value));
  struct reading r;
  if (copy == NULL)
    return NULL;
  copy->fork_id = fork_id();
  copy->n = m->n;
  copy->all = all;
  memset(copy->values, 0, all * sizeof(uring_value));
  r.cell = memcpy(copy->values + all, m->cells, cells);
  r.free = copy->values + copy->n;
  read_values(&r, copy->values, copy->n);
  return copy;
}

uring_value *values_of (struct uring_message *m, uint32_t *n) {
  *n = m->n;
  return m->values;
}

static void dispose (uring_value *v) {
  if (v->type == URING_FD && v->u.fd >= 0) {
    int fd = v->u.fd;
    v->u.fd = -1;
    close(fd);
  }
  else if (v->type == URING_BLOCK && v->release) {
    uring_release release = v->release;
    v->release = NULL;
    release(v->ud, v->u.s.p, v->u.s.len);
  }
}

void values_free (struct uring_message *m) {
  if (m->fork_id == fork_id())  /* guard: they are the parent's */
    for (uint32_t i = 0; i < m->all; i++) dispose(&m->values[i]);
  free(m);
}
