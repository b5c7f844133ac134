/*
** owned: each kind's object, and its owner at each moment.
*/

#include "compat.h"
#include "worker/owned.h"

#include "api/buf_ring.h"
#include "api/fd.h"
#include "api/ref_object.h"
#include "worker/mail_address.h"
#include "worker/served_call.h"


/* ---- blocks ------------------------------------------------------------ */

struct message_block owned_address (struct queue *q) {
  refblock_retain(&q->block);
  return (struct message_block){ q, 0, queue_release_sender,
                                 queue_add_sender(q) ? q : NULL };
}

static void release_ring (void *ud, const void *p, size_t len) {
  struct handle *ring = (struct handle *)(uintptr_t)p;
  (void)ud; (void)len;
  refblock_release(&ring->block);
}

struct message_block owned_ring (struct handle *ring) {
  refblock_retain(&ring->block);
  return (struct message_block){ ring, 0, release_ring, NULL };
}

static void release_buffer (void *ud, const void *p, size_t len) {
  struct memory *m = ud;
  (void)p; (void)len;
  refblock_release(&m->block);
}

struct message_block owned_buffer (struct memory *m) {
  return (struct message_block){ m->bytes, m->size, release_buffer, m };
}

void owned_count (struct message *m) {
  uint64_t *cell = m->cells;
  if (!(m->flags & MESSAGE_OWNS))
    return;
  for (; cell < message_end(m); cell += message_cells(*cell)) {
    struct message_block b = message_block(cell);
    if (message_kind(*cell) == MESSAGE_ADDRESS) {
      b = owned_address((struct queue *)(uintptr_t)b.p);
      message_put_block(cell, MESSAGE_ADDRESS, &b);
    }
    else if (message_kind(*cell) == MESSAGE_RING)
      owned_ring((struct handle *)(uintptr_t)b.p);
  }
}

static void withdraw (uint64_t *cell) {
  if (message_kind(*cell) == MESSAGE_FD)
    *cell = message_cell(MESSAGE_NIL, 0);  /* guard: not closed with it */
  else if (message_is_block(*cell)) {
    struct message_block b = message_take_block(cell);
    if (message_kind(*cell) == MESSAGE_ADDRESS) {
      struct queue *q = b.ud ? b.ud : (struct queue *)(uintptr_t)b.p;
      queue_undo_sender(q, b.ud != NULL);
      refblock_release(&q->block);
    }
    else if (message_kind(*cell) == MESSAGE_RING)
      b.release(b.ud, b.p, b.len);
    else if (message_kind(*cell) == MESSAGE_SLOT)
      refblock_release(&((struct call *)b.ud)->block);  /* (not lost) */
  }
}

void owned_withdraw (struct message *m) {
  uint64_t *cell = m->cells;
  for (; cell < message_end(m); cell += message_cells(*cell)) withdraw(cell);
}


/* ---- what moves -------------------------------------------------------- */

static void fds_sent (struct handle *const *fds, unsigned n) {
  for (unsigned i = 0; i < n; i++)
    handle_release(fds[i]);  /* guard: its number is the reader's */
}

void owned_sent (lua_State *L, const struct moved *moved) {
  fds_sent(moved->fds, moved->nfds);
  for (unsigned i = 0; i < moved->nbuffers; i++)
    buffer_send(L, moved->buffers[i]);  /* (the count is the message's) */
}

static void lent_end (struct lent *lent) {
  while (lent->nfds > 0) refblock_release(&lent->fds[--lent->nfds]->block);
  while (lent->nbuffers > 0)
    refblock_release(&lent->buffers[--lent->nbuffers]->block);
}

bool owned_lend (lua_State *L, const struct moved *moved, struct lent *lent) {
  lent->nfds = 0;
  for (lent->nbuffers = 0; lent->nbuffers < moved->nbuffers; lent->nbuffers++)
    if ((lent->buffers[lent->nbuffers] = buffer_loan_new()) == NULL) {
      lent_end(lent);
      return false;
    }
  for (unsigned i = 0; i < moved->nbuffers; i++)
    buffer_lend(L, moved->buffers[i], lent->buffers[i]);
  for (; lent->nfds < moved->nfds; lent->nfds++) {
    lent->fds[lent->nfds] = moved->fds[lent->nfds];
    refblock_retain(&moved->fds[lent->nfds]->block);
    handle_lend(moved->fds[lent->nfds]);
  }
  return true;
}

void owned_lent_sent (struct lent *lent) {
  fds_sent(lent->fds, lent->nfds);
  for (unsigned i = 0; i < lent->nbuffers; i++)
    buffer_loan_sent(lent->buffers[i]);
  lent_end(lent);
}

void owned_lent_back (struct lent *lent, struct message *m) {
  unsigned n = 0;
  for (uint64_t *cell = m->cells; cell < message_end(m);
       cell += message_cells(*cell))
    if (message_kind(*cell) == MESSAGE_BUFFER)
      buffer_loan_back(lent->buffers[n++], message_block(cell).ud);
  owned_withdraw(m);
  for (unsigned i = 0; i < lent->nfds; i++) handle_take_back(lent->fds[i]);
  lent_end(lent);
}


/* ---- the reader's ------------------------------------------------------ */

/* A block's lease, as yet of no bytes. */
static void push_empty_lease (lua_State *L) {
  struct lease **own = lease_push(L), *lease = lease_alloc();
  if (lease == NULL)
    luaL_error(L, "not enough memory for a lease");
  lease_fill_empty(lease);
  lease_set(L, own, lease);
}

/* The bytes count for this state from then on, so there must be room. */
static void push_empty_buffer (lua_State *L, size_t size) {
  pressure_tell(L, size, 0);
  buffer_push(L);
  if (!account_has_room(state_of(L)->account, size))
    luaL_error(L, "not enough memory for a buffer of %I bytes%s",
               (LUAI_UACINT)size, state_memory_note(L));
}

void owned_push (lua_State *L, const uint64_t *cell) {
  switch (message_kind(*cell)) {
    case MESSAGE_FD: fd_push(L); break;
    case MESSAGE_BLOCK: push_empty_lease(L); break;
    case MESSAGE_ADDRESS: mail_address_new(L); break;
    case MESSAGE_RING: reference_new(L); break;
    case MESSAGE_SLOT: served_call_new(L); break;
    default: push_empty_buffer(L, (size_t)message_count(*cell));
  }
}

static void give_fd (lua_State *L, int index, uint64_t *cell) {
  const struct fd *f = lua_touserdata(L, index);
  int number = (int)message_count(*cell);
  *cell = message_cell(MESSAGE_NIL, 0);  /* guard: it has one owner */
  handle_own(&state_of(L)->handles, f->d, number);
}

static void give_lease (lua_State *L, int index,
                        const struct message_block *b) {
  struct lease **own = lua_touserdata(L, index), *lease = *own;
  lease_set(L, own, NULL);  /* (its weight changes) */
  lease_set_foreign(lease, b->p, (uint32_t)b->len, b->release, b->ud);
  lease_set(L, own, lease);
}

void owned_give (lua_State *L, int index, uint64_t *cell) {
  void *object = lua_touserdata(L, index);
  struct message_block b;
  if (message_kind(*cell) == MESSAGE_FD) {
    give_fd(L, index, cell);
    return;
  }
  b = message_take_block(cell);
  switch (message_kind(*cell)) {
    case MESSAGE_BLOCK: give_lease(L, index, &b); break;
    case MESSAGE_ADDRESS:  /* (the message's count, and sender, is its now) */
      ((struct mail_address *)object)->q = (struct queue *)(uintptr_t)b.p;
      break;
    case MESSAGE_RING:
      ((struct reference *)object)->ring = (struct handle *)(uintptr_t)b.p;
      break;
    case MESSAGE_SLOT: ((struct call_handle *)object)->call = b.ud; break;
    default: buffer_adopt(L, object, b.ud);
  }
}
